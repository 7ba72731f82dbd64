"""One family's study: its baselines, its search, and how much of its budget is used."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from digitsweep.config.experiment import Budget, Experiment
from digitsweep.families import Params, Shape
from digitsweep.search.budget import BudgetMeter, CostModel
from digitsweep.search.finalists import planned_seconds
from digitsweep.search.sampler import Sampler
from digitsweep.search.scheduler import Failures, SchedulerDecision
from digitsweep.trial import (
    INTERRUPTED,
    SPENT,
    EpochMetrics,
    SearchHistory,
    Trial,
    TrialLog,
    TrialPoint,
    TrialRecord,
    TrialResult,
    TrialState,
    trial_seed,
)

PRUNED = "pruned: behind the others at this epoch"


@dataclass
class _Running:
    trial: Trial
    has_epoch: bool = False
    stopped: str = ""
    """Why it was stopped, if it was."""


class Study:
    """The scheduler of a family's search. Baselines come first, are trained whole and cost no budget."""

    def __init__(
        self, experiment: Experiment, family: str, shape: Shape, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """shape: of an image."""
        self.family, self.shape = family, shape
        assert isinstance(experiment.budget, Budget)
        self._experiment, self._budget = experiment, experiment.budget
        self._log = TrialLog(experiment.objective.metric)
        self.records = self._log.records
        self._metric = experiment.objective.metric
        self._sampler = Sampler(experiment, family, lambda params: params.smallest_image() <= shape[0])
        self._meter = BudgetMeter(self._budget, clock)
        self._baseline_costs = CostModel(shape)
        self._history: list[TrialPoint] = []
        self._used = 0.0
        """Training seconds when the last trial ended."""
        self._running: dict[int, _Running] = {}
        self._exhausted = False
        """Whether nothing more is drawn."""
        self._failures = Failures(family)
        self._number = 0
        self._lost: set[int] = set()
        """Trials that had been complete before their weights were lost: they are trained whole again."""
        self._planned: list[Trial] = []
        """What is to be trained before anything is drawn. A stack: popped from the end."""
        for name, baseline in experiment.families[family].baselines.items():
            params = baseline.params
            self._sampler.seen(params)
            self._planned.append(self._trial(params, experiment.baseline_epochs(baseline), name))
        self._planned.sort(key=self._baseline_costs.cost, reverse=bool(self._budget.trials))

    def restore(
        self, ended: Sequence[TrialRecord], cut: Sequence[Trial], lost: Sequence[Trial] = (), attempt_seconds: float = 0.0
    ) -> None:
        """Goes on from what an interrupted sweep had done; `Search.restore` says what the parts are."""
        self._meter.attempt_seconds += attempt_seconds
        self._lost = {each.number for each in lost}
        known = {each.trial.number for each in ended}
        trials = sorted([*(each.trial for each in ended), *cut, *lost], key=lambda each: each.number)
        self._number = max([self._number, *(each.number + 1 for each in trials)])
        searched = [each for each in trials if each.baseline is None]
        self._meter.drawn = len(searched)
        for trial in searched:
            self._sampler.resume(trial.number, trial.params, trial.drawn)
        for record in ended:
            if record.trial.baseline is None:
                for each in record.result.epochs:
                    self._sampler.report(record.trial.number, each.epoch, getattr(each, self._metric))
                self._used = max(self._used, record.used or 0.0)
            self._add(record)
        again = [each for each in reversed(searched) if each.number not in known]
        self._planned = again + [each for each in self._planned if each.number not in known]

    def is_over(self) -> bool:
        """Whether nothing runs and nothing more is trained."""
        return not self._running and not self._planned and (self._exhausted or not self._meter.allows_another())

    def end_search(self) -> None:
        """Draws nothing more; what is planned is still trained."""
        self._exhausted = True

    def next_trial(self) -> Trial | None:
        """What is planned; then what the sampler draws, as far as the budget allows."""
        trial = self._planned.pop() if self._planned else self._draw()
        if trial is not None:
            self._running[trial.number] = _Running(trial)
            if trial.baseline is None:
                self._meter.begin(trial.number)
        return trial

    def _draw(self) -> Trial | None:
        if self._exhausted or not self._meter.allows_another():
            return None
        params = self._sampler.draw(self._number)
        if params is None:
            self._exhausted = True
            return None
        self._meter.drawn += 1
        drawn = self._sampler.drawn(self._number)
        return dataclasses.replace(self._trial(params, self._budget.epochs, None), drawn=drawn)

    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> SchedulerDecision:
        running = self._running[trial.number]
        running.has_epoch = True
        if trial.baseline is not None:
            return SchedulerDecision.CONTINUE
        is_behind = self._sampler.report(trial.number, metrics.epoch, getattr(metrics, self._metric))
        if not is_behind or metrics.epoch == trial.epochs or running.stopped or trial.number in self._lost:
            return SchedulerDecision.CONTINUE
        running.stopped = PRUNED
        return SchedulerDecision.STOP

    def out_of_time(self) -> list[Trial]:
        """All running trials of the search, once the seconds are spent. Each finishes its first epoch, so that it has a
        value."""
        if not self._meter.is_spent():
            return []
        found = [
            each
            for number, each in self._running.items()
            if each.trial.baseline is None and each.has_epoch and not each.stopped and number not in self._lost
        ]
        for each in found:
            each.stopped = SPENT
        return [each.trial for each in found]

    def attempt_ended(self, trial: Trial, seconds: float) -> None:
        del self._running[trial.number]
        self._planned.append(trial)
        if trial.baseline is None:
            self._meter.attempt_ended(trial.number, seconds)

    def needs_weights(self, trial: Trial, result: TrialResult) -> bool:
        return self._log.keeps_weights(TrialRecord(trial, result))

    def trial_ended(self, trial: Trial, result: TrialResult) -> TrialRecord:
        stopped = self._running.pop(trial.number).stopped
        if result.state is TrialState.PRUNED:
            state = TrialState.PRUNED if stopped else TrialState.FAIL
            result = dataclasses.replace(result, state=state, reason=stopped or INTERRUPTED)
        return self._add(TrialRecord(trial, result))

    def _add(self, record: TrialRecord) -> TrialRecord:
        """Counts what has ended. Returns it without weights unless they may be needed."""
        trial, result = record.trial, record.result
        if trial.baseline is not None:
            self._baseline_costs.add(trial, result.train_seconds)
            return self._log.add(record)
        self._exhausted |= self._failures.end_search(result)
        value = result.last(self._metric) if result.state is TrialState.COMPLETE else None
        self._sampler.tell(trial.number, result.state, value)
        self._meter.end(trial.number, result)
        if record.used is None:
            self._used = max(self._used, self._meter.seconds())
            record = dataclasses.replace(record, used=self._used)
        self._history.append(
            TrialPoint(
                number=trial.number,
                state=result.outcome,
                params=trial.drawn,
                values=tuple(float(getattr(each, self._metric)) for each in result.epochs),
                ended=record.used or 0.0,
            )
        )
        return self._log.add(record)

    def priority(self) -> float:
        """If a search follows, the shortest baseline comes first: there is soon something to compare with. If none follows,
        the longest does, so that no worker is left with it at the end."""
        if not self._planned or self._planned[-1].baseline is None:
            return 0.0
        cost = self._baseline_costs.cost(self._planned[-1])
        return 1.0 / cost if self._budget.trials else cost

    def progress(self) -> float:
        """The used share of the budget, 0 to 1."""
        return 1.0 if self._exhausted or not self._budget.trials else self._meter.progress()

    def seconds_left(self) -> float:
        """Of the baselines, the search, and the finalists that follow; inf until a first baseline has ended."""
        running = [each.trial for each in self._running.values() if each.trial.baseline is not None]
        baselines = self._baseline_costs.seconds([each for each in self._planned if each.baseline is not None], running)
        search = 0.0 if self._exhausted else self._meter.seconds_left()
        return baselines + search + planned_seconds(self._experiment, self.family, self._meter.epoch_seconds())

    def notices(self) -> list[str]:
        return self._failures.notices()

    def attempt_seconds(self) -> float:
        """Training seconds of the searched trials' attempts that did not end."""
        return self._meter.attempt_seconds

    def history(self) -> SearchHistory:
        """What the search has done so far."""
        sampler = self._sampler
        return SearchHistory(self.family, self._metric, tuple(self._history), sampler.importance(), sampler.log_scaled())

    def _trial(self, params: Params, epochs: int, baseline: str | None) -> Trial:
        number = self._number
        self._number += 1
        return Trial(number, params, trial_seed(self._experiment.seed, self.family, number), epochs, baseline)
