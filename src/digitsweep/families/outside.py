"""Families from outside the package: from somebody's own file, or from an installed package.

Loading such a family runs its author's code."""

from __future__ import annotations

import hashlib
import inspect
import math
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.abc import SourceLoader
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import SupportsFloat

from digitsweep.errors import InputError
from digitsweep.families import FAMILIES, Family, Params, Shape

BUILT_IN = tuple(FAMILIES)
"""The names of the families that digitsweep brings."""
GROUP = "digitsweep.families"
"""The entry points of installed packages: the name is the family's, the object a `Family`."""
MOST_BYTES = 1_000_000
NAME = re.compile(r"[a-z][a-z0-9_]{0,29}")


@dataclass(frozen=True)
class FamilyFile:
    """A Python file with a family in it, as it was when it was read."""

    file: str
    """Its path, for messages."""
    attribute: str
    """The name of the family in the module."""
    text: str = field(repr=False)

    @property
    def identity(self) -> str:
        """The sha256 of the file."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def load(self) -> object:
        """The object of this name, once the module has run. It runs once in a process, whatever the file holds by then.

        Raises InputError, with the line of the file, if it is not valid Python or raises an error."""
        name = f"digitsweep_family_{self.identity[:16]}"
        if name not in sys.modules:
            self._run(name)
        found = vars(sys.modules[name])
        if self.attribute not in found:
            families = ", ".join(each for each, value in found.items() if isinstance(value, Family)) or "none"
            raise InputError(f"{self.file}: must have the family {self.attribute}; the families in it: {families}")
        return found[self.attribute]

    def _run(self, name: str) -> None:
        spec = spec_from_loader(name, _TextLoader(self.file, self.text))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = module_from_spec(spec)  # pydantic looks annotations up in it
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            lines = [each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename == self.file]
            if isinstance(error, SyntaxError) and error.filename == self.file:
                raise InputError(f"{self.file}:{error.lineno}: not valid Python: {error.msg}") from None
            at = f"{self.file}:{lines[-1]}" if lines else self.file
            raise InputError(f"{at}: {said(error)}") from None


class _TextLoader(SourceLoader):
    """Imports a module from a text, and caches no bytecode."""

    def __init__(self, file: str, text: str) -> None:
        self._file, self._text = file, text

    def get_filename(self, fullname: str) -> str:
        return self._file

    def get_data(self, path: str) -> bytes:
        return self._text.encode()


@dataclass(frozen=True)
class InstalledFamily:
    """A family that an installed package gives by an entry point."""

    name: str
    identity: str
    """The package and its version: `mixers 1.2`."""

    def load(self) -> object:
        """The object that the entry point names.

        Raises InputError if it cannot be imported."""
        try:
            return _entry_points(self.name)[0].load()
        except (Exception, SystemExit) as error:
            raise InputError(f"family {self.name} of the package {self.identity}: {said(error)}") from None


Origin = FamilyFile | InstalledFamily

ORIGINS: dict[str, Origin] = {}
"""The origin of each registered family that is not built in. A worker registers them, too."""


def read_family(path: Path, attribute: str) -> FamilyFile:
    """A file with a family in it.

    Raises InputError if it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InputError(f"{path}: a family's file may have at most {MOST_BYTES:,} bytes, but this one has more")
        return FamilyFile(str(path), attribute, content.decode("utf-8"))
    except UnicodeDecodeError:
        raise InputError(f"{path}: a family's file must be UTF-8 text") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def find_family(named: str) -> str:
    """The name of a family that is built in, installed, or in a file, as `my_models.py:MIXER`, which is registered.

    Raises InputError if there is none, or it cannot be loaded."""
    if named in BUILT_IN:
        return named
    file, colon, attribute = named.rpartition(":")
    origin = read_family(Path(file), attribute) if colon else installed_family(named)
    if origin is None:
        known = ", ".join([*BUILT_IN, *sorted(each.name for each in entry_points(group=GROUP))])
        raise InputError(f"{named}: no such family; there are {known}; name one of your own as my_models.py:MIXER")
    return register(origin)


def installed_family(name: str) -> InstalledFamily | None:
    """The family of this name that an installed package gives; None if there is none.

    Raises InputError if several packages do."""
    packages = [f"{each.dist.name} {each.dist.version}" if each.dist else each.module for each in _entry_points(name)]
    if len(packages) > 1:
        raise InputError(f"family {name} must come from one package, but {' and '.join(packages)} have it; uninstall one")
    return InstalledFamily(name, packages[0]) if packages else None


def _entry_points(name: str) -> list[EntryPoint]:
    return list(entry_points(group=GROUP, name=name))


def register(origin: Origin, name: str | None = None) -> str:
    """Loads a family, and adds it to `FAMILIES`; its name, which must be `name` unless that is None.

    Raises InputError, with a line for each mistake, if it cannot be loaded or is not a family."""
    family = origin.load()
    where = f"{origin.file}: {origin.attribute}" if isinstance(origin, FamilyFile) else f"{origin.identity}: {origin.name}"
    mistakes = list(_mistakes(family, name))
    if mistakes or not isinstance(family, Family):
        raise InputError("\n".join(f"{where}: {each}" for each in mistakes))
    FAMILIES[family.name] = family
    ORIGINS[family.name] = origin
    return family.name


def register_all(origins: Mapping[str, Origin]) -> None:
    """Registers the families of another process, by name, in this one."""
    for name, origin in origins.items():
        register(origin, name)


def _mistakes(family: object, name: str | None) -> Iterator[str]:
    """What is wrong with a family, as far as it can be said without building a network."""
    if not isinstance(family, Family):
        yield f"must be a digitsweep.families.Family, but is of type {type(family).__name__}"
        return
    params = family.params
    if not (isinstance(params, type) and issubclass(params, Params) and hasattr(params, "family")):
        yield f"`params` must be a subclass of digitsweep.families.Params with a `family`, but is {params!r}"
        return
    if not NAME.fullmatch(str(params.family)):
        yield f"`family` must be up to 30 lower-case letters, digits and underscores, but is {params.family!r}"
    elif params.family in BUILT_IN:
        yield f"`family` may not be {params.family}, which is built in; choose another name"
    elif name not in (None, params.family):
        yield f"`family` must be the name in the experiment, {name}, but is {params.family}"
    for setting, value in Params.model_config.items():
        if params.model_config.get(setting) != value:
            yield f"`model_config` must keep {setting}={value!r}, but {params.__name__} changes it; leave it out"
    if params.operations is Params.operations:
        yield f"{params.__name__} must define `operations(shape, classes)`, the multiplications for one image"
    if unknown := {params.layer_count, *params.layered, *params.conditional} - {"", *params.model_fields}:
        yield f"{params.__name__} must have the fields that it names as layered or conditional: {', '.join(sorted(unknown))}"
    elif params.layered and not params.layer_count:
        yield f"{params.__name__} must name the field with the number of layers as `layer_count`"
    if "epochs" in params.model_fields:
        yield f"{params.__name__} may not have a field `epochs`, which the sweep decides; choose another name"
    if not _takes(family.build, 3):
        yield "`build` must be a function of (params, shape, classes)"
    if not isinstance(family.title, str) or not (family.title.isprintable() and 1 <= len(family.title) <= 30):
        yield f"`title` must be 1 to 30 characters, but is {family.title!r}"
    elif same := [each for each in FAMILIES if FAMILIES[each].title == family.title and each != params.family]:
        yield f"`title` must differ from that of {same[0]}, {family.title}: reports tell families apart by it"
    if not hasattr(family.space, "items"):
        yield f"`space` must be a mapping, but is of type {type(family.space).__name__}"


def broken_method(params: Params, shape: Shape = (28, 28, 1)) -> str:
    """What is wrong with the methods of a configuration, for images of this shape or larger ones if it needs them; empty if
    nothing is. The coordinator calls these methods, which builds no network."""
    name = type(params).__name__
    try:
        side = max(shape[0], params.smallest_image())
        shape = side, side, shape[2]
        operations, outputs, kernels = params.operations(shape, 10), params.outputs(shape), params.kernels(shape)
        described: object = params.describe()
        params.key()
    except Exception as error:
        called = traceback.extract_tb(error.__traceback__)[1:2]
        return f"`{called[0].name if called else 'operations'}` of {name} fails: {said(error)}"
    numbers: dict[str, tuple[int, object]] = {
        "operations": (1, operations),
        "outputs": (0, outputs),
        "kernels": (0, kernels),
    }
    for method, (least, found) in numbers.items():
        if not (isinstance(found, SupportsFloat) and least <= float(found) < math.inf):
            return f"`{method}` of {name} must return a number of at least {least}, but returns {found!r}"
    return "" if isinstance(described, str) else f"`describe` of {name} must return a text, but returns {described!r}"


def _takes(function: Callable[..., object], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except (TypeError, ValueError):  # also of what is no function
        return False
    return True


def said(error: BaseException) -> str:
    """An error of somebody else's code, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
