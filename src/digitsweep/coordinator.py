"""The coordinator's loop: a free worker gets the next trial; each event goes to its study, to MLflow and to the display."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from digitsweep.pace import Pace
from digitsweep.progress import Display
from digitsweep.results import Epoch, Trial, TrialResult, TrialState, failed
from digitsweep.source import CUT_OFF, INTERRUPTED, Source, Verdict
from digitsweep.tracker import Tracker
from digitsweep.workers import EpochEnded, Event, TrialEnded, Workers

POLL_SECONDS = 0.5
"""The longest that a signal waits to be seen."""
NEAR, NEARLY = 10.0, 0.6
"""Seconds before the end at which what comes after it is made ready; and the share of the work that must have begun, since
at first nobody knows how many seconds there are."""
STOP_SECONDS = 20.0
"""What running trials get to stop by themselves when the sweep is interrupted."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""By which a person, a shell or a terminal that goes asks a process to end."""
MOST_ATTEMPTS = 3
"""How often a trial is begun whose worker dies: a configuration that kills its workers has failed then."""
STOPPING = "Stopping: the running trials end, what is finished is compared. Ctrl-C again ends at once."


@dataclass
class Interruption:
    """Whether somebody asked the sweep to stop (Ctrl-C, SIGTERM). A second Ctrl-C ends it at once.

    A signal that whoever started the process had ignored stays so: `nohup` does that with SIGHUP, a script with the
    SIGINT of what it runs in the background."""

    asked: bool = False
    interrupts: int = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        heard = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
        before = {each: signal.signal(each, self._hear) for each in heard}
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


@dataclass
class _Running:
    """A trial in a worker."""

    trial: Trial
    attempt: int
    epochs: list[Epoch] = field(default_factory=list)
    told_to_stop: bool = False
    heard: float = field(default_factory=time.monotonic)
    """When it began, or finished an epoch."""


class Coordinator:
    """Keeps the workers busy, and tells study, tracker and display of every event."""

    def __init__(
        self,
        workers: Workers,
        tracker: Tracker,
        display: Display,
        interruption: Interruption,
        worker_count: int,
        pace: Pace,
        near_the_end: Callable[[], object] = lambda: None,
    ) -> None:
        self._workers = workers
        self._sources: Mapping[str, Source] = {}
        self._tracker, self._display = tracker, display
        self._interruption = interruption
        self._worker_count = worker_count
        self._pace = pace
        self._near_the_end = near_the_end
        """Called when a worker has nothing left to do, and when that is NEAR seconds away."""
        self._running: dict[str, _Running] = {}
        self._again: list[_Running] = []
        """Trials whose workers died, to be begun once more."""
        self._finished = False
        """Whether the sources have no more trainings to start."""
        self._closed = False

    def run(self, sources: Mapping[str, Source], after: Callable[[], float] = lambda: 0.0) -> None:
        """Until each family's source has nothing left; or until somebody interrupts, and the running trials have stopped.

        `after` says how many training seconds will come after these."""
        self._sources, self._finished = sources, False
        deadline: float | None = None
        while self._running or self._again or not (self._finished or self._interruption.asked):
            self._fill()
            if self._interruption.asked and deadline is None:
                deadline = time.monotonic() + STOP_SECONDS
                self._display.note(STOPPING)
                self._again.clear()
                for each in self._running.values():
                    self._stop(each.trial)
            if deadline is not None and time.monotonic() > deadline:
                return  # `close` tells the truth about what is left
            for event in self._workers.events(POLL_SECONDS):
                self._hear(event)
            self._tracker.check()
            self.pass_on_notices()
            self._display.waiting(self._tracker.backlog())
            for source in sources.values():
                for trial in source.overdrawn():
                    self._stop_or_leave(trial)
            self._end_hung_workers()
            left = (after() + sum(each.seconds_left() for each in sources.values())) / self._worker_count
            self._display.progressed(left)
            if left < NEAR and all(each.share() >= NEARLY for each in sources.values()):
                self._near_the_end()

    def pass_on_notices(self) -> None:
        """What the tracker has found out, to the display."""
        for notice in self._tracker.notices():
            self._display.note(notice)

    def close(self) -> None:
        """Ends the workers; a trial that still runs has failed, and its record says so. Nothing is started after it."""
        self._closed = True
        self._workers.close()
        for each in list(self._running.values()):
            self._hear(TrialEnded(each.trial, failed(each.epochs, INTERRUPTED if self._interruption.asked else CUT_OFF)))

    def _fill(self) -> None:
        """Hands trials to free workers."""
        while not (self._closed or self._interruption.asked) and self._workers.free():
            begun = self._next()
            if begun is None:
                self._finished = True
                self._near_the_end()
                return
            self._finished = False  # a winner's refit comes after everything else has ended
            trial = begun.trial
            self._workers.start(trial)
            self._running[trial.name] = begun
            self._tracker.trial_started(trial)
            self._display.trial_started(trial)

    def _next(self) -> _Running | None:
        """What lost its worker; the most urgent of what must be trained; then of the study that has used the least of its
        budget."""
        if self._again:
            lost = self._again.pop()
            return _Running(lost.trial, lost.attempt + 1)
        for source in sorted(self._sources.values(), key=lambda each: (-each.urgency(), each.share())):
            trial = source.next_trial()
            if trial is not None:
                return _Running(trial, 1)
        return None

    def _stop(self, trial: Trial) -> None:
        self._running[trial.name].told_to_stop = True
        self._workers.stop(trial)

    def _stop_or_leave(self, trial: Trial) -> None:
        """Stops a trial that its source says should end now. One that lost its worker and waits to be begun once more
        ends with the epochs that it had come to, which its new run gets too."""
        lost = next((each for each in self._again if each.trial == trial), None)
        if lost is None:
            self._stop(trial)
            return
        self._again.remove(lost)
        self._running[trial.name] = _Running(trial, lost.attempt + 1, lost.epochs)
        self._tracker.trial_started(trial)
        self._display.trial_started(trial)
        for each in lost.epochs:
            self._tracker.epoch_ended(trial, each.metrics)
        self._hear(TrialEnded(trial, dataclasses.replace(failed(lost.epochs, ""), state=TrialState.PRUNED)))

    def _end_hung_workers(self) -> None:
        now = time.monotonic()
        for each in self._running.values():
            limit = self._pace.limit(each.trial)
            if now - each.heard > limit:
                self._workers.kill(each.trial, f"its worker had not ended an epoch for {limit:.0f} s")
                each.heard = now

    def _hear(self, event: Event) -> None:
        source = self._sources[event.trial.family]
        match event:
            case EpochEnded(trial, epoch):
                verdict = source.epoch(trial, epoch)
                if verdict is Verdict.TOO_LATE:
                    return
                if verdict is Verdict.STOP:
                    self._stop(trial)
                running = self._running[trial.name]
                running.epochs.append(epoch)
                running.heard = time.monotonic()
                self._pace.note(trial, epoch.metrics)
                self._tracker.epoch_ended(trial, epoch.metrics)
                self._display.epoch_ended(trial, epoch.metrics)
            case TrialEnded(trial, result, lost):
                running = self._running.pop(trial.name)
                if lost and not running.told_to_stop and not self._interruption.asked:
                    if running.attempt < MOST_ATTEMPTS:
                        self._begin_again(running, result)
                        return
                    result = dataclasses.replace(result, reason=f"{result.reason}, at attempt {running.attempt}: given up")
                record = source.ended(trial, result)
                self._fill()  # before anything that could keep a free worker waiting
                self._tracker.trial_ended(record)
                self._display.trial_ended(record)

    def _begin_again(self, running: _Running, result: TrialResult) -> None:
        self._again.append(running)
        self._tracker.attempt_ended(running.trial, result.reason)
        attempt = f"attempt {running.attempt + 1} of {MOST_ATTEMPTS}"
        self._display.note(f"{running.trial.name}: {result.reason}; it is trained again, {attempt}.")
        self._finished = False
