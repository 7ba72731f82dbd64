"""Commands that show: a comparison, and where the data is."""

from __future__ import annotations

from pathlib import Path

import click

from digitsweep.cli.shared import console_here, data_option, print_ui
from digitsweep.errors import DigitsweepError, InputError


@click.command()
@click.argument("what", nargs=-1)
@data_option
def compare(what: tuple[str, ...], data: Path | None) -> None:
    """Print the comparison of a sweep again, or compare registered models on the test images that they share.

    WHAT is a sweep's run id, or nothing for the newest sweep; or two models and more, each as NAME@ALIAS, NAME/VERSION or a
    models:/ URI: the first is compared with the best of the others (of several, with Bonferroni's correction), and the page
    of that is a run's comparison/report.html.
    """
    named = [name for each in what for name in each.split()]  # `mlflow run` gives them as one
    if len(named) > 1:
        _compare_models(named, data)
        return
    if named and any(mark in named[0] for mark in "@/:"):
        raise InputError(f"{named[0]}: a model is compared with another one; name two or more")
    if data is not None:
        raise InputError("--data: a sweep's comparison has its data; it is for models, of which two or more must be named")
    from digitsweep.comparison import comparison_from
    from digitsweep.store import adopt_run, last_sweep, load_comparison
    from digitsweep.summary import print_summary

    run_id = last_sweep() if named in ([], ["last"]) else named[0]
    try:
        comparison = comparison_from(load_comparison(run_id))
    except ValueError:
        raise DigitsweepError(
            f"run {run_id}: another version of digitsweep wrote its comparison; open its page, comparison/report.html"
        ) from None
    adopt_run({"digitsweep.kind": "comparison", "digitsweep.sweep": run_id})
    console = console_here()
    print_summary(comparison, console)
    print_ui(console)


def _compare_models(named: list[str], data: Path | None) -> None:
    from digitsweep.quiet import import_tensorflow_quietly, no_collections

    with no_collections():
        import_tensorflow_quietly()
        from digitsweep.comparing import compare_models
        from digitsweep.summary import print_summary

    console = console_here()
    comparison = compare_models(named, data)
    print_summary(comparison, console)
    console.print(f"The page: comparison/report.html of run {comparison.run_id}.", highlight=False, soft_wrap=True)
    print_ui(console)


@click.group(invoke_without_command=True)
@click.pass_context
def data(ctx: click.Context) -> None:
    """Say where MNIST is looked for, and which of its files are in the cache."""
    if ctx.invoked_subcommand is None:
        from digitsweep.data.sources import whereabouts

        for line in whereabouts():
            click.echo(line)


@data.command()
def fetch() -> None:
    """Download MNIST's files into the cache, where they are missing."""
    from digitsweep.data import mnist

    click.echo(f"MNIST is in {mnist.fetch()}")
