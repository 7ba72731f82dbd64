"""The pictures: their numbers, and that nothing is cut off."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import samples
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from digitsweep import plots
from digitsweep.comparison import Comparison
from digitsweep.history import SearchHistory, TrialPoint
from digitsweep.plots.labels import around, hidden, places
from digitsweep.plots.parameters import ABSENT, scale
from digitsweep.plots.style import THEME, log_ticks, positive, short
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


@pytest.fixture(scope="module")
def whole() -> Comparison:
    return samples.comparison()


def point(number: int, state: str, values: tuple[float, ...], ended: float, **params: float | str) -> TrialPoint:
    return TrialPoint(number, state, params, values, ended)


HISTORY = SearchHistory(
    "cnn",
    "val_accuracy",
    (
        point(0, "COMPLETE", (0.90, 0.95), 10.0, learning_rate=0.001, pooling="max", units_1=64),
        point(2, "PRUNED", (0.70,), 12.0, learning_rate=0.1, pooling="stride", units_1=32),
        point(3, "FAIL", (), 13.0, learning_rate=0.01, pooling="max", units_1=32),
        point(1, "COMPLETE", (0.91, 0.94), 20.0, learning_rate=0.01, pooling="max", units_1=32, units_2=16),
        point(4, "COMPLETE", (0.92, 0.97), 30.0, learning_rate=0.003, pooling="stride", units_1=48),
        point(5, "PRUNED", (0.80,), 31.0, learning_rate=0.05, pooling="max", units_1=32),
    ),
    {"learning_rate": 0.8, "pooling": 0.2},
    ("learning_rate",),
)


def named(axes: Axes, label: str) -> Line2D:
    (found,) = [each for each in axes.lines if each.get_label() == label]
    return found


def drawn(line: Line2D) -> tuple[list[float], list[float]]:
    return np.asarray(line.get_xdata(), float).tolist(), np.asarray(line.get_ydata(), float).tolist()


def test_search_history() -> None:
    """Each trial stands at its place in the order of ending, at its last error; the line is the best complete one so far."""
    (axes,) = plots.search_history(HISTORY).axes
    places, errors = drawn(named(axes, "complete"))
    assert places == [1, 4, 5]
    assert errors == pytest.approx([0.05, 0.06, 0.03])
    assert drawn(named(axes, "pruned"))[0] == [2, 6]
    assert drawn(named(axes, "pruned"))[1] == pytest.approx([0.3, 0.2])
    assert drawn(named(axes, "best so far"))[1] == pytest.approx([0.05, 0.05, 0.03, 0.03])
    assert not [each for each in axes.lines if each.get_label() == "failed"], "it reached nothing that could be drawn"


def test_best_so_far() -> None:
    """A pruned trial never is the best; the last step lasts to the end of the search."""
    seconds, errors = zip(*plots.best_so_far(HISTORY), strict=True)
    assert seconds == (10.0, 30.0, 31.0)
    assert errors == pytest.approx((0.05, 0.03, 0.03))
    loss = dataclasses.replace(HISTORY, metric="val_loss")
    assert [value for _, value in plots.best_so_far(loss)] == [0.95, 0.94, 0.94]
    assert plots.best_so_far(dataclasses.replace(HISTORY, trials=())) == []


def test_learning_values() -> None:
    """Every trial that finished an epoch has a line that ends where it ended; the best is marked."""
    (axes,) = plots.learning_values(HISTORY).axes
    assert sorted(len(drawn(each)[0]) for each in axes.lines) == [1, 1, 2, 2, 2]
    assert drawn(named(axes, "the best"))[1] == pytest.approx([0.08, 0.03])


def test_importance() -> None:
    """A bar for each parameter, as long as its share."""
    (axes,) = plots.importance(HISTORY).axes
    assert [each.get_width() for each in axes.patches] == [0.8, 0.2]  # type: ignore[attr-defined]
    assert [each.get_text() for each in axes.get_yticklabels()] == ["learning_rate", "pooling"]


def test_parallel_coordinates() -> None:
    """A line for each trial that reached something, from its first parameter to the objective, the best on top."""
    (axes,) = plots.parallel_coordinates(HISTORY).axes
    lines = [each for each in axes.lines if each.get_label() in ("complete", "pruned")]
    assert len(lines) == 5
    assert max(drawn(each)[1][-1] for each in lines if each.get_label() == "complete") == pytest.approx(1.0)
    assert min(drawn(each)[1][-1] for each in lines) == pytest.approx(0.0)
    assert [drawn(each)[1][3] for each in lines].count(ABSENT) == 4, "only one trial has units_2"
    strongest = max(lines, key=lambda each: each.get_alpha() or 0.0)
    assert drawn(strongest)[1][-1] == pytest.approx(1.0)


def test_scales() -> None:
    """Numbers lie linearly or logarithmically between their ends, words at even distances, what is absent below."""
    assert scale("a", [1.0, 2.0, 3.0, None], log=False).places == (0.0, 0.5, 1.0, ABSENT)
    assert scale("a", [0.001, 0.01, 0.1], log=True).places == pytest.approx((0.0, 0.5, 1.0))
    assert scale("a", ["max", "stride", "max"], log=False).places == (0.25, 0.75, 0.25)
    assert scale("a", [7, 7], log=True).places == (0.5, 0.5)
    assert scale("a", [64, 32, 48], log=False).ticks == ((0.0, "32"), (0.5, "48"), (1.0, "64"))


@pytest.mark.parametrize(("name", "values"), [("learning_rate", [0.001, 0.01, 0.003]), ("pooling", [0.0, 0.0, 1.0])])
def test_slices(name: str, values: list[float]) -> None:
    """A slice shows complete trials only, each at its value of the parameter."""
    (axes,) = plots.parameter_slice(HISTORY, name).axes
    assert drawn(axes.lines[0])[0] == values
    assert drawn(axes.lines[0])[1] == pytest.approx([0.05, 0.06, 0.03])
    assert plots.sliced(HISTORY) == ["learning_rate", "pooling"]


def test_equal_cost(whole: Comparison) -> None:
    """Both searches stand in the same axes, against their training seconds."""
    (axes,) = plots.equal_cost(list(whole.history.values())).axes
    for family, history in whole.history.items():
        seconds, errors = zip(*plots.best_so_far(history), strict=True)
        assert drawn(named(axes, family.upper())) == (list(seconds), list(errors))


def test_trade_off(whole: Comparison) -> None:
    """Each model stands at its cost and its test error, and has its name."""
    figure = plots.trade_off(whole.costs, lambda each: float(each.weights), "weights", {"best CNN": plots.SECOND})
    (axes,) = figure.axes
    shown = {(drawn(each)[0][0], drawn(each)[1][0]) for each in axes.lines if each.get_marker() == "o"}
    assert shown == {(each.weights, 1.0 - each.accuracy) for each in whole.costs}
    assert [each.get_text() for each in axes.texts] == [each.name for each in whole.costs]
    assert [each.get_text() for each in axes.texts if each.get_fontweight() == "bold"] == ["best CNN"]


def test_names_keep_apart() -> None:
    """Names of points in a crowd cover neither each other, nor a point, nor the line, and stay inside."""
    points = [(50.0 + 4 * number, 50.0 + (7 * number) % 11, 3.0) for number in range(5)]
    sizes = [(40.0, 8.0)] * 5
    inside, line = (0.0, 0.0, 150.0, 100.0), (20.0, 30.0, 130.0, 33.0)
    found = places(points, sizes, [line], inside)
    boxes = [
        (x + right, y + up, x + right + 40, y + up + 8) for (x, y, _), (right, up, _) in zip(points, found, strict=True)
    ]
    for number, box in enumerate(boxes):
        others = [(each, 1.0) for each in [*boxes[:number], *boxes[number + 1 :], line]]
        assert hidden(box, [*others, *(((x - 2, y - 2, x + 2, y + 2), 1.0) for x, y, _ in points)], inside) < 8.0
    assert len(around(10.0, 5.0, 3.0)) == 80


def test_class_recalls(whole: Comparison) -> None:
    """Each model has a dot for each label at its recall, and a bar over its Wilson interval."""
    assert whole.evidence is not None
    classes = whole.evidence.classes
    (axes,) = plots.class_recalls(classes, {"ANN": plots.FIRST, "CNN": plots.SECOND}).axes
    for name, bars in zip(("ANN", "CNN"), axes.collections, strict=True):
        assert drawn(named(axes, name))[0] == [each.recalls[name].accuracy for each in classes]
        ends = [tuple(segment[:, 0]) for segment in bars.get_segments()]  # type: ignore[attr-defined]
        assert ends == [pytest.approx(each.recalls[name].interval) for each in classes]


def test_finalists(whole: Comparison) -> None:
    """Each finalist shows every fresh seed, their mean, and the score that it was picked by."""
    (axes,) = plots.finalists_on_seeds(whole.finalists).axes
    found = [drawn(each)[0] for each in axes.lines]
    assert found == [part for each in whole.finalists for part in (list(each.validation), [each.mean], [each.search])]
    assert sum("won" in each.get_text() for each in axes.texts) == 2


def test_difference_interval(whole: Comparison) -> None:
    """The dot and the bar stand where the difference and its interval are, in points, and zero is in sight."""
    assert whole.difference is not None
    for difference in (whole.difference, dataclasses.replace(whole.difference, first_wrong=41, low=-0.002, high=0.0021)):
        (axes,) = plots.difference_interval(difference).axes
        lines = [drawn(each)[0] for each in axes.lines]
        assert pytest.approx([100 * difference.low, 100 * difference.high]) in lines
        assert pytest.approx([100 * difference.accuracy]) in lines
        left, right = axes.get_xlim()
        assert left < min(0.0, 100 * difference.low)
        assert right > max(0.0, 100 * difference.high)


def test_error_matrix() -> None:
    """Every error and every diagonal count stands in its cell; only errors are coloured, the frequent ones strongly."""
    matrix = np.array([[90, 10], [1, 99]])
    (axes,) = plots.error_matrix(matrix, plots.FIRST).axes
    assert [each.get_text() for each in axes.texts] == ["90", "10", "1", "99"]
    assert [each.get_alpha() for each in axes.patches] == [0.6, 0.15]


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
@pytest.mark.parametrize("trials", [1, 2, 60])
def test_small_and_large_searches(metric: str, trials: int) -> None:
    """A search of any size is drawn, nothing beyond the picture, also where an error is 0."""
    history = dataclasses.replace(samples.history("ann", trials), metric=metric)
    perfect = dataclasses.replace(history.trials[0], values=(1.0 if metric == "val_accuracy" else 0.0,))
    history = dataclasses.replace(history, trials=(*history.trials, perfect))
    for figure in (plots.search_history(history), plots.learning_values(history), plots.parallel_coordinates(history)):
        assert inside(figure)
    assert inside(plots.equal_cost([history]))


def test_a_name_is_no_formula() -> None:
    """Names with dollar signs are drawn as they are, in a PNG as on a page."""
    figure = Figure()
    figure.suptitle(r"lr $\foo$")
    assert plots.png(figure)[:4] == b"\x89PNG"
    assert r"lr $\foo$" in plots.svg(figure, "one", "")


def test_svg_follows_the_page() -> None:
    """An SVG of a figure is the same each time, has its own ids, text as text, no colour of its own and no typeface."""
    text = plots.svg(plots.search_history(HISTORY), "one", 'a "plot" & <more>')
    assert text == plots.svg(plots.search_history(HISTORY), "one", 'a "plot" & <more>')
    assert text.startswith("<svg viewBox=")
    assert 'role="img" aria-label="a &quot;plot&quot; &amp; &lt;more&gt;"' in text
    assert ">validation error</text>" in text
    assert "currentColor" in text
    assert set(re.findall(r"#[0-9a-f]{6}\b", text)) == set()
    assert not any(color in text for color in THEME)
    assert "DejaVu" not in text
    ids = set(re.findall(r' id="([^"]*)"', text))
    assert ids
    assert all(each.startswith("one-") for each in ids)
    assert not ids & set(re.findall(r' id="([^"]*)"', plots.svg(plots.search_history(HISTORY), "two", "")))


def test_numbers_on_axes() -> None:
    """Text of a figure keeps its digits, and ticks of a logarithmic axis are round, few and within it."""
    figure = plots.parameter_slice(HISTORY, "learning_rate")
    assert ">0.002</text>" in plots.svg(figure, "one", "")
    assert [short(each) for each in (0.0, 0.00001, 0.003, 48, 1024, 186_186, 1_621_258)] == [
        "0", "1e-5", "0.003", "48", "1,024", "186 k", "1.62 M",
    ]  # fmt: skip
    for low, high in ((0.004, 0.006), (0.003, 0.05), (1e-4, 1e2), (7850, 1_621_258), (1.0, 1.05)):
        ticks = log_ticks(low, high)
        assert 2 <= len(ticks) <= 7
        assert all(low * 0.999 <= tick <= high * 1.001 for tick in ticks)
    assert positive([0.0, 0.2, 0.1]) == [0.05, 0.2, 0.1]


def test_pixels_are_an_image() -> None:
    """A test image becomes a PNG of its own size, with dark ink."""
    import io

    from matplotlib.image import imread

    values = np.zeros((8, 8, 1), np.uint8)
    values[2, 3] = 255
    found = imread(io.BytesIO(plots.pixels(values)))
    assert found.shape[:2] == (8, 8)
    assert found[2, 3, 0] == 0.0
    assert found[0, 0, 0] == 1.0
