"""One family's study: its baselines, its search, and what of its budget is spent."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence

from digitsweep.comparison import best_of
from digitsweep.experiment import Experiment
from digitsweep.history import SearchHistory, TrialPoint
from digitsweep.params import Params
from digitsweep.results import Epoch, Trial, TrialRecord, TrialResult, TrialState
from digitsweep.search import Search
from digitsweep.source import INTERRUPTED, SPENT, Verdict, trial_seed
from digitsweep.spending import Spending, Sums

PRUNED = "pruned: behind the others at this epoch"


class Study:
    """Says which trial is next, and whether one should stop. Baselines come first, are whole and cost no budget."""

    def __init__(self, experiment: Experiment, family: str, side: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.family = family
        self.records: list[TrialRecord] = []
        self._budget = experiment.budget
        self._metric = experiment.objective.metric
        self._seed = experiment.seed
        self._history: list[TrialPoint] = []
        self._search = Search(experiment, family, lambda params: params.smallest_image() <= side)
        self._spending = Spending(experiment.budget, clock)
        self._running: dict[int, tuple[Trial, float]] = {}
        """The searched trials that run, by number, and when they started."""
        self._pruned_at: dict[int, Epoch] = {}
        """The running trials that were told to stop as they were behind, and the epoch that they end with."""
        self._overdrawn: set[int] = set()
        self._reported: set[int] = set()
        """The trials that have told of an epoch."""
        self._best: int | None = None
        """Where in the records the best trial so far is."""
        self._whole = Sums()
        """What the baselines that ended took."""
        self._whole_running: dict[int, Trial] = {}
        self._whole_cost = 0.0
        """Of the baselines that ended."""
        self._exhausted = False
        self._number = 0
        self._side = side
        self._baselines: list[Trial] = []
        """The first to start is the last."""
        for name, baseline in experiment.families[family].baselines.items():  # type: ignore[index]
            params = baseline.typed()
            self._search.seen(params)
            self._baselines.append(self._trial(params, baseline.epochs or self._budget.epochs, name))
        self._again: list[Trial] = []
        """Drawn before the sweep was broken off, and to be trained again; the first to start is the last."""
        self._lost: set[int] = set()
        """Those of them that had been complete: they are trained to the end, which they had come to before."""
        self._baselines.sort(key=self._cost, reverse=bool(self._budget.trials))

    def urgency(self) -> float:
        """Where a search follows, which fills what the workers have left, the shortest baseline comes first: there is soon
        something to compare with. Where none does, the longest, so that no worker waits for it at the end."""
        if not self._baselines:
            return 0.0
        cost = self._cost(self._baselines[-1])
        return 1.0 / cost if self._budget.trials else cost

    def next_trial(self) -> Trial | None:
        """The trial to start now; None where there is none, or the budget does not allow one."""
        if self._baselines:
            baseline = self._baselines.pop()
            self._whole_running[baseline.number] = baseline
            return baseline
        if self._again:
            return self._start(self._again.pop())
        if self._exhausted or not self._spending.allows_another():
            return None
        params = self._search.ask(self._number)
        if params is None:
            self._exhausted = True
            return None
        drawn = self._search.drawn(self._number)
        return self._start(dataclasses.replace(self._trial(params, self._budget.epochs, None), drawn=drawn))

    def restore(self, ended: Sequence[TrialRecord], cut: Sequence[Trial], lost: Sequence[Trial] = ()) -> None:
        """Goes on from what a sweep had done when it was broken off.

        ended: in the order in which they ended; cut: begun and not ended; lost: complete, but without the learned numbers
        that are needed. Both are the next to be trained."""
        trials = sorted([*(each.trial for each in ended), *cut, *lost], key=lambda each: each.number)
        self._lost = {each.number for each in lost}
        known = {each.trial.number for each in ended}
        self._number = max([self._number, *(each.number + 1 for each in trials)])
        self._baselines = [each for each in self._baselines if each.number not in known]
        for trial in trials:
            if trial.baseline is None:
                self._search.resume(trial.number, trial.params, trial.drawn)
        for record in ended:
            if record.trial.baseline is None:
                self._spending.started += 1
                for each in record.result.epochs:
                    self._search.report(record.trial.number, each.epoch, getattr(each, self._metric))
            self._note(record)
        self._again = [each for each in reversed(trials) if each.baseline is None and each.number not in known]

    def end_search(self) -> None:
        """Draws nothing more; what is to be trained again still is."""
        self._exhausted = True

    def _start(self, trial: Trial) -> Trial:
        self._running[trial.number] = (trial, self._spending.begin())
        return trial

    def share(self) -> float:
        """How much of the budget is used, 0 to 1: the larger of the shares of trials and of seconds."""
        if self._exhausted or not self._budget.trials:
            return 1.0
        return self._spending.share()

    def seconds_left(self) -> float:
        """Training seconds that are still to come, as far as can be known: from the mean of the trials that ended, and from
        what the baselines that ended cost; infinite while none of them has."""
        whole = self._whole
        costs = sum(map(self._cost, self._baselines)) + 0.5 * sum(map(self._cost, self._whole_running.values()))
        unknown = costs * (whole.seconds / self._whole_cost if whole.trials else math.inf) if costs else 0.0
        return unknown + (0.0 if self._exhausted else self._spending.seconds_left())

    def epoch(self, trial: Trial, epoch: Epoch) -> Verdict:
        """Notes an epoch; what is to be done about it.

        What a worker trains on after the study has pruned its trial does not count, so that how fast it hears of that has no
        say in the results."""
        if trial.baseline is not None:
            return Verdict.GO_ON
        if trial.number in self._pruned_at:
            return Verdict.TOO_LATE
        metrics = epoch.metrics
        self._reported.add(trial.number)
        prune = self._search.report(trial.number, metrics.epoch, getattr(metrics, self._metric))
        if not prune or metrics.epoch == trial.epochs or trial.number in self._overdrawn | self._lost:
            return Verdict.GO_ON
        self._pruned_at[trial.number] = epoch
        return Verdict.STOP

    def overdrawn(self) -> list[Trial]:
        """The trials that should stop now, because the family's seconds are spent; each is named once.

        A trial ends with its first epoch at the earliest, so that it has something to tell."""
        if not self._spending.is_spent():
            return []
        found = [
            trial
            for number, (trial, _) in self._running.items()
            if number in self._reported and number not in self._overdrawn | self._lost and number not in self._pruned_at
        ]
        self._overdrawn |= {trial.number for trial in found}
        return found

    def ended(self, trial: Trial, result: TrialResult) -> TrialRecord:
        """Notes how a trial ended. One that stopped without the study's word was interrupted: FAIL."""
        pruned_at = self._pruned_at.pop(trial.number, None) if trial.baseline is None else None
        if pruned_at is not None:
            result = dataclasses.replace(
                result,
                state=TrialState.PRUNED,
                epochs=result.epochs[: pruned_at.metrics.epoch],
                predictions=pruned_at.predictions,
                weights=None,
                reason=PRUNED,
            )
        elif result.state is TrialState.PRUNED:
            spent = trial.number in self._overdrawn
            state = TrialState.PRUNED if spent else TrialState.FAIL
            result = dataclasses.replace(result, state=state, reason=SPENT if spent else INTERRUPTED)
        if trial.baseline is None:
            _, begun = self._running.pop(trial.number)
            self._spending.end(begun)
        else:
            self._whole_running.pop(trial.number, None)
        return self._note(TrialRecord(trial, result))

    def _note(self, record: TrialRecord) -> TrialRecord:
        """Counts what has ended; gives it back without learned numbers where nobody will ask for them."""
        trial, result = record.trial, record.result
        if trial.baseline is None:
            value = result.last(self._metric) if result.state is TrialState.COMPLETE else None
            self._search.tell(trial.number, result.state, value)
            self._history.append(self._point(trial, result))
        else:
            self._whole_cost += self._cost(trial)
        (self._spending.ended if trial.baseline is None else self._whole).add(result)
        return self._keep(record)

    def history(self) -> SearchHistory:
        """What the search has done so far."""
        trials = tuple(self._history)
        searched = self._search
        return SearchHistory(self.family, self._metric, trials, searched.importance(), searched.log_scaled())

    def _point(self, trial: Trial, result: TrialResult) -> TrialPoint:
        return TrialPoint(
            number=trial.number,
            state=result.state.value,
            params=trial.drawn,
            values=tuple(float(getattr(each, self._metric)) for each in result.epochs),
            ended=self._spending.ended.seconds + result.train_seconds,
        )

    def _keep(self, record: TrialRecord) -> TrialRecord:
        """Keeps learned numbers and predictions of the baselines and of the best trial so far only."""
        place = len(self.records)
        self.records.append(record)
        rivals = [self.records[each] for each in (self._best, place) if each is not None]
        loser: int | None = place
        if best_of(rivals, self._metric) is record:
            loser, self._best = self._best, place
        if loser is not None and (worse := self.records[loser]).trial.baseline is None:
            result = dataclasses.replace(worse.result, weights=None, predictions=None)
            self.records[loser] = TrialRecord(worse.trial, result)
        if self._best == place or record.trial.baseline is not None:
            return record
        return TrialRecord(record.trial, dataclasses.replace(record.result, weights=None))

    def epoch_seconds(self) -> float:
        """What an epoch of the search has taken so far, in the mean; 0 while there was none."""
        return self._spending.epoch_seconds()

    def _cost(self, trial: Trial) -> float:
        return float(trial.epochs * trial.params.operations(self._side))

    def _trial(self, params: Params, epochs: int, baseline: str | None) -> Trial:
        number = self._number
        self._number += 1
        return Trial(number, params, trial_seed(self._seed, self.family, number), epochs, baseline)
