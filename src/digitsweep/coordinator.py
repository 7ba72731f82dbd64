"""The coordinator's loop: a free worker gets the next trial; each event goes to its study, to MLflow and to the display."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from digitsweep.progress import Display
from digitsweep.results import Epoch, Trial, failed
from digitsweep.source import INTERRUPTED, Source, Verdict
from digitsweep.tracker import Tracker
from digitsweep.workers import EpochEnded, Event, TrialEnded, Workers

POLL_SECONDS = 0.5
"""The longest that a signal waits to be seen."""
NEAR, NEARLY = 10.0, 0.6
"""Seconds before the end at which what comes after it is made ready; and the share of the work that must have begun, since
at first nobody knows how many seconds there are."""
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


class Coordinator:
    """Keeps the workers busy, and tells study, tracker and display of every event."""

    def __init__(
        self,
        workers: Workers,
        tracker: Tracker,
        display: Display,
        interruption: Interruption,
        worker_count: int,
        near_the_end: Callable[[], object] = lambda: None,
    ) -> None:
        self._workers = workers
        self._sources: Mapping[str, Source] = {}
        self._tracker, self._display = tracker, display
        self._interruption = interruption
        self._worker_count = worker_count
        self._near_the_end = near_the_end
        """Called when a worker has nothing left to do, and when that is NEAR seconds away."""
        self._running: dict[str, tuple[Trial, list[Epoch]]] = {}
        self._finished = False
        """Whether the sources have no more trainings to start."""
        self._closed = False

    def run(self, sources: Mapping[str, Source], after: Callable[[], float] = lambda: 0.0) -> None:
        """Until each family's source has nothing left; or until somebody interrupts, and the running trials have stopped.

        `after` says how many training seconds will come after these."""
        self._sources, self._finished = sources, False
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
            for source in sources.values():
                for trial in source.overdrawn():
                    self._workers.stop(trial)
            left = (after() + sum(each.seconds_left() for each in sources.values())) / self._worker_count
            self._display.progressed(left)
            if left < NEAR and all(each.share() >= NEARLY for each in sources.values()):
                self._near_the_end()

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
                self._finished = True
                self._near_the_end()
                return
            self._finished = False  # a winner's refit comes after everything else has ended
            self._workers.start(trial)
            self._running[trial.name] = (trial, [])
            self._tracker.trial_started(trial)
            self._display.trial_started(trial)

    def _next_trial(self) -> Trial | None:
        """The most urgent of what must be trained; then of the study that has used the least of its budget."""
        for source in sorted(self._sources.values(), key=lambda each: (-each.urgency(), each.share())):
            trial = source.next_trial()
            if trial is not None:
                return trial
        return None

    def _hear(self, event: Event) -> None:
        source = self._sources[event.trial.family]
        match event:
            case EpochEnded(trial, epoch):
                verdict = source.epoch(trial, epoch)
                if verdict is Verdict.TOO_LATE:
                    return
                if verdict is Verdict.STOP:
                    self._workers.stop(trial)
                self._running[trial.name][1].append(epoch)
                self._tracker.epoch_ended(trial, epoch.metrics)
                self._display.epoch_ended(trial, epoch.metrics)
            case TrialEnded(trial, result):
                del self._running[trial.name]
                record = source.ended(trial, result)
                self._fill()  # before anything that could keep a free worker waiting
                self._tracker.trial_ended(record)
                self._display.trial_ended(record)
