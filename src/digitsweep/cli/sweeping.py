"""Commands about sweeps: run or resume one, repair what one left, and check what one needs."""

from __future__ import annotations

import dataclasses
import sys
import time
from typing import Any

import click

from digitsweep.api import resume_sweep, run_sweep
from digitsweep.cli.shared import console_here, print_ui, sweep_options
from digitsweep.config.options import Options
from digitsweep.errors import InputError

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C has ended, as shells have it."""
_NAMES = [f"--{name}" for name in Options.names(resumes=True)]
WITH_RESUME = f"{', '.join(_NAMES[:-1])} and {_NAMES[-1]}"
"""The options that a resumed sweep takes."""


@click.command()
@click.argument("experiment", default="mnist")
@sweep_options(*Options.names())
@click.option("--resume", metavar="RUN_ID|last", help=f"Continue an interrupted sweep. Allows only {WITH_RESUME}.")
@click.pass_context
def sweep(ctx: click.Context, /, experiment: str, resume: str | None, **values: Any) -> None:
    """Search all families, then compare the best of each.

    EXPERIMENT is a file or a name. digitsweep looks for experiments/NAME.yaml in the current folder, then among the
    experiments that come with it (mnist, digits, images, three, published, smoke). Unless an option says otherwise, auto
    means the value in the experiment file.
    """
    begun = time.monotonic()
    options = Options(**values)
    if resume is not None:
        for name in ("experiment", *Options.names()):
            is_given = ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
            if is_given and name not in Options.names(resumes=True):
                raise InputError(f"{name}: only {WITH_RESUME} go with --resume: the sweep keeps its own")
    console = console_here()
    if resume is None:
        comparison = run_sweep(experiment, options, console, begun=begun)
    else:
        comparison = resume_sweep(resume, options, console, begun=begun)
    from digitsweep.cli.tables import print_comparison

    print_comparison(comparison, console)
    print_ui(console, comparison.run_id)
    if comparison.state != "COMPLETE":
        sys.exit(INTERRUPTED)


@click.command()
def reconcile() -> None:
    """Repair what a crash left on the tracking server.

    Sends records that are waiting on this machine, including those of sweeps that MLflow does not know yet. Ends runs that
    are still marked RUNNING although their process is gone. Creates missing reports and pictures.
    """
    from digitsweep.tracking.reconcile import reconcile as repaired

    lines = 0
    for line in repaired():
        lines += 1
        click.echo(line)
    if not lines:
        click.echo("There is nothing to repair.")


@click.command()
@click.argument("experiment")
@sweep_options("minutes", "trials", "seconds", "workers", "engine")
def validate(experiment: str, **values: Any) -> None:
    """Check an experiment file; print its search space and cost.

    EXPERIMENT is a file or a name, as for `digitsweep sweep`. Trains nothing.
    """
    from digitsweep.cli.tables import print_plan
    from digitsweep.config.experiment_file import find_experiment, load_experiment
    from digitsweep.sweeping.processes import expected_workers

    options = Options(**values)
    planned = options.applied(load_experiment(find_experiment(experiment)))
    print_plan(planned, expected_workers(planned, options), console_here())


@click.command()
@click.argument("experiment", default="mnist")
@sweep_options("workers", "engine", "address", "data")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON objects with name, state, found and mend.")
def doctor(experiment: str, as_json: bool, **values: Any) -> None:
    """Check what a sweep needs, and say how to fix problems.

    EXPERIMENT is a file or a name, as for `digitsweep sweep`. Checks the tracking server, sign-in, artifacts, registry,
    data, disk, memory, processors and packages; with --engine ray, also the cluster. Trains nothing. Downloads MNIST if it
    is missing. Tests the server by creating a run and deleting it. The exit code is 1 if a sweep would fail.
    """
    import json

    from digitsweep.cli.tables import print_findings
    from digitsweep.config.experiment_file import find_experiment
    from digitsweep.doctor import State, examine

    findings = examine(find_experiment(experiment), Options(**values))
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(each) for each in findings], indent=2))
    else:
        print_findings(findings, console_here())
    if any(each.state is State.WRONG for each in findings):
        sys.exit(1)
