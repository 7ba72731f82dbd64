"""Commands that write files for other tools: optuna-dashboard, ONNX and LiteRT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from digitsweep.cli.shared import check_writable, write_file
from digitsweep.errors import InputError

_F = TypeVar("_F", bound=Callable[..., Any])

_force = click.option("--force", is_flag=True, help="Replace the file if it exists.")


def _model_options(command: _F) -> _F:
    """The options of the commands that export a model."""
    for decorate in (
        _force,
        click.option(
            "--data",
            type=click.Path(path_type=Path),
            help="The folder or file with the test images. By default, as recorded with the model.",
        ),
        click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The file to write."),
        click.argument("model"),
    ):
        command = decorate(command)
    return command


@click.group()
def export() -> None:
    """Write a sweep or a model for other tools."""


@export.command()
@click.argument("run")
@click.argument("file", type=click.Path(path_type=Path))
@_force
def optuna(run: str, file: Path, force: bool) -> None:
    """Write a sweep for optuna-dashboard.

    RUN is the run id of a sweep, or `last`, the newest with a comparison. FILE becomes an Optuna journal, which
    `optuna-dashboard FILE` opens. It has a study for each family, in which each configuration is a trial.
    """
    _check_free("FILE", file, force)
    from digitsweep.search.journal import journal
    from digitsweep.tracking.resume import recorded_searches

    searches = recorded_searches(run)
    write_file("FILE", file, journal(searches))
    count = len(searches.trials)
    click.echo(
        f"{file}: {count} training{'s' * (count != 1)}, a study for each family; open it with: optuna-dashboard {file}"
    )


@export.command()
@_model_options
def onnx(model: str, out: Path, data: Path | None, force: bool) -> None:
    """Write a registered model as ONNX.

    MODEL is NAME@ALIAS, NAME/VERSION or a models:/ URI. The file takes raw images, uint8 (n, height, width, channels), and
    gives class probabilities, as the registered model does. Before it is written, ONNX Runtime classifies the model's test
    images with it, and the probabilities are compared with those of Keras.
    """
    _export_model(model, "onnx", out, data, force)


@export.command()
@_model_options
def litert(model: str, out: Path, data: Path | None, force: bool) -> None:
    """Write a registered model as LiteRT (TensorFlow Lite).

    MODEL is NAME@ALIAS, NAME/VERSION or a models:/ URI. The file takes raw images, uint8 (n, height, width, channels), and
    gives class probabilities, as the registered model does. Before it is written, LiteRT classifies the model's test images
    with it, and the probabilities are compared with those of Keras.
    """
    _export_model(model, "litert", out, data, force)


def _export_model(model: str, to: str, out: Path, data: Path | None, force: bool) -> None:
    _check_free("--out", out, force)
    from digitsweep.training.startup import import_tensorflow_quietly, no_collections

    with no_collections():
        import_tensorflow_quietly()
        from digitsweep.registry.export import export

    exported = export(model, to, data)
    if exported.no_test_images:
        click.echo(f"compared on random images, because the test images cannot be used: {exported.no_test_images}", err=True)
    write_file("--out", out, exported.content)
    click.echo(f"{out}: {exported}")


def _check_free(option: str, path: Path, force: bool) -> None:
    """Raises InputError unless a file can be written there that replaces no other."""
    check_writable(option, path)
    if path.exists() and not force:
        raise InputError(f"{option} {path}: already exists; name another file, or replace it with --force")
