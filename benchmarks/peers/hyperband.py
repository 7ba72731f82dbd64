"""KerasTuner's Hyperband, one process on all cores; it starts again until the time is over.

`python -m peers.hyperband EXPERIMENT DATA MINUTES SEED OUT`"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import keras
import keras_tuner
import numpy as np

from digitsweep.config.space import Categorical, Choice, Distribution, IntegerRange
from digitsweep.families import Params
from digitsweep.families.hyperparameters import Scalar
from digitsweep.search.proposals import uniform
from peers.fitting import answer, compiled, fit, weights_of
from peers.task import Found, Network, Share

METRIC = "val_accuracy"


def chosen_by(hp: keras_tuner.HyperParameters) -> Choice:
    """Lets KerasTuner choose."""

    def choose(name: str, each: Distribution) -> Scalar:
        if isinstance(each, Categorical):
            value: Scalar = hp.Choice(name, each.choices)
            return value
        scale = {"sampling": "log" if each.log else "linear"}
        if isinstance(each, IntegerRange):
            return int(hp.Int(name, each.low, each.high, **({} if each.log else {"step": each.step}), **scale))
        return float(hp.Float(name, each.low, each.high, **scale))

    return choose


class Images(keras_tuner.HyperModel):  # type: ignore[misc]
    """The networks of a family, and how they are fitted."""

    def __init__(self, share: Share) -> None:
        super().__init__()
        self._share = share

    def params(self, hp: keras_tuner.HyperParameters) -> Params:
        return self._share.params(chosen_by(hp))

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return compiled(self.params(hp), self._share)

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, **options: Any) -> Mapping[str, float]:
        history = fit(model, self.params(hp), self._share, **options)
        return {METRIC: max(history[METRIC])}  # KerasTuner keeps the best epoch's weights


class TimeOverError(Exception):
    """The share's time is over."""


class TimedHyperband(keras_tuner.Hyperband):  # type: ignore[misc]
    """Hyperband that ends with the share's time, and notes when each training ended."""

    def __init__(self, share: Share, **options: Any) -> None:
        super().__init__(Images(share), **options)
        self._ends = share.ends
        self.trainings: list[tuple[float, float]] = []

    def pre_create_trial(self) -> None:
        if time.time() > self._ends:
            raise TimeOverError

    def on_trial_end(self, trial: keras_tuner.engine.trial.Trial) -> None:
        super().on_trial_end(trial)
        score = self.oracle.get_trial(trial.trial_id).score
        if score is not None:
            self.trainings.append((time.time(), float(score)))


def declared(share: Share) -> keras_tuner.HyperParameters:
    """All hyperparameters of the space. One that KerasTuner meets later gets its lowest value the first time."""
    hp = keras_tuner.HyperParameters()
    anywhere, ask = uniform(np.random.default_rng(0)), chosen_by(hp)

    def choose(name: str, each: Distribution) -> Scalar:
        ask(name, each)
        return anywhere(name, each)

    for _ in range(100):
        share.params(choose)
    return hp


def search(share: Share) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        tuner = TimedHyperband(
            share,
            objective=keras_tuner.Objective(METRIC, "max"),
            hyperparameters=declared(share),
            max_epochs=share.epochs,
            factor=3,
            hyperband_iterations=1000,
            seed=share.seed,
            directory=folder,
            project_name=share.family,
        )
        with suppress(TimeOverError):
            tuner.search(verbose=0)
        best = tuner.oracle.get_best_trials(1)
        if not best:
            return Found(tuner.trainings, None)
        (model,) = tuner.get_best_models(1)
        params = tuner.hypermodel.params(best[0].hyperparameters)
        return Found(tuner.trainings, Network(params, weights_of(model, params), float(best[0].score)))


if __name__ == "__main__":
    answer(search)
