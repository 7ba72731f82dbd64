"""What a sweep is made of, as frozen values: a trial, what its worker reports, and how it ended."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from digitsweep.params import Params
from digitsweep.training_params import Scalar


class TrialState(enum.StrEnum):
    """How a trial ended, in Optuna's words."""

    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"


class Kind(enum.StrEnum):
    """What a configuration is trained for."""

    TRIAL = "trial"
    """By the search, or as a baseline."""
    FINALIST = "finalist"
    """Once more, on a fresh seed."""
    REFIT = "refit"
    """On training and validation images together: a winner, to be registered. Nothing of it is validated."""


@dataclass(frozen=True)
class Trial:
    """One configuration to be trained once."""

    number: int
    """Counts from 0 within its family; a finalist has the number of the trial that it comes from."""
    params: Params
    seed: int
    epochs: int
    baseline: str | None = None
    """The name of the published configuration that this is, if it is one."""
    kind: Kind = Kind.TRIAL
    repetition: int = 0
    """Of a finalist: which of the fresh seeds it has, from 1."""
    drawn: Mapping[str, Scalar] = field(default_factory=dict)
    """What the search drew, by Optuna's names; empty where it drew nothing."""

    @property
    def family(self) -> str:
        return self.params.family

    @property
    def name(self) -> str:
        """Unique in a sweep: `cnn-007`, `ann-000 softmax` for a baseline, `cnn-007 finalist 2`, `cnn-007 refit`."""
        name = f"{self.family}-{self.number:03d}"
        match self.kind:
            case Kind.FINALIST:
                return f"{name} finalist {self.repetition}"
            case Kind.REFIT:
                return f"{name} refit"
            case _:
                return f"{name} {self.baseline}" if self.baseline else name


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch gave. The training figures are means over the epoch's steps, dropout and augmentation on; those of
    validation are nan in a refit, which leaves nothing to validate on."""

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

    def metrics(self) -> dict[str, float]:
        """All figures by name, the epoch itself and what was not measured apart."""
        values = dataclasses.asdict(self)
        del values["epoch"]
        return {name: value for name, value in values.items() if not math.isnan(value)}


@dataclass(frozen=True, eq=False)
class Epoch:
    """What a worker says after an epoch."""

    metrics: EpochMetrics
    predictions: NDArray[np.uint8]
    """Predicted labels of the validation images, shape (n,); empty in a refit."""


@dataclass(frozen=True)
class TrialResult:
    """All that a worker knows when a trial has ended."""

    state: TrialState
    epochs: tuple[EpochMetrics, ...] = ()
    predictions: NDArray[np.uint8] | None = None
    """Predicted labels of the validation images, shape (n,), after the last epoch; None if a worker died, or in a refit."""
    weights: tuple[NDArray[np.float32], ...] | None = None
    """The learned numbers in Keras' order; of a COMPLETE trial only."""
    weight_count: int = 0
    train_seconds: float = 0.0
    precision: str = ""
    """What the layers computed in: float32 or mixed_bfloat16."""
    reason: str = ""
    """Why a trial that is not COMPLETE ended."""

    def last(self, metric: str) -> float:
        """The metric's value after the last epoch.

        Raises LookupError where no epoch was finished."""
        if not self.epochs:
            raise LookupError(f"no epoch was finished, so there is no {metric}")
        return float(getattr(self.epochs[-1], metric))


def failed(epochs: Sequence[Epoch], reason: str, seconds: float | None = None) -> TrialResult:
    """The result of a trial that could not tell it itself, from the epochs that it had told of."""
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
