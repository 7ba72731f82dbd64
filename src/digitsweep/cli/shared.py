"""What several commands share: options, and where they print."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from digitsweep.api import console_here as console_here
from digitsweep.config.options import AUTO, Options
from digitsweep.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

_F = TypeVar("_F", bound=Callable[..., Any])


class Auto(click.ParamType[Any]):
    """A value of another type, or `auto`, which is None: so that `mlflow run` can name every parameter's default."""

    def __init__(self, inner: click.ParamType[Any]) -> None:
        self.inner = inner
        self.name = f"{inner.name}|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return None if value == AUTO else self.inner.convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        if isinstance(self.inner, click.Choice):
            return f"{'|'.join(self.inner.choices)}|auto"
        return f"{self.inner.name.upper().removesuffix(' RANGE')}|auto"


def option(name: str, kind: click.ParamType[Any], text: str) -> Callable[[_F], _F]:
    """An option whose default is `auto`."""
    return click.option(name, type=Auto(kind), default=AUTO, show_default=True, help=text)


def sweep_options(*names: str) -> Callable[[_F], _F]:
    """The options of a sweep that have these names, as in `Options`."""

    def decorate(command: _F) -> _F:
        for field in reversed([each for each in dataclasses.fields(Options) if each.name in names]):
            command = option(f"--{field.name}", _click_type(field.metadata), field.metadata["text"])(command)
        return command

    return decorate


def _click_type(about: Mapping[str, Any]) -> click.ParamType[Any]:
    if about["kind"] is int:
        return click.IntRange(about["least"], about["most"])
    if about["kind"] is float:
        return click.FloatRange(about["least"], about["most"], min_open=about["is_open"])
    if about["kind"] is str:
        return click.Choice(about["choices"]) if about["choices"] else click.STRING
    return click.Path(path_type=Path)


def print_ui(console: Console, run_id: str) -> None:
    """Prints where the MLflow UI shows a run: the trials of a sweep, in charts."""
    from digitsweep.cli.tables import print_text
    from digitsweep.tracking.ui import has_server, link_to

    link = link_to(run_id, lambda text: print_text(text, console, "yellow"))
    start = "" if has_server() else " (start it with `make ui` or `digitsweep ui`)"
    print_text(f"See every trial in the MLflow UI{start}: {link}", console)


def check_writable(option: str, path: Path) -> None:
    """Raises InputError, with the option's name, unless a file can be there."""
    # Path.is_dir raises an error for a malformed path.
    if os.path.isdir(path) or not os.path.isdir(path.absolute().parent):  # noqa: PTH112
        raise InputError(f"{option} {path}: must be a file in an existing folder")


def make_folder(option: str, path: Path) -> None:
    """Creates a folder unless it exists.

    Raises InputError, with the option's name, if that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{option} {path}: must be a folder: {error.strerror or error}") from None


def write_file(option: str, path: Path, content: bytes) -> None:
    """Writes a file as a whole or not at all.

    Raises InputError, with the option's name, if that fails."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"{option} {path}: cannot be written: {error.strerror or error}") from None
