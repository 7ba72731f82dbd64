"""A trial's way through its epochs, alone and among others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from digitsweep.report.plots.style import family_color, logarithmic
from digitsweep.trial import EpochMetrics

TRAIN, VALIDATION = "#8a8f98", "#3b6fb6"


def learning_curves(epochs: Sequence[EpochMetrics], title: str) -> Figure:
    """Loss and accuracy by epoch, of training and of validation."""
    figure = Figure(figsize=(8.0, 3.4))
    figure.subplots_adjust(left=0.075, right=0.985, top=0.84, bottom=0.14, wspace=0.21)  # always alike, as in confusion.py
    loss, accuracy = figure.subplots(1, 2)
    steps = [each.epoch for each in epochs]
    marker = "o" if len(steps) < 40 else ""
    for axes, name, unit in ((loss, "loss", "cross-entropy"), (accuracy, "accuracy", "")):
        for split, color in (("train", TRAIN), ("val", VALIDATION)):
            label = "training" if split == "train" else "validation"
            values = [getattr(each, f"{split}_{name}") for each in epochs]
            axes.plot(steps, values, marker=marker, markersize=3.5, color=color, label=label)
        axes.set_title(name.capitalize() + (f" ({unit})" if unit else ""), fontsize=10)
        _by_epoch(axes)
    if steps:
        losses = [value for each in epochs for value in (each.train_loss, each.val_loss) if value > 0]
        if losses:
            logarithmic(loss, "y", losses, lambda value: f"{value:g}")
        accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
        accuracy.legend(fontsize=9, frameon=False, loc="lower right")
    else:
        loss.text(0.5, 0.5, "no epoch was finished", ha="center", va="center", transform=loss.transAxes)
    figure.suptitle(title, fontsize=11)
    return figure


@dataclass(frozen=True)
class Curve:
    """One trial's way, to be drawn among others."""

    name: str
    family: str
    best: bool
    """Drawn strong."""
    epochs: Sequence[EpochMetrics]


def training_curves(curves: Sequence[Curve], title: str) -> Figure:
    """Validation error by epoch of several trials, on a logarithmic scale; each family has its colours."""
    figure = Figure(figsize=(8.0, 4.2), layout="constrained")
    axes = figure.subplots()
    drawn: Counter[str] = Counter()
    reached: list[float] = []
    for curve in curves:
        errors = [max(1.0 - each.val_accuracy, 1e-5) for each in curve.epochs]
        reached += filter(math.isfinite, errors)
        strength = 1.0 if curve.best else 0.45 + 0.1 * (drawn[curve.family] % 6)
        drawn[curve.family] += 1
        axes.plot(
            [each.epoch for each in curve.epochs],
            errors,
            color=family_color(curve.family),
            alpha=strength,
            linewidth=2.6 if curve.best else 1.3,
            linestyle="-" if curve.best else _DASHES[drawn[curve.family] % len(_DASHES)],
            marker="o" if len(curve.epochs) == 1 else "",
            zorder=3 if curve.best else 2,
            label=curve.name,
        )
    if reached:
        logarithmic(axes, "y", reached, lambda value: f"{100 * value:g} %")
    axes.set_ylabel("validation error")
    _by_epoch(axes)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.suptitle(title, fontsize=11)
    return figure


_DASHES = ("--", ":", "-.", (0, (5, 1)), (0, (1, 1)))


def _by_epoch(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.grid(True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
