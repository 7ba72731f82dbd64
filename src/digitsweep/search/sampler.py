"""Which configuration a family's search tries next, and which trials are behind: Optuna, in memory, with ask and tell."""

from __future__ import annotations

import heapq
import math
import warnings
from collections.abc import Callable, Container, Mapping

import optuna
from pydantic import ValidationError

from digitsweep.config.experiment import Budget, Experiment, PrunerSpec, SamplerSpec
from digitsweep.config.space import Space, drawn_by
from digitsweep.families import Params
from digitsweep.families.hyperparameters import Scalar
from digitsweep.trial import TrialState, trial_seed

FEWEST = 4
"""Complete trials without which no importance of hyperparameters is shown."""
MOST_DRAWS = 200
"""After so many draws without a new configuration the space counts as exhausted."""
NEWEST = 300
"""How many of the newest finished trials TPE sees. It calls a tenth of them good, but never more than 25, so that from 250
on it loses none of the good ones."""
BEST = 100
"""How many of the best older trials it sees: the 25 good ones, and those near them that were not quite as good."""
RUNNING = 100
"""How many of the newest running trials it sees, in order not to draw what is being tried already."""


class Sampler:
    """Draws configurations of one family, each at most once, and compares their trials."""

    def __init__(self, experiment: Experiment, family: str, accepts: Callable[[Params], bool] = lambda _: True) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        assert isinstance(experiment.budget, Budget)
        self._space: Space = experiment.families[family].space
        self._family = family
        self._accepts = accepts
        self._seen: set[int] = set()
        """Hashes of keys, which take 3 KiB each; that two of 10,000 configurations share one has odds of 1 to 10^11."""
        self._trials: dict[int, optuna.Trial] = {}
        self._reported: dict[int, int] = {}
        """The last epoch of each trial that runs."""
        self._storage = Window()
        self._sampler, self._seed = experiment.sampler, experiment.seed
        self.study = optuna.create_study(
            storage=self._storage,
            study_name=f"{experiment.name}-{family}",
            direction=experiment.objective.direction,
            pruner=_pruner(experiment.pruner, experiment.budget.epochs),
        )

    def seen(self, params: Params) -> None:
        """Excludes a configuration that is trained anyway, as a baseline."""
        self._seen.add(hash(params.key()))

    def draw(self, number: int) -> Params | None:
        """A new configuration, which trial `number` will train; None if there is none left.

        The draw depends only on the seed, the number and the trials so far: a search that is rebuilt from its trials goes on
        as if it had never been interrupted. A sampler that has converged repeats itself, so the second half of the draws is
        random."""
        seed = trial_seed(self._seed, self._family, f"draw {number}")
        self.study.sampler = _sampler(self._sampler, seed)
        for draw in range(MOST_DRAWS):
            if draw == MOST_DRAWS // 2:
                self.study.sampler = optuna.samplers.RandomSampler(seed=seed)
            trial = self.study.ask()
            self._storage.narrow = True
            try:
                params = self._space.suggest(drawn_by(trial))
            except ValidationError:  # bounds that are valid one by one and not together
                params = None
            finally:
                self._storage.narrow = False
            if params is not None and hash(params.key()) not in self._seen and self._accepts(params):
                self._drew(number, params, trial)
                return params
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return None

    def resume(self, number: int, params: Params, drawn: Mapping[str, Scalar]) -> None:
        """Adds a trial that was drawn before the sweep was interrupted, as a running one."""
        fixed = fixed_trial(self._space, drawn)
        running = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING, params=fixed.params, distributions=fixed.distributions
        )
        trial_id = self._storage.create_new_trial(self.study._study_id, running)
        self._drew(number, params, optuna.Trial(self.study, trial_id))

    def _drew(self, number: int, params: Params, trial: optuna.Trial) -> None:
        self._seen.add(hash(params.key()))
        self._trials[number] = trial

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Adds a trial's value after an epoch (from 1). Returns whether the trial should be pruned."""
        trial = self._trials[number]
        if epoch <= self._reported.get(number, 0):  # its worker died later, and it is trained again
            return False
        self._reported[number] = epoch
        trial.report(value, epoch)
        return trial.should_prune()

    def tell(self, number: int, state: TrialState, value: float | None) -> None:
        """Adds how a trial ended; only a COMPLETE one has a value."""
        self._reported.pop(number, None)
        self.study.tell(
            self._trials.pop(number),
            value if state is TrialState.COMPLETE else None,
            state=optuna.trial.TrialState[state.value],
        )

    def drawn(self, number: int) -> Mapping[str, Scalar]:
        """The searched hyperparameters of a running trial."""
        return self._trials[number].params

    def log_scaled(self) -> tuple[str, ...]:
        """The hyperparameters that are drawn on a logarithmic scale."""
        drawn = [each.distributions.items() for each in self.study.get_trials(deepcopy=False)]
        return tuple(dict.fromkeys(name for each in drawn for name, scale in each if getattr(scale, "log", False)))

    def importance(self) -> dict[str, float]:
        """Each hyperparameter's importance for the objective."""
        return importance_of(self.study)


def fixed_trial(space: Space, drawn: Mapping[str, Scalar]) -> optuna.trial.FixedTrial:
    """A configuration that was drawn from a space, with the distributions of its values."""
    fixed = optuna.trial.FixedTrial(dict(drawn))
    space.suggest(drawn_by(fixed))
    return fixed


def importance_of(study: optuna.Study) -> dict[str, float]:
    """Each hyperparameter's importance for the objective, the most important first; they add up to 1.

    PED-ANOVA (Watanabe et al. 2023). Empty if fewer than FEWEST trials are complete."""
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(complete) < FEWEST or len({each.value for each in complete}) == 1:
        return {}
    try:
        with warnings.catch_warnings():
            # The report says that few trials make it inaccurate.
            warnings.simplefilter("ignore", UserWarning)
            return dict(optuna.importance.get_param_importances(study))
    except (RuntimeError, ValueError):  # no hyperparameter is in every trial
        return {}


class Window(optuna.storages.InMemoryStorage):
    """Trials in memory, of which the sampler sees a bounded number, so that a draw stays cheap however many there are.

    TPE goes over all trials several times for each draw. While `narrow` is set, this storage shows it the newest and the
    best of the finished trials and the newest of the running ones. Up to NEWEST trials these are all, and what is drawn is
    what Optuna would draw by itself. The pruner compares with all trials."""

    narrow = False

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[optuna.trial.TrialState] | None = None
    ) -> list[optuna.trial.FrozenTrial]:
        trials = super().get_all_trials(study_id, deepcopy, states)
        if not self.narrow:
            return trials
        running = [each for each in trials if not each.state.is_finished()]
        # A failed trial says nothing to TPE.
        finished = [each for each in trials if each.state.is_finished() and each.state is not optuna.trial.TrialState.FAIL]
        best = heapq.nsmallest(BEST, finished[:-NEWEST], key=self._rank(study_id))
        return sorted([*best, *finished[-NEWEST:], *running[-RUNNING:]], key=lambda each: each.number)

    def _rank(self, study_id: int) -> Callable[[optuna.trial.FrozenTrial], tuple[bool, int, float]]:
        """The key that sorts as TPE does: complete trials by value, then pruned ones by their last epoch, then its value."""
        sign = -1.0 if self.get_study_directions(study_id)[0] is optuna.study.StudyDirection.MAXIMIZE else 1.0

        def rank(trial: optuna.trial.FrozenTrial) -> tuple[bool, int, float]:
            if trial.state is optuna.trial.TrialState.COMPLETE:
                assert trial.value is not None
                return False, 0, sign * trial.value
            step, value = max(trial.intermediate_values.items(), default=(-1, 0.0))
            return True, -step, math.inf if math.isnan(value) else sign * value

        return rank


def _sampler(spec: SamplerSpec, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed) if spec.type == "random" else tpe(seed, spec.startup_trials)


def tpe(seed: int, startup_trials: int = 0) -> optuna.samplers.TPESampler:
    """The tree-structured Parzen estimator (Watanabe 2023, arXiv 2304.11127), for conditional hyperparameters."""
    with warnings.catch_warnings():
        # `group` is experimental in name only: it is what conditional hyperparameters need.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=startup_trials, multivariate=True, group=True, constant_liar=True
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
