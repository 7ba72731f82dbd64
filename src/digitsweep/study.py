"""One family's study: its baselines, its search, and what of its budget is spent."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import deque

from digitsweep.comparison import best_of
from digitsweep.experiment import Experiment
from digitsweep.params import Params
from digitsweep.results import EpochMetrics, Trial, TrialRecord, TrialResult, TrialState
from digitsweep.search import Search

INTERRUPTED = "the sweep was interrupted"
PRUNED = "pruned: behind the others at this epoch"
SPENT = "the family's seconds were spent"


def trial_seed(seed: int, family: str, number: int) -> int:
    """A trial's own seed: a function of the sweep's seed, the family and the number alone."""
    digest = hashlib.sha256(f"{seed}/{family}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


class Study:
    """Says which trial is next, and whether one should stop. Baselines come first, are whole and cost no budget."""

    def __init__(self, experiment: Experiment, family: str, side: int) -> None:
        self.family = family
        self.records: list[TrialRecord] = []
        self._budget = experiment.budget
        self._metric = experiment.objective.metric
        self._seed = experiment.seed
        self._search = Search(experiment, family, lambda params: params.smallest_image() <= side)
        self._running: dict[int, float] = {}
        """Seconds that were reported by the searched trials that run, by number."""
        self._stopping: dict[int, str] = {}
        self._used = 0.0
        self._started = 0
        self._exhausted = False
        self._number = 0
        self._baselines: deque[Trial] = deque()
        for name, baseline in experiment.families[family].baselines.items():  # type: ignore[index]
            params = baseline.typed()
            self._search.seen(params)
            self._baselines.append(self._trial(params, baseline.epochs or self._budget.epochs, name))

    @property
    def baselines_left(self) -> int:
        return len(self._baselines)

    def next_trial(self) -> Trial | None:
        """The trial to start now; None where there is none, or the budget does not allow one."""
        if self._baselines:
            return self._baselines.popleft()
        if self._exhausted or self._started >= self._budget.trials or self._seconds() >= self._budget.seconds:
            return None
        params = self._search.ask(self._number)
        if params is None:
            self._exhausted = True
            return None
        trial = self._trial(params, self._budget.epochs, None)
        self._started += 1
        self._running[trial.number] = 0.0
        return trial

    def share(self) -> float:
        """How much of the budget is used, 0 to 1: the larger of the shares of trials and of seconds."""
        if self._exhausted or not self._budget.trials:
            return 1.0
        trials = (self._started - 0.5 * len(self._running)) / self._budget.trials
        return min(1.0, max(trials, self._seconds() / self._budget.seconds))

    def epoch(self, trial: Trial, metrics: EpochMetrics) -> bool:
        """Notes an epoch; True if the trial should stop now."""
        if trial.baseline is not None:
            return False
        self._running[trial.number] += metrics.epoch_seconds
        prune = self._search.report(trial.number, metrics.epoch, getattr(metrics, self._metric))
        if metrics.epoch == trial.epochs or trial.number in self._stopping:
            return False
        if prune:
            self._stopping[trial.number] = PRUNED
        elif self._seconds() >= self._budget.seconds:
            self._stopping[trial.number] = SPENT
        return trial.number in self._stopping

    def ended(self, trial: Trial, result: TrialResult) -> TrialRecord:
        """Notes how a trial ended. One that the worker stopped without the study's word was interrupted: FAIL."""
        if result.state is TrialState.PRUNED:
            reason = self._stopping.get(trial.number)
            state = TrialState.PRUNED if reason else TrialState.FAIL
            result = dataclasses.replace(result, state=state, reason=reason or INTERRUPTED)
        if trial.baseline is None:
            self._used += result.train_seconds
            self._running.pop(trial.number, None)
            value = result.last(self._metric) if result.state is TrialState.COMPLETE else None
            self._search.tell(trial.number, result.state, value)
        record = TrialRecord(trial, result)
        self.records.append(record)
        self._forget_weights()
        return record

    def _forget_weights(self) -> None:
        """Keeps the learned numbers of the baselines and of the best trial so far only."""
        best = best_of(self.records, self._metric)
        self.records = [
            each
            if each is best or each.trial.baseline is not None or each.result.weights is None
            else TrialRecord(each.trial, dataclasses.replace(each.result, weights=None))
            for each in self.records
        ]

    def _seconds(self) -> float:
        return self._used + sum(self._running.values())

    def _trial(self, params: Params, epochs: int, baseline: str | None) -> Trial:
        number = self._number
        self._number += 1
        return Trial(number, params, trial_seed(self._seed, self.family, number), epochs, baseline)
