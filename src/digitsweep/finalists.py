"""Finalists: the best few configurations of a family, trained again on fresh seeds; then the winner, refitted.

The best of many noisy trials owes part of its score to luck. Fresh seeds come after the choice: their mean flatters nobody.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from digitsweep.comparison import best_of, in_order
from digitsweep.experiment import Experiment, FinalistsSpec
from digitsweep.results import Epoch, Kind, Trial, TrialRecord, TrialResult, TrialState
from digitsweep.source import INTERRUPTED, SPENT, Verdict, trial_seed


def planned_seconds(experiment: Experiment, family: str, epoch_seconds: float) -> float:
    """Training seconds that a family's finalists will take, where an epoch takes so many."""
    spec = experiment.finalists
    if spec is None:
        return 0.0
    return epoch_seconds * spec.epochs_of(family, experiment.budget.epochs) * (spec.top * spec.seeds + spec.refit)


@dataclass(frozen=True)
class Candidate:
    """A configuration of the search with what its fresh seeds gave."""

    search: TrialRecord
    repetitions: tuple[TrialRecord, ...]
    """By seed; only complete ones count."""

    def mean(self, metric: str, seeds: int) -> float:
        """Of the metric over so many fresh seeds; nan where one of them is missing."""
        complete = [each.result.last(metric) for each in self.repetitions if each.result.state is TrialState.COMPLETE]
        return fmean(complete) if len(complete) == seeds else math.nan


@dataclass(frozen=True)
class Winner:
    """A family's best configuration, and the training of it that is put to work."""

    search: TrialRecord
    """The trial that found it."""
    repetitions: tuple[TrialRecord, ...]
    """Of fresh seeds; none where there were no finalists."""
    trained: TrialRecord
    """What is registered: the refit; else the first fresh seed, which nobody chose; else the trial itself."""

    @property
    def refitted(self) -> bool:
        return self.trained.trial.kind is Kind.REFIT

    def fresh_mean(self) -> float | None:
        """Validation accuracy over the fresh seeds."""
        return fmean(each.result.last("val_accuracy") for each in self.repetitions) if self.repetitions else None


class Finals:
    """One family's finalists. Hands out trainings as a study does, all of them whole; nothing here is pruned."""

    def __init__(self, experiment: Experiment, family: str, records: Sequence[TrialRecord], side: int) -> None:
        assert experiment.finalists is not None
        self.family = family
        self.records: list[TrialRecord] = []
        self._spec: FinalistsSpec = experiment.finalists
        self._metric = experiment.objective.metric
        self._seed = experiment.seed
        self._side = side
        self._chosen = _distinct(in_order(list(filter(_is_candidate, records)), self._metric))[: self._spec.top]
        self._waiting = [
            self._trial(each, Kind.FINALIST, repetition)
            for repetition in range(1, self._spec.seeds + 1)
            for each in self._chosen
        ]
        self._waiting.sort(key=self._cost)
        self._running: set[str] = set()
        self._seconds = 0.0
        self._cost_done = 0.0
        self._refitted = False

    def restore(self, ended: Sequence[TrialRecord]) -> None:
        """Goes on from what had been trained when the sweep was broken off."""
        for record in ended:
            self._waiting = [each for each in self._waiting if each.name != record.trial.name]
            self._refitted |= record.trial.kind is Kind.REFIT
            self._note(record)

    def urgency(self) -> float:
        """The longest training comes first, so that none is left at the end."""
        return self._cost(self._waiting[-1]) if self._waiting else 0.0

    def share(self) -> float:
        """Of the trainings, how many have begun."""
        planned = len(self._chosen) * self._spec.seeds
        return 1.0 - len(self._waiting) / planned if planned else 1.0

    def next_trial(self) -> Trial | None:
        """The longest training that is left; once all of them have ended, the winner's refit."""
        if self._waiting:
            trial = self._waiting.pop()
        else:
            winner = self.winner()
            if not self._spec.refit or self._refitted or self._running or winner is None:
                return None
            self._refitted = True
            trial = self._trial(winner.search, Kind.REFIT, 0)
        self._running.add(trial.name)
        return trial

    def seconds_left(self) -> float:
        """Training seconds still to come: what is left to multiply, at the pace so far; half of what runs is done."""
        if not self._cost_done:
            return 0.0
        runs = len(self._running) * self._cost_done / max(len(self.records), 1)
        refit = self._cost_done / len(self.records) if self._spec.refit and not self._refitted else 0.0
        return self._seconds / self._cost_done * (sum(map(self._cost, self._waiting)) + 0.5 * runs + refit)

    def epoch(self, trial: Trial, epoch: Epoch) -> Verdict:
        return Verdict.GO_ON

    def overdrawn(self) -> list[Trial]:
        return []

    def ended(self, trial: Trial, result: TrialResult) -> TrialRecord:
        """Notes how a training ended. One that stopped was interrupted: FAIL."""
        if result.state is TrialState.PRUNED:
            result = dataclasses.replace(result, state=TrialState.FAIL, weights=None, reason=INTERRUPTED)
        self._running.discard(trial.name)
        return self._note(TrialRecord(trial, result))

    def _note(self, record: TrialRecord) -> TrialRecord:
        self.records.append(record)
        self._seconds += record.result.train_seconds
        self._cost_done += self._cost(record.trial)
        return record

    def candidates(self) -> list[Candidate]:
        """The configurations, the best mean first, equal ones by fewer weights; those that lack a seed last."""
        found = [
            Candidate(
                each,
                tuple(
                    sorted(
                        (r for r in self.records if r.trial.kind is Kind.FINALIST and r.trial.number == each.trial.number),
                        key=lambda record: record.trial.repetition,
                    )
                ),
            )
            for each in self._chosen
        ]
        sign = -1.0 if self._metric == "val_accuracy" else 1.0

        def order(candidate: Candidate) -> tuple[bool, float, int, int]:
            mean = candidate.mean(self._metric, self._spec.seeds)
            return math.isnan(mean), sign * mean, candidate.search.result.weight_count, candidate.search.trial.number

        return sorted(found, key=order)

    def winner(self) -> Candidate | None:
        """The best mean over the fresh seeds; None where no configuration has finished all of them."""
        first = next(iter(self.candidates()), None)
        return first if first and not math.isnan(first.mean(self._metric, self._spec.seeds)) else None

    def refit(self) -> TrialRecord | None:
        """The winner on training and validation images together, where that was asked for and came to its end."""
        complete = (each for each in self.records if each.trial.kind is Kind.REFIT and each.result.weights is not None)
        return next(complete, None)

    def _trial(self, record: TrialRecord, kind: Kind, repetition: int) -> Trial:
        source = record.trial
        return dataclasses.replace(
            source,
            kind=kind,
            repetition=repetition,
            baseline=None,
            drawn={},
            epochs=self._spec.epochs_of(self.family, source.epochs),
            # The seeds are the same for all configurations: what a seed is worth does not decide between them.
            seed=trial_seed(self._seed, self.family, f"{kind} {repetition}"),
        )

    def _cost(self, trial: Trial) -> float:
        return float(trial.epochs * trial.params.operations(self._side))


def winner_of(records: Sequence[TrialRecord], finals: Finals | None, metric: str) -> Winner | None:
    """The winner of the finals; where there were none, or they did not end, the best trial of the search."""
    candidate = finals.winner() if finals else None
    if finals is not None and candidate is not None:
        return Winner(candidate.search, candidate.repetitions, finals.refit() or candidate.repetitions[0])
    best = best_of(records, metric)
    return Winner(best, (), best) if best is not None and best.result.weights is not None else None


def _is_candidate(record: TrialRecord) -> bool:
    """Whether a trial may become a finalist: one that was complete, or was behind no other but the family's seconds. Where
    they pay for few trials, these are the best; a finalist is trained whole in any case."""
    result = record.result
    return result.state is TrialState.COMPLETE or (result.reason == SPENT and bool(result.epochs))


def _distinct(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The first of each configuration: a baseline may be trained twice, for two numbers of epochs."""
    found: dict[object, TrialRecord] = {}
    for record in records:
        found.setdefault(record.trial.params.key(), record)
    return list(found.values())
