"""Commands about sweeps: run one, go on with one, repair what one left, and what comes before one."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from digitsweep.cli.shared import console_here, data_option, options_of, print_ui, seconds, seed, trials, workers
from digitsweep.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from digitsweep.comparison import Comparison

INTERRUPTED = 130
"""The exit code of whatever Ctrl-C has ended, as shells have it."""


@click.command()
@click.argument("experiment", default="mnist")
@trials
@seconds
@workers
@data_option
@seed
@click.option(
    "--resume", metavar="RUN_ID|last", help="Go on with a sweep that was broken off; only --workers and --data go with it."
)
@click.pass_context
def sweep(ctx: click.Context, /, experiment: str, resume: str | None, **options: Any) -> None:
    """Search both families of an EXPERIMENT (a file, or a name in experiments/) and compare the best of each.

    Where an option is auto, what the experiment file says holds.
    """
    if resume is not None:
        for name in ("experiment", "trials", "seconds", "seed"):
            if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
                raise InputError(f"{name}: only --workers and --data go with --resume: the sweep keeps its own")
        _resume(resume, options)
        return
    from digitsweep.experiment_file import find_experiment, load_experiment
    from digitsweep.quiet import no_collections
    from digitsweep.workers.local import start_importing
    from digitsweep.workers.placement import places_for

    path, given = find_experiment(experiment), options_of(options)
    planned = given.applied(load_experiment(path))
    start_importing(places_for(planned, given))  # while this process imports what it needs
    with no_collections():
        from digitsweep.doctor import note_trouble
        from digitsweep.progress import make_display
        from digitsweep.sweep import sweep as run_sweep

    console = console_here()
    display = make_display(console)
    note_trouble(planned, given, display)
    _print_swept(run_sweep(path, given, display), console)


def _resume(named: str, options: dict[str, Any]) -> None:
    from digitsweep.quiet import no_collections

    with no_collections():
        from digitsweep.doctor import note_trouble
        from digitsweep.progress import make_display
        from digitsweep.store import adopt_run
        from digitsweep.sweep import resume
        from digitsweep.tracking.unfinished import find_unfinished

    unfinished = find_unfinished(named)
    adopt_run({"digitsweep.kind": "resume", "digitsweep.sweep": unfinished.run_id})
    os.environ.pop("MLFLOW_RUN_ID", None)  # what follows belongs to the sweep's run, not to this one
    console, given = console_here(), options_of(options)
    display = make_display(console)
    note_trouble(unfinished.experiment, given, display)
    _print_swept(resume(unfinished, given, display), console)


def _print_swept(comparison: Comparison, console: Console) -> None:
    from digitsweep.summary import print_summary

    print_summary(comparison, console)
    print_ui(console)
    if comparison.state != "COMPLETE":
        sys.exit(INTERRUPTED)


@click.command()
def reconcile() -> None:
    """Repair what a crash left at the tracking server: runs that run without a process, records that wait here, missing
    pictures."""
    from digitsweep.tracking.reconciling import reconcile as repaired

    lines = 0
    for line in repaired():
        lines += 1
        click.echo(line)
    if not lines:
        click.echo("There is nothing to repair.")


@click.command()
@click.argument("experiment")
@trials
@seconds
@workers
def validate(experiment: str, **options: Any) -> None:
    """Load an EXPERIMENT, print its space and what its search would cost at most; train nothing."""
    from digitsweep.experiment_file import find_experiment, load_experiment
    from digitsweep.summary import print_plan
    from digitsweep.workers.placement import places_for

    chosen = options_of(options)
    planned = chosen.applied(load_experiment(find_experiment(experiment)))
    print_plan(planned, len(places_for(planned, chosen)), console_here())


@click.command()
@click.argument("experiment", default="mnist")
@workers
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects: name, state, found, mend.")
def doctor(experiment: str, as_json: bool, **options: Any) -> None:
    """Check what a sweep of an EXPERIMENT takes, and say how to mend what is wrong.

    Tracking server, sign-in, artifacts, registry, data, disk, memory, processor, packages: a line each. Trains nothing.
    Fetches MNIST where it is nowhere, and deletes the run that it tries the server with. Exit code 1 where a sweep would
    fail.
    """
    from digitsweep import doctor as checks
    from digitsweep.doctor.shown import findings_json, print_findings
    from digitsweep.experiment_file import find_experiment

    findings = checks.examine(find_experiment(experiment), options_of(options))
    if as_json:
        click.echo(findings_json(findings))
    else:
        print_findings(findings, console_here())
    if any(each.state is checks.State.WRONG for each in findings):
        sys.exit(1)
