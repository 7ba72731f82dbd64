"""Commands that show a comparison, and where the data is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from digitsweep.cli.shared import console_here, option, print_ui
from digitsweep.errors import DigitsweepError, InputError

if TYPE_CHECKING:
    from digitsweep.evaluation.comparison import Comparison


@click.command()
@click.argument("what", nargs=-1)
@option("--data", click.Path(path_type=Path), "The folder or file with the test images; auto: as recorded with the models.")
def compare(what: tuple[str, ...], data: Path | None) -> None:
    """Show a sweep's comparison again, or compare models.

    WHAT is the run id of a sweep; without it, the newest sweep is shown. To compare models instead, name two or more, each
    as NAME@ALIAS, NAME/VERSION or a models:/ URI. They must share their test images. The models are evaluated on these
    images, and each pair is compared. With three or more models, Holm's correction applies to the p-values. The report is
    the artifact comparison/report.html of a new run. --data applies only to models.
    """
    named = [name for each in what for name in each.split()]  # `mlflow run` gives them as one
    comparison = _compare_models(named, data) if len(named) > 1 else _recorded(named, data)
    from digitsweep.cli.tables import print_comparison, print_text

    console = console_here()
    print_comparison(comparison, console)
    if len(named) > 1:
        print_text(f"The report: comparison/report.html of run {comparison.run_id}.", console)
    print_ui(console)


def _compare_models(named: list[str], data: Path | None) -> Comparison:
    from digitsweep.training.startup import import_tensorflow_quietly, no_collections

    with no_collections():
        import_tensorflow_quietly()
        from digitsweep.registry.compare import compare_models

    return compare_models(named, data)


def _recorded(named: list[str], data: Path | None) -> Comparison:
    """The comparison of the sweep that is named, or of the newest."""
    if named and any(mark in named[0] for mark in "@/:"):
        raise InputError(f"{named[0]}: a model is compared with another one; name two or more")
    if data is not None:
        raise InputError("--data: can only be given with models, of which two or more must be named")
    from digitsweep.evaluation.comparison import comparison_from
    from digitsweep.tracking.client import adopt_run, last_sweep, load_comparison

    run_id = last_sweep() if named in ([], ["last"]) else named[0]
    try:
        comparison = comparison_from(load_comparison(run_id))
    except ValueError:
        raise DigitsweepError(
            f"run {run_id}: its comparison was written by another version of digitsweep; open comparison/report.html instead"
        ) from None
    adopt_run({"digitsweep.kind": "comparison", "digitsweep.sweep": run_id})
    return comparison


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
