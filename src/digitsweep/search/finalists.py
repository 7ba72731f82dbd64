"""Finalists: the best few configurations of a family, trained again on fresh seeds; then the winner, confirmed and refitted.

The best of many noisy trials owes part of its score to luck. Fresh seeds choose among the finalists, and the best of their
means again owes a little to luck. So the winner is trained on seeds that choose nothing: only their mean is unbiased.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

import numpy as np

from digitsweep.config.experiment import Budget, Experiment, FinalistsSpec
from digitsweep.families import Shape
from digitsweep.search.budget import CostModel
from digitsweep.search.scheduler import Scheduler, SchedulerDecision
from digitsweep.trial import (
    INTERRUPTED,
    LATE,
    SPENT,
    EpochMetrics,
    Kind,
    SearchHistory,
    Trial,
    TrialRecord,
    TrialResult,
    TrialState,
    best_of,
    in_order,
    sign_of,
    trial_seed,
)

KINDS = (Kind.FINALIST, Kind.CONFIRMATION, Kind.REFIT)
"""The kinds of trainings that follow the search."""


MOST_CONFIRMATIONS = 5
"""The most confirmation seeds of a winner, if time is left after the planned trainings."""


def planned_seconds(experiment: Experiment, family: str, epoch_seconds: float) -> float:
    """Training seconds of a family's finalists, if an epoch takes this long; for a budget in seconds."""
    spec = experiment.finalists
    if spec is None:
        return 0.0
    assert isinstance(experiment.budget, Budget)
    return epoch_seconds * spec.epochs_of(family, experiment.budget.epochs) * spec.trainings


class Pace(Protocol):
    """How long final trainings take, and whether there is time for them."""

    def epochs(self, record: TrialRecord) -> float:
        """Of a configuration's final trainings, where the experiment does not say; record: its training in the search."""

    def seconds(self, trial: Trial) -> float:
        """That a training will take; inf while nobody can know."""

    def pays_for(self, trial: Trial, *, extra: bool = False) -> bool:
        """Whether there is time for a training; extra: for one beyond the plan."""

    def left(self) -> float:
        """The family's part of the training seconds that are left; inf if only its trainings tell."""

    def begins(self, trial: Trial) -> None:
        """Counts a training that begins."""

    def ended(self, trial: Trial, seconds: float) -> None:
        """Counts a training that took so long, or was lost after so long."""

    def waiting(self, *, planned: bool, more: bool) -> None:
        """Records whether planned trainings of the family have yet to begin, and whether any training may."""

    def may_exceed_plan(self) -> bool:
        """Whether trainings beyond the plan may begin."""

    def is_overdue(self) -> bool:
        """Whether what still trains must stop."""

    def priority(self, trial: Trial) -> float:
        """How soon a training should start, beside what the other families train."""

    def progress(self, begun: float) -> float:
        """How much of its work a family has begun, 0 to 1; begun: the part of the final trainings."""


class Unhurried:
    """The pace without a time limit: every finalist is trained."""

    def __init__(self, shape: Shape) -> None:
        """shape: of an image."""
        self._costs = CostModel(shape)

    def epochs(self, record: TrialRecord) -> float:
        return record.trial.epochs

    def seconds(self, trial: Trial) -> float:
        return self._costs.seconds([trial])

    def pays_for(self, trial: Trial, *, extra: bool = False) -> bool:
        return not extra

    def left(self) -> float:
        return math.inf

    def begins(self, trial: Trial) -> None:
        pass

    def ended(self, trial: Trial, seconds: float) -> None:
        self._costs.add(trial, seconds)

    def waiting(self, *, planned: bool, more: bool) -> None:
        pass

    def may_exceed_plan(self) -> bool:
        return False

    def is_overdue(self) -> bool:
        return False

    def priority(self, trial: Trial) -> float:
        return self.seconds(trial)

    def progress(self, begun: float) -> float:
        return begun


@dataclass(frozen=True)
class Candidate:
    """A configuration of the search, trained on selection seeds."""

    search: TrialRecord
    selection: tuple[TrialRecord, ...]
    """The complete ones, by seed."""

    def mean(self, metric: str, seeds: int) -> float:
        """Of the metric over this many selection seeds, or in the search if there are none; nan if one is missing."""
        if not seeds:
            return self.search.result.last(metric)
        return fmean(each.result.last(metric) for each in self.selection) if len(self.selection) == seeds else math.nan


@dataclass(frozen=True)
class Winner:
    """A family's best configuration, and the training of it that is registered."""

    search: TrialRecord
    """The trial that found it."""
    trained: TrialRecord
    """What is registered: the refit; else the first confirmation; else the first selection seed; else the trial itself."""
    finalist: bool = False
    """Whether it was trained again on fresh seeds."""
    confirmations: tuple[TrialRecord, ...] = ()
    """The complete ones, by seed."""

    @property
    def refitted(self) -> bool:
        return self.trained.trial.kind is Kind.REFIT


def _followed(winner: Candidate, refit: Trial) -> tuple[float, ...]:
    """The validation losses that the winner's refit follows: those of an earlier training, stretched if the refit is longer.
    Empty if its schedule needs none, or if they are lost."""
    earlier = next(iter(winner.selection), winner.search)
    losses = np.array([each.val_loss for each in earlier.result.epochs])
    if refit.params.schedule != "plateau" or len(losses) < earlier.trial.epoch_count or not np.isfinite(losses).all():
        return ()
    count = max(refit.epoch_count, len(losses))
    return tuple(np.interp(np.linspace(0.0, 1.0, count), np.linspace(0.0, 1.0, len(losses)), losses).tolist())


class Finalists:
    """The scheduler of a family's finalists. Every training is whole; nothing is pruned."""

    def __init__(
        self, experiment: Experiment, family: str, spec: FinalistsSpec, records: Sequence[TrialRecord], pace: Pace
    ) -> None:
        """records: of the family's search."""
        self.family, self.metric = family, experiment.objective.metric
        self.records: list[TrialRecord] = []
        self._spec, self._pace, self._seed = spec, pace, experiment.seed
        self._epochs: dict[int, float] = {}
        """Of each configuration's final trainings, by its number."""
        self._chosen = candidates_among(records, self.metric, spec.top)
        seeds = range(1, self._spec.seeds + 1)
        self._planned = [self._trial(each, Kind.FINALIST, seed) for seed in seeds for each in self._chosen]
        """A stack, the longest training on top."""
        self._planned.sort(key=self._pace.seconds)
        self._running: dict[str, Trial] = {}
        self._stopped: set[str] = set()
        self._has_chosen = False
        """Whether the trainings that follow the choice of the winner have been planned."""
        self._choose()

    def restore(self, ended: Sequence[TrialRecord]) -> None:
        """Goes on from what an interrupted sweep had trained."""
        known = {each.trial.name for each in ended}
        self._epochs |= {each.trial.number: each.trial.epochs for each in ended}
        if self._has_chosen:  # what follows the choice is planned anew below, without what has ended
            self._has_chosen, self._planned = False, []
        self._planned = [each for each in self._planned if each.name not in known]
        for record in ended:
            self._add(record)
        self._choose()

    def next_trial(self) -> Trial | None:
        """The longest training that is left and that there is time for. The winner's follow once the last selection seed has
        ended; confirmation seeds beyond the plan, if there is time, come after the plans of all families."""
        while self._planned and not self._pace.pays_for(self._planned[-1]):
            self._planned.pop()
        self._say_what_waits()
        trial = None
        if self._planned:
            trial = self._planned.pop()
        elif self._pace.may_exceed_plan():
            trial = self._extra()
        if trial is not None:
            self._running[trial.name] = trial
            self._pace.begins(trial)
            self._say_what_waits()
        return trial

    def _say_what_waits(self) -> None:
        planned = bool(self._planned) or not self._has_chosen
        self._pace.waiting(planned=planned, more=planned or self._extra() is not None)

    def _extra(self) -> Trial | None:
        winner = self.winner() if self._has_chosen else None
        if winner is None or not self._spec.confirm:
            return None
        names = {each.trial.name for each in self.records} | self._running.keys()
        for repetition in range(1, MOST_CONFIRMATIONS + 1):
            trial = self._trial(winner.search, Kind.CONFIRMATION, repetition)
            if trial.name not in names:
                return trial if self._pace.pays_for(trial, extra=True) else None
        return None

    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> SchedulerDecision:
        return SchedulerDecision.CONTINUE

    def out_of_time(self) -> list[Trial]:
        if not self._pace.is_overdue():
            return []
        # A refit goes on: it is what is registered.
        running = (each for each in self._running.values() if each.kind is not Kind.REFIT)
        found = [each for each in running if each.name not in self._stopped]
        self._stopped |= {each.name for each in found}
        return found

    def attempt_ended(self, trial: Trial, seconds: float) -> None:
        self._planned.append(self._running.pop(trial.name))
        self._pace.ended(trial, seconds)
        self._say_what_waits()

    def needs_weights(self, trial: Trial, result: TrialResult) -> bool:
        return True

    def trial_ended(self, trial: Trial, result: TrialResult) -> TrialRecord:
        del self._running[trial.name]
        if result.state is TrialState.PRUNED:
            reason = LATE if trial.name in self._stopped else INTERRUPTED
            result = dataclasses.replace(result, state=TrialState.FAIL, weights=None, reason=reason)
        record = self._add(TrialRecord(trial, result))
        self._choose()
        self._say_what_waits()
        return record

    def _add(self, record: TrialRecord) -> TrialRecord:
        self.records.append(record)
        self._pace.ended(record.trial, record.result.train_seconds)
        return record

    def _choose(self) -> None:
        """Plans the winner's confirmations and its refit, once all selection seeds have ended."""
        if self._has_chosen or self._planned or self._running:
            return
        self._has_chosen = True
        winner = self.winner()
        if winner is None:
            return
        known = {each.trial.name for each in self.records}
        wanted = [self._trial(winner.search, Kind.CONFIRMATION, number) for number in range(self._spec.confirm, 0, -1)]
        if self._spec.refit:  # on top: it has more images than a confirmation, so it takes longest
            refit = self._trial(winner.search, Kind.REFIT, 0)
            wanted.append(dataclasses.replace(refit, val_losses=_followed(winner, refit)))
        self._planned = [each for each in wanted if each.name not in known]

    def priority(self) -> float:
        """The longest training comes first, so that none is left at the end."""
        return self._pace.priority(self._planned[-1]) if self._planned else 0.0

    def progress(self) -> float:
        """The share of the trainings that have begun."""
        begun = len(self.records) + len(self._running)
        left = len(self._planned) + self._unplanned()
        return self._pace.progress(begun / (begun + left) if left else 1.0)

    def seconds_left(self) -> float:
        """Of all trainings, those that wait for the choice of the winner included."""
        known = self._pace.left()
        if known < math.inf:
            return known
        followed = [self._trial(self._chosen[0], Kind.REFIT, 0)] * self._unplanned() if self._chosen else []
        waiting = sum(map(self._pace.seconds, [*self._planned, *followed]))
        return waiting + 0.5 * sum(map(self._pace.seconds, self._running.values()))

    def notices(self) -> Sequence[str]:
        return ()

    def _unplanned(self) -> int:
        """Trainings that wait for the choice of the winner."""
        return 0 if self._has_chosen else self._spec.confirm + self._spec.refit

    def candidates(self) -> list[Candidate]:
        """The configurations, the best mean first, ties by fewer weights; those that lack a seed last."""
        found = [Candidate(each, self.complete(Kind.FINALIST, each)) for each in self._chosen]
        sign = sign_of(self.metric)

        def order(candidate: Candidate) -> tuple[bool, float, int, int]:
            mean = candidate.mean(self.metric, self._spec.seeds)
            return math.isnan(mean), sign * mean, candidate.search.result.weight_count, candidate.search.trial.number

        return sorted(found, key=order)

    def winner(self) -> Candidate | None:
        """The best mean over the selection seeds; None if no configuration has finished all of them."""
        first = next(iter(self.candidates()), None)
        return first if first and not math.isnan(first.mean(self.metric, self._spec.seeds)) else None

    def complete(self, kind: Kind, source: TrialRecord) -> tuple[TrialRecord, ...]:
        """The complete trainings of one kind of a searched configuration, by seed."""
        found = [each for each in self.records if each.trial.kind is kind and each.trial.number == source.trial.number]
        complete = [each for each in found if each.result.state is TrialState.COMPLETE]
        return tuple(sorted(complete, key=lambda each: each.trial.repetition))

    def _epochs_of(self, record: TrialRecord) -> float:
        """Of a configuration's final trainings, the same for all."""
        if record.trial.number not in self._epochs:
            self._epochs[record.trial.number] = self._spec.epochs_of(self.family, self._pace.epochs(record))
        return self._epochs[record.trial.number]

    def _trial(self, record: TrialRecord, kind: Kind, repetition: int) -> Trial:
        return dataclasses.replace(
            record.trial,
            kind=kind,
            repetition=repetition,
            baseline=None,
            drawn={},
            rung=0,
            proposed_by="",
            ladder=(),
            left_out=0,
            epochs=self._epochs_of(record),
            # All configurations get the same seeds, so that a lucky seed does not decide between them.
            seed=trial_seed(self._seed, self.family, f"{kind} {repetition}"),
        )


class Search(Scheduler, Protocol):
    """The scheduler of a family's search: a Study, or a PromotionStudy."""

    family: str
    shape: Shape
    """Of the images, pixels."""
    records: list[TrialRecord]

    def restore(
        self, ended: Sequence[TrialRecord], cut: Sequence[Trial], lost: Sequence[Trial] = (), attempt_seconds: float = 0.0
    ) -> None:
        """Goes on from what an interrupted sweep had done.

        ended: in the order in which they ended; cut: begun and not ended; lost: complete, but without the weights that are
        needed. Cut and lost trials are the next to be trained. attempt_seconds: of searched trials' attempts that did not
        end; they stay spent."""

    def is_over(self) -> bool:
        """Whether nothing runs and nothing more is trained."""

    def end_search(self) -> None:
        """Draws nothing more; what is planned is still trained."""

    def attempt_seconds(self) -> float:
        """Training seconds of the searched trials' attempts that did not end."""

    def history(self) -> SearchHistory:
        """What the search has done so far."""


class Succession:
    """The scheduler of a family: its search, then its finalists."""

    def __init__(self, search: Search, begin_finalists: Callable[[], Finalists] | None) -> None:
        """begin_finalists: makes the finalists once the search is over; None if there are none."""
        self.search, self._begin_finalists = search, begin_finalists
        self.finalists: Finalists | None = None

    @property
    def followed(self) -> list[TrialRecord]:
        """The trainings that followed the search."""
        return self.finalists.records if self.finalists else []

    def end_search(self) -> None:
        """Begins the finalists although the search may not be over, so that those of a sweep that is interrupted again
        count."""
        if self.finalists is None and self._begin_finalists is not None:
            self.finalists = self._begin_finalists()

    def _now(self) -> Scheduler:
        if self.search.is_over():
            self.end_search()
        return self.finalists or self.search

    def next_trial(self) -> Trial | None:
        trial = self._now().next_trial()
        # A search may find out only now that it is over.
        return trial if trial is not None or self.finalists is not None else self._now().next_trial()

    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> SchedulerDecision:
        return self._now().epoch_ended(trial, metrics)

    def out_of_time(self) -> list[Trial]:
        return self._now().out_of_time()

    def attempt_ended(self, trial: Trial, seconds: float) -> None:
        self._now().attempt_ended(trial, seconds)

    def needs_weights(self, trial: Trial, result: TrialResult) -> bool:
        return self._now().needs_weights(trial, result)

    def trial_ended(self, trial: Trial, result: TrialResult) -> TrialRecord:
        return self._now().trial_ended(trial, result)

    def priority(self) -> float:
        return self._now().priority()

    def progress(self) -> float:
        return self._now().progress()

    def seconds_left(self) -> float:
        return self._now().seconds_left()

    def notices(self) -> Sequence[str]:
        return self.search.notices()


def winner_of(records: Sequence[TrialRecord], finalists: Finalists | None, metric: str) -> Winner | None:
    """The winner of the finalists; if there is none, the best trial of the search."""
    candidate = finalists.winner() if finalists else None
    if finalists is not None and candidate is not None:
        confirmations = finalists.complete(Kind.CONFIRMATION, candidate.search)
        followed = (*finalists.complete(Kind.REFIT, candidate.search), *confirmations, *candidate.selection)
        if followed:
            return Winner(candidate.search, followed[0], finalist=True, confirmations=confirmations)
    best = best_of(records, metric)
    return Winner(best, best) if best is not None and best.result.weights is not None else None


def candidates_among(records: Sequence[TrialRecord], metric: str, most: int) -> list[TrialRecord]:
    """The trials of a family's search that become its finalists, the best first."""
    return _distinct(in_order(list(filter(_is_candidate, records)), metric))[:most]


def _is_candidate(record: TrialRecord) -> bool:
    """Whether a trial may become a finalist: it was complete, or only the family's seconds stopped it. If they pay for few
    trials, these are the best; a finalist is trained whole in any case."""
    result = record.result
    return result.state is TrialState.COMPLETE or (result.reason == SPENT and bool(result.epochs))


def _distinct(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The first of each configuration: a baseline may be trained twice, for two numbers of epochs."""
    found: dict[object, TrialRecord] = {}
    for record in records:
        found.setdefault(record.trial.params.key(), record)
    return list(found.values())
