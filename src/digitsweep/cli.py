"""The command line: parse, call one function, print. Heavy imports stay inside the commands: `--help` is quick."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from digitsweep import __version__
from digitsweep.errors import DigitsweepError, InputError

if TYPE_CHECKING:
    from rich.console import Console

    from digitsweep.comparison import Comparison

AUTO = "auto"
INTERRUPTED = 130
"""The exit code of whatever Ctrl-C has ended, as shells have it."""

DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",  # half a minute for a server that is away; MLflow's 7 take four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",  # seconds without an answer; MLflow's 120 keep a person waiting
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}

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


class _Group(click.Group):
    """Turns what a person can mend into one line on standard error and its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DigitsweepError as error:
            for line in str(error).splitlines():
                click.echo(f"digitsweep: {line}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("digitsweep: interrupted", err=True)
            ctx.exit(INTERRUPTED)
        finally:
            gc.freeze()  # or the interpreter spends a second on looking for garbage, to throw everything away then


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="digitsweep")
def main() -> None:
    """How good a dense and a convolutional network can be found on this data and this budget?"""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


def _option(name: str, kind: click.ParamType[Any], text: str) -> Callable[[_F], _F]:
    return click.option(name, type=Auto(kind), default=AUTO, show_default=True, help=text)


_trials = _option("--trials", click.IntRange(min=0), "Trials for each family.")
_seconds = _option(
    "--seconds", click.FloatRange(min=0, min_open=True), "Training seconds for each family, added up over its trials."
)
_workers = _option("--workers", click.IntRange(1, 1024), "Processes that train; auto: one for each core, or for each GPU.")
_data = _option(
    "--data", click.Path(path_type=Path), "A folder with IDX files or an npz file, in place of the experiment's data."
)
_seed = _option("--seed", click.IntRange(0, 2**31 - 1), "Of the split, the sampler and every trial.")


@main.command()
@click.argument("experiment", default="mnist")
@_trials
@_seconds
@_workers
@_data
@_seed
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

    path, given = find_experiment(experiment), _options(options)
    planned = given.applied(load_experiment(path))
    start_importing(places_for(planned, given))  # while this process imports what it needs
    with no_collections():
        from digitsweep.doctor import note_trouble
        from digitsweep.progress import make_display
        from digitsweep.sweep import sweep as run_sweep

    console = _console()
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
        from digitsweep.unfinished import find_unfinished

    unfinished = find_unfinished(named)
    adopt_run({"digitsweep.kind": "resume", "digitsweep.sweep": unfinished.run_id})
    os.environ.pop("MLFLOW_RUN_ID", None)  # what follows belongs to the sweep's run, not to this one
    console, given = _console(), _options(options)
    display = make_display(console)
    note_trouble(unfinished.experiment, given, display)
    _print_swept(resume(unfinished, given, display), console)


def _print_swept(comparison: Comparison, console: Console) -> None:
    from digitsweep.summary import print_summary

    print_summary(comparison, console)
    _print_ui(console)
    if comparison.state != "COMPLETE":
        sys.exit(INTERRUPTED)


@main.command()
def reconcile() -> None:
    """Repair what a crash left at the tracking server: runs that run without a process, records that wait here, missing
    pictures."""
    from digitsweep.reconciling import reconcile as repaired

    lines = 0
    for line in repaired():
        lines += 1
        click.echo(line)
    if not lines:
        click.echo("There is nothing to repair.")


@main.command()
@click.argument("what", nargs=-1)
@_data
def compare(what: tuple[str, ...], data: Path | None) -> None:
    """Print the comparison of a sweep again, or compare registered models on the test images that they share.

    WHAT is a sweep's run id, or nothing for the newest sweep; or two models and more, each as NAME@ALIAS, NAME/VERSION or a
    models:/ URI: the first is compared with the best of the others, and the page of that is a run's comparison/report.html.
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
    comparison = comparison_from(load_comparison(run_id))
    adopt_run({"digitsweep.kind": "comparison", "digitsweep.sweep": run_id})
    console = _console()
    print_summary(comparison, console)
    _print_ui(console)


def _compare_models(named: list[str], data: Path | None) -> None:
    from digitsweep.quiet import import_tensorflow_quietly, no_collections

    with no_collections():
        import_tensorflow_quietly()
        from digitsweep.comparing import compare_models
        from digitsweep.summary import print_summary

    console = _console()
    comparison = compare_models(named, data)
    print_summary(comparison, console)
    console.print(f"The page: comparison/report.html of run {comparison.run_id}.", highlight=False, soft_wrap=True)
    _print_ui(console)


@main.command()
@click.argument("experiment")
@_trials
@_seconds
@_workers
def validate(experiment: str, **options: Any) -> None:
    """Load an EXPERIMENT, print its space and what a sweep of it would cost; train nothing."""
    from digitsweep.experiment_file import find_experiment, load_experiment
    from digitsweep.summary import print_plan
    from digitsweep.workers.placement import places_for

    chosen = _options(options)
    planned = chosen.applied(load_experiment(find_experiment(experiment)))
    print_plan(planned, len(places_for(planned, chosen)), _console())


@main.command()
@click.argument("experiment", default="mnist")
@_workers
@_data
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects: name, state, found, mend.")
def doctor(experiment: str, as_json: bool, **options: Any) -> None:
    """Check what a sweep of an EXPERIMENT takes, and say how to mend what is wrong.

    Tracking server, sign-in, artifacts, registry, data, disk, memory, processor, packages: a line each. Trains nothing, and
    leaves nothing behind. Exit code 1 where a sweep would fail.
    """
    from digitsweep import doctor as checks
    from digitsweep.doctor.shown import findings_json, print_findings
    from digitsweep.experiment_file import find_experiment

    findings = checks.examine(find_experiment(experiment), _options(options))
    if as_json:
        click.echo(findings_json(findings))
    else:
        print_findings(findings, _console())
    if any(each.state is checks.State.WRONG for each in findings):
        sys.exit(1)


@main.group(invoke_without_command=True)
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


def _options(values: dict[str, Any]) -> Any:
    from digitsweep.options import Options

    return Options(**values)


def _console() -> Console:
    from rich.console import Console

    # Elsewhere than on a terminal a line has no natural end: a log should not be cut at 80 columns.
    return Console() if sys.stdout.isatty() else Console(width=150)


def _print_ui(console: Console) -> None:
    from digitsweep.store import shown_uri

    uri = shown_uri()
    how = f"open {uri}" if uri.startswith("http") else f"mlflow ui --backend-store-uri '{uri}'"
    console.print(f"Look at every trial in MLflow: {how}", markup=False, highlight=False, soft_wrap=True)


@main.command()
@click.argument("name")
@_option("--version", click.IntRange(min=1), "The version to promote; auto: the one with the alias challenger.")
@_option(
    "--gate",
    click.Path(path_type=Path),
    "The gate's YAML file; auto: experiments/gate.yaml, or its rules where it is not there.",
)
@_option("--data", click.Path(path_type=Path), "Where the test images lie, if no longer where the model says.")
@click.option("--dry-run", is_flag=True, help="Decide only; that the test set was opened is noted.")
@click.option("--force", is_flag=True, help="Promote whatever the gate says; needs --reason, and the ledger says so.")
@click.option("--reason", help="Why it is forced.")
def promote(
    name: str, version: int | None, gate: Path | None, data: Path | None, dry_run: bool, force: bool, reason: str | None
) -> None:
    """Make the challenger of the registered model NAME its champion, if the gate lets it.

    Challenger and champion are asked about the same sealed test images. Exit code 3 where the gate refuses, or another
    promotion came first: then this one has changed no champion, and the ledger says so.
    """
    if force != (reason is not None):
        raise InputError("--force and --reason: go together; to promote whatever the gate says needs a reason")
    from digitsweep.quiet import import_tensorflow_quietly, no_collections

    with no_collections():
        import_tensorflow_quietly()
        from digitsweep.promoting import promote as run_promotion
        from digitsweep.promotion_table import print_decision

    console = _console()
    decision = run_promotion(
        name,
        None if version is None else str(version),
        gate=gate,
        data=data,
        dry_run=dry_run,
        force=reason,
        show=lambda decided: print_decision(decided, console),
    )
    done = "would be" if dry_run else "is"
    console.print(f"{decision.challenger.label} {done} champion.", markup=False, highlight=False, soft_wrap=True)


@main.command()
@click.argument("name")
@click.option("--reason", help="Why; it stands in the ledger.")
def rollback(name: str, reason: str | None) -> None:
    """Give the alias champion of the registered model NAME back to the version that had it before."""
    from digitsweep.promoting import rollback as run_rollback

    record = run_rollback(name, reason)
    click.echo(f"{name} {record.to} is champion again, in place of {record.came_from or 'none'}: record {record.place}.")


@main.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="For programs: with every decision in full.")
def history(name: str, as_json: bool) -> None:
    """Tell who was champion of the registered model NAME, since when and why, and what was refused."""
    from digitsweep.promoting import history as told_by
    from digitsweep.promotion_table import print_history

    told = told_by(name)
    if as_json:
        import json

        click.echo(json.dumps(told.values(), indent=2))
    else:
        print_history(told, _console())


@main.command()
@click.argument("name")
@click.option("--to", required=True, help="The tracking URI of the other server; its registry gets the version.")
@click.option("--champion", is_flag=True, help="Make it champion there; else it is a challenger there.")
def publish(name: str, to: str, champion: bool) -> None:
    """Copy the champion of the registered model NAME, with its tags and evidence, to another registry.

    A version that is there already is not copied again.
    """
    from digitsweep.publishing import publish as run_publication
    from digitsweep.store import without_secrets

    done = run_publication(name, to, champion=champion)
    how = "is" if done.new else "was there already, as"
    click.echo(f"{name} {done.source.version} {how} version {done.there.version} at {without_secrets(to)}, {done.alias}.")
