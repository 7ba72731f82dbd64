"""Commands that use a champion: classify images, show where models differ, and write a page to draw on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from digitsweep.cli.shared import check_writable, console_here, write_file

_images = click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
_json = click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
MODEL = "A registered model: NAME@ALIAS, NAME/VERSION or a models:/ URI."


@click.command()
@_images
@click.option("--model", metavar="MODEL", help=f"{MODEL} By default, the champion with the best validation accuracy.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write a CSV file with a row for each image.")
@_json
def predict(images: tuple[str, ...], model: str | None, csv_file: Path | None, as_json: bool) -> None:
    """Classify images with a registered model.

    IMAGE is a file (PNG, JPEG, TIFF, BMP, GIF, WebP) or a folder. The output is a table, or CSV for a folder or a
    multi-page scan. Each image is prepared as the model's training images were.

    Models of digits read one digit in each image, dark on light or light on dark. They also take PPM files, and read each
    page of a scan. Any other model uses the whole image, brought to the size and colour of its training images.

    Doubtful readings have a note. "unsure" (confidence below 80 %) and, for digits, "unfamiliar" (unlike the model's
    training images) come with a class; "not a digit" and "unreadable" come without one. If a file is unreadable, this is
    also reported on standard error, and the exit code is 2, but the other images are still read.
    """
    tables, predicting = _modules()
    if csv_file is not None:  # before anything is read
        check_writable("--csv", csv_file)
    if model is None:
        model, why = predicting.best_champion()
        click.echo(why, err=True)
    answer = predicting.read(images, model)
    if csv_file is not None:
        write_file("--csv", csv_file, tables.readings_as_csv(answer.readings).encode())
        click.echo(f"wrote {len(answer.readings)} readings to {csv_file}", err=True)
    if as_json:
        click.echo(tables.readings_as_json(answer.readings))
    elif csv_file is None and answer.many:  # for a program or a spreadsheet
        click.echo(tables.readings_as_csv(answer.readings), nl=False)
    elif csv_file is None:
        tables.print_readings(answer.readings, console_here())
    answer.check()


@click.command()
@_images
@click.option(
    "--model", "models", metavar="MODEL", multiple=True, help=f"{MODEL} Repeat for each model. By default, all champions."
)
@_json
def agree(images: tuple[str, ...], models: tuple[str, ...], as_json: bool) -> None:
    """Show images on which models differ or are unsure.

    These are the images that a person should check: the models give different classes, or one of them adds a note. IMAGE
    is as for `digitsweep predict`.
    """
    tables, predicting = _modules()
    found, answer = predicting.disagreements(images, models)
    if as_json:
        click.echo(tables.disagreements_as_json(found))
    else:
        tables.print_disagreements(found, len(answer.readings), console_here())
    answer.check()


@click.command()
@click.option(
    "--model", "models", metavar="MODEL", multiple=True, help=f"{MODEL} Repeat for each model. By default, all champions."
)
@click.option("--out", type=click.Path(path_type=Path), default="draw.html", show_default=True, help="The file to write.")
def draw(models: tuple[str, ...], out: Path) -> None:
    """Write a page to draw on, where models read as you draw.

    The page is one HTML file, which needs neither a server nor internet access: it contains the models and runs them in the
    browser. Drawings are prepared as by `digitsweep predict`. If the models were not trained on digits, the page takes
    image files instead of drawings.
    """
    check_writable("--out", out)
    from digitsweep.training.startup import import_tensorflow_quietly, no_collections

    with no_collections():
        import_tensorflow_quietly()
        from digitsweep.prediction import browser

    write_file("--out", out, browser.draw(models))
    click.echo(out)


def _modules() -> Any:
    """`tables` and `predicting`, which import TensorFlow."""
    from digitsweep.training.startup import import_tensorflow_quietly, no_collections

    with no_collections():
        import_tensorflow_quietly()
        from digitsweep.cli import tables
        from digitsweep.prediction import predicting

    return tables, predicting
