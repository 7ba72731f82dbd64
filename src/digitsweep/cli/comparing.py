"""Commands that show a comparison, and where the data is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from digitsweep.api import LAST, compare_models, recorded_comparison
from digitsweep.cli.shared import console_here, make_folder, option, print_ui, write_file
from digitsweep.errors import InputError

if TYPE_CHECKING:
    from digitsweep.evaluation.comparison import Comparison


@click.command()
@click.argument("what", nargs=-1)
@option("--data", click.Path(path_type=Path), "The folder or file with the test images; auto: as recorded with the models.")
@option("--save", click.Path(path_type=Path), "A folder for the report and the other files; auto: save nothing.")
def compare(what: tuple[str, ...], data: Path | None, save: Path | None) -> None:
    """Show a sweep's comparison again, or compare models.

    WHAT is the run id of a sweep; without it, the newest sweep is shown. To compare models instead, name two or more, each
    as NAME@ALIAS, NAME/VERSION or a models:/ URI. They must share their test images. The models are evaluated on these
    images, and each pair is compared. With three or more models, Holm's correction applies to the p-values. The report is
    the artifact comparison/report.html of a new run. --data applies only to models.

    --save writes report.html, report.md for a pull request, and the comparison as JSON and CSV; for a sweep, also the model
    cards and the page to draw on.
    """
    if save is not None:
        make_folder("--save", save)
    named = [name for each in what for name in each.split()]  # `mlflow run` gives them as one
    comparison = compare_models(named, data) if len(named) > 1 else _recorded(named, data)
    from digitsweep.cli.tables import print_comparison, print_text

    console = console_here()
    print_comparison(comparison, console)
    if len(named) > 1:
        print_text(f"The report: comparison/report.html of run {comparison.run_id}.", console)
    if save is not None:
        from digitsweep.tracking.ui import comparison_files

        for name, content in comparison_files(comparison.run_id).items():
            write_file("--save", save / name, content)
    print_ui(console, comparison.run_id)


def _recorded(named: list[str], data: Path | None) -> Comparison:
    """The comparison of the sweep that is named, or of the newest."""
    if named and any(mark in named[0] for mark in "@/:"):
        raise InputError(f"{named[0]}: a model is compared with another one; name two or more")
    if data is not None:
        raise InputError("--data: can only be given with models, of which two or more must be named")
    from digitsweep.tracking.client import adopt_run

    comparison = recorded_comparison(named[0] if named else LAST)
    adopt_run({"digitsweep.kind": "comparison", "digitsweep.sweep": comparison.run_id})
    return comparison


@click.command()
@click.argument("run_id", required=False)
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="The port to serve the UI on.")
def ui(run_id: str | None, port: int) -> None:
    """Open the MLflow UI with a sweep's trials in charts.

    RUN_ID is the run of a sweep, which may still be running; without it, the newest sweep is shown. If the records are in a
    database, this serves the UI on this machine until Ctrl-C. If they are on a tracking server, it opens the server's UI.
    A browser opens, unless there is no display or CI is set.
    """
    import webbrowser

    from digitsweep.tracking.ui import has_screen, has_server, home, link_to, newest_sweep, serve_ui

    shown = run_id or newest_sweep()
    link = link_to(shown, lambda text: click.echo(text, err=True), port=port) if shown else home(port)

    def show() -> None:
        click.echo(f"The MLflow UI: {link}")
        if has_screen():
            webbrowser.open(link)

    if has_server():
        show()
    else:
        serve_ui(port, show)


@click.group(invoke_without_command=True)
@click.pass_context
def data(ctx: click.Context) -> None:
    """Show where digitsweep looks for MNIST, and what is cached."""
    if ctx.invoked_subcommand is None:
        from digitsweep.data.sources import whereabouts

        for line in whereabouts():
            click.echo(line)


@data.command()
def fetch() -> None:
    """Download the MNIST files that are missing from the cache."""
    from digitsweep.data import mnist

    click.echo(f"MNIST is in {mnist.fetch()}")
