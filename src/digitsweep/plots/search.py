"""A search, trial by trial: what each reached, how each learned, which parameters mattered. Lower is always better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from digitsweep.history import SearchHistory, TrialPoint
from digitsweep.plots.style import INK, MUTED, SMALL, family_color, legend, logarithmic, panel, percent, positive, short


@dataclass(frozen=True)
class Measure:
    """An objective as something that is better when it is lower: an accuracy becomes an error."""

    metric: str

    @property
    def label(self) -> str:
        return {"val_accuracy": "validation error", "val_loss": "validation loss"}.get(self.metric, self.metric)

    def of(self, value: float) -> float:
        return 1.0 - value if self.metric == "val_accuracy" else value

    def text(self, value: float) -> str:
        return percent(value) if self.metric == "val_accuracy" else short(value)

    def last(self, trial: TrialPoint) -> float:
        return self.of(trial.values[-1])


def best_so_far(history: SearchHistory) -> list[tuple[float, float]]:
    """(seconds, measure) whenever a complete trial was the best until then, and at the end of the search."""
    measure, steps = Measure(history.metric), list[tuple[float, float]]()
    for trial in history.trials:
        if trial.state == "COMPLETE" and trial.values and (not steps or measure.last(trial) < steps[-1][1]):
            steps.append((trial.ended, measure.last(trial)))
    if steps and history.trials[-1].ended > steps[-1][0]:
        steps.append((history.trials[-1].ended, steps[-1][1]))
    return steps


def best_trial(history: SearchHistory) -> TrialPoint | None:
    """The complete trial with the best last value."""
    measure = Measure(history.metric)
    complete = [each for each in history.trials if each.state == "COMPLETE" and each.values]
    return min(complete, key=measure.last, default=None)


def search_history(history: SearchHistory) -> Figure:
    """What each trial reached, in the order in which they ended, and the best so far."""
    measure, color = Measure(history.metric), family_color(history.family)
    figure, axes = panel()
    shown = [(place, each) for place, each in enumerate(history.trials, start=1) if each.values]
    heights = dict(zip((place for place, _ in shown), positive([measure.last(each) for _, each in shown]), strict=True))
    for state, label in (("COMPLETE", "complete"), ("PRUNED", "pruned"), ("FAIL", "failed")):
        places = [place for place, each in shown if each.state == state]
        if places:
            complete = state == "COMPLETE"
            axes.plot(
                places,
                [heights[place] for place in places],
                linestyle="",
                label=label,
                marker="o" if complete else "x",
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
    """The objective after each epoch of every trial; a pruned one ends where it was stopped."""
    measure, color = Measure(history.metric), family_color(history.family)
    figure, axes = panel()
    best, drawn = best_trial(history), [each for each in history.trials if each.values]
    least = positive([measure.of(value) for each in drawn for value in each.values])
    named: set[str] = set()
    for trial in drawn:
        kind = "best" if best is not None and trial.number == best.number else trial.state
        label = {"best": "the best", "COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}[kind]
        stopped = kind in ("PRUNED", "FAIL")
        axes.plot(
            range(1, len(trial.values) + 1),
            np.maximum([measure.of(value) for value in trial.values], min(least)),
            color=MUTED if stopped else color,
            alpha=0.6 if stopped else 1.0 if kind == "best" else 0.45,
            linewidth=2.2 if kind == "best" else 0.9,
            zorder=4 if kind == "best" else 2 if stopped else 3,
            marker="x" if stopped else "",
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
    legend(axes, order=("the best", "complete", "pruned", "failed"))
    return figure


def importance(history: SearchHistory, most: int = 10) -> Figure:
    """How much of the objective's variation each parameter explains, the most important on top."""
    shown = list(history.importance.items())[:most]
    figure, axes = panel(height=0.75 + 0.25 * len(shown))
    places = range(len(shown))
    axes.barh(places, [share for _, share in shown], height=0.62, color=family_color(history.family))
    for place, (_, share) in zip(places, shown, strict=True):
        axes.annotate(
            f"{100 * share:.0f} %",
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
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    return figure
