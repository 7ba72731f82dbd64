"""Learning-rate schedules: the rate of every step of an epoch, as numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from digitsweep.families import Params

STEP_AT = (0.5, 0.75)
STEP_FACTOR = 0.1
EXPONENTIAL_END = 0.01
ONE_CYCLE_START = 1 / 25
"""PyTorch's `div_factor` of `OneCycleLR`."""
ONE_CYCLE_END = ONE_CYCLE_START / 10_000
"""PyTorch's `final_div_factor` divides the first rate, not the highest: the last is 1/250,000 of `learning_rate`."""
PLATEAU_FACTOR = 0.5
PLATEAU_PATIENCE = 2
PLATEAU_THRESHOLD = 1e-3


def step_rates(params: Params, first: int, steps: int, total: int, val_losses: Sequence[float]) -> NDArray[np.float32]:
    """The learning rates of `steps` steps from step `first` (from 0) of a training of `total` steps, float32 (steps,).

    All are multiples of `learning_rate`. constant; step: a tenth after half and again after three quarters of training
    (He et al. 2016); exponential: down to a hundredth; cosine: down to 0 (Loshchilov and Hutter 2017, without restarts);
    one_cycle: up from 1/25 during the share `warmup` of all steps, then down to 1/250,000, both along a cosine (Smith and
    Topin 2018; the defaults of `torch.optim.lr_scheduler.OneCycleLR`); plateau: halved after two epochs in a row in which
    the validation loss fell by less than 0.1 % of the best before. val_losses: of the epochs so far."""
    if not 0 <= first <= first + steps <= total:
        raise ValueError(f"the steps {first} to {first + steps} must lie within the {total} of the training")
    done = (np.arange(steps) + first) / total
    match params.schedule:
        case "constant":
            factor = np.ones(steps)
        case "step":
            factor = STEP_FACTOR ** np.sum([done >= at for at in STEP_AT], axis=0)
        case "exponential":
            factor = EXPONENTIAL_END**done
        case "cosine":
            factor = _cosine(done, 1.0, 0.0)
        case "one_cycle":
            rising = _cosine(np.minimum(done / params.warmup, 1.0), ONE_CYCLE_START, 1.0)
            falling = _cosine(np.maximum((done - params.warmup) / (1.0 - params.warmup), 0.0), 1.0, ONE_CYCLE_END)
            factor = np.where(done < params.warmup, rising, falling)
        case "plateau":
            factor = np.full(steps, PLATEAU_FACTOR ** plateaus(val_losses))
    return (params.learning_rate * factor).astype(np.float32)


def plateaus(val_losses: Sequence[float]) -> int:
    """How often the validation loss failed to improve for PLATEAU_PATIENCE epochs in a row."""
    count, waited, best = 0, 0, np.inf
    for loss in val_losses:
        if loss < best * (1.0 - PLATEAU_THRESHOLD):
            best, waited = loss, 0
        else:
            waited += 1
            if waited == PLATEAU_PATIENCE:
                count, waited = count + 1, 0
    return count


def _cosine(done: NDArray[np.float64], start: float, end: float) -> NDArray[np.float64]:
    return end + (start - end) * 0.5 * (1.0 + np.cos(np.pi * done))
