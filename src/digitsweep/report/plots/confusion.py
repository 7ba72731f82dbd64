"""Confusion matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from digitsweep.report.plots.style import INK, MUTED, SMALL, TEXT, panel

LONGEST_NAME = 14
"""Characters of a class's name beside a matrix; longer ones are cut."""


def confusion_matrix(matrix: NDArray[np.int64], title: str, names: Sequence[str] = ()) -> Figure:
    """Counts of true (rows) against predicted labels (columns); shades show each row's errors, not its hits.

    names: of the classes; if empty, they are called by their labels."""
    figure = Figure(figsize=(5.4, 5.0))
    # A trial's picture is always laid out alike: to find that out each time takes as long as to draw it.
    margin = 0.07 + 0.02 * min(max(2, *map(len, names)), LONGEST_NAME) if names else 0.11
    figure.subplots_adjust(left=margin, right=0.97, top=0.92, bottom=margin - 0.01)
    _draw_confusion(figure.subplots(), matrix, names)
    figure.suptitle(title, fontsize=11)
    return figure


def confusion_matrices(matrices: Mapping[str, NDArray[np.int64]], title: str, names: Sequence[str] = ()) -> Figure:
    """The matrices of several models, up to three side by side; `names` as above."""
    columns = min(len(matrices), 3)
    rows = math.ceil(len(matrices) / columns)
    figure = Figure(figsize=(5.2 * columns, 5.0 * rows), layout="constrained")
    for place, (name, matrix) in enumerate(matrices.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        _draw_confusion(axes, matrix, names)
        axes.set_title(name, fontsize=10)
    figure.suptitle(title, fontsize=11)
    return figure


def error_matrix(matrix: NDArray[np.int64], color: str, names: Sequence[str] = ()) -> Figure:
    """Counts of true (rows) against predicted labels (columns); errors that are frequent in their row are strong."""
    classes = len(matrix)
    figure, axes = panel(4.8, 4.5)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    errors = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(errors, 0.0)
    top = max(float(errors.max()), 1e-9)
    size = SMALL if classes <= 10 else 4.5
    for row, column in np.ndindex(matrix.shape):
        count, strength = int(matrix[row, column]), float(errors[row, column]) / top
        if strength > 0:
            alpha = round(0.1 + 0.5 * strength, 2)  # not more: ink has to stay readable on it, by day and by night
            axes.add_patch(Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, facecolor=color, alpha=alpha, linewidth=0))
        if classes <= 20 and (count or row == column):
            shade = MUTED if row == column else INK
            axes.text(column, row, str(count), ha="center", va="center_baseline", fontsize=size, color=shade)
    axes.set(xlim=(-0.6, classes - 0.4), ylim=(classes - 0.4, -0.6), xlabel="predicted", ylabel="true", aspect="equal")
    axes.tick_params(length=0, labelsize=TEXT if classes <= 10 else 5)
    _name_ticks(axes, classes, names)
    return figure


def _name_ticks(axes: Axes, classes: int, names: Sequence[str]) -> None:
    """Labels below and beside a matrix; those below stand upright if they are words."""
    told = [each if len(each) <= LONGEST_NAME else f"{each[: LONGEST_NAME - 1]}…" for each in names[:classes]]
    told = told or list(map(str, range(classes)))
    axes.set_xticks(range(classes), told, rotation=90 if any(len(each) > 2 for each in told) else 0)
    axes.set_yticks(range(classes), told)


def _draw_confusion(axes: Axes, matrix: NDArray[np.int64], names: Sequence[str]) -> None:
    errors = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(errors, 0.0)
    top = max(float(errors.max()), 1e-9)
    axes.imshow(errors, cmap="Oranges", vmin=0.0, vmax=top)
    classes = len(matrix)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if classes > 20:
        return
    _name_ticks(axes, classes, names)
    size = 8 if classes <= 10 else 5
    for row, column in np.ndindex(matrix.shape):
        count = int(matrix[row, column])
        if row == column:
            axes.text(column, row, str(count), ha="center", va="center", fontsize=size, fontweight="bold")
        elif count:
            shade = "white" if errors[row, column] > 0.65 * top else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=size, color=shade)
