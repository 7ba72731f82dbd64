"""Which configuration a search in minutes tries next: a known one, a neighbour of the best, or one drawn from TPE, from the
priors that people gave, or at random."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
import optuna
from pydantic import ValidationError

from digitsweep.config.experiment import Experiment
from digitsweep.config.space import Categorical, Choice, Distribution, drawn_by
from digitsweep.families import Params
from digitsweep.families.hyperparameters import Scalar
from digitsweep.search.sampler import fixed_trial, importance_of, tpe
from digitsweep.trial import DIRECTIONS, Trial, TrialRecord, TrialState, fullest, in_order, trial_seed

STEP = 0.2
"""Standard deviation of a mutation, as a share of the (logarithmic) range."""
WIDTHS = {"low": 0.5, "medium": 0.25, "high": 0.125}
"""Standard deviation of a prior over a range, as a share of it, by how sure the prior is (PriorBand, Mallik et al. 2023,
arXiv 2306.12370)."""
WEIGHTS = {"low": 2.0, "medium": 4.0, "high": 6.0}
"""How many times as often a prior's choice is drawn as each other choice (PriorBand, too)."""
MIXTURE = {"neighbour": 0.4, "tpe": 0.4, "prior": 0.2}
"""How often each way proposes a configuration (experiments/LOG.md). Without priors, `prior` draws at random."""
DOUBT = 0.5
"""How often a value is drawn uniformly although it has a prior, if what was known is in doubt. Some of it may be right."""
INCUMBENTS = 3
"""Of how many of the best configurations neighbours are drawn."""
RATE = 0.25
"""Probability that a neighbour changes a value."""
FEWEST_FOR_NEIGHBOURS, FEWEST_FOR_TPE = 4, 8
"""Configurations that must have ended before neighbours of the best are tried, and before TPE proposes any."""
TYPICAL = 25
"""Draws that say what a configuration of a space usually is."""
MOST_DRAWS = 200
"""After so many draws without a new configuration the space counts as exhausted. After half as many that are too slow, and
none that is not, the cheapest of these is taken."""


def uniform(random: np.random.Generator) -> Choice:
    """Each value of a range, or of its logarithm, is equally likely."""

    def choose(name: str, each: Distribution) -> Scalar:
        if isinstance(each, Categorical):
            value: Scalar = each.choices[int(random.integers(len(each.choices)))]
            return value
        return each.at_share(float(random.uniform()))

    return choose


def from_priors(random: np.random.Generator, doubt: float = 0.0) -> Choice:
    """Near the priors; uniformly where there is none, and with the probability `doubt` where there is."""
    anywhere = uniform(random)

    def choose(name: str, each: Distribution) -> Scalar:
        if each.prior is None or (doubt and random.uniform() < doubt):
            return anywhere(name, each)
        if isinstance(each, Categorical):
            weights = np.array([WEIGHTS[each.prior.sure] if value == each.prior.value else 1.0 for value in each.choices])
            value: Scalar = each.choices[int(random.choice(len(each.choices), p=weights / weights.sum()))]
            return value
        return each.at_share(each.share_of(each.prior.value) + float(random.normal(0.0, WIDTHS[each.prior.sure])))

    return choose


def near(base: Mapping[str, Scalar], random: np.random.Generator, rate: float, anew: Choice) -> Choice:
    """The values of `base`, each changed with probability `rate`: a number by a normal step, a choice to any other one. A
    value that `base` does not have comes from `anew`."""

    def choose(name: str, each: Distribution) -> Scalar:
        value = base.get(name)
        if value is None:
            return anew(name, each)
        if random.uniform() >= rate:
            return value
        if isinstance(each, Categorical):
            others = [other for other in each.choices if other != value]
            return others[int(random.integers(len(others)))] if others else value
        changed = value
        while changed == value:  # a step of a range of few numbers often leads nowhere
            changed = each.at_share(each.share_of(value) + float(random.normal(0.0, STEP)))
        return changed

    return choose


@dataclass(frozen=True)
class Proposal:
    """A configuration to be tried."""

    params: Params
    drawn: Mapping[str, Scalar]
    """The searched values, by Optuna's names."""
    proposed_by: str
    """Who names it, as in `Experiment.known`; `random`, or one of MIXTURE."""


class Proposer:
    """Proposes configurations of one family, each once: known ones first, then a mixture of neighbours of the best so far,
    TPE and the priors.

    A proposal depends only on the seed, its number, the trials that have ended and what a configuration may cost: a search
    that is rebuilt from its trials goes on as if it had never been interrupted."""

    def __init__(self, experiment: Experiment, family: str, accepts: Callable[[Params], bool] = lambda _: True) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._family, self._seed, self._accepts = family, experiment.seed, accepts
        self._metric = experiment.objective.metric
        self._space = experiment.families[family].space
        kind = experiment.sampler.type
        self._mixture = MIXTURE if kind == "mixture" else {kind: 1.0}
        self.known = experiment.known(family)
        """The configurations that are tried before any is drawn, by who names them."""
        self._seen: set[object] = set()
        self._left_out: set[object] = set()
        """Configurations that the budget did not pay for."""
        self._left_out_before = 0
        """How many there were before the sweep was interrupted."""
        self._frozen: dict[tuple[int, int], optuna.trial.FrozenTrial] = {}
        """Optuna's form of what has ended, by number and rung."""
        self._numbers: set[int] = set()

    def seen(self, params: Params) -> None:
        """Excludes a configuration that is trained anyway, as a baseline."""
        self._seen.add(params.key())

    def began(self, trial: Trial) -> None:
        """Counts a trial of the search that begins, or began before the sweep was interrupted."""
        self._seen.add(trial.params.key())
        self._numbers.add(trial.number)

    @property
    def count(self) -> int:
        """Configurations so far, without baselines."""
        return len(self._numbers)

    def typical(self) -> list[Params]:
        """Some configurations near the priors that fit the images, the same whatever the seed of the sweep."""
        random, found = np.random.default_rng(0), list[Params]()
        for _ in range(TYPICAL):
            with suppress(ValidationError):
                found.append(self._space.suggest(from_priors(random)))
        return list(filter(self._accepts, found))

    def resume(self, left_out: int) -> None:
        """Counts so many configurations that were left out before the sweep was interrupted."""
        self._left_out_before = left_out

    @property
    def too_slow(self) -> int:
        """Configurations that were drawn, left out as too slow, and not trained later."""
        # Known ones are asked for at each draw: they are among the ones from before.
        known = chain.from_iterable(self.known.values())
        counted = {each.key() for each in known} if self._left_out_before else set()
        return self._left_out_before + len(self._left_out - self._seen - counted)

    def draw(
        self,
        number: int,
        records: Sequence[TrialRecord],
        cost: Callable[[Params], float],
        most: float,
        *,
        doubted: Container[str] = (),
    ) -> Proposal | None:
        """A new configuration, which trial `number` will train; None if there is none left. One that costs more than `most`
        is left out, unless all of many draws do: then it is the cheapest of them. doubted: whose known
        configurations (keys of `known`) seem to be wrong. Then they count for less; so do the priors, if nobody comes before
        in `known`."""
        random = np.random.default_rng(trial_seed(self._seed, self._family, f"draw {number}"))
        left_out: dict[object, Proposal] = {}
        for params, drawn, by in self._draws(random, records, doubted):
            if params.key() in self._seen or not self._accepts(params):
                continue
            proposal = Proposal(params, drawn, by)
            if cost(params) <= most:
                self._left_out |= left_out.keys()
                return proposal
            left_out[params.key()] = proposal
            if len(left_out) >= MOST_DRAWS // 2:
                break
        self._left_out |= left_out.keys()
        return min(left_out.values(), key=lambda each: cost(each.params), default=None)

    def _draws(
        self, random: np.random.Generator, records: Sequence[TrialRecord], doubted: Container[str]
    ) -> Iterator[tuple[Params, Mapping[str, Scalar], str]]:
        for by, params in self._known_in_order(doubted):
            yield params, self._space.drawn(params), by
        ways, weights = list(self._mixture), list(self._mixture.values())
        for draw in range(MOST_DRAWS):
            way = ways[int(random.choice(len(ways), p=weights))] if draw < MOST_DRAWS // 2 else "random"
            drawn: dict[str, Scalar] = {}

            def noted(name: str, each: Distribution, *, choose: Choice, drawn: dict[str, Scalar] = drawn) -> Scalar:
                drawn[name] = choose(name, each)
                return drawn[name]

            choose, by = self._choice(way, random, records, doubted)
            with suppress(ValidationError):  # values that are valid one by one and not together
                yield self._space.suggest(partial(noted, choose=choose)), drawn, by

    def _known_in_order(self, doubted: Container[str]) -> list[tuple[str, Params]]:
        """What is not in doubt comes first. The second one is the first of the others, for comparison."""
        names = sorted(self.known, key=lambda each: each in doubted)
        groups = [[(by, each) for each in self.known[by]] for by in names]
        return [*chain.from_iterable(each[:1] for each in groups), *chain.from_iterable(each[1:] for each in groups)]

    def _choice(
        self, way: str, random: np.random.Generator, records: Sequence[TrialRecord], doubted: Container[str]
    ) -> tuple[Choice, str]:
        """What chooses the values, and its name."""
        leader = next((by for by, known in self.known.items() if known), None)
        doubt = DOUBT if leader in doubted else 0.0
        anew = uniform(random) if way == "random" else from_priors(random, doubt)
        records = [each for each in records if each.trial.proposed_by not in doubted]
        if way == "neighbour" and (best := self._incumbents(records)):
            return near(best[int(random.integers(len(best)))], random, RATE, anew), way
        if way == "tpe" and len(told := self.told(records)) >= FEWEST_FOR_TPE:
            study = optuna.create_study(direction=DIRECTIONS[self._metric], sampler=tpe(int(random.integers(2**31))))
            study.add_trials(told)
            return drawn_by(study.ask()), way
        return anew, "random" if way == "random" or not self._space.has_priors() else "prior"

    def _incumbents(self, records: Sequence[TrialRecord]) -> list[Mapping[str, Scalar]]:
        """The best configurations so far, each by its highest rung; none if there are too few to choose from."""
        best = {each.trial.number: each.trial.drawn for each in in_order(self._complete(records), self._metric)}
        return list(best.values())[:INCUMBENTS] if len(best) >= FEWEST_FOR_NEIGHBOURS else []

    def told(self, records: Sequence[TrialRecord]) -> list[optuna.trial.FrozenTrial]:
        """The configurations that have ended, in Optuna's form, each by its highest rung: as trials that were pruned there,
        which TPE ranks by rung first and then by value."""
        by_rung = sorted(self._complete(records), key=lambda each: each.trial.rung)
        return [self._told(each) for each in {each.trial.number: each for each in by_rung}.values()]

    def _complete(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        return [each for each in records if each.result.state is TrialState.COMPLETE and each.trial.baseline is None]

    def _told(self, record: TrialRecord) -> optuna.trial.FrozenTrial:
        trial, value = record.trial, record.result.last(self._metric)
        key = (trial.number, trial.rung)
        if key not in self._frozen:
            fixed = fixed_trial(self._space, trial.drawn)
            self._frozen[key] = optuna.trial.create_trial(
                state=optuna.trial.TrialState.PRUNED,
                params=fixed.params,
                distributions=fixed.distributions,
                intermediate_values={trial.rung: value},
            )
        return self._frozen[key]

    def importance(self, records: Sequence[TrialRecord]) -> dict[str, float]:
        """Each hyperparameter's importance for the objective on the rung with the most trainings."""
        study = optuna.create_study(direction=DIRECTIONS[self._metric])
        complete = self._complete(records)
        rung = fullest([each.trial.rung for each in complete])
        for record in (each for each in complete if each.trial.rung == rung):
            told = self._told(record)
            told = optuna.trial.create_trial(
                params=told.params, distributions=told.distributions, value=record.result.last(self._metric)
            )
            study.add_trial(told)
        return importance_of(study)

    def log_scaled(self) -> tuple[str, ...]:
        """The hyperparameters that are drawn on a logarithmic scale."""
        scales = (each.distributions.items() for each in self._frozen.values())
        return tuple(dict.fromkeys(name for each in scales for name, scale in each if getattr(scale, "log", False)))
