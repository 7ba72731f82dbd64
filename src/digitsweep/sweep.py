"""READ FIRST: a sweep, from its file to its answer. The loop that keeps workers busy is in coordinator.py.

    data -> workers -> [a free worker gets the next trial; each event goes to its study, to MLflow and to the display]
         -> the finalists of each family, the same way -> the winners are registered -> the test set is opened -> comparison

The coordinator is the only process that talks to Optuna and MLflow; it imports TensorFlow only when its workers have
little or nothing left to do.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from digitsweep.comparison import Comparison
from digitsweep.coordinator import Coordinator, Interruption
from digitsweep.data import Dataset, TrainingData
from digitsweep.data.sources import load_dataset
from digitsweep.errors import DataUnavailableError, DigitsweepError, InputError
from digitsweep.experiment import Experiment
from digitsweep.experiment_file import load_experiment
from digitsweep.finalists import Finals, planned_seconds
from digitsweep.options import Options
from digitsweep.progress import Display
from digitsweep.provenance import Commit, current_commit
from digitsweep.quiet import import_tensorflow_quietly
from digitsweep.results import TrialState
from digitsweep.study import Study
from digitsweep.tracker import Tracker
from digitsweep.tracking import MlflowTracker
from digitsweep.workers import Workers
from digitsweep.workers.local import LocalWorkers
from digitsweep.workers.placement import Place, places_for


def sweep(
    path: Path,
    options: Options,
    display: Display,
    *,
    make_workers: Callable[[TrainingData, Sequence[Place]], Workers] = LocalWorkers,
    make_tracker: Callable[..., Tracker] = MlflowTracker,
) -> Comparison:
    """Runs an experiment: searches both families within their budgets, registers the best of each and compares them.

    Raises InputError before anything is recorded where the experiment, the data or an option is wrong, and
    DigitsweepError where no trial finished or the tracking server fails."""
    begun = time.monotonic()
    experiment, dataset = prepare(path, options, display)
    studies: dict[str, Study] = {family: Study(experiment, family, dataset.training.side) for family in experiment.families}
    interruption = Interruption()
    places = places_for(experiment, options)
    workers = make_workers(dataset.training, places)  # they import TensorFlow while MLflow gets ready here
    try:
        with interruption.listening():
            commit = current_commit()
            tracker = make_tracker(experiment, dataset, commit, _recorded(path, options))
            coordinator = Coordinator(workers, tracker, display, interruption, len(places), _getting_ready_to_judge)
            finals: dict[str, Finals] = {}
            state = "FAILED"
            try:
                display.started(experiment, dataset, len(places))
                coordinator.run(studies, after=lambda: _planned(experiment, studies))
                if experiment.finalists is not None and not interruption.asked:
                    display.note("The best of each family again, on fresh seeds.")
                    side = dataset.training.side
                    finals |= {family: Finals(experiment, family, study.records, side) for family, study in studies.items()}
                    coordinator.run(finals)
                coordinator.close()
                reached = "INTERRUPTED" if interruption.asked else "COMPLETE"
                comparison = _judged(
                    experiment, dataset, studies, finals, tracker, commit, display, state=reached, begun=begun
                )
                state = reached
            except KeyboardInterrupt:
                state = "INTERRUPTED"
                raise
            finally:
                try:
                    coordinator.close()
                finally:
                    tracker.ended(state)
    finally:
        workers.close()
        display.closed()
    return comparison


def prepare(path: Path, options: Options, display: Display) -> tuple[Experiment, Dataset]:
    """The experiment with its data; or, where its data cannot be had, its fallback with that one's.

    Raises InputError where either is wrong or they do not fit each other."""
    experiment = options.applied(load_experiment(path))
    try:
        dataset = load_for(experiment, options.data)
    except DataUnavailableError as unavailable:
        if experiment.data.fallback is None:
            raise
        instead = experiment.beside(experiment.data.fallback, "data.fallback")
        fallback = options.applied(load_experiment(instead))
        display.note(f"{unavailable} Until then {instead.name} runs instead, on other data: {fallback.question}")
        experiment, dataset = fallback, load_for(fallback, None)
    for family, each in experiment.families.items():
        for name, baseline in each.baselines.items():
            needed = baseline.typed().smallest_image()
            if needed > dataset.training.side:
                raise InputError(
                    f"{experiment.path}: families.{family}.baselines.{name}: needs images of at least {needed} pixels, "
                    f"but those of {dataset.name} have {dataset.training.side}; use smaller kernels or padding: same"
                )
    return experiment, dataset


def load_for(experiment: Experiment, data: Path | None) -> Dataset:
    """The data of an experiment, or what `--data` names in its place."""
    source: str | Path = data if data is not None else experiment.data.source
    if data is None and source not in ("mnist", "digits"):
        source = experiment.beside(str(source), "data.source")
    return load_dataset(source, validation=experiment.data.validation, seed=experiment.seed)


def _recorded(path: Path, options: Options) -> dict[str, object]:
    """The sweep's parameters as `mlflow run` records them."""
    given = {name: "auto" if value is None else value for name, value in dataclasses.asdict(options).items()}
    return {"experiment": path, **given}


def _planned(experiment: Experiment, studies: Mapping[str, Study]) -> float:
    return sum(planned_seconds(experiment, study.epoch_seconds()) for study in studies.values())


@functools.cache
def _getting_ready_to_judge() -> threading.Thread:
    """Imports what judging takes, TensorFlow above all, on the core that a worker has no use for any more."""

    def get_ready() -> None:
        import_tensorflow_quietly()
        import digitsweep.judging  # noqa: F401

    thread = threading.Thread(target=get_ready, name="digitsweep-judging", daemon=True)
    thread.start()
    return thread


def _judged(
    experiment: Experiment,
    dataset: Dataset,
    studies: Mapping[str, Study],
    finals: Mapping[str, Finals],
    tracker: Tracker,
    commit: Commit,
    display: Display,
    *,
    state: str,
    begun: float,
) -> Comparison:
    records = {family: study.records for family, study in studies.items()}
    if not any(each.result.state is TrialState.COMPLETE for family in records.values() for each in family):
        if state == "INTERRUPTED":
            raise KeyboardInterrupt  # there is nothing to compare
        reasons = {each.result.reason for family in records.values() for each in family if each.result.reason}
        raise DigitsweepError(f"no trial was completed ({'; '.join(sorted(reasons)) or 'none was started'})")
    display.note("Registering the best of each family and opening the test set.")
    _getting_ready_to_judge().join()
    from digitsweep.judging import judge

    histories = {family: study.history() for family, study in studies.items()}
    comparison, files = judge(
        experiment,
        dataset,
        records,
        finals,
        histories,
        tracker,
        commit,
        state=state,
        seconds=lambda: time.monotonic() - begun,
    )
    tracker.compared(comparison, files)
    return comparison
