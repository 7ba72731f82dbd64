"""One family's search: which configuration next, and whether to go on with one. Optuna, in memory, with ask and tell."""

from __future__ import annotations

import heapq
import math
import warnings
from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager

import optuna
from pydantic import ValidationError

from digitsweep.errors import InputError
from digitsweep.experiment import Experiment, PrunerSpec, SamplerSpec
from digitsweep.params import Params, parse_params
from digitsweep.results import TrialState
from digitsweep.source import trial_seed
from digitsweep.space import Space
from digitsweep.training_params import Scalar

FEWEST = 4
"""Complete trials of which the importance of hyperparameters is told."""
MOST_DRAWS = 200
"""After so many draws without a new configuration the space counts as exhausted."""
NEWEST = 300
"""The sampler sees so many of the newest finished trials. TPE calls a tenth of what it sees good, but never more than 25, so
that from 250 on it loses none of the good ones."""
BEST = 100
"""And so many of the best ones ever: the 25 good ones, and those near them that were not quite as good."""
RUNNING = 100
"""And so many of the newest running ones, in order not to draw what is being tried already."""


class Search:
    """Draws configurations of one family, each at most once, and hears how they do."""

    def __init__(self, experiment: Experiment, family: str, accepts: Callable[[Params], bool] = lambda _: True) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space: Space = experiment.families[family].space  # type: ignore[index]
        self._family = family
        self._accepts = accepts
        self._seen: set[int] = set()
        """Hashes of keys, which take 3 KiB each; that two of 10,000 configurations share one has odds of 1 to 10^11."""
        self._trials: dict[int, optuna.Trial] = {}
        self._reported: dict[int, int] = {}
        """The last epoch of each trial that runs."""
        self._log_scaled: dict[str, None] = {}
        self._storage = Window(maximize=experiment.objective.direction == "maximize")
        self._sampler, self._seed = experiment.sampler, experiment.seed
        self.study = optuna.create_study(
            storage=self._storage,
            study_name=f"{experiment.name}-{family}",
            direction=experiment.objective.direction,
            pruner=_pruner(experiment.pruner, experiment.budget.epochs),
        )

    def seen(self, params: Params) -> None:
        """A configuration that was trained otherwise, as a baseline: it is not drawn again."""
        self._seen.add(hash(params.key()))

    def ask(self, number: int) -> Params | None:
        """A configuration that was not drawn before, known from now on by `number`; None if there is none left.

        What is drawn is a function of the seed, the number and the trials so far alone: a search that is rebuilt from its
        trials goes on as if it had never been broken off. A sampler that has converged draws the same ones again and again:
        after half the draws they are random."""
        seed = trial_seed(self._seed, self._family, f"draw {number}")
        self.study.sampler = _sampler(self._sampler, seed)
        for draw in range(MOST_DRAWS):
            if draw == MOST_DRAWS // 2:
                self.study.sampler = optuna.samplers.RandomSampler(seed=seed)
            trial = self.study.ask()
            try:
                with self._storage.narrowed():
                    params = parse_params(self._family, self._space.suggest(trial))
            except ValidationError:  # bounds that are fine one by one and not together
                params = None
            if params is not None and hash(params.key()) not in self._seen and self._accepts(params):
                self._drew(number, params, trial)
                return params
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return None

    def resume(self, number: int, params: Params, drawn: Mapping[str, Scalar]) -> None:
        """Makes a trial that was drawn before the sweep was broken off known by its number again, as one that runs.

        Raises InputError where it was drawn from another space."""
        fixed = optuna.trial.FixedTrial(dict(drawn))
        try:
            self._space.suggest(fixed)
        except ValueError as error:
            raise InputError(
                f"{self._family}-{number:03d} was drawn from another space than the experiment's: {error}"
            ) from None
        running = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING, params=fixed.params, distributions=fixed.distributions
        )
        trial_id = self._storage.create_new_trial(self.study._study_id, running)
        self._drew(number, params, optuna.Trial(self.study, trial_id))

    def _drew(self, number: int, params: Params, trial: optuna.Trial) -> None:
        self._seen.add(hash(params.key()))
        self._trials[number] = trial
        distributions = trial.distributions.items()
        self._log_scaled |= dict.fromkeys(name for name, each in distributions if getattr(each, "log", False))

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Notes a trial's value after an epoch (from 1); True if the trial should be pruned."""
        trial = self._trials[number]
        if epoch <= self._reported.get(number, 0):  # its worker died, and it is trained again: it went on after this epoch
            return False
        self._reported[number] = epoch
        trial.report(value, epoch)
        return trial.should_prune()

    def tell(self, number: int, state: TrialState, value: float | None) -> None:
        """Notes how a trial ended; a value goes with COMPLETE only."""
        self._reported.pop(number, None)
        self.study.tell(
            self._trials.pop(number),
            value if state is TrialState.COMPLETE else None,
            state=optuna.trial.TrialState[state.value],
        )

    def drawn(self, number: int) -> Mapping[str, Scalar]:
        """What a trial that runs was drawn with: the searched hyperparameters only."""
        return self._trials[number].params

    def log_scaled(self) -> tuple[str, ...]:
        """The hyperparameters that are drawn on a logarithmic scale."""
        return tuple(self._log_scaled)

    def importance(self) -> dict[str, float]:
        """Of each hyperparameter for the objective, adding up to 1, the most important first (PED-ANOVA, Watanabe et al.
        2023); empty where fewer than FEWEST trials are complete."""
        complete = self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        if len(complete) < FEWEST:
            return {}
        try:
            return dict(optuna.importance.get_param_importances(self.study))
        except (RuntimeError, ValueError):  # all values are the same, or no hyperparameter is in every trial
            return {}


class Window(optuna.storages.InMemoryStorage):
    """Trials in memory, of which the sampler sees a bounded number, so that an ask costs the same however many there are.

    TPE goes over all trials several times for each draw. Narrowed, this storage gives it the newest and the best of those
    that finished, and the newest of those that run. Up to NEWEST trials these are all, and what is drawn is what Optuna
    would draw by itself. The pruner asks when the storage is not narrowed, and compares with all."""

    def __init__(self, *, maximize: bool) -> None:
        super().__init__()
        self._sign = 1.0 if maximize else -1.0
        self._narrowed = False
        self._unfinished: dict[int, None] = {}
        """By id, in the order in which they started; a dict since a set has no order."""
        self._best: list[tuple[tuple[bool, int, float], int, optuna.trial.FrozenTrial]] = []
        """A heap, the worst on top; of equals the later one is the worse."""
        self._newest: deque[optuna.trial.FrozenTrial] = deque(maxlen=NEWEST)

    @contextmanager
    def narrowed(self) -> Iterator[None]:
        """Within this, `get_all_trials` gives only what the sampler should see."""
        self._narrowed = True
        try:
            yield
        finally:
            self._narrowed = False

    def create_new_trial(self, study_id: int, template_trial: optuna.trial.FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        self._unfinished[trial_id] = None
        return trial_id

    def set_trial_state_values(
        self, trial_id: int, state: optuna.trial.TrialState, values: Sequence[float] | None = None
    ) -> bool:
        done = super().set_trial_state_values(trial_id, state, values)
        if state.is_finished():
            del self._unfinished[trial_id]
        if state in (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED):  # a failed one says nothing to TPE
            trial = self.get_trial(trial_id)
            self._newest.append(trial)
            keep = heapq.heappush if len(self._best) < BEST else heapq.heappushpop
            keep(self._best, (self._rank(trial), -trial.number, trial))
        return done

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[optuna.trial.TrialState] | None = None
    ) -> list[optuna.trial.FrozenTrial]:
        if deepcopy or not self._narrowed:
            return super().get_all_trials(study_id, deepcopy, states)
        finished = {each.number: each for each in (*self._newest, *(trial for *_, trial in self._best))}
        running = map(self.get_trial, list(self._unfinished)[-RUNNING:])
        seen = sorted([*finished.values(), *running], key=lambda each: each.number)
        return [each for each in seen if states is None or each.state in states]

    def _rank(self, trial: optuna.trial.FrozenTrial) -> tuple[bool, int, float]:
        """As TPE ranks: complete ones by value, then pruned ones by how far they came, then by their last value."""
        if trial.state is optuna.trial.TrialState.COMPLETE:
            assert trial.value is not None
            return True, 0, self._sign * trial.value
        step, value = max(trial.intermediate_values.items(), default=(-1, 0.0))
        return False, step, -math.inf if math.isnan(value) else self._sign * value


def _sampler(spec: SamplerSpec, seed: int) -> optuna.samplers.BaseSampler:
    match spec.type:
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
        case "tpe":
            with warnings.catch_warnings():
                # `group` is experimental in name only: it is what conditional hyperparameters need.
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
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
