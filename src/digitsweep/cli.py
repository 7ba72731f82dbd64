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

AUTO = "auto"
INTERRUPTED = 130
"""The exit code of whatever Ctrl-C has ended, as shells have it."""

DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",  # half a minute for a server that is away; MLflow's 7 take four minutes
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
def sweep(experiment: str, **options: Any) -> None:
    """Search both families of an EXPERIMENT (a file, or a name in experiments/) and compare the best of each.

    Where an option is auto, what the experiment file says holds.
    """
    from digitsweep.experiment_file import find_experiment, load_experiment
    from digitsweep.quiet import no_collections
    from digitsweep.workers.local import start_importing
    from digitsweep.workers.placement import places_for

    path, given = find_experiment(experiment), _options(options)
    start_importing(places_for(given.applied(load_experiment(path)), given))  # while this process imports what it needs
    with no_collections():
        from digitsweep.progress import make_display
        from digitsweep.summary import print_summary
        from digitsweep.sweep import sweep as run_sweep

    console = _console()
    comparison = run_sweep(path, given, make_display(console))
    print_summary(comparison, console)
    _print_ui(console)
    if comparison.state != "COMPLETE":
        sys.exit(INTERRUPTED)


@main.command()
@click.argument("what", nargs=-1)
@_data
def compare(what: tuple[str, ...], data: Path | None) -> None:
    """Print the comparison of a sweep again, or compare registered models on the test images that they share.

    WHAT is a sweep's run id, or nothing for the newest sweep; or two models and more, each as NAME@ALIAS, NAME/VERSION or a
    model URI: the first is compared with the best of the others, and the page of that is a run's comparison/report.html.
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


_images = click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
_json = click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")


@main.command()
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
        readings.print_answer(answer, _console())
    answer.check()


@main.command()
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
        readings.print_disagreements(found, len(answer.readings), _console())
    answer.check()


def _reading() -> Any:
    """The modules that print readings and make them; they take TensorFlow along."""
    from digitsweep.quiet import import_tensorflow_quietly, no_collections

    with no_collections():
        import_tensorflow_quietly()
        from digitsweep import predicting, readings

    return readings, predicting
