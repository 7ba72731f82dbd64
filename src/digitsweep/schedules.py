"""Learning-rate schedules: the rate of every step of an epoch, as numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from digitsweep.params import Params

STEP_AT = (0.5, 0.75)
STEP_FACTOR = 0.1
EXPONENTIAL_END = 0.01
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = 1 / 10_000
PLATEAU_FACTOR = 0.5
PLATEAU_PATIENCE = 2
PLATEAU_THRESHOLD = 1e-3


def epoch_rates(params: Params, epoch: int, epochs: int, steps: int, val_losses: Sequence[float]) -> NDArray[np.float32]:
    """The learning rate of each step of an epoch (from 1), float32 (steps,).

    constant; step: a tenth after a half and after three quarters of training (He et al. 2016); exponential: down to a
    hundredth; cosine: down to 0 (Loshchilov and Hutter 2017, without restarts); one_cycle: up from 1/25 in the share
    `warmup` of all steps, then down to 1/10,000, both along a cosine (Smith and Topin 2018, with PyTorch's constants);
    plateau: half after two epochs in a row in which the validation loss fell by less than 0.1 % of the best before."""
    if not 1 <= epoch <= epochs:
        raise ValueError(f"`epoch` must be 1 to {epochs}, but is {epoch}")
    done = (np.arange(steps) + (epoch - 1) * steps) / (epochs * steps)
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
    """How often the validation loss stood still for PLATEAU_PATIENCE epochs in a row."""
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
