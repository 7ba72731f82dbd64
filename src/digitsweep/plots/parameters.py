"""Parameters against the objective: all of them at once as parallel coordinates, and the important ones each alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from digitsweep.history import SearchHistory, TrialPoint
from digitsweep.plots.search import Measure
from digitsweep.plots.style import (
    INK,
    MUTED,
    PAPER,
    SMALL,
    TEXT,
    family_color,
    log_ticks,
    logarithmic,
    panel,
    positive,
    short,
)
from digitsweep.training_params import Scalar

MOST_AXES = 11
MOST_SLICES = 4
ABSENT = -0.11
"""Where a line crosses the axis of a parameter that its trial does not have."""


@dataclass(frozen=True)
class Scale:
    """Places of a parameter's values between 0 and 1, and the values that are written beside the axis."""

    name: str
    places: tuple[float, ...]
    """One for each trial; ABSENT where the trial does not have the parameter."""
    ticks: tuple[tuple[float, str], ...]


def scale(name: str, values: Sequence[Scalar | None], *, log: bool) -> Scale:
    """The scale of one parameter; numbers lie linearly or logarithmically, words at even distances."""
    present = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in present) or len(set(present)) == 1:
        words = list(dict.fromkeys(str(value) for value in sorted(present, key=str)))
        at = {word: (each + 0.5) / len(words) for each, word in enumerate(words)}
        places = tuple(ABSENT if value is None else at[str(value)] for value in values)
        return Scale(name, places, tuple((place, word) for word, place in at.items()))
    numbers = [float(value) for value in present]
    low, high, log = min(numbers), max(numbers), log and min(numbers) > 0

    def place(value: float) -> float:
        if log:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    if len(set(numbers)) <= 4:
        marks = sorted(set(numbers))
    else:
        marks = log_ticks(low, high, 5) if log else [float(tick) for tick in MaxNLocator(4).tick_values(low, high)]
    ticks = tuple((place(mark), short(mark)) for mark in marks if low - 1e-12 <= mark <= high + 1e-12)
    return Scale(name, tuple(ABSENT if value is None else place(float(value)) for value in values), ticks)


def searched(history: SearchHistory) -> list[str]:
    """The parameters of the trials that are drawn, the most important first, then in the order in which they first occur."""
    names = dict.fromkeys(name for trial in drawn_trials(history) for name in trial.params)
    return [
        *(name for name in history.importance if name in names),
        *(name for name in names if name not in history.importance),
    ]


def drawn_trials(history: SearchHistory) -> list[TrialPoint]:
    """Those that came to a value and did not fail: an interrupted one has no end to be judged by."""
    return [each for each in history.trials if each.values and each.state != "FAIL"]


def parallel_coordinates(history: SearchHistory) -> Figure:
    """A line for each trial across an axis for each parameter, and at last the objective; pruned ones are faint."""
    measure = Measure(history.metric)
    trials = drawn_trials(history)
    reached = positive([measure.last(each) for each in trials])
    scales = [
        scale(name, [each.params.get(name) for each in trials], log=name in history.log_scaled)
        for name in searched(history)[:MOST_AXES]
    ]
    scales.append(_objective(measure, reached))
    figure, axes = panel(max(9.0, 0.92 * len(scales) + 0.4), 3.7)  # the page gives it its whole width, however few axes
    axes.set_axis_off()
    complete = [value for value, each in zip(reached, trials, strict=True) if each.state == "COMPLETE"]
    worst_first = sorted(zip(trials, reached, range(len(trials)), strict=True), key=lambda each: -each[1])
    for trial, value, column in worst_first:
        pruned = trial.state == "PRUNED"
        axes.plot(
            range(len(scales)),
            [each.places[column] for each in scales],
            color=MUTED if pruned else family_color(history.family),
            linewidth=0.6 if pruned else 2.4 if value == min(complete) else 1.3,
            alpha=0.35 if pruned else _strength(value, complete),
            zorder=2 if pruned else 3,
            label="pruned" if pruned else "complete",
        )
    for place, each in enumerate(scales):
        axes.plot([place, place], [0.0, 1.0], color=MUTED, linewidth=0.8, zorder=4, label="_axis")
        last = place == len(scales) - 1
        for height, text in each.ticks:
            _tick(axes, place, height, text, right=last)
        if ABSENT in each.places:
            _tick(axes, place, ABSENT, "none", right=False)
        axes.text(
            place,
            1.07,
            _in_two_lines(each.name),
            ha="center",
            va="bottom",
            fontsize=TEXT,
            color=INK,
            fontweight="bold" if last else "normal",
        )
    lowest = ABSENT if any(ABSENT in each.places for each in scales) else 0.0
    axes.set(xlim=(-0.25, len(scales) - 0.4), ylim=(lowest - 0.05, 1.05))
    return figure


def sliced(history: SearchHistory) -> list[str]:
    """The parameters that have a slice: the most important ones."""
    return list(history.importance)[:MOST_SLICES]


def parameter_slice(history: SearchHistory, name: str) -> Figure:
    """The objective of every complete trial against one of its parameters."""
    measure = Measure(history.metric)
    trials = [each for each in history.trials if each.state == "COMPLETE" and each.values and name in each.params]
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
        logarithmic(axes, "x", numbers, short, room=0.08)
    else:
        few = sorted(set(numbers))
        axes.xaxis.set_major_locator(FixedLocator(few) if len(few) <= 4 else MaxNLocator(4))
        axes.margins(x=0.1)
        axes.xaxis.set_major_formatter(lambda value, _: short(value))
    axes.set_xlabel(name)
    axes.grid(visible=False, axis="x")
    return figure


def _in_two_lines(name: str) -> str:
    return name.replace("_", "_\n", 1).replace(" ", "\n", 1) if len(name) > 9 else name


def _tick(axes: Axes, place: float, height: float, text: str, *, right: bool) -> None:
    axes.plot([place - 0.02, place + 0.02], [height, height], color=MUTED, linewidth=0.8, zorder=4, label="_tick")
    axes.text(
        place + (0.06 if right else -0.06),
        height,
        text,
        ha="left" if right else "right",
        va="center_baseline",
        fontsize=SMALL,
        color=INK,
        zorder=6,
        bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
    )


def _objective(measure: Measure, reached: Sequence[float]) -> Scale:
    """The last axis: logarithmic, the best on top."""
    low, high = min(reached), max(reached)
    span = math.log(high / low) or 1.0

    def place(value: float) -> float:
        return 1.0 - math.log(value / low) / span

    ticks = tuple((place(tick), measure.text(tick)) for tick in log_ticks(low, high))
    return Scale(measure.label, tuple(place(value) for value in reached), ticks)


def _strength(value: float, complete: Sequence[float]) -> float:
    """By rank among the complete trials: 1 of the best, a quarter of the worst."""
    better = sum(each < value for each in complete)
    return 1.0 - 0.75 * better / max(len(complete) - 1, 1)
