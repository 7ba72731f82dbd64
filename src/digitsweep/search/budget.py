"""What a family has used of its budget, and how long its trainings will take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

from digitsweep.config.experiment import Budget
from digitsweep.families import Shape
from digitsweep.trial import Kind, Trial, TrialResult

STOPPING_SECONDS = 1.0
"""How long a trial goes on after it was told to stop: to the end of its step and its evaluation."""
START_SECONDS = 0.7
"""What every training takes beside its steps: to build and trace its network, and to report its end."""
TRUST = 0.5
"""Weight of the reference machine's speed in the estimate, in seconds of training."""
MOST_SLOWER = 4.0
"""How many times as long as on the reference machine evaluation is at most expected to take."""
MOST_AFTER = 0.25
"""The most of a sweep's time that is kept for evaluation because a machine is slow. Trainings of a second, as in short
sweeps, say little about how slow it is."""
OVERDUE = 0.04
"""Share of a sweep's minutes that its trainings may be late."""


class BudgetMeter:
    """Counts a search's trials and training seconds, without the baselines.

    It keeps sums, so that a study of 10,000 trials is as quick as one of ten."""

    def __init__(self, budget: Budget, clock: Callable[[], float]) -> None:
        self.drawn = 0
        """Trials, however they went on."""
        self.attempt_seconds = 0.0
        """Training seconds of attempts whose worker died."""
        self._budget, self._clock = budget, clock
        self._ended, self._epochs, self._ended_seconds = 0, 0, 0.0
        self._begun: dict[int, float] = {}
        """When each running trial started, by its number."""

    def begin(self, number: int) -> None:
        """A trial starts, or starts again."""
        self._begun[number] = self._clock()

    def attempt_ended(self, number: int, seconds: float) -> None:
        """A trial's worker died. The seconds stay spent; none are added until it starts again."""
        del self._begun[number]
        self.attempt_seconds += seconds

    def end(self, number: int, result: TrialResult) -> None:
        """A trial has ended, here or before the sweep was interrupted."""
        self._begun.pop(number, None)
        self._ended += 1
        self._epochs += len(result.epochs)
        self._ended_seconds += result.train_seconds

    def seconds(self) -> float:
        """Training seconds so far, running trials and lost attempts included."""
        now = self._clock()
        return self._ended_seconds + self.attempt_seconds + sum(now - begun for begun in self._begun.values())

    def epoch_seconds(self) -> float:
        """The mean duration of an epoch so far; 0 before the first trial has ended."""
        return self._ended_seconds / self._epochs if self._epochs else 0.0

    def allows_another(self) -> bool:
        """Whether there are trials left, and time for a first epoch of average length."""
        return self.drawn < self._budget.trials and self.seconds() + self.epoch_seconds() < self._budget.seconds

    def is_spent(self) -> bool:
        """Whether running trials must stop now for the seconds not to be exceeded."""
        return self.seconds() + STOPPING_SECONDS * len(self._begun) >= self._budget.seconds

    def progress(self) -> float:
        """The used share of the budget, 0 to 1: of its trials or of its seconds, whichever is larger."""
        trials = (self.drawn - 0.5 * len(self._begun)) / self._budget.trials
        return min(1.0, max(trials, self.seconds() / self._budget.seconds))

    def seconds_left(self) -> float:
        """Training seconds still to come, if trials take as long as they did on average."""
        trials = self._budget.trials - self.drawn + 0.5 * len(self._begun)
        each = self._ended_seconds / self._ended if self._ended else self._budget.seconds / max(self._budget.trials, 1)
        return max(0.0, min(self._budget.seconds - self.seconds(), trials * each))


class CostModel:
    """Estimates how long whole trainings take, which grows with their epochs and their network's operations."""

    def __init__(self, shape: Shape) -> None:
        """shape: of an image."""
        self._shape = shape
        self._seconds, self._cost = 0.0, 0.0

    def cost(self, trial: Trial) -> float:
        """In operations for each training image."""
        return float(trial.epochs * trial.params.operations(self._shape))

    def add(self, trial: Trial, seconds: float) -> None:
        """Counts a training that took so long."""
        self._seconds += seconds
        self._cost += self.cost(trial)

    def seconds(self, waiting: Iterable[Trial], running: Iterable[Trial] = ()) -> float:
        """What is left of these trainings, running ones being half done on average; inf until one was counted."""
        cost = sum(map(self.cost, waiting)) + 0.5 * sum(map(self.cost, running))
        return cost * (self._seconds / self._cost if self._cost else math.inf) if cost else 0.0


class SweepTime:
    """The minutes of a sweep, which its families share equally. Baselines cost no family anything, but they cost time."""

    def __init__(
        self,
        minutes: float,
        workers: Callable[[], int],
        families: Iterable[str],
        after: float,
        elapsed: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """workers: how many there are now, at least 1; after: seconds that registering and judging take on the reference
        machine, once everything is trained; elapsed: seconds since the command was given, and of the sweep before it was
        interrupted."""
        self._workers = workers
        self.minutes = minutes
        self._after, self._clock = after, clock
        self._end = clock() - elapsed + 60.0 * minutes
        self.slowness: dict[str, float] = {}
        """How many times as long as the reference machine this one trains, by family, as far as that is known."""
        self._used: dict[str, float] = dict.fromkeys(families, 0.0)
        """Training seconds of what has ended, by family."""
        self._running: dict[str, tuple[str, float, float]] = {}
        """By the trial's name: whose it is (empty: a baseline), when it began, and the seconds predicted."""
        self.waiting: dict[str, float] = {}
        """Predicted seconds of the baselines that wait, by family."""
        self.has_plan = dict.fromkeys(self._used, True)
        """Whether planned trainings of a family have still to begin."""
        self.has_more = dict.fromkeys(self._used, True)
        """Whether any training of a family may begin, planned or not."""

    @property
    def families(self) -> int:
        """How many there are."""
        return len(self._used)

    @property
    def workers(self) -> int:
        """How many there are now: on a Ray cluster they come and go."""
        return self._workers()

    def after(self) -> float:
        """Seconds that registering and judging take once everything is trained."""
        slowness = min(max(1.0, min(self.slowness.values(), default=1.0)), MOST_SLOWER)
        return min(self._after * slowness, max(self._after, MOST_AFTER * 60.0 * self.minutes))

    def left(self) -> float:
        """Seconds until everything must be trained."""
        return self._end - self.after() - self._clock()

    def running(self) -> float:
        """Seconds until all trainings that run now should have ended."""
        now = self._clock()
        return max((begun + predicted - now for _, begun, predicted in self._running.values()), default=0.0)

    def is_overdue(self) -> bool:
        """Whether what still trains would make the sweep noticeably late."""
        return -self.left() > OVERDUE * 60.0 * self.minutes

    def begin(self, trial: Trial, predicted: float) -> None:
        """A trial starts."""
        self._running[trial.name] = ("" if trial.baseline else trial.family, self._clock(), predicted)

    def end(self, trial: Trial, seconds: float) -> None:
        """A trial has ended, or its worker was lost; also for what had ended before the sweep was interrupted."""
        self._running.pop(trial.name, None)
        if trial.baseline is None or trial.kind is not Kind.TRIAL:
            self.add(trial.family, seconds)

    def add(self, family: str, seconds: float) -> None:
        """Counts training seconds of a family."""
        self._used[family] += seconds

    def used(self, family: str) -> float:
        """Training seconds of a family so far, running trainings included."""
        now = self._clock()
        return self._used[family] + sum(now - begun for owner, begun, _ in self._running.values() if owner == family)

    def share(self, family: str) -> float:
        """Training seconds of a family from the beginning to the end, as it looks now."""
        now = self._clock()
        baselines = sum(self.waiting.values()) + sum(
            max(0.0, begun + predicted - now) for owner, begun, predicted in self._running.values() if not owner
        )
        free = max(0.0, self.workers * self.left() - baselines)
        return (free + sum(map(self.used, self._used))) / len(self._used)


class Speed:
    """How much slower this machine trains a family than the reference machine, estimated from what it has trained so far.

    Baselines count until a first training of the search has ended. After that only the search counts: its networks are more
    like those to come."""

    def __init__(self, usual: Callable[[], float] = lambda: 1.0) -> None:
        """usual: what is expected before a first training has ended."""
        self._usual = usual
        self._baselines, self._searched = _Sums(), _Sums()

    def add(self, trial: Trial, predicted: float, seconds: float) -> None:
        """Counts a training that had been predicted to take so long on the reference machine."""
        (self._searched if trial.baseline is None else self._baselines).add(predicted, max(0.0, seconds - START_SECONDS))

    def seconds(self, predicted: float) -> float:
        """Of a training that takes `predicted` seconds on the reference machine."""
        return START_SECONDS + predicted * self.factor()

    def factor(self) -> float:
        found = self._searched if self._searched.count else self._baselines
        return found.ratio() if found.count else self._usual()


class _Sums:
    """Predicted and actual seconds, added up. The reference machine's speed counts like TRUST seconds of training."""

    def __init__(self) -> None:
        self.count = 0
        self._predicted = self._actual = TRUST

    def add(self, predicted: float, actual: float) -> None:
        self.count += 1
        self._predicted += predicted
        self._actual += actual

    def ratio(self) -> float:
        return self._actual / self._predicted
