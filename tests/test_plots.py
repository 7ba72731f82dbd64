"""The pictures: their numbers, and that nothing is cut off."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from digitsweep import plots
from digitsweep.results import EpochMetrics


def epochs(count: int) -> list[EpochMetrics]:
    return [EpochMetrics(e, 1 / e, 1 - 1 / (e + 1), 1 / e, 1 - 1 / (e + 2), 0.001, 1.0) for e in range(1, count + 1)]


def inside(figure: Figure) -> bool:
    """Whether everything drawn lies within the picture."""
    plots.png(figure)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    drawn = figure.get_tightbbox(renderer)
    width, height = figure.get_size_inches()
    return bool(drawn.x0 >= -0.02 and drawn.y0 >= -0.02 and drawn.x1 <= width + 0.02 and drawn.y1 <= height + 0.02)


@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_learning_curves(count: int) -> None:
    """The curves show each epoch's figures, for none, one or many epochs."""
    figure = plots.learning_curves(epochs(count), "ann-000: dense 512-256-128")
    assert inside(figure)
    loss, accuracy = figure.axes
    assert np.asarray(loss.lines[1].get_ydata()).tolist() == [each.val_loss for each in epochs(count)]
    assert np.asarray(accuracy.lines[0].get_ydata()).tolist() == [each.train_accuracy for each in epochs(count)]


@pytest.mark.parametrize("classes", [2, 10, 47])
def test_confusion_matrix(classes: int) -> None:
    """Every count that is not 0 stands in its cell, where there are not too many cells to read."""
    matrix = np.random.default_rng(0).integers(0, 3, (classes, classes)) + np.eye(classes, dtype=int) * 1000
    figure = plots.confusion_matrix(matrix, "cnn-012 conv-pool: conv 16-32 k3, dense 64 · validation, 99.10%")
    assert inside(figure)
    shown = [int(text.get_text()) for text in figure.axes[0].texts]
    assert sorted(shown) == (sorted(matrix[matrix > 0].tolist()) if classes <= 20 else [])


def test_training_curves() -> None:
    """Each trial has a curve of its validation errors and a line in the legend."""
    curves = [plots.Curve("ann softmax", "ann", False, epochs(5)), plots.Curve("cnn (best)", "cnn", True, epochs(8))]
    figure = plots.training_curves(curves, "Validation error by epoch, mnist")
    assert inside(figure)
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == [curve.name for curve in curves]
    assert np.asarray(axes.lines[0].get_ydata()).tolist() == [1.0 - each.val_accuracy for each in epochs(5)]


def test_confusion_matrices_stand_side_by_side() -> None:
    """Two models' matrices are two pictures in one."""
    matrices = {name: np.eye(10, dtype=np.int64) * 9 for name in ("best ANN, 99.00%", "best CNN, 99.50%")}
    figure = plots.confusion_matrices(matrices, "Test images of mnist")
    assert inside(figure)
    assert [axes.get_title() for axes in figure.axes] == list(matrices)
