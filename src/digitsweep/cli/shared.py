"""What several commands share: options, and where they print."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

    from digitsweep.options import Options

AUTO = "auto"

_F = TypeVar("_F", bound=Callable[..., Any])


class Auto(click.ParamType[Any]):
    """A value of another type, or `auto`, which is None: so that `mlflow run` can name every parameter's default."""

    def __init__(self, inner: click.ParamType[Any]) -> None:
        self.inner = inner
        self.name = f"{inner.name}|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return None if value == AUTO else self.inner.convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"{self.inner.name.upper().removesuffix(' RANGE')}|auto"


def option(name: str, kind: click.ParamType[Any], text: str) -> Callable[[_F], _F]:
    """An option whose default is `auto`."""
    return click.option(name, type=Auto(kind), default=AUTO, show_default=True, help=text)


trials = option("--trials", click.IntRange(min=0), "Trials for each family.")
seconds = option(
    "--seconds", click.FloatRange(min=0, min_open=True), "Training seconds for each family, added up over its trials."
)
workers = option("--workers", click.IntRange(1, 1024), "Processes that train; auto: one for each core, or for each GPU.")
data_option = option(
    "--data", click.Path(path_type=Path), "A folder with IDX files or an npz file, in place of the experiment's data."
)
seed = option("--seed", click.IntRange(0, 2**31 - 1), "Of the split, the sampler and every trial.")


def options_of(values: dict[str, Any]) -> Options:
    """What a person set, from click's values."""
    from digitsweep.options import Options

    return Options(**values)


def console_here() -> Console:
    """Where results are printed."""
    from rich.console import Console

    # Elsewhere than on a terminal a line has no natural end: a log should not be cut at 80 columns.
    return Console() if sys.stdout.isatty() else Console(width=150)


def print_ui(console: Console) -> None:
    """Says how to look at what was recorded."""
    from digitsweep.store import shown_uri

    uri = shown_uri()
    how = f"open {uri}" if uri.startswith("http") else f"mlflow ui --backend-store-uri '{uri}'"
    console.print(f"Look at every trial in MLflow: {how}", markup=False, highlight=False, soft_wrap=True)
