"""READ FIRST: the coordinator. The whole program in one read.

    data -> workers -> [a free worker gets the next trial; each event goes to its study, to MLflow and to the display]
         -> the winners are registered -> the test set is opened -> comparison

The coordinator is the only process that talks to Optuna and MLflow; it imports TensorFlow only once a worker has nothing
left to do.
"""

from __future__ import annotations

import dataclasses
import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from digitsweep.comparison import Comparison
from digitsweep.data import Dataset, TrainingData
from digitsweep.data.sources import load_dataset
from digitsweep.errors import DataUnavailableError, DigitsweepError, InputError
from digitsweep.experiment import Experiment, load_experiment
from digitsweep.options import Options
from digitsweep.progress import Display
from digitsweep.provenance import Commit, current_commit
from digitsweep.quiet import import_tensorflow_quietly
from digitsweep.results import Epoch, Trial, TrialState, failed
from digitsweep.study import INTERRUPTED, Study, Verdict
from digitsweep.tracking import MlflowTracker, Tracker
from digitsweep.workers import EpochEnded, Event, TrialEnded, Workers
from digitsweep.workers.local import LocalWorkers
from digitsweep.workers.placement import Place, places_for

POLL_SECONDS = 0.5
"""The longest that a signal waits to be seen."""
STOP_SECONDS = 20.0
"""What running trials get to stop by themselves when the sweep is interrupted."""
CUT_OFF = "the sweep failed while the trial ran"
STOPPING = "Stopping: the running trials end, what is finished is compared. Ctrl-C again ends at once."


@dataclass
class Interruption:
    """Whether somebody asked the sweep to stop (Ctrl-C, SIGTERM). A second Ctrl-C ends it at once."""

    asked: bool = False
    interrupts: int = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        before = {each: signal.signal(each, self._hear) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        # `mlflow run` sends SIGTERM after a Ctrl-C of the terminal: that is the same wish, not a second one. A third Ctrl-C
        # would only keep the second one from telling MLflow the truth.
        self.interrupts += number == signal.SIGINT
        if number == signal.SIGINT and self.interrupts == 2:
            raise KeyboardInterrupt


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
            coordinator = Coordinator(studies, workers, tracker, display, interruption, len(places), _getting_ready_to_judge)
            state = "FAILED"
            try:
                display.started(experiment, dataset, len(places))
                coordinator.search()
                coordinator.close()
                reached = "INTERRUPTED" if interruption.asked else "COMPLETE"
                comparison = _judged(experiment, dataset, studies, tracker, commit, display, state=reached, begun=begun)
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


class Coordinator:
    """Keeps the workers busy, and tells study, tracker and display of every event."""

    def __init__(
        self,
        studies: Mapping[str, Study],
        workers: Workers,
        tracker: Tracker,
        display: Display,
        interruption: Interruption,
        worker_count: int,
        when_idle: Callable[[], object] = lambda: None,
    ) -> None:
        self._studies, self._workers = studies, workers
        self._tracker, self._display = tracker, display
        self._interruption = interruption
        self._worker_count = worker_count
        self._when_idle = when_idle
        """Called once, when a worker has nothing left to do."""
        self._running: dict[str, tuple[Trial, list[Epoch]]] = {}
        self._finished = False
        """Whether the studies have no more trials to start."""
        self._closed = False

    def search(self) -> None:
        """Until the budgets are spent; or until somebody interrupts, and the running trials have stopped."""
        deadline: float | None = None
        while self._running or not (self._finished or self._interruption.asked):
            self._fill()
            if self._interruption.asked and deadline is None:
                deadline = time.monotonic() + STOP_SECONDS
                self._display.note(STOPPING)
                for trial, _ in self._running.values():
                    self._workers.stop(trial)
            if deadline is not None and time.monotonic() > deadline:
                return  # `close` tells the truth about what is left
            for event in self._workers.events(POLL_SECONDS):
                self._hear(event)
            self._tracker.check()
            for study in self._studies.values():
                for trial in study.overdrawn():
                    self._workers.stop(trial)
            left = sum(each.seconds_left() for each in self._studies.values())
            self._display.progressed(left / self._worker_count)

    def close(self) -> None:
        """Ends the workers; a trial that still runs has failed, and its record says so. Nothing is started after it."""
        self._closed = True
        self._workers.close()
        for trial, epochs in list(self._running.values()):
            self._hear(TrialEnded(trial, failed(epochs, INTERRUPTED if self._interruption.asked else CUT_OFF)))

    def _fill(self) -> None:
        """Hands trials to free workers."""
        while not (self._closed or self._interruption.asked) and self._workers.free():
            trial = self._next_trial()
            if trial is None:
                if not self._finished:
                    self._when_idle()
                self._finished = True  # what a study has not now, it will not have later
                return
            self._workers.start(trial)
            self._running[trial.name] = (trial, [])
            self._tracker.trial_started(trial)
            self._display.trial_started(trial)

    def _next_trial(self) -> Trial | None:
        """The longest baseline that is left; then of the study that has used the least of its budget."""
        for study in sorted(self._studies.values(), key=lambda each: (-each.longest_baseline(), each.share())):
            trial = study.next_trial()
            if trial is not None:
                return trial
        return None

    def _hear(self, event: Event) -> None:
        study = self._studies[event.trial.family]
        match event:
            case EpochEnded(trial, epoch):
                verdict = study.epoch(trial, epoch)
                if verdict is Verdict.TOO_LATE:
                    return
                if verdict is Verdict.STOP:
                    self._workers.stop(trial)
                self._running[trial.name][1].append(epoch)
                self._tracker.epoch_ended(trial, epoch.metrics)
                self._display.epoch_ended(trial, epoch.metrics)
            case TrialEnded(trial, result):
                del self._running[trial.name]
                record = study.ended(trial, result)
                self._fill()  # before anything that could keep a free worker waiting
                self._tracker.trial_ended(record)
                self._display.trial_ended(record)


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

    comparison, pictures = judge(
        experiment, dataset, records, tracker, commit, state=state, seconds=time.monotonic() - begun
    )
    tracker.compared(comparison, pictures)
    return comparison
