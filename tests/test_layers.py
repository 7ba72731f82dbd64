"""The walls of docs/architecture.md: who may import whom, and which module may import which library."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from digitsweep.families import FAMILIES
from digitsweep.sweeping.processes import Place

PACKAGE = Path(__file__).parent.parent / "src" / "digitsweep"

# From the top floor down: a room imports only from the rooms below it. Each has its rule, and the libraries that only it and
# the other rooms that name them may import.
HOUSE: dict[str, tuple[str, set[str]]] = {
    "__main__": ("python -m digitsweep", set()),
    "cli": ("parse, call one function, print", {"click", "rich"}),
    "api": ("what programs and the command line call, and what it returns", {"pandas", "rich"}),
    "contract": ("whether a family keeps its contract", {"keras"}),
    "doctor": ("each check returns a Finding", {"mlflow", "psutil"}),
    "sweeping": ("the coordinator's process, from the experiment to the answer", {"rich", "IPython", "ray", "grpc"}),
    "prediction": ("a person's images in, readings out", {"PIL", "scipy", "keras"}),
    "registry": (
        "models by name: register, load, compare, promote, publish, export",
        {"mlflow", "keras", "onnx", "tf2onnx", "onnxruntime", "ai_edge_litert"},
    ),
    "tracking": ("the only writer of MLflow runs", {"mlflow"}),
    "report": ("values become pictures and pages; no I/O", {"matplotlib", "jinja2"}),
    "evaluation": ("predictions on the opened test set become a Comparison", {"scipy", "sklearn", "pandas", "keras"}),
    "search": ("which trial next, continue or stop", {"optuna"}),
    "training": ("what runs inside a worker; no MLflow, no Optuna", {"tensorflow", "keras"}),
    "data": ("files become train, validation and a sealed test split", {"sklearn", "PIL"}),
    "config": ("a YAML file becomes a frozen, checked Experiment", {"optuna"}),
    "trial": ("a trial, what its worker reports, how it ended", set()),
    "families": ("one file a family: hyperparameters, cost, network", {"keras"}),
    "errors": ("what ends a command, and with which exit code", set()),
}
FLOOR = {room: floor for floor, room in enumerate(HOUSE)}
OWNED = set().union(*(libraries for _, libraries in HOUSE.values()))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            inside = (node.module or "").split(".")[0] == "digitsweep"
            yield from ([f"{node.module}.{each.name}" for each in node.names] if inside else [node.module or ""])


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room(path: Path) -> str:
    """The folder or module directly below the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_below(path: Path) -> None:
    """A room imports only from the rooms below it, so that there is no circle of rooms."""
    for name in imports(path):
        package, *parts = name.split(".")
        if package == "digitsweep" and parts != ["__version__"] and parts[0] != room(path):
            assert FLOOR[parts[0]] > FLOOR[room(path)], f"{room(path)} may not import {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_library_has_its_rooms(path: Path) -> None:
    """MLflow, Optuna, TensorFlow and the others are imported only in the rooms that name them."""
    for name in imports(path):
        library = name.split(".")[0]
        assert library not in OWNED or library in HOUSE[room(path)][1], f"{room(path)} may not import {library}"


def test_ray_is_imported_in_one_file() -> None:
    """Only the module behind `engine: ray` imports Ray, and only where that engine is asked for is it imported."""
    found = {path for path in FILES if any(name.split(".")[0] in ("ray", "grpc") for name in imports(path))}
    assert {str(path.relative_to(PACKAGE)) for path in found} == {"sweeping/ray.py"}
    assert loaded_after("import digitsweep.sweeping.run, digitsweep.doctor").isdisjoint({"ray"})


def test_only_judges_open_the_test_set() -> None:
    """Judging, `compare` and the gate can open the test set; whatever trains, searches or records cannot."""
    opening = "digitsweep.evaluation.opening"
    found = {path for path in FILES if any(name.startswith(opening) for name in imports(path))}
    assert {str(path.relative_to(PACKAGE)) for path in found} == {
        "sweeping/judge.py",
        "registry/compare.py",
    }


def test_only_exports_see_the_sealed_images() -> None:
    """Without labels, the images of the sealed test set are asked for only to compare an exported file with its model."""
    found = {path for path in FILES if ".unlabelled(" in path.read_text(encoding="utf-8")}
    assert {str(path.relative_to(PACKAGE)) for path in found} == {"registry/export.py"}


def test_only_families_name_a_family() -> None:
    """No word outside `families/` is a family's name or title: whoever adds a family touches nothing else."""
    names = {each.lower() for family in FAMILIES.values() for each in (family.name, family.title)}
    named = re.compile(rf"(?<![a-z])({'|'.join(map(re.escape, names))})s?(?![a-z])", re.IGNORECASE)
    texts = [path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".jinja", ".css", ".js")]
    assert len(texts) > 90
    found = {
        f"{path.relative_to(PACKAGE)}: {each[0]}"
        for path in texts
        if room(path) != "families"
        for each in named.finditer(path.read_text(encoding="utf-8"))
    }
    assert not found


def test_every_room_is_in_the_house() -> None:
    """The table above names every room there is; besides errors and __main__ there are at most sixteen."""
    assert set(HOUSE) == {room(path) for path in FILES}
    assert len(HOUSE) - 2 <= 16


def loaded_after(code: str, **environment: str) -> set[str]:
    """The libraries that a fresh interpreter has loaded after some code, with some variables more."""
    script = f"import sys\n{code}\nprint(' '.join(sys.modules))"
    variables = {**os.environ, **environment}
    found = subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in found.stdout.splitlines()[-1].split()}


def test_help_is_light() -> None:
    """`digitsweep --help` imports none of the heavy libraries, nor pydantic, pandas or rich."""
    code = "from digitsweep.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    heavy = {"tensorflow", "keras", "mlflow", "optuna", "matplotlib", "sklearn", "pandas", "pydantic", "rich", "numpy"}
    assert loaded_after(code).isdisjoint(heavy)


def test_the_coordinator_does_without_tensorflow() -> None:
    """The coordinator does not import TensorFlow before the search is over."""
    assert loaded_after("import digitsweep.sweeping.run, digitsweep.doctor").isdisjoint({"tensorflow", "keras"})


PRELOADED = """
import os
import digitsweep.training.preloaded, digitsweep.training.worker
if os.path.isdir("/proc/self/task"):
    assert len(os.listdir("/proc/self/task")) == 1, "a thread was started"
"""


def test_a_worker_does_without_the_coordinators_libraries() -> None:
    """What workers are forked from imports neither MLflow nor Optuna, nor what Keras would take along, and starts no thread:
    forking it is safe."""
    loaded = loaded_after(PRELOADED, **Place(None).environment())
    assert {"tensorflow", "keras"} <= loaded
    assert loaded.isdisjoint({"mlflow", "optuna", "matplotlib", "pandas", "scipy", "sklearn"})
