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
from collections.abc import Callable, Sequence
from pathlib import Path

from digitsweep.comparison import Comparison
from digitsweep.coordinator import Coordinator, Interruption
from digitsweep.data import Dataset, TrainingData
from digitsweep.data.sources import load_dataset
from digitsweep.errors import DataUnavailableError, DigitsweepError, InputError
from digitsweep.experiment import Experiment
from digitsweep.experiment_file import load_experiment
from digitsweep.finalists import Finals, planned_seconds, winner_of
from digitsweep.options import Options
from digitsweep.pace import Pace
from digitsweep.progress import Display
from digitsweep.provenance import Commit, current_commit
from digitsweep.quiet import import_tensorflow_quietly
from digitsweep.results import Kind
from digitsweep.study import Study
from digitsweep.tracker import Past, Tracker
from digitsweep.tracking.mlflow_tracker import MlflowTracker
from digitsweep.tracking.unfinished import Unfinished
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
    DigitsweepError where no trial finished or the records cannot be kept."""
    experiment, dataset = prepare(path, options, display)
    return _Sweep(experiment, dataset, options, display).run(
        make_workers, lambda commit: make_tracker(experiment, dataset, commit, _recorded(path, options))
    )


def resume(
    unfinished: Unfinished,
    options: Options,
    display: Display,
    *,
    make_workers: Callable[[TrainingData, Sequence[Place]], Workers] = LocalWorkers,
    make_tracker: Callable[..., Tracker] = MlflowTracker,
) -> Comparison:
    """Goes on with a sweep that was broken off: what had ended stays, what was training is trained again, and what was
    planned is done. Of the options only workers and data may differ from those of then.

    Raises InputError where the data is not the sweep's, and DigitsweepError where another process runs it."""
    experiment, before = unfinished.experiment, unfinished.options
    options = dataclasses.replace(before, workers=options.workers or before.workers, data=options.data or before.data)
    source = experiment.data.source
    beside = source not in ("mnist", "digits") and not Path(source).is_absolute()
    if unfinished.is_copy and beside and options.data is None:
        raise InputError(
            f"sweep {unfinished.run_id} was begun on {source}, beside an experiment file that is gone or was changed since; "
            "name the folder or file of then with --data"
        )
    dataset = load_for(experiment, options.data)
    if dataset.digest() != unfinished.data_digest:
        raise InputError(
            f"sweep {unfinished.run_id} was begun on other data than {dataset.source} holds; name the folder or file of "
            "then with --data"
        )
    return _Sweep(experiment, dataset, options, display).run(
        make_workers, lambda commit: make_tracker(experiment, dataset, commit, {}, unfinished.run_id)
    )


class _Sweep:
    """One sweep, from its workers' start to its answer."""

    def __init__(self, experiment: Experiment, dataset: Dataset, options: Options, display: Display) -> None:
        self._experiment, self._dataset, self._display = experiment, dataset, display
        self._places = places_for(experiment, options)
        self._side = dataset.training.side
        self._studies: dict[str, Study] = {family: Study(experiment, family, self._side) for family in experiment.families}
        self._finals: dict[str, Finals] = {}
        self._interruption = Interruption()
        self._begun = time.monotonic()

    def run(
        self,
        make_workers: Callable[[TrainingData, Sequence[Place]], Workers],
        make_tracker: Callable[[Commit], Tracker],
    ) -> Comparison:
        try:  # they import TensorFlow while MLflow gets ready here
            workers = make_workers(self._dataset.training, self._places)
        except OSError as error:  # such as a full disk of temporary files, by which workers share the images
            raise DigitsweepError(f"the workers could not be started: {error.strerror or error}") from None
        try:
            with self._interruption.listening():
                commit = current_commit()
                tracker = make_tracker(commit)
                state = "FAILED"
                coordinator = Coordinator(
                    workers,
                    tracker,
                    self._display,
                    self._interruption,
                    len(self._places),
                    Pace(self._side),
                    _getting_ready_to_judge,
                )
                try:
                    self._display.started(self._experiment, self._dataset, len(self._places))
                    self._train(coordinator, tracker.past)
                    self._display.waiting(tracker.backlog())
                    tracker.settle()
                    coordinator.pass_on_notices()
                    self._display.waiting(tracker.backlog())
                    reached = "INTERRUPTED" if self._interruption.asked else "COMPLETE"
                    comparison = self._judged(tracker, commit, reached)
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
            self._display.closed()
        return comparison

    def _train(self, coordinator: Coordinator, past: Past) -> None:
        """The search, and then the finalists; of a sweep that was broken off, what is left of them."""
        begun = any(any(past.of(family, Kind.FINALIST, Kind.REFIT)) for family in self._studies)
        again = any(any(past.of(family, Kind.TRIAL)[1:]) for family in self._studies)
        for family, study in self._studies.items():
            study.restore(*past.of(family, Kind.TRIAL))
            if begun:  # once there are finalists, the search has had its end
                study.end_search()
        if again or not begun:
            coordinator.run(self._studies, after=self._planned)
        if self._experiment.finalists is not None and (begun or not self._interruption.asked):
            for family, study in self._studies.items():
                self._finals[family] = Finals(self._experiment, family, study.records, self._side)
                self._finals[family].restore(past.of(family, Kind.FINALIST, Kind.REFIT)[0])
            if not self._interruption.asked:
                self._display.note("The best of each family again, on fresh seeds.")
                coordinator.run(self._finals)
        coordinator.close()

    def _planned(self) -> float:
        studies = self._studies.items()
        return sum(planned_seconds(self._experiment, family, study.epoch_seconds()) for family, study in studies)

    def _judged(self, tracker: Tracker, commit: Commit, state: str) -> Comparison:
        records = {family: study.records for family, study in self._studies.items()}
        metric = self._experiment.objective.metric
        if not any(winner_of(each, self._finals.get(family), metric) for family, each in records.items()):
            if state == "INTERRUPTED":
                raise KeyboardInterrupt  # there is nothing to compare
            trained = [*records.values(), *(each.records for each in self._finals.values())]
            reasons = {each.result.reason for family in trained for each in family if each.result.reason}
            raise DigitsweepError(f"no trial was completed ({'; '.join(sorted(reasons)) or 'none was started'})")
        self._display.note("Registering the best of each family and opening the test set.")
        _getting_ready_to_judge().join()
        from digitsweep.judging import judge

        comparison, files = judge(
            self._experiment,
            self._dataset,
            records,
            self._finals,
            {family: study.history() for family, study in self._studies.items()},
            tracker,
            commit,
            state=state,
            seconds=lambda: time.monotonic() - self._begun,
        )
        tracker.compared(comparison, files)
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


@functools.cache
def _getting_ready_to_judge() -> threading.Thread:
    """Imports what judging takes, TensorFlow above all, on the core that a worker has no use for any more."""

    def get_ready() -> None:
        import_tensorflow_quietly()
        import digitsweep.judging  # noqa: F401

    thread = threading.Thread(target=get_ready, name="digitsweep-judging", daemon=True)
    thread.start()
    return thread
