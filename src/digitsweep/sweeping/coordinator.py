"""The coordinator's loop: a free worker gets the next trial; each event goes to its trial's scheduler and all listeners."""

from __future__ import annotations

import dataclasses
import math
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Self

from digitsweep.families import Shape
from digitsweep.search.scheduler import Scheduler, SchedulerDecision
from digitsweep.sweeping.workers import EpochEnded, Event, TrialEnded, Workers
from digitsweep.tracking.tracker import Listener, Tracker
from digitsweep.trial import CUT_OFF, INTERRUPTED, Epoch, EpochMetrics, Trial, TrialResult, TrialState, failed

POLL_SECONDS = 0.5
"""The longest time until a signal is noticed."""
NEAR, NEARLY = 10.0, 0.6
"""Listeners hear `nearly_done` this many seconds before the end; and not before this share of the work has begun, since
estimates are poor at first."""
STOP_SECONDS = 20.0
"""How long running trials have to stop by themselves when the sweep is interrupted."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""How a person, a shell or a closed terminal asks a process to end."""
MOST_ATTEMPTS = 3
"""A trial whose worker dies is started this often: a configuration that kills its workers has failed then."""
LEAST_EPOCH_SECONDS = 120.0
"""Every epoch may take this long: a network's first step is compiled, and the machine may be busy with something else."""
TIMES = 20.0
"""How much slower than the slowest so far an epoch may be, before its worker counts as hung."""
STOPPING = "Stopping: running trials end, and what is finished is compared. Ctrl-C again ends at once."


@dataclass
class Interruption:
    """Whether somebody asked the sweep to stop (Ctrl-C, SIGTERM). A second Ctrl-C ends it at once."""

    asked: bool = False
    interrupts: int = 0

    @contextmanager
    def listening(self) -> Iterator[Interruption]:
        """Handles signals within the block. Those that were ignored before stay ignored: `nohup` ignores SIGHUP, and a
        script the SIGINT of what it starts in the background. Only the main thread can handle signals."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        handled = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
        before = {each: signal.signal(each, self._handle) for each in handled}
        try:
            yield self
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        # `mlflow run` sends SIGTERM after a Ctrl-C of the terminal, which is the same request and not a second one. A third
        # Ctrl-C would only keep the second one from being recorded.
        self.interrupts += number == signal.SIGINT
        if number == signal.SIGINT and self.interrupts == 2:
            raise KeyboardInterrupt


class Pace:
    """How long an epoch may take, from the slowest epoch so far, in seconds for each operation of its network."""

    def __init__(self, shape: Shape, least: float = LEAST_EPOCH_SECONDS) -> None:
        """shape: of an image; least: seconds that every epoch may take."""
        self._shape, self._least, self._slowest = shape, least, 0.0

    def add(self, trial: Trial, metrics: EpochMetrics) -> None:
        """Counts an epoch that has ended."""
        self._slowest = max(self._slowest, metrics.epoch_seconds / trial.params.operations(self._shape))

    def limit(self, trial: Trial) -> float:
        """Seconds that an epoch of a trial may take; inf until one has been measured."""
        if not self._slowest:
            return math.inf
        return max(self._least, TIMES * self._slowest * trial.params.operations(self._shape))


@dataclass
class _Running:
    """A trial in a worker."""

    trial: Trial
    begun: float
    """By the coordinator's clock."""
    epochs: list[Epoch] = field(default_factory=list)
    told_to_stop: bool = False
    stopped_by_scheduler: bool = False
    """Whether the scheduler decided to stop it after its last epoch in `epochs`."""
    heard: float = field(default_factory=time.monotonic)
    """When it began, or last finished an epoch."""


class Coordinator:
    """Keeps the workers busy, and passes every event to the trial's scheduler and to the listeners.

    A `with` block ends the workers; a trial that still runs then is recorded as failed."""

    def __init__(
        self,
        workers: Workers,
        shape: Shape,
        tracker: Tracker,
        listeners: Sequence[Listener],
        interruption: Interruption,
        after: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """shape: of an image; tracker: is checked at each turn; it hears events only as one of the listeners;
        after: seconds that a sweep takes once everything is trained."""
        self._workers, self._tracker, self._listeners = workers, tracker, listeners
        self._interruption, self._after, self._clock = interruption, after, clock
        self._pace = Pace(shape)
        self._schedulers: Mapping[str, Scheduler] = {}
        self._running: dict[str, _Running] = {}
        self._attempts: Counter[str] = Counter()
        """How often each trial was started."""
        self._finished = False
        """Whether the schedulers have no more trials to start."""
        self._has_ended = False
        """Whether any trial has: until then, a worker without one may only wait for the first baseline."""
        self._nearly_done = False
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._workers.close()
        for each in list(self._running.values()):
            reason = INTERRUPTED if self._interruption.asked else CUT_OFF
            self._handle(TrialEnded(each.trial, failed(each.epochs, reason, self._clock() - each.begun)))

    def run(self, schedulers: Mapping[str, Scheduler]) -> None:
        """Trains until the schedulers have no trial left; or, if interrupted, until the running trials have stopped.

        schedulers: by family."""
        self._schedulers, self._finished = schedulers, False
        deadline = math.inf
        while self._running or not (self._finished or self._interruption.asked):
            self._fill()
            if self._interruption.asked and deadline == math.inf:
                deadline = time.monotonic() + STOP_SECONDS
                self._note(STOPPING)
                for each in self._running.values():
                    self._stop(each)
            if time.monotonic() > deadline:
                return  # what still runs is recorded when the coordinator closes
            for event in self._workers.events(POLL_SECONDS):
                self._handle(event)
            self._tracker.check()
            for notice in (*self._workers.notices(), *self._tracker.notices()):
                self._note(notice)
            for scheduler in schedulers.values():
                for notice in scheduler.notices():
                    self._note(notice)
                for trial in scheduler.out_of_time():
                    self._stop(self._running[trial.name])
            self._kill_hung_workers()
            left = sum(each.seconds_left() for each in schedulers.values()) / self._workers.count()
            for listener in self._listeners:
                listener.progressed(left + self._after(), self._workers.status())
            if left < NEAR and all(each.progress() >= NEARLY for each in schedulers.values()):
                self._tell_nearly_done()

    def _fill(self) -> None:
        """Hands trials to free workers."""
        while self._workers.free() and not (self._closed or self._interruption.asked):
            trial = self._next_trial()
            self._finished = trial is None  # until a running trial ends: a refit follows when the winner is known
            if trial is None:
                if self._has_ended or not self._running:
                    self._tell_nearly_done()
                return
            self._workers.start(trial, partial(self._schedulers[trial.family].needs_weights, trial))
            self._running[trial.name] = _Running(trial, self._clock())
            self._attempts[trial.name] += 1
            for listener in self._listeners:
                listener.trial_started(trial)

    def _next_trial(self) -> Trial | None:
        """The most urgent trial that must be trained; else one of the search that has used the least of its budget."""
        order = sorted(self._schedulers.values(), key=lambda each: (-each.priority(), each.progress()))
        # Twice: one may wait for the others, and these find out only when they are asked that they have nothing more.
        return next((trial for each in (*order, *order) if (trial := each.next_trial()) is not None), None)

    def _stop(self, running: _Running) -> None:
        running.told_to_stop = True
        self._workers.stop(running.trial)

    def _handle(self, event: Event) -> None:
        scheduler, running = self._schedulers[event.trial.family], self._running[event.trial.name]
        match event:
            case EpochEnded(trial, epoch):
                if running.stopped_by_scheduler:  # how soon a worker hears of it changes no result
                    return
                running.epochs.append(epoch)
                running.heard = time.monotonic()
                self._pace.add(trial, epoch.metrics)
                if scheduler.epoch_ended(trial, epoch.metrics) is SchedulerDecision.STOP:
                    running.stopped_by_scheduler = True
                    self._stop(running)
                for listener in self._listeners:
                    listener.epoch_ended(trial, epoch.metrics)
            case TrialEnded(trial, result, lost):
                del self._running[trial.name]
                self._finished = False  # what follows it may have to wait for a worker
                if lost:  # a worker that died could not tell how long it had trained
                    result = dataclasses.replace(result, train_seconds=self._clock() - running.begun)
                if running.stopped_by_scheduler:
                    result = _cut_to(running.epochs, result)
                elif lost and not (running.told_to_stop or self._interruption.asked):
                    if self._attempts[trial.name] < MOST_ATTEMPTS:
                        self._begin_again(trial, result)
                        return
                    reason = f"{result.reason}, at attempt {self._attempts[trial.name]}: given up"
                    result = dataclasses.replace(result, reason=reason)
                self._has_ended = True
                record = scheduler.trial_ended(trial, result)
                self._fill()  # before anything that could keep a free worker waiting
                for listener in self._listeners:
                    listener.trial_ended(record)

    def _begin_again(self, trial: Trial, lost: TrialResult) -> None:
        self._schedulers[trial.family].attempt_ended(trial, lost.train_seconds)
        for listener in self._listeners:
            listener.attempt_ended(trial, lost.reason, lost.train_seconds)
        attempt = f"attempt {self._attempts[trial.name] + 1} of {MOST_ATTEMPTS}"
        self._note(f"{trial.name}: {lost.reason}; it is trained again, {attempt}.")

    def _kill_hung_workers(self) -> None:
        now = time.monotonic()
        for each in self._running.values():
            limit = self._pace.limit(each.trial)
            if now - each.heard > limit:
                self._workers.kill(each.trial, f"its worker had not finished an epoch for {limit:.0f} s")
                each.heard = now

    def _note(self, text: str) -> None:
        for listener in self._listeners:
            listener.note(text)

    def _tell_nearly_done(self) -> None:
        if not self._nearly_done:
            self._nearly_done = True
            for listener in self._listeners:
                listener.nearly_done()


def _cut_to(epochs: Sequence[Epoch], result: TrialResult) -> TrialResult:
    """The result of a trial that ended with these epochs, whatever its worker did after the last one."""
    return dataclasses.replace(
        result,
        state=TrialState.PRUNED,
        epochs=tuple(each.metrics for each in epochs),
        predictions=epochs[-1].predictions,
        weights=None,
    )
