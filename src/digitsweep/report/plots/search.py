"""A search: what each trial reached, how each learned or was promoted, and which parameters mattered. Lower is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from digitsweep.report.format import percent, proposer
from digitsweep.report.plots.style import (
    INK,
    MUTED,
    PAPER,
    SMALL,
    family_color,
    legend,
    logarithmic,
    panel,
    positive,
    short,
)
from digitsweep.trial import DIRECTIONS, OUT_OF_TIME, OUTCOMES, SearchHistory, TrialPoint

CUT_MARKERS = {"PRUNED": "x", OUT_OF_TIME: "^", "FAIL": "+"}
"""Of trials that did not come to their end."""
MARKERS: Mapping[str, str] = {"first": "s", "default": "p", "neighbour": "o", "tpe": "^", "prior": "D", "random": "o"}
"""Of a configuration, by who proposed it; that of `random` is hollow."""
SPREAD = 1.4
"""The marks of a rung are drawn at up to so many times its work, or that part of it."""
MOST_SLICES = 6


@dataclass(frozen=True)
class Measure:
    """An objective as something that is better when it is lower: an accuracy becomes an error."""

    metric: str

    @property
    def label(self) -> str:
        return {
            "val_accuracy": "validation error",
            "val_balanced_accuracy": "validation error, classes averaged",
            "val_macro_f1": "1 - validation macro F1",
            "val_loss": "validation loss",
        }[self.metric]

    @property
    def is_share(self) -> bool:
        return DIRECTIONS[self.metric] == "maximize"

    def of(self, value: float) -> float:
        return 1.0 - value if self.is_share else value

    def text(self, value: float) -> str:
        return percent(value, None) if self.is_share else short(value)

    def last(self, trial: TrialPoint) -> float:
        return self.of(trial.values[-1])


def best_so_far(history: SearchHistory) -> list[tuple[float, float]]:
    """(seconds, measure) whenever a complete trial was the best until then, and at the end of the search.

    With rungs the best is the best of the highest rung until then, as the search chooses; its measure may be worse than that
    of a lower rung."""
    measure, steps, top = Measure(history.metric), list[tuple[float, float]](), 0
    for trial in history.trials:
        if trial.state != "COMPLETE" or not trial.values or trial.rung < top:
            continue
        if not steps or trial.rung > top or measure.last(trial) < steps[-1][1]:
            steps.append((trial.ended, measure.last(trial)))
        top = trial.rung
    if steps and history.trials[-1].ended > steps[-1][0]:
        steps.append((history.trials[-1].ended, steps[-1][1]))
    return steps


def best_trial(history: SearchHistory) -> TrialPoint | None:
    """The complete trial with the best last value."""
    measure = Measure(history.metric)
    complete = [each for each in history.trials if each.state == "COMPLETE" and each.values]
    return min(complete, key=measure.last, default=None)


@dataclass(frozen=True)
class ConfigurationPath:
    """What a configuration reached on each rung that it was trained on."""

    trial: str
    """As in its tables: family, hyphen, number."""
    proposed_by: str
    works: tuple[float, ...]
    """Predicted seconds of its trainings, by rung; only complete ones count, here and below."""
    values: tuple[float, ...]
    """The measure after each of them."""
    won: bool = False


def configuration_paths(history: SearchHistory, winner: str = "") -> list[ConfigurationPath]:
    """The configurations that completed a training, by number, the winner (family, hyphen, number) last."""
    measure, points = Measure(history.metric), dict[int, list[TrialPoint]]()
    for each in (point for rung in history.rungs() for point in rung):
        points.setdefault(each.number, []).append(each)
    found = [
        ConfigurationPath(
            trial=(name := f"{history.family}-{number:03d}"),
            proposed_by=trained[0].proposed_by,
            works=tuple(each.work for each in trained),
            values=tuple(measure.last(each) for each in trained),
            won=name == winner,
        )
        for number, trained in sorted(points.items())
    ]
    return sorted(found, key=lambda each: each.won)


def search_rungs(history: SearchHistory, winner: str = "") -> Figure:
    """What each configuration reached against the work of its trainings: a line from rung to rung for those that were
    promoted. The mark says who proposed it. Marks of a rung are spread a little, by number, to be told apart."""
    measure, color = Measure(history.metric), family_color(history.family)
    figure, axes = panel(height=3.6)
    paths = configuration_paths(history, winner)
    values = [value for each in paths for value in each.values]
    least = positive(values)
    last = max(len(paths) - 1, 1)
    for place, each in enumerate(sorted(paths, key=lambda each: each.trial)):
        axes.plot(
            np.multiply(each.works, SPREAD ** (2 * place / last - 1)),
            np.maximum(each.values, min(least)),
            color=INK if each.won else color,
            linewidth=1.8 if each.won else 0.9,
            alpha=1.0 if each.won else 0.6,
            zorder=4 if each.won else 3,
            markersize=7.5 if each.won else 5.0,
            label=f"{each.trial} won" if each.won else "_",
            **_mark(each.proposed_by, color),
        )
    for by in (by for by in MARKERS if any(each.proposed_by == by for each in paths)):
        axes.plot([], [], linestyle="", markersize=5.0, label=proposer(by), **_mark(by, color))
    works = {rung: median(each.work for each in done) for rung, done in enumerate(history.rungs()) if done}
    if paths:
        logarithmic(axes, "y", least, measure.text, zero=min(least) if 0.0 in values else None)
        everything = [work for each in paths for work in each.works]
        logarithmic(axes, "x", [min(everything) / SPREAD, max(everything) * SPREAD], short)
        axes.set_xticks(list(works.values()), [f"{short(work)} s\nrung {rung}" for rung, work in works.items()])
    axes.set(xlabel="work of a training, predicted seconds", ylabel=measure.label)
    axes.grid(visible=False, axis="x")
    legend(axes, order=[f"{each.trial} won" for each in paths if each.won])
    return figure


def _mark(proposed_by: str, color: str) -> dict[str, Any]:
    """How a configuration is drawn: filled, but for one that chance proposed."""
    is_hollow = proposed_by == "random"
    return {
        "marker": MARKERS.get(proposed_by, "o"),
        "markerfacecolor": PAPER if is_hollow else color,
        "markeredgecolor": color if is_hollow else PAPER,
        "markeredgewidth": 1.0 if is_hollow else 0.6,
    }


def search_history(history: SearchHistory) -> Figure:
    """What each trial reached, in the order in which they ended, and the best so far."""
    measure, color = Measure(history.metric), family_color(history.family)
    figure, axes = panel()
    shown = [(place, each) for place, each in enumerate(history.trials, start=1) if each.values]
    heights = dict(zip((place for place, _ in shown), positive([measure.last(each) for _, each in shown]), strict=True))
    for state, label in OUTCOMES.items():
        places = [place for place, each in shown if each.state == state]
        if places:
            complete = state == "COMPLETE"
            axes.plot(
                places,
                [heights[place] for place in places],
                linestyle="",
                label=label,
                marker="o" if complete else CUT_MARKERS[state],
                markersize=4.5 if complete else 3.8,
                markeredgewidth=0 if complete else 0.9,
                color=color if complete else MUTED,
            )
    complete_places = [place for place, each in shown if each.state == "COMPLETE"]
    if complete_places:
        reached = np.minimum.accumulate([heights[place] for place in complete_places]).tolist()
        axes.step(
            [*complete_places, len(history.trials)],
            [*reached, reached[-1]],
            where="post",
            color=INK,
            linewidth=1.1,
            label="best so far",
        )
    logarithmic(axes, "y", list(heights.values()), measure.text)
    axes.set(xlim=(0.3, len(history.trials) + 0.7), xlabel="trial, in the order of ending", ylabel=measure.label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.grid(visible=False, axis="x")
    legend(axes)
    return figure


def learning_values(history: SearchHistory) -> Figure:
    """The objective after each epoch of every trial; one that did not come to its end has a mark where it was cut off."""
    measure, color = Measure(history.metric), family_color(history.family)
    figure, axes = panel()
    best, drawn = best_trial(history), [each for each in history.trials if each.values]
    least = positive([measure.of(value) for each in drawn for value in each.values])
    named: set[str] = set()
    for trial in drawn:
        kind = "best" if best is not None and trial.number == best.number else trial.state
        label = "the best" if kind == "best" else OUTCOMES[kind]
        stopped = kind in CUT_MARKERS
        axes.plot(
            range(1, len(trial.values) + 1),
            np.maximum([measure.of(value) for value in trial.values], min(least)),
            color=MUTED if stopped else color,
            alpha=0.6 if stopped else 1.0 if kind == "best" else 0.45,
            linewidth=2.2 if kind == "best" else 0.9,
            zorder=4 if kind == "best" else 2 if stopped else 3,
            marker=CUT_MARKERS.get(kind, ""),
            markevery=[-1],
            markersize=3.8,
            markeredgewidth=0.9,
            label="_" if label in named else label,
        )
        named.add(label)
    logarithmic(axes, "y", least, measure.text)
    axes.set(xlabel="epoch", ylabel=measure.label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.grid(visible=False, axis="x")
    legend(axes, order=("the best", *OUTCOMES.values()))
    return figure


def importance(history: SearchHistory, most: int = 10) -> Figure:
    """How much of the objective's variation each parameter explains, the most important on top."""
    shown = list(history.importance.items())[:most]
    figure, axes = panel(height=0.75 + 0.25 * len(shown))
    places = range(len(shown))
    axes.barh(places, [share for _, share in shown], height=0.62, color=family_color(history.family))
    for place, (_, share) in zip(places, shown, strict=True):
        axes.annotate(
            percent(share, 0),
            (share, place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=SMALL,
            color=INK,
        )
    axes.set_yticks(list(places), [name for name, _ in shown])
    axes.set(
        ylim=(len(shown) - 0.4, -0.6), xlim=(0.0, 1.12 * max(share for _, share in shown)), xlabel="share of the importance"
    )
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value, None)))
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    return figure


def sliced(history: SearchHistory) -> list[str]:
    """The parameters that have a slice: the most important of those that a comparable trial has."""
    complete = history.comparable()
    return [name for name in history.importance if any(name in each.params for each in complete)][:MOST_SLICES]


def parameter_slice(history: SearchHistory, name: str) -> Figure:
    """The objective of every comparable trial against one of its parameters."""
    measure = Measure(history.metric)
    trials = [each for each in history.comparable() if name in each.params]
    values = [each.params[name] for each in trials]
    figure, axes = panel(2.7, 2.3)
    words = sorted({str(value) for value in values}) if any(isinstance(value, str) for value in values) else []
    numbers = [float(words.index(str(value)) if words else value) for value in values]
    axes.plot(
        numbers,
        positive([measure.last(each) for each in trials]),
        "o",
        color=family_color(history.family),
        alpha=0.75,
        markersize=5,
        markeredgecolor=PAPER,
        markeredgewidth=0.5,
    )
    if trials:
        logarithmic(axes, "y", positive([measure.last(each) for each in trials]), measure.text, room=0.1)
    if words:
        axes.set_xticks(range(len(words)), words)
        axes.set_xlim(-0.5, len(words) - 0.5)
    elif name in history.log_scaled and numbers and min(numbers) > 0:
        logarithmic(axes, "x", numbers, short, room=0.08, most=4)
    else:
        few = sorted(set(numbers))
        axes.xaxis.set_major_locator(FixedLocator(few) if len(few) <= 4 else MaxNLocator(4))
        axes.margins(x=0.1)
        axes.xaxis.set_major_formatter(lambda value, _: short(value))
    axes.set_xlabel(name)
    axes.grid(visible=False, axis="x")
    return figure
