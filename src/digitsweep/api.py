"""What programs, notebooks and the command line call: the functions of digitsweep, and what they return.

A function imports what it needs when it is called, so that `import digitsweep` and `digitsweep --help` take no time."""

from __future__ import annotations

import functools
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digitsweep.config.options import Options
from digitsweep.errors import DigitsweepError, InputError, printable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from rich.console import Console

    from digitsweep.config.experiment import Experiment
    from digitsweep.data import Dataset
    from digitsweep.evaluation.comparison import Comparison
    from digitsweep.prediction.forms import Given
    from digitsweep.prediction.predicting import Reading
    from digitsweep.registry.gate import Decision
    from digitsweep.registry.ledger import Record
    from digitsweep.registry.promote import History
    from digitsweep.report.figures import Plot
    from digitsweep.report.page import Gallery
    from digitsweep.tracking.resume import Unfinished
    from digitsweep.tracking.tracker import Listener

LAST = "last"
"""The newest sweep."""
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",  # half a minute if the server is unreachable; MLflow's 7 take four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",  # seconds without an answer; MLflow's 120 are a long wait
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
"""Environment variables of the libraries, set unless a person has set them."""


def set_environment() -> None:
    """Sets DEFAULTS, and Keras' backend."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


@contextmanager
def _environment() -> Iterator[None]:
    """Sets the environment within the block, hides an MLflow run of the program, and restores everything afterwards.

    Raises InputError if the program has imported Keras with another backend."""
    keras: Any = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "config") and (backend := keras.config.backend()) != "tensorflow":
        raise InputError(
            f"Keras was imported with the backend {backend}, but digitsweep needs tensorflow; set KERAS_BACKEND=tensorflow "
            "before Keras is imported"
        )
    warnings.filterwarnings("ignore", "IProgress not found")  # tqdm asks a notebook for widgets, and does without
    before = dict(os.environ)
    set_environment()
    os.environ.pop("MLFLOW_RUN_ID", None)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


# For programs and notebooks.


@_environment()
def sweep(
    experiment: str | Path = "mnist",
    *,
    minutes: float | None = None,
    trials: int | None = None,
    seconds: float | None = None,
    workers: int | None = None,
    engine: str | None = None,
    address: str | None = None,
    data: str | Path | None = None,
    seed: int | None = None,
    progress: bool = True,
) -> Result:
    """Searches all families of an experiment, registers the best of each and compares them, as `digitsweep sweep` does.

    `experiment` is a YAML file, or a name such as `digits`. The other arguments override what it says: `minutes`, for the
    whole sweep (at least 0.5); `trials`, the configurations of each family's search, or its training `seconds`, if the
    budget is not in minutes; `workers`, the processes that train; `engine`, `local` or `ray`, with the `address` of a Ray
    cluster; `data`, a folder of images or IDX files, or an npz file; `seed`, 0 to 2,147,483,647. With `progress`, a table
    shows the progress of the sweep, also in a notebook's cell. An interrupt (Ctrl-C) ends the running trials, and the sweep
    compares what has finished.

    Raises InputError if an argument, the experiment or the data is wrong, and DigitsweepError if no trial was completed or
    the records cannot be kept."""
    begun, path = time.monotonic(), _path("experiment", experiment)
    given = {"minutes": minutes, "trials": trials, "seconds": seconds, "workers": workers, "engine": engine}
    options = Options.checked({**given, "address": address, "data": data, "seed": seed})
    return Result(run_sweep(path, options, console_here() if progress else None, begun=begun))


@_environment()
def resume(
    run_id: str = "last",
    *,
    workers: int | None = None,
    engine: str | None = None,
    address: str | None = None,
    data: str | Path | None = None,
    progress: bool = True,
) -> Result:
    """Continues an interrupted sweep, as `digitsweep sweep --resume` does: the one with this run id; `last` is the
    newest.

    The other arguments are those of `sweep`. The budget and the seed are the sweep's own.

    Raises InputError if there is no such sweep, or it is complete, and DigitsweepError as `sweep` does."""
    begun, named = time.monotonic(), _text("run_id", run_id)
    options = Options.checked({"workers": workers, "engine": engine, "address": address, "data": data})
    return Result(resume_sweep(named, options, console_here() if progress else None, begun=begun))


@_environment()
def load_comparison(run_id: str = "last") -> Result:
    """Loads what a sweep found from its records. `run_id` is the run of a sweep, or of a comparison of models; `last` is the
    newest sweep that has a comparison.

    Raises InputError if the run is not a sweep's, and DigitsweepError if there is no such run or no comparison in it."""
    return Result(recorded_comparison(_text("run_id", run_id)))


@_environment()
def compare(*models: str, data: str | Path | None = None) -> Result:
    """Evaluates registered models on the test images that they share, and compares each pair, as `digitsweep compare` does.

    `models` are two or more, each as `NAME@ALIAS`, `NAME/VERSION` or a `models:/` URI; `data` is the folder or file with the
    test images, if they are no longer where they were. The comparison becomes a new run.

    Raises InputError if there is no such model, or if they were made for different test images."""
    if len(models) < 2:
        raise InputError(f"models: must be two or more, but there {'is one' if models else 'are none'}")
    return Result(compare_models([_text("models", each) for each in models], _optional_path("data", data)))


@_environment()
def load_data(experiment: str | Path = "mnist", *, data: str | Path | None = None, seed: int | None = None) -> Dataset:
    """The images of an experiment, split as a sweep splits them. The arguments are those of `sweep`.

    `training.train` and `training.validation` have `images`, uint8 (n, side, side, channels) from 0 to 255, and `labels`,
    uint8 (n,). The test images stay sealed. If the experiment's data is not available, a warning says which data is loaded
    instead.

    Raises InputError if an argument, the experiment or the data is wrong."""
    options = Options.checked({"data": data, "seed": seed})
    from digitsweep.config.experiment_file import find_experiment
    from digitsweep.sweeping.run import prepare

    return prepare(find_experiment(_path("experiment", experiment)), options, _warnings())[1]


@_environment()
def predict(images: Given | Sequence[Given], model: str | None = None) -> list[Reading]:
    """Classifies images with a registered model, as `digitsweep predict` does: a reading for each, in their order.

    `images` are files, folders and arrays. Arrays are (height, width), (height, width, channels) with 1, 3 or 4 channels,
    or stacks of these; uint8, uint16, or float from 0 to 1 or from 0 to 255. Images have any size. For a model of digits,
    each has one digit, dark on light or light on dark. `model` is `NAME@ALIAS`, `NAME/VERSION` or a `models:/` URI; without
    it, the champion with the best validation accuracy is used.

    Raises InputError if there is no such model, or if files cannot be read, with a line for each."""
    _import_tensorflow()
    from digitsweep.prediction import predicting

    return predicting.predict(images, None if model is None else _text("model", model))


@_environment()
def promote(
    name: str,
    version: int | str | None = None,
    *,
    gate: str | Path | None = None,
    data: str | Path | None = None,
    dry_run: bool = False,
    force: str | None = None,
) -> Decision:
    """Makes the challenger (or a version) of a registered model its champion if it passes the gate, as `digitsweep promote`
    does. Returns the decision, rule by rule.

    `name` consists of the data's name, a hyphen and the family: `letters-mixer`. `gate` is a YAML file with the rules;
    `data` is as for `compare`. With `dry_run`, it only decides, which still opens the test set. `force` promotes the model
    whatever the gate decides; its text is the reason, which is recorded.

    Raises RefusedError if the gate refuses, if another promotion came first or if the version is already the champion, and
    InputError if there is no such model."""
    rules, images = _optional_path("gate", gate), _optional_path("data", data)
    _import_tensorflow()
    from digitsweep.registry import promote as promotion

    number = None if version is None else str(version)
    return promotion.promote(_text("name", name), number, gate=rules, data=images, dry_run=dry_run, force=force)


@_environment()
def rollback(name: str, reason: str | None = None) -> Record:
    """Makes the previous champion of a registered model champion again, as `digitsweep rollback` does. Returns the
    ledger's record.

    Raises RefusedError if there was no champion before, or if someone else changes it at the same time."""
    from digitsweep.registry import promote as promotion

    return promotion.rollback(_text("name", name), reason)


@_environment()
def history(name: str) -> History:
    """Every promotion, refusal and rollback of a registered model, the oldest first, as `digitsweep history` shows them.

    Raises InputError if there is no such model."""
    from digitsweep.registry import promote as promotion

    return promotion.history(_text("name", name))


# What they return.

ENTRIES = {
    **dict.fromkeys(("family", "role", "trial", "network", "model", "note"), "str"),
    **dict.fromkeys(("weights", "trained_on", "seed"), "int64"),
}
"""The columns of `Result.entries` that are neither hyperparameters nor float64, and their dtypes."""
TRIALS: Mapping[str, str] = {
    **dict.fromkeys(("trial", "family", "kind"), "str"),
    "number": "int64",
    "rung": "Int64",
    **dict.fromkeys(("baseline", "proposed_by", "state", "reason"), "str"),
    "seed": "int64",
    **dict.fromkeys(("epochs", "train_seconds"), "float64"),
    "weights": "Int64",
    **dict.fromkeys(("train_loss", "train_accuracy", "val_loss", "val_accuracy"), "float64"),
    **dict.fromkeys(("val_balanced_accuracy", "val_macro_f1", "test_accuracy"), "float64"),
    "run_id": "str",
}
"""The columns of `Result.trials` before the hyperparameters, and their dtypes."""


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The result of a sweep, or of a comparison of models. A notebook shows its verdict and its entries.

    Tables are pandas DataFrames. Accuracies are fractions from 0 to 1, durations are in seconds, sizes are numbers of
    weights. Text columns have the dtype `str`; a column for each hyperparameter (`learning_rate`, `units_1`) comes last, as
    `Int64`, `Float64` or `str`, with a missing value where a network does not have it."""

    comparison: Comparison
    """All values, as frozen dataclasses."""

    @property
    def run_id(self) -> str:
        """The id of the MLflow run that holds the comparison."""
        return self.comparison.run_id

    @property
    def state(self) -> str:
        """COMPLETE, or INTERRUPTED if the sweep was stopped before its budget was spent."""
        return self.comparison.state

    @property
    def verdict(self) -> str:
        """Which network is better on the test images, in a sentence, with the p-value. Empty for a single family."""
        return self.comparison.verdict

    @property
    def family_verdict(self) -> str:
        """Which family is better over several seeds, in a sentence; empty if there are too few confirmation networks."""
        return self.comparison.family_verdict

    @functools.cached_property
    def entries(self) -> pd.DataFrame:
        """The best network of each family and the baselines, a row each.

        - `family`, `role` (`best` or `baseline`), `trial`, `network`, `model` (URI of the registered version), `note`: str
        - `search_val_accuracy`: float64, of the trial that found the configuration; too high, because it was used to choose
        - `selection_val_accuracy`, `confirmation_val_accuracy`, `confirmation_test_accuracy`: float64, means over seeds
        - `val_accuracy`, `test_accuracy`, `test_balanced_accuracy`, `test_macro_f1`: float64, of this network itself
        - 95 % intervals of the last four, such as `test_low` and `test_macro_f1_high`: float64
        - `published_accuracy`: float64, of a baseline
        - `weights`, `trained_on` (images), `seed`: int64
        - `train_seconds`, `epochs`: float64
        - a column for each hyperparameter"""
        table = self.comparison.table()
        params = [each.params for each in self.comparison.entries]
        known = {name: ENTRIES.get(name, "float64") for name in table.columns if not any(name in each for each in params)}
        return _typed(table, known, params)

    @functools.cached_property
    def trials(self) -> pd.DataFrame:
        """Every training of the sweep that came to an end, a row each, in the order of their starts; empty for a
        comparison of models. Read from MLflow on first use.

        - `trial` (unique in a sweep), `family`: str
        - `kind`: str, `trial` (of the search, or a baseline), `finalist`, `confirmation` or `refit`
        - `number`: int64, of the configuration in its family; `rung`: Int64, missing if the search has no rungs
        - `baseline` (its name), `proposed_by`: str, empty where they do not apply
        - `state`: str, `COMPLETE`, `PRUNED`, `OUT_OF_TIME` or `FAIL`; `reason`: str, if it is not complete
        - `seed`: int64; `epochs`: float64, as planned; `train_seconds`: float64; `weights`: Int64
        - `train_loss`, `train_accuracy`, `val_loss`, `val_accuracy`, `val_balanced_accuracy`, `val_macro_f1`: float64,
          after the last epoch; a refit has no validation
        - `test_accuracy`: float64, if the network was evaluated on the test images
        - `run_id`: str, of the training's MLflow run
        - a column for each hyperparameter"""
        import pandas as pd

        with _environment():
            from digitsweep.tracking.records import trainings

            rows = trainings(self.run_id)
        return _typed(pd.DataFrame(rows, columns=None if rows else list(TRIALS)), TRIALS, rows)

    @functools.cached_property
    def epochs(self) -> pd.DataFrame:
        """The objective on the validation images after each epoch of each searched trial, a row each.

        - `trial`, `family`: str, as in `trials`
        - `epoch`: int64, from 1
        - the objective, such as `val_accuracy`: float64"""
        import pandas as pd

        from digitsweep.trial import Kind, trial_name

        metric = self.comparison.metric
        rows = [
            (trial_name(family, each.number, Kind.TRIAL, 0, each.rung, None), family, epoch, value)
            for family, search in self.comparison.history.items()
            for each in search.trials
            for epoch, value in enumerate(each.values, start=1)
        ]
        dtypes = {"trial": "str", "family": "str", "epoch": "int64", metric: "float64"}
        return _typed(pd.DataFrame(rows, columns=list(dtypes)), dtypes)

    @functools.cached_property
    def mistakes(self) -> pd.DataFrame:
        """The test images in the galleries of the report, a row each: up to 24 for each model that only this model gets
        wrong, and up to 24 that all models get wrong.

        - `image`: int64, its number in the test set, from 0
        - `label`: str, the name of its class
        - `wrong`: str, the names of the models that get it wrong
        - for each model, a column with its name: str, the name of the class that it predicts; and one with `confidence`
          after the name: float64, the probability of that class"""
        import pandas as pd

        from digitsweep.report.page import shown_images

        dtypes, rows = {"image": "int64", "label": "str", "wrong": "str"}, []
        for each in shown_images(self.comparison):
            wrong = ", ".join(name for name, said in each.predictions.items() if said.predicted != each.true)
            row: dict[str, Any] = {"image": each.index, "label": self.comparison.class_name(each.true), "wrong": wrong}
            for name, said in each.predictions.items():
                row |= {name: self.comparison.class_name(said.predicted), f"{name} confidence": said.confidence}
                dtypes |= {name: "str", f"{name} confidence": "float64"}
            rows.append(row)
        return _typed(pd.DataFrame(rows, columns=list(dtypes)), dtypes)

    @functools.cached_property
    def figures(self) -> tuple[Plot, ...]:
        """The figures of the report, in its order. A notebook displays each of them. Each has a `name`, a `title`, `how` to
        read it, its `figure` (Matplotlib's), `svg` and `png`."""
        from digitsweep.report.page import page_of

        return tuple(page_of(self.comparison, None).plots())

    def figure(self, name: str) -> Plot:
        """The figure with this name.

        Raises InputError, which lists the names, if there is none."""
        found = {each.name: each for each in self.figures}
        if name not in found:
            raise InputError(f"figure {name}: no such figure; choose one of {', '.join(found)}")
        return found[name]

    @functools.cached_property
    def galleries(self) -> tuple[Gallery, ...]:
        """Pictures of the images in `mistakes`, grouped by the models that get them wrong. A notebook displays each group.
        Each has a `title`, the `count` of all such images, and `tiles`.

        Raises DigitsweepError if the comparison was recorded without the images."""
        from digitsweep.report import page

        return tuple(page.galleries(self.comparison, page.unpacked(self.file(page.IMAGES))))

    def pixels(self, image: int) -> NDArray[np.uint8]:
        """One of the images in `mistakes`, uint8 (side, side, channels), by its number in the test set.

        Raises InputError if it is not among them."""
        from digitsweep.report import page

        found = page.unpacked(self.file(page.IMAGES))
        if image not in found:
            raise InputError(f"image {image}: must be one of those in `mistakes`, of which there are {len(found)}")
        return found[image]

    def file(self, name: str) -> bytes:
        """The content of a file of the comparison, such as `report.html`, `training_curves.png` or `draw.html`.

        Raises DigitsweepError if there is no such file."""
        with _environment():
            from digitsweep.tracking.client import comparison_file

            return comparison_file(self.run_id, name)

    def __repr__(self) -> str:
        return f"<Result of {self.comparison.experiment}, {self.state}, run {self.run_id}: {self.verdict}>"

    def _repr_html_(self) -> str:
        shown = ["trial", "role", "network", "test_accuracy", "weights", "train_seconds"]
        table = self.entries[shown].to_html(float_format="{:.4f}".format, index=False, border=0)
        told = "".join(f"<p>{escape(each)}</p>" for each in (self.verdict, self.family_verdict) if each)
        return f"<p><b>{escape(self.comparison.question)}</b> {self.state}, run {escape(self.run_id)}</p>{told}{table}"


def _typed(table: pd.DataFrame, dtypes: Mapping[str, str], params: Sequence[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """A table with these columns first, and then those of the hyperparameters that its rows have."""
    others = [name for name in table.columns if name not in dtypes]
    return table[[*dtypes, *others]].astype(
        {**dtypes, **{name: _dtype(each.get(name) for each in params) for name in others}}
    )


def _dtype(values: Iterable[Any]) -> str:
    """Of a hyperparameter's column."""
    kinds = {type(each) for each in values if each is not None}
    return "Int64" if kinds <= {int} else "Float64" if kinds <= {int, float} else "str"


# What the command line calls too.


def run_sweep(experiment: str, options: Options, console: Console | None, *, begun: float | None = None) -> Comparison:
    """Runs an experiment that is given by a path or a name.

    console: where its progress is shown, if anywhere; begun: as for `digitsweep.sweeping.run.sweep`."""
    from digitsweep.config.experiment_file import find_experiment, load_experiment
    from digitsweep.sweeping.processes import places_for, start_importing

    wanted = find_experiment(experiment)
    planned = options.applied(load_experiment(wanted))
    if planned.workers.engine == "local":
        start_importing(places_for(planned, options))  # while this process imports what it needs
    return _run(wanted, planned, options, console, begun)


def resume_sweep(run_id: str, options: Options, console: Console | None, *, begun: float | None = None) -> Comparison:
    """Continues a sweep; console and begun: as for `run_sweep`."""
    from digitsweep.tracking.client import adopt_run
    from digitsweep.tracking.resume import find_unfinished

    wanted = find_unfinished(run_id)
    options = wanted.options.updated(options)
    planned = options.placed(wanted.experiment)
    adopt_run({"digitsweep.kind": "resume", "digitsweep.sweep": wanted.run_id})
    os.environ.pop("MLFLOW_RUN_ID", None)  # what follows belongs to the sweep's run, not to this one
    return _run(wanted, planned, options, console, begun)


def _run(
    wanted: Path | Unfinished, planned: Experiment, options: Options, console: Console | None, begun: float | None
) -> Comparison:
    from digitsweep.training.startup import no_collections

    with no_collections():
        from digitsweep.doctor import note_trouble
        from digitsweep.sweeping.notebook import Cell
        from digitsweep.sweeping.progress import Display
        from digitsweep.sweeping.run import sweep as run

    with nullcontext(_warnings()) if console is None else Display(console, Cell.here()) as display:
        note_trouble(planned, options, display)
        return run(wanted, options, display, begun=begun)


def _warnings() -> Listener:
    """A listener that turns notes for the person into Python's warnings."""
    from digitsweep.tracking.tracker import Listener

    class Warnings(Listener):
        def note(self, text: str) -> None:
            warnings.warn(text, stacklevel=2)

    return Warnings()


def recorded_comparison(run_id: str) -> Comparison:
    """The comparison that a run holds; `last` is that of the newest sweep."""
    from digitsweep.evaluation.comparison import comparison_from
    from digitsweep.tracking.client import last_sweep
    from digitsweep.tracking.client import load_comparison as load

    found = last_sweep() if run_id == LAST else run_id
    try:
        return comparison_from(load(found))
    except ValueError:
        raise DigitsweepError(
            f"run {found}: its comparison was written by another version of digitsweep; open comparison/report.html instead"
        ) from None


def compare_models(models: Sequence[str], data: Path | None) -> Comparison:
    """Compares registered models on the test images that they share."""
    _import_tensorflow()
    from digitsweep.registry.compare import compare_models as compare

    return compare(models, data)


def console_here() -> Console:
    """The console for results. Control characters in what others wrote are shown as escapes."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class SafeConsole(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for each in super().render(renderable, options):
                yield each if each.control else Segment("\n".join(map(printable, each.text.split("\n"))), each.style)

    # A log has no width: it should not be cut at 80 columns.
    return SafeConsole(width=None if sys.stdout.isatty() else 150)


def _import_tensorflow() -> None:
    from digitsweep.training.startup import import_tensorflow_quietly, no_collections

    with no_collections():
        import_tensorflow_quietly()


def _path(name: str, value: object) -> str:
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{name}: must be a path or a name, but is {value!r}")
    return os.fspath(value)


def _optional_path(name: str, value: object) -> Path | None:
    return None if value is None else Path(_path(name, value))


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name}: must be a string, but is {value!r}")
    return value
