"""Commands that use a champion: read digits, and show where two models differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from digitsweep.cli.shared import console_here

_images = click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
_json = click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")


@click.command()
@_images
@click.option("--model", default="mnist-cnn@champion", show_default=True, help="NAME@ALIAS, NAME/VERSION or a model URI.")
@_json
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write a CSV file, a row for each image.")
def predict(images: tuple[str, ...], model: str, as_json: bool, csv_file: Path | None) -> None:
    """Read digits: each IMAGE is a file (PNG, JPEG, TIFF and others; dark on light or light on dark), a scan or a folder.

    Prints a table; of a folder, or of a scan with several pages, CSV. An image that cannot be read has no digit but a note
    there, is a line on standard error, and makes the exit code 2; the others are answered nevertheless.
    """
    readings, predicting = _reading()
    if csv_file is not None:
        readings.check_writable(csv_file)
    answer = predicting.read(images, model)
    if csv_file is not None:
        readings.write_csv(answer.readings, csv_file)
        click.echo(f"{len(answer.readings)} readings are in {csv_file}", err=True)
    if as_json:
        click.echo(readings.as_json(answer.readings))
    elif csv_file is None:
        readings.print_answer(answer, console_here())
    answer.check()


@click.command()
@_images
@click.option("--ann", default="mnist-ann@champion", show_default=True, help="NAME@ALIAS, NAME/VERSION or a model URI.")
@click.option("--cnn", default="mnist-cnn@champion", show_default=True, help="NAME@ALIAS, NAME/VERSION or a model URI.")
@_json
def agree(images: tuple[str, ...], ann: str, cnn: str, as_json: bool) -> None:
    """Show the images that two models read differently, or that one of them is unsure of: where a person should look."""
    readings, predicting = _reading()
    found, answer = predicting.disagreements(images, ann, cnn)
    if as_json:
        click.echo(readings.as_json(found))
    else:
        readings.print_disagreements(found, len(answer.readings), console_here())
    answer.check()


def _reading() -> Any:
    """The modules that print readings and make them; they take TensorFlow along."""
    from digitsweep.quiet import import_tensorflow_quietly, no_collections

    with no_collections():
        import_tensorflow_quietly()
        from digitsweep.reading import predicting, readings

    return readings, predicting
