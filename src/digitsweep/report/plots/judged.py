"""Models as they were judged: their difference, each class, and the finalists on fresh seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from digitsweep.evaluation.comparison import Finalist
from digitsweep.evaluation.mistakes import ClassRecall
from digitsweep.evaluation.statistics import Difference
from digitsweep.report.format import METRICS, percent, points
from digitsweep.report.plots.style import INK, MARKERS, MUTED, PAPER, SMALL, TEXT, family_color, legend, panel, short


def difference_interval(difference: Difference) -> Figure:
    """The difference in points with its interval, beside no difference at all and what the test set could show."""
    figure, axes = panel(4.8, 1.35)

    def told(fraction: float) -> str:
        return points(fraction, difference.images, signed=True)

    low, middle, high, smallest = (
        100 * value for value in (difference.low, difference.accuracy, difference.high, difference.smallest)
    )
    axes.axvspan(-smallest, smallest, color=MUTED, alpha=0.14, linewidth=0)
    axes.axvline(0.0, color=INK, linewidth=1.0)
    axes.plot([low, high], [0, 0], color=INK, linewidth=2.2, solid_capstyle="butt")
    axes.plot([middle], [0], "o", color=INK, markersize=8, markeredgecolor=PAPER, markeredgewidth=1.0)
    over_the_line = {"facecolor": PAPER, "alpha": 0.8, "edgecolor": "none", "pad": 1}
    for value in (difference.low, difference.high):
        axes.text(100 * value, -0.5, told(value), ha="center", va="center", fontsize=SMALL, color=INK, bbox=over_the_line)
    axes.text(middle, 0.5, told(difference.accuracy), ha="center", va="center", fontsize=TEXT, color=INK, fontweight="bold")
    reach = 1.25 * max(abs(low), abs(high), smallest, 1e-3)
    axes.set(
        xlim=(min(1.3 * low, -1.4 * smallest, -0.12 * reach), max(1.3 * high, 1.4 * smallest, 0.12 * reach)),
        ylim=(-0.95, 0.95),
    )
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(_signed))
    named = f"points by which {difference.second} is above {difference.first}"
    axes.set_xlabel(named if len(named) <= 66 else "points, the second minus the first")
    axes.grid(visible=False)
    return figure


def difference_intervals(differences: Sequence[Difference]) -> Figure:
    """The difference of each pair in points with its interval, one below the other, beside no difference at all."""
    figure, axes = panel(height=0.75 + 0.42 * len(differences))
    axes.axvline(0.0, color=INK, linewidth=1.0)
    for place, each in enumerate(differences):
        strength = 1.0 if each.significant else 0.45
        line: dict[str, Any] = {"color": INK, "alpha": strength}
        axes.plot([100 * each.low, 100 * each.high], [place, place], linewidth=2.2, solid_capstyle="butt", **line)
        axes.plot([100 * each.accuracy], [place], "o", markersize=6, markeredgecolor=PAPER, markeredgewidth=1.0, **line)
        text = f"{each.second} minus {each.first}: {points(each.accuracy, each.images, signed=True)}"
        background = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}
        _name_row(axes, place, text, above=6.0, bold=each.significant, bbox=background)
    axes.set(ylim=(len(differences) - 0.5, -0.85), xlabel="points by which the one named first is above the other")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(_signed))
    axes.grid(visible=False, axis="y")
    return figure


def _name_row(axes: Axes, place: int, text: str, *, above: float, bold: bool, **options: Any) -> None:
    """Writes what a row shows at its left end, so many points above it."""
    axes.annotate(
        text,
        (0.0, place),
        xycoords=("axes fraction", "data"),
        xytext=(0.0, above),
        textcoords="offset points",
        fontsize=SMALL,
        color=INK,
        fontweight="bold" if bold else "normal",
        **options,
    )


def _signed(value: float, _: Any) -> str:
    return "0" if abs(value) < 1e-9 else f"{value:+.3g}"


def class_recalls(
    classes: Sequence[ClassRecall], colors: Mapping[str, str], class_name: Callable[[int], str] = str
) -> Figure:
    """Of each class the share that each model gets right, with 95 % intervals; `colors` by the model's name, `class_name`
    by the label."""
    models = max(len(colors), 2)
    figure, axes = panel(height=0.9 + 0.09 * (models + 1) * len(classes))
    for number, (name, color) in enumerate(colors.items()):
        shift = (0.8 - 0.92 / models) * (number - (len(colors) - 1) / 2) / (models - 1)
        found = [(place, each.recalls[name]) for place, each in enumerate(classes) if each.recalls.get(name)]
        shown = [(place + shift, share) for place, share in found if share.total]
        axes.hlines(
            [place for place, _ in shown],
            [share.interval[0] for _, share in shown],
            [share.interval[1] for _, share in shown],
            color=color,
            linewidth=1.3,
            alpha=0.55,
        )
        axes.plot(
            [share.accuracy for _, share in shown],
            [place for place, _ in shown],
            MARKERS[number % len(MARKERS)],
            color=color,
            markersize=5,
            markeredgecolor=PAPER,
            markeredgewidth=0.6,
            label=name,
        )
    axes.set_yticks(range(len(classes)), [class_name(each.label) for each in classes])
    axes.set(ylim=(len(classes) - 0.4, -0.6), xlabel="share of its test images classified correctly", ylabel="label")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value, None)))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    legend(axes)
    return figure


def finalists_on_seeds(finalists: Sequence[Finalist]) -> Figure:
    """The objective's value for each finalist on each fresh seed, the winner's mean over the seeds that chose nothing, and
    the score in the search."""
    figure, axes = panel(height=0.85 + 0.46 * len(finalists))
    metric = finalists[0].chosen_by.metric

    def row(place: int, values: Sequence[float], label: str, **drawn: Any) -> None:
        if values:
            named = label not in axes.get_legend_handles_labels()[1]
            axes.plot(values, [place] * len(values), linestyle="", label=label if named else "_", **drawn)

    for place, each in enumerate(finalists):
        color = family_color(each.family)
        hollow = {"color": "none", "markersize": 5, "markeredgewidth": 1}
        scores = each.chosen_by
        row(place, scores.selection, "selection seed", marker="o", markeredgecolor=color, **hollow)
        filled = {"color": color, "alpha": 0.75, "markersize": 5, "markeredgewidth": 0}
        row(place, scores.confirmation, "confirmation seed", marker="o", **filled)
        if each.confirmation:
            row(place, [fmean(scores.confirmation)], "their mean", marker="|", color=color, markersize=13, markeredgewidth=2)
        row(place, [scores.search], "search", marker="D", markeredgecolor=INK, **hollow)
        text = f"{each.trial}: {each.network}" + (" · won" if each.won and each.selection else "")
        _name_row(axes, place, text, above=8.5, bold=each.won)
    axes.set(ylim=(len(finalists) - 0.4, -0.75), xlabel=f"validation {METRICS[metric]}")
    axes.margins(x=0.08)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: short(value) if metric == "val_loss" else percent(value, None))
    )
    axes.grid(visible=False, axis="y")
    legend(axes)
    return figure
