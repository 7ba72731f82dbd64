"""The nouns of a sweep, as frozen values: a trial, its epochs, its result, a search's history; and which trial is best."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from digitsweep.families import Params
from digitsweep.families.hyperparameters import Scalar

SPENT = "the family's seconds were spent"
"""The reason of a trial that ran out of its family's time, in contrast to one that was pruned."""
LATE = "the sweep's minutes were over"
"""The same where the budget is in minutes."""
INTERRUPTED = "the sweep was interrupted"
CUT_OFF = "the sweep failed while the trial ran"
OUT_OF_TIME = "OUT_OF_TIME"
OUTCOMES = {"COMPLETE": "complete", "PRUNED": "pruned", OUT_OF_TIME: "out of time", "FAIL": "failed"}
"""How a trial can end, and what people read of it."""


Metric = Literal["val_accuracy", "val_balanced_accuracy", "val_macro_f1", "val_loss"]
DIRECTIONS: Mapping[str, Literal["maximize", "minimize"]] = {
    "val_accuracy": "maximize",
    "val_balanced_accuracy": "maximize",
    "val_macro_f1": "maximize",
    "val_loss": "minimize",
}
"""The metrics that a search can select by, fields of EpochMetrics, and which values of them are better."""


class TrialState(enum.StrEnum):
    """How a trial ended, in Optuna's words."""

    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"


class Kind(enum.StrEnum):
    """What a configuration is trained for."""

    TRIAL = "trial"
    """The search; or it is a baseline."""
    FINALIST = "finalist"
    """To choose the winner: one of the best of the search, on a fresh seed."""
    CONFIRMATION = "confirmation"
    """To measure the winner, on a fresh seed that chooses nothing."""
    REFIT = "refit"
    """To be registered: the winner, on training and validation images together. It is not validated."""


@dataclass(frozen=True)
class Trial:
    """One configuration to be trained once."""

    number: int
    """Counts from 0 within its family; a finalist has the number of the trial that it comes from."""
    params: Params
    seed: int
    epochs: float
    """Need not be whole: the last one may be a part of one."""
    baseline: str | None = None
    """The name of the published configuration that this is, if it is one."""
    kind: Kind = Kind.TRIAL
    repetition: int = 0
    """Of a finalist or a confirmation: the number of its fresh seed, from 1."""
    drawn: Mapping[str, Scalar] = field(default_factory=dict)
    """What the search drew, by Optuna's names; empty where it drew nothing."""
    rung: int = 0
    """Which one of the ladder, from 0, where the budget is in minutes: each rung is a longer training from scratch."""
    proposed_by: str = ""
    """Where its configuration comes from, where the budget is in minutes: `first`, `default`, `prior`, `neighbour`, `tpe` or
    `random`."""
    ladder: tuple[float, ...] = ()
    """Predicted seconds on the reference machine of each rung's trainings, from the lowest, as planned when it began."""
    left_out: int = 0
    """How many configurations the search had left out as too slow when it drew this one, where the budget is in minutes."""
    val_losses: tuple[float, ...] = ()
    """Of a refit with the schedule `plateau`: the validation losses after each epoch of an earlier training, which it
    follows, since it has no validation images. They are not recorded: `Finalists` derives them again."""

    @property
    def family(self) -> str:
        return self.params.family

    @property
    def name(self) -> str:
        """Unique in a sweep."""
        return trial_name(self.family, self.number, self.kind, self.repetition, self.rung, self.baseline)

    @property
    def epoch_count(self) -> int:
        """How many epochs end, the last of which may be a part of one."""
        return math.ceil(self.epochs)


def trial_name(family: str, number: int, kind: Kind, repetition: int, rung: int, baseline: str | None) -> str:
    """The name of a trial: family and number, as `x-007`; `x-007 rung 1` above the lowest rung, `x-000 softmax` for a
    baseline, `x-007 finalist 2`, `x-007 confirmation 1`, `x-007 refit`."""
    name = f"{family}-{number:03d}"
    match kind:
        case Kind.FINALIST | Kind.CONFIRMATION:
            return f"{name} {kind} {repetition}"
        case Kind.REFIT:
            return f"{name} refit"
        case _ if rung:
            return f"{name} rung {rung}"
        case _:
            return f"{name} {baseline}" if baseline else name


@dataclass(frozen=True)
class EpochMetrics:
    """The figures of one epoch. A field that is added here is recorded in MLflow after each epoch.

    Training figures are means over the epoch's steps, with dropout and augmentation; validation figures are nan in a refit,
    which leaves nothing to validate on."""

    epoch: int
    """From 1."""
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    """At the epoch's last step."""
    epoch_seconds: float
    """Training and evaluation together."""
    val_balanced_accuracy: float = math.nan
    """Mean recall of the classes that have validation images."""
    val_macro_f1: float = math.nan
    """Mean F1 score of the classes that occur among true or predicted labels."""

    def metrics(self) -> dict[str, float]:
        """All figures by name, without the epoch's number and what was not measured."""
        values = dataclasses.asdict(self)
        del values["epoch"]
        return {name: value for name, value in values.items() if not math.isnan(value)}


@dataclass(frozen=True, eq=False)
class Epoch:
    """What a worker sends after an epoch."""

    metrics: EpochMetrics
    predictions: NDArray[np.uint8]
    """Predicted labels of the validation images, shape (n,); empty in a refit."""


@dataclass(frozen=True)
class TrialResult:
    """What a worker sends when a trial has ended."""

    state: TrialState
    epochs: tuple[EpochMetrics, ...] = ()
    predictions: NDArray[np.uint8] | None = None
    """Predicted labels of the validation images, shape (n,), after the last epoch; None if there is none, or in a refit."""
    weights: tuple[NDArray[np.float32], ...] | None = None
    """In Keras' order; of a COMPLETE trial only."""
    weight_count: int = 0
    train_seconds: float = 0.0
    precision: str = ""
    """What the layers computed in: float32 or mixed_bfloat16."""
    reason: str = ""
    """Why a trial that is not COMPLETE ended."""

    @property
    def outcome(self) -> str:
        """The state, but OUT_OF_TIME where the budget ended the trial: one of `OUTCOMES`."""
        return OUT_OF_TIME if self.reason in (SPENT, LATE) else self.state.value

    def last(self, metric: str) -> float:
        """The metric's value after the last epoch.

        Raises LookupError if no epoch was finished."""
        if not self.epochs:
            raise LookupError(f"no epoch was finished, so there is no {metric}")
        return float(getattr(self.epochs[-1], metric))


def failed(epochs: Sequence[Epoch], reason: str, seconds: float | None = None) -> TrialResult:
    """The result of a trial whose worker sent none, from the epochs that it sent."""
    return TrialResult(
        TrialState.FAIL,
        tuple(each.metrics for each in epochs),
        epochs[-1].predictions if epochs else None,
        train_seconds=sum(each.metrics.epoch_seconds for each in epochs) if seconds is None else seconds,
        reason=reason,
    )


@dataclass(frozen=True)
class TrialRecord:
    """A trial and how it ended."""

    trial: Trial
    result: TrialResult
    used: float | None = None
    """`TrialPoint.ended` of a searched trial."""


def trial_seed(seed: int, family: str, number: int | str) -> int:
    """A trial's own seed, which depends only on the sweep's seed, the family and the number (or a word in its place)."""
    digest = hashlib.sha256(f"{seed}/{family}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def sign_of(metric: str) -> float:
    """-1 where higher values of the metric are better, else 1: values times this sort the best first."""
    return -1.0 if DIRECTIONS[metric] == "maximize" else 1.0


def best_of(records: Sequence[TrialRecord], metric: str) -> TrialRecord | None:
    """The complete trial with the best value; ties as in `in_order`."""
    complete = [each for each in records if each.result.state is TrialState.COMPLETE]
    return next(iter(in_order(complete, metric)), None)


def fullest(rungs: Sequence[int]) -> int:
    """The rung that occurs most often, on which the most trainings can be compared; the lowest of several, 0 of none."""
    return min(rungs, key=lambda rung: (-rungs.count(rung), rung), default=0)


def in_order(records: Sequence[TrialRecord], metric: str) -> list[TrialRecord]:
    """Trials that have finished an epoch, the best last value first; ties by fewer weights, then the earlier trial. Those of
    a higher rung come first, among which baselines count."""
    sign = sign_of(metric)
    top = max((each.trial.rung for each in records), default=0)

    def order(record: TrialRecord) -> tuple[int, float, int, int]:
        rung = top if record.trial.baseline else record.trial.rung
        return -rung, sign * record.result.last(metric), record.result.weight_count, record.trial.number

    return sorted(records, key=order)


class TrialLog:
    """The records of a family's search, of which only those keep their weights that are needed again: the baselines' and
    the best one's."""

    def __init__(self, metric: str) -> None:
        self.records: list[TrialRecord] = []
        self._metric = metric
        self._best: int | None = None
        """The index of the best record so far."""

    def add(self, record: TrialRecord) -> TrialRecord:
        """Adds what has ended; the same, without weights if nobody needs them."""
        is_best = self._is_best(record)
        place: int | None = len(self.records)
        self.records.append(record)
        if is_best:
            self._best, place = place, self._best
        if place is not None and (worse := self.records[place]).trial.baseline is None:
            result = dataclasses.replace(worse.result, weights=None, predictions=None)
            self.records[place] = dataclasses.replace(worse, result=result)
        if is_best or record.trial.baseline is not None:
            return record
        return dataclasses.replace(record, result=dataclasses.replace(record.result, weights=None))

    def keeps_weights(self, record: TrialRecord) -> bool:
        """Whether `add` would keep the weights of a record."""
        return record.trial.baseline is not None or self._is_best(record)

    def _is_best(self, record: TrialRecord) -> bool:
        rivals = [record] if self._best is None else [self.records[self._best], record]
        return best_of(rivals, self._metric) is record


@dataclass(frozen=True)
class TrialPoint:
    """One searched trial."""

    number: int
    state: str
    """COMPLETE, PRUNED, OUT_OF_TIME or FAIL."""
    params: Mapping[str, Scalar]
    """The searched parameters only, flat: `units_1: 512`."""
    values: tuple[float, ...]
    """The objective after each epoch (a fraction, but for `val_loss`)."""
    ended: float
    """Training seconds that the family's search had used when this trial ended, running trials and lost attempts included.
    By a clock, so no result depends on it."""
    rung: int = 0
    work: float = 0.0
    """Predicted seconds of the training on the reference machine, where the budget is in minutes."""
    proposed_by: str = ""


@dataclass(frozen=True)
class SearchHistory:
    """A family's search."""

    family: str
    metric: str
    """The objective, one of DIRECTIONS."""
    trials: tuple[TrialPoint, ...]
    """In the order in which they ended."""
    importance: Mapping[str, float]
    """Of the searched parameters, adding up to 1, the most important first; empty if too few trials are complete."""
    log_scaled: tuple[str, ...] = ()
    """The parameters that are drawn on a logarithmic scale."""
    too_slow: int = 0
    """Configurations that were drawn, left out as too slow, and not trained later."""

    @property
    def has_rungs(self) -> bool:
        """Whether its trainings were on rungs: the budget was in minutes."""
        return any(each.work for each in self.trials)

    def configurations(self) -> list[TrialPoint]:
        """The first training of each configuration; any later one is a promotion."""
        return list({each.number: each for each in reversed(self.trials)}.values())[::-1]

    def comparable(self) -> list[TrialPoint]:
        """The complete trials that were trained for equally long: all of them, or those of the rung that has the most."""
        complete = self._complete()
        rung = fullest([each.rung for each in complete])
        return [each for each in complete if each.rung == rung]

    def _complete(self) -> list[TrialPoint]:
        return [each for each in self.trials if each.state == "COMPLETE" and each.values]

    def rungs(self) -> list[list[TrialPoint]]:
        """The complete trials of each rung, the lowest first."""
        complete = self._complete()
        top = max((each.rung for each in complete), default=-1)
        return [[each for each in complete if each.rung == rung] for rung in range(top + 1)]
