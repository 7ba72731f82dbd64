"""Replays searchers on the table of trainings that search_table.py made: how far each is from the best, by the time it has
used. Trains nothing.

A configuration that a searcher proposes is replaced by the nearest one of the table that it has not had yet; what its
training gives and takes is what was measured. All searchers end with one configuration, and what counts is what that one
reaches at the top rung. Each has one worker. What is known beforehand, configurations to try first and priors, is learned on
the two other data sets.

`search.py [TABLE [SEEDS]]`; by default search_table.json.gz and 50."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from common import report
from pydantic import ValidationError

from digitsweep.config.experiment import Experiment
from digitsweep.config.experiment_file import load_experiment
from digitsweep.config.space import Categorical, Distribution, PerLayer, Prior, drawn_by
from digitsweep.families import Params
from digitsweep.search import proposals
from digitsweep.search.budget import START_SECONDS, SweepTime
from digitsweep.search.promotion import Ladder, PromotionStudy
from digitsweep.search.proposals import Proposal, Proposer
from digitsweep.trial import EpochMetrics, Trial, TrialResult, TrialState

TABLE = Path(__file__).with_name("search_table.json.gz")
IMAGES = Path(__file__).parent.parent / "experiments" / "images.yaml"
SEEDS = 50
TRAININGS = 8.0
"""The budget, in mean trainings of the top rung."""
AT = (0.25, 0.5, 1.0)
"""Of the budget."""
GOOD = 0.1
"""Share of the configurations of a data set that the priors are learned from: the best."""
RUNGS = (1, 2)
"""Of the table that are used: the lowest says nothing about the highest."""


@cache
def images() -> Experiment:
    """The experiment that the table's configurations are from."""
    return load_experiment(IMAGES)


@dataclass(frozen=True)
class Trained:
    """One training of the table."""

    value: float
    seconds: float
    curve: tuple[tuple[float, float], ...]
    """(validation accuracy, seconds so far) after each epoch."""


@dataclass
class Table:
    """One family on one data set."""

    family: str
    data: str
    params: list[Params] = field(default_factory=list)
    drawn: list[dict[str, Any]] = field(default_factory=list)
    rungs: list[list[Trained]] = field(default_factory=list)
    """By configuration."""

    @property
    def best(self) -> float:
        return max(each[-1].value for each in self.rungs)

    @property
    def top_seconds(self) -> float:
        return float(np.mean([each[-1].seconds for each in self.rungs]))

    def work(self, rung: int) -> float:
        """Mean seconds of a rung's trainings, without what every training takes."""
        return max(0.05, float(np.mean([each[rung].seconds for each in self.rungs])) - START_SECONDS)


def tables(path: Path = TABLE) -> dict[tuple[str, str], Table]:
    """By family and data set."""
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    rows = json.loads(text) if path.suffix == ".gz" else [json.loads(line) for line in text.splitlines()]
    grouped: dict[tuple[str, str], dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        grouped[row["family"], row["data"]][row["number"]].append(row)
    spaces = {family: each.space for family, each in images().families.items()}
    found = {}
    for (family, data), by_number in grouped.items():
        table = found[family, data] = Table(family, data)
        for _, rungs in sorted(by_number.items()):
            if len(rungs) < 3:
                continue
            drawn = rungs[0]["drawn"]
            table.params.append(spaces[family].suggest(partial(_as_drawn, drawn)))
            table.drawn.append(drawn)
            table.rungs.append([_trained(rungs[rung]) for rung in RUNGS])
    return found


def _as_drawn(drawn: Mapping[str, Any], name: str, scale: Distribution) -> Any:
    return drawn[name]


def _trained(row: Mapping[str, Any]) -> Trained:
    curve = tuple((each[0], each[2]) for each in row["curve"])
    value = curve[-1][0] if curve and row["state"] == "COMPLETE" else 0.0
    return Trained(value, row["seconds"], curve)


class Nearest:
    """Finds the nearest configuration of a table that was not taken yet."""

    def __init__(self, table: Table, scales: Mapping[str, Distribution]) -> None:
        self.table, self._scales = table, scales
        self._names = sorted(scales)
        self._rows = np.array([self._features(each) for each in table.drawn], dtype=object)
        self.left = np.ones(len(table.drawn), bool)

    def _features(self, drawn: Mapping[str, Any]) -> list[Any]:
        found: list[Any] = []
        for name in self._names:
            scale, value = self._scales[name], drawn.get(name)
            found.append(value if value is None or isinstance(scale, Categorical) else scale.share_of(value))
        return found

    def take(self, drawn: Mapping[str, Any]) -> int | None:
        """The number of the nearest one; None where none is left."""
        if not self.left.any():
            return None
        found = self.closest(drawn)
        self.left[found] = False
        return found

    def closest(self, drawn: Mapping[str, Any]) -> int:
        """The number of the nearest one, by Gower's distance, which may be taken later."""
        target = self._features(drawn)
        distances = np.zeros(len(self._rows))
        for column, (name, value) in enumerate(zip(self._names, target, strict=True)):
            theirs = self._rows[:, column]
            if isinstance(self._scales[name], Categorical) or value is None:
                distances += theirs != value
            else:
                distances += [1.0 if each is None else abs(each - value) for each in theirs]
        distances[~self.left] = np.inf
        return int(np.argmin(distances))


@cache
def scales_of(family: str) -> dict[str, Distribution]:
    """The distributions of a family's space, by the names that are drawn."""
    found: dict[str, Distribution] = {}

    def note(name: str, each: Distribution) -> Any:
        found[name] = each
        return each.samples()[-1]

    images().families[family].space.suggest(note)
    for name, each in images().families[family].space.searched.items():
        if not getattr(each, "per", None):
            found.setdefault(name, each)  # type: ignore[arg-type]
    return found


# What is known from other data.


def portfolio(others: Sequence[Table], size: int) -> list[int]:
    """Configurations that together come closest to the best of each table, chosen one after another (Feurer et al. 2020,
    arXiv 2007.04074, section 3.2)."""
    losses = np.array([[table.best - each[-1].value for each in table.rungs] for table in others])
    losses = losses / np.median(losses, axis=1, keepdims=True)
    chosen: list[int] = []
    best = np.full(len(others), np.inf)
    for _ in range(size):
        # What one adds to those before it; among equals, the better by itself.
        totals = np.minimum(best[:, None], losses).mean(axis=0) + 0.1 * losses.mean(axis=0)
        totals[chosen] = np.inf
        chosen.append(int(np.argmin(totals)))
        best = np.minimum(best, losses[:, chosen[-1]])
    return chosen


def misleading(others: Sequence[Table], size: int) -> list[int]:
    """Configurations that do badly on each table, without failing: the best of the worst quarter, by their mean loss."""
    losses = np.mean([[table.best - each[-1].value for each in table.rungs] for table in others], axis=0)
    order = np.argsort(losses)
    return [int(each) for each in order[len(order) * 3 // 4 :][:size]]


def priors(family: str, others: Sequence[Table], *, wrong: bool = False) -> dict[str, Prior]:
    """By hyperparameter, from the best configurations of each table: the median of a number, the most frequent choice.

    wrong: from the worst ones."""
    good: list[dict[str, Any]] = []
    for table in others:
        order = np.argsort([each[-1].value if wrong else -each[-1].value for each in table.rungs])
        good += [table.drawn[each] for each in order[: round(GOOD * len(order))]]
    found: dict[str, list[Any]] = {}
    for drawn in good:
        for name, value in drawn.items():
            found.setdefault(name, []).append(value)
    searched = images().families[family].space.searched
    return {name: _prior(scales_of(family)[name], values) for name, values in found.items() if name in searched}


def _prior(scale: Distribution, values: Sequence[Any]) -> Prior:
    if isinstance(scale, Categorical):
        value, count = Counter(values).most_common(1)[0]
        share = count / len(values)
        return Prior(value=value, sure="high" if share > 0.8 else "medium" if share > 0.5 else "low")
    shares = [scale.share_of(each) for each in values]
    spread = float(np.std(shares))
    middle = scale.at_share(float(np.median(shares)))
    value = float(f"{middle:.2g}") if isinstance(middle, float) else middle
    return Prior(value=value, sure="high" if spread < 0.12 else "medium" if spread < 0.22 else "low")


# Searchers. Each yields (seconds so far, the configuration that it would end with) whenever something has ended.

Path_ = list[tuple[float, int]]


def ours(
    table: Table,
    others: Sequence[Table],
    seed: int,
    budget: float,
    *,
    mixture: Mapping[str, float] | None = None,
    first: int = 4,
    named: Callable[[Sequence[Table], int], list[int]] = portfolio,
    defaults: int = 0,
    baselines: bool = False,
    is_on_top: bool = True,
    priors: Callable[[str, Sequence[Table]], dict[str, Prior]] | None = priors,
    rungs: bool = True,
) -> Path_:
    """PromotionStudy, with a clock that shows what the table says. Its rungs are given, so it needs no short training of the
    first known configuration to plan them, as a sweep does.

    first, named: how many configurations the experiment names, and which; defaults: how many digitsweep names; baselines:
    whether what is nearest to the baselines of images.yaml is trained before the search, on the lowest rung;
    is_on_top: whether known configurations get to the top rung at once."""
    known: dict[str, Any] = {
        "first": tuple(table.params[each] for each in named(others, first)),
        "defaults": tuple(table.params[each] for each in portfolio(others, defaults)),
    }
    if baselines:
        known["baselines"] = images().families[table.family].baselines
    experiment = _experiment(table, known, priors(table.family, others) if priors else {}, seed)
    now = [0.0]
    time = SweepTime(budget / 60.0, lambda: 1, [table.family], 0.0, clock=lambda: now[0])
    nearest = Nearest(table, scales_of(table.family))
    numbers: dict[int, int] = {}

    class OfTheTable(Proposer):
        def draw(self, number: int, records: Any, cost: Any, most: float, *, doubted: Any = ()) -> Proposal | None:
            proposal = super().draw(number, records, lambda _: 0.0, math.inf, doubted=doubted)
            at = nearest.take(proposal.drawn) if proposal else None
            if proposal is None or at is None:
                return None
            numbers[number] = at
            return Proposal(table.params[at], table.drawn[at], proposal.proposed_by)

    class SearchOnly(PromotionStudy):
        def _final_seconds(self) -> float:
            return 0.0

    proposer = OfTheTable(experiment, table.family)
    if mixture is not None:
        proposer._mixture = {way: share / sum(mixture.values()) for way, share in mixture.items()}
    ladder = Ladder(tuple(table.work(rung) for rung in range(len(RUNGS))) if rungs else (table.work(-1),))
    study = SearchOnly(experiment, table.family, (28, 28, 1), 6800, 1200, time, proposer, ladder)
    if not is_on_top:
        study.knowledge.trusted = lambda: ()  # type: ignore[method-assign]
    for baseline in study._planned:
        numbers[baseline.number] = nearest.closest(baseline.params.flat())
    study.predicted = lambda trial: table.rungs[numbers[trial.number]][_at(trial, rungs)].seconds  # type: ignore[method-assign]
    path: Path_ = []
    best: tuple[int, float] = (-1, -1.0)
    while (trial := study.next_trial()) is not None:
        trained = table.rungs[numbers[trial.number]][_at(trial, rungs)]
        now[0] += trained.seconds
        study.trial_ended(trial, _result(trained))
        if (trial.rung, trained.value) > best:
            best = (trial.rung, trained.value)
            path.append((now[0], numbers[trial.number]))
    return path


def _at(trial: Trial, rungs: bool) -> int:
    return trial.rung if rungs else -1


def _result(trained: Trained) -> TrialResult:
    metrics = EpochMetrics(1, 0.0, 0.0, 0.0, trained.value, 0.0, trained.seconds)
    return TrialResult(TrialState.COMPLETE, (metrics,), train_seconds=trained.seconds)


def _experiment(table: Table, known: Mapping[str, Any], near: Mapping[str, Prior], seed: int) -> Experiment:
    """That of the table's configurations, with these known ones and priors in place of its own."""
    family = images().families[table.family]
    searched = {
        name: each if isinstance(each, PerLayer) else each.model_copy(update={"prior": near.get(name)})
        for name, each in family.space.searched.items()
    }
    space = dataclasses.replace(family.space, searched=searched)
    family = family.model_copy(update={"baselines": {}, **known, "space": space})
    return images().model_copy(update={"families": {table.family: family}, "seed": seed})


def whole(table: Table, others: Sequence[Table], seed: int, budget: float, *, sampler: str) -> Path_:
    """Trials at the top rung only, one after another, from a sampler of Optuna's."""
    study = optuna.create_study(direction="maximize", sampler=_optuna_sampler(sampler, seed))
    space, nearest = images().families[table.family].space, Nearest(table, scales_of(table.family))
    path: Path_ = []
    now, best = 0.0, -1.0
    while (at := _asked(study, space, nearest)) is not None:
        trained = table.rungs[at][-1]
        now += trained.seconds
        if now > budget:
            break
        study.add_trial(_frozen(space, table.drawn[at], trained.value))
        if trained.value > best:
            best = trained.value
            path.append((now, at))
    return path


def _optuna_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed) if name == "random" else optuna.samplers.TPESampler(seed=seed)


def _asked(study: optuna.Study, space: Any, nearest: Nearest) -> int | None:
    while True:
        trial = study.ask()
        try:
            space.suggest(drawn_by(trial))
        except ValidationError:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        drawn = dict(trial.params)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return nearest.take(drawn)


def _frozen(space: Any, drawn: Mapping[str, Any], value: float, **values: Any) -> optuna.trial.FrozenTrial:
    fixed = optuna.trial.FixedTrial(dict(drawn))
    space.suggest(drawn_by(fixed))
    return optuna.trial.create_trial(
        params=fixed.params, distributions=fixed.distributions, value=None if values else value, **values
    )


def pruned(table: Table, others: Sequence[Table], seed: int, budget: float, *, pruner: str) -> Path_:
    """Optuna's TPE, whose trials a pruner stops at points on their way to the top."""
    most = max(len(each[-1].curve) for each in table.rungs)
    pruners = {
        "halving": optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
        "hyperband": optuna.pruners.HyperbandPruner(min_resource=1, max_resource=most, reduction_factor=3),
    }
    study = optuna.create_study(
        direction="maximize", sampler=_optuna_sampler("tpe", seed), pruner=pruners[pruner], study_name="replayed"
    )
    space, nearest = images().families[table.family].space, Nearest(table, scales_of(table.family))
    path: Path_ = []
    now, best = 0.0, -1.0
    while (at := _asked(study, space, nearest)) is not None:
        study.enqueue_trial(table.drawn[at])
        trial = study.ask()
        space.suggest(drawn_by(trial))
        trained = table.rungs[at][-1]
        # An epoch of a longer training shows as a point of its curve; shares of an epoch as one point.
        stopped = False
        for epoch, (value, seconds) in enumerate(trained.curve, start=1):
            trial.report(value, epoch)
            if epoch < len(trained.curve) and trial.should_prune():
                now += seconds
                stopped = True
                break
        if stopped:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            now += trained.seconds
            study.tell(trial, trained.value)
        if now > budget:
            break
        if not stopped and trained.value > best:
            best = trained.value
            path.append((now, at))
    return path


def best_k(table: Table, others: Sequence[Table], seed: int, budget: float) -> Path_:
    """Random ones at the lowest rung for half of the budget, then the best of them whole (arXiv 2307.15422)."""
    order = np.random.default_rng(seed).permutation(len(table.rungs))
    now, tried = 0.0, list[int]()
    path: Path_ = []
    for at in order:
        now += table.rungs[at][0].seconds
        if now > budget / 2:
            break
        tried.append(int(at))
        top = max(tried, key=lambda each: table.rungs[each][0].value)
        if not path or path[-1][1] != top:
            path.append((now, top))
    best = -1.0
    for at in sorted(tried, key=lambda each: -table.rungs[each][0].value):
        now += table.rungs[at][-1].seconds
        if now > budget:
            break
        if table.rungs[at][-1].value > best:
            best = table.rungs[at][-1].value
            path.append((now, at))
    return path


def known_only(table: Table, others: Sequence[Table], seed: int, budget: float) -> Path_:
    """The portfolio, whole, and nothing else."""
    now, best = 0.0, -1.0
    path: Path_ = []
    for at in portfolio(others, 20):
        trained = table.rungs[at][-1]
        now += trained.seconds
        if now > budget:
            break
        if trained.value > best:
            best = trained.value
            path.append((now, at))
    return path


def _without(way: str) -> dict[str, float]:
    """The mixture without one way to propose."""
    return {name: share for name, share in proposals.MIXTURE.items() if name != way}


WRONG: Any = {"named": misleading, "priors": partial(priors, wrong=True), "baselines": True}
SEARCHERS: dict[str, Callable[..., Path_]] = {
    "ours": ours,
    "ours, known configurations on the lowest rung": partial(ours, is_on_top=False),
    "ours, no rungs": partial(ours, rungs=False),
    "ours, no priors": partial(ours, priors=None),
    "ours, no known configurations": partial(ours, first=0),
    "ours, no known configurations, no rungs": partial(ours, first=0, rungs=False),
    "ours, no known configurations, no neighbours": partial(ours, first=0, mixture=_without("neighbour")),
    "ours, no known configurations, no TPE": partial(ours, first=0, mixture=_without("tpe")),
    "ours, no known configurations, priors only": partial(ours, first=0, mixture={"prior": 1.0}),
    "ours, no known configurations, wrong priors": partial(ours, first=0, priors=partial(priors, wrong=True)),
    "ours, wrong knowledge": partial(ours, **WRONG, defaults=4),
    "ours, wrong knowledge, none of digitsweep's": partial(ours, **WRONG),
    "ours, nothing known": partial(ours, first=0, priors=None),
    "ours, nothing known, no rungs": partial(ours, first=0, priors=None, rungs=False),
    "ours, nothing known, no neighbours": partial(ours, first=0, priors=None, mixture=_without("neighbour")),
    "ours, nothing known, no TPE": partial(ours, first=0, priors=None, mixture=_without("tpe")),
    "ours, nothing known, drawn at random": partial(ours, first=0, mixture={"random": 1.0}),
    "known configurations only": known_only,
    "random": partial(whole, sampler="random"),
    "random, lowest rung, then the best whole": best_k,
    "TPE": partial(whole, sampler="tpe"),
    "TPE, successive halving": partial(pruned, pruner="halving"),
    "TPE, hyperband": partial(pruned, pruner="hyperband"),
}


def regrets(searcher: str, key: tuple[str, str], path: str, seeds: int = SEEDS) -> list[list[float]]:
    """Of each seed, at each of AT: how far the configuration at that time is from the best, in points."""
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    everything = tables(Path(path))
    table = everything[key]
    # Only what all data sets have, so that a portfolio can be looked up.
    others = [each for (family, data), each in everything.items() if family == key[0] and data != key[1]]
    size = min(len(each.rungs) for each in (table, *others))
    for each in (table, *others):
        each.params, each.drawn, each.rungs = each.params[:size], each.drawn[:size], each.rungs[:size]
    budget = TRAININGS * table.top_seconds
    found = []
    for seed in range(seeds):
        way = SEARCHERS[searcher](table, others, seed, budget)
        row = []
        for share in AT:
            ended = [at for seconds, at in way if seconds <= share * budget]
            value = table.rungs[ended[-1]][-1].value if ended else 0.5
            row.append(100 * (table.best - value))
        found.append(row)
    return found


def main(path: str = str(TABLE), seeds: str = str(SEEDS)) -> None:
    found = tables(Path(path))
    keys = sorted(found)
    jobs = [(name, key) for name in SEARCHERS for key in keys]
    with ProcessPoolExecutor() as pool:
        results = pool.map(regrets, *zip(*jobs, strict=True), [path] * len(jobs), [int(seeds)] * len(jobs))
        by_job = {job: np.array(each) for job, each in zip(jobs, results, strict=True)}
    rows: list[list[object]] = []
    for name in SEARCHERS:
        cells = [by_job[name, key] for key in keys]
        rows.append([name, *map(_shown, cells), " / ".join(f"{each:.2f}" for each in np.mean(cells, axis=(0, 1)))])
    peers = [name for name in SEARCHERS if not name.startswith(("ours", "known"))]
    nearer = [
        f"{key[0]} {key[1]} after {share:.0%}: {name} is {-gap:.2f} ± {error:.2f} points nearer"
        for key in keys
        for at, share in enumerate(AT)
        for name in peers
        for gap, error in [_mean_and_error(by_job[name, key][:, at] - by_job["ours", key][:, at])]
        if gap <= 0.0
    ]
    count, size = len(keys) * len(AT) * len(peers), len(next(iter(found.values())).rungs)
    headline = (
        f"search: ours is on average nearer to the best than the peer in {count - len(nearer)} of {count} comparisons "
        f"({seeds} seeds; {size} configurations of each family){'; not so: ' if nearer else ''}{'; '.join(nearer)}"
    )
    header = ["points from the best after a quarter, half and all of the time", *(" ".join(key) for key in keys), "mean"]
    report("search", headline, header, rows)


def _mean_and_error(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float]:
    """A mean over seeds, and the half of its 95 % interval."""
    return float(values.mean()), float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))


def _shown(regret: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> str:
    """Means after each part of the time with their 95 % intervals, from the regrets by seed and part."""
    return " / ".join(f"{mean:.2f} ± {error:.2f}" for mean, error in map(_mean_and_error, regret.T))


if __name__ == "__main__":
    main(*sys.argv[1:])
