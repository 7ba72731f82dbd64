"""One family's search: which configuration next, and whether to go on with one. Optuna, in memory, with ask and tell."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import optuna
from pydantic import ValidationError

from digitsweep.experiment import Experiment, PrunerSpec, SamplerSpec
from digitsweep.params import Params, Scalar, parse_params
from digitsweep.results import TrialState
from digitsweep.space import Space

MOST_DRAWS = 200
"""After so many draws without a new configuration the space counts as exhausted."""


class Search:
    """Draws configurations of one family, each at most once, and hears how they do."""

    def __init__(self, experiment: Experiment, family: str, accepts: Callable[[Params], bool] = lambda _: True) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space: Space = experiment.families[family].space  # type: ignore[index]
        self._family = family
        self._accepts = accepts
        self._seen: set[tuple[tuple[str, Scalar], ...]] = set()
        self._trials: dict[int, optuna.Trial] = {}
        self._random = optuna.samplers.RandomSampler(seed=experiment.seed)
        with warnings.catch_warnings():
            # `group` is experimental in name only: it is what conditional hyperparameters need.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = _sampler(experiment.sampler, experiment.seed)
        self.study = optuna.create_study(
            study_name=f"{experiment.name}-{family}",
            direction=experiment.objective.direction,
            sampler=sampler,
            pruner=_pruner(experiment.pruner, experiment.budget.epochs),
        )

    def seen(self, params: Params) -> None:
        """A configuration that was trained otherwise, as a baseline: it is not drawn again."""
        self._seen.add(params.key())

    def ask(self, number: int) -> Params | None:
        """A configuration that was not drawn before, known from now on by `number`; None if there is none left.

        A sampler that has converged draws the same ones again and again: after half the draws they are random."""
        usual = self.study.sampler
        try:
            for draw in range(MOST_DRAWS):
                if draw == MOST_DRAWS // 2:
                    self.study.sampler = self._random
                trial = self.study.ask()
                try:
                    params = parse_params(self._family, self._space.suggest(trial))
                except ValidationError:  # bounds that are fine one by one and not together
                    params = None
                if params is not None and params.key() not in self._seen and self._accepts(params):
                    self._seen.add(params.key())
                    self._trials[number] = trial
                    return params
                self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        finally:
            self.study.sampler = usual
        return None

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Notes a trial's value after an epoch (from 1); True if the trial should be pruned."""
        trial = self._trials[number]
        trial.report(value, epoch)
        return trial.should_prune()

    def tell(self, number: int, state: TrialState, value: float | None) -> None:
        """Notes how a trial ended; a value goes with COMPLETE only."""
        self.study.tell(
            self._trials[number],
            value if state is TrialState.COMPLETE else None,
            state=optuna.trial.TrialState[state.value],
        )


def _sampler(spec: SamplerSpec, seed: int) -> optuna.samplers.BaseSampler:
    match spec.type:
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
        case "tpe":
            return optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=spec.startup_trials, multivariate=True, group=True, constant_liar=True
            )


def _pruner(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    match spec.type:
        case "none":
            return optuna.pruners.NopPruner()
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=spec.startup_trials, n_warmup_steps=spec.min_epochs)
        case "successive_halving":
            return optuna.pruners.SuccessiveHalvingPruner(
                min_resource=spec.min_epochs, reduction_factor=spec.reduction_factor
            )
        case "hyperband":
            return optuna.pruners.HyperbandPruner(
                min_resource=spec.min_epochs, max_resource=epochs, reduction_factor=spec.reduction_factor
            )
