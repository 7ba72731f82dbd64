"""What a family's search did, trial by trial: values for plots and for the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from digitsweep.training_params import Scalar


@dataclass(frozen=True)
class TrialPoint:
    """One searched trial."""

    number: int
    state: str
    """COMPLETE, PRUNED or FAIL."""
    params: Mapping[str, Scalar]
    """The searched parameters only, flat: `units_1: 512`."""
    values: tuple[float, ...]
    """The objective after each epoch (for `val_accuracy` a fraction)."""
    ended: float
    """Training seconds that the family's study had used when it ended."""


@dataclass(frozen=True)
class SearchHistory:
    """A family's search."""

    family: str
    metric: str
    """`val_accuracy` (higher is better) or `val_loss` (lower is better)."""
    trials: tuple[TrialPoint, ...]
    """In the order in which they ended."""
    importance: Mapping[str, float]
    """Of the searched parameters, adding up to 1, the most important first; empty where too few trials were complete."""
    log_scaled: tuple[str, ...] = ()
    """The parameters that were drawn on a logarithmic scale."""
