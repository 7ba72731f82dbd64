"""The pictures: their numbers, and that nothing is cut off."""

from __future__ import annotations

import dataclasses
import io
import itertools
import re
from collections.abc import Iterable
from importlib.resources import files
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import samples
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from PIL import Image
from support import PROPERTY

from digitsweep.evaluation.comparison import Comparison
from digitsweep.report import plots
from digitsweep.report.plots.style import COLORS, INK, THEME, log_ticks, positive, short
from digitsweep.trial import EpochMetrics, SearchHistory, TrialPoint


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


def test_matrices_have_the_names_of_classes() -> None:
    """Names stand beside rows and below columns; long ones are cut."""
    names, matrix = ["cat", "dog", "a very long name indeed"], np.eye(3, dtype=np.int64)
    for figure in (
        plots.confusion_matrix(matrix, "title", names),
        plots.confusion_matrices({"best ANN": matrix}, "title", names),
        plots.error_matrix(matrix, "#000000", names),
    ):
        assert inside(figure)
        (axes,) = figure.axes
        for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
            assert [each.get_text() for each in ticks] == ["cat", "dog", "a very long n…"]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_in_galleries(channels: int) -> None:
    """Ink is dark on a light ground; any other image is shown as it is."""
    values = np.random.default_rng(0).integers(0, 256, (8, 8, channels), np.uint8)

    def shown(*, is_ink: bool) -> Any:
        picture = np.asarray(Image.open(io.BytesIO(plots.pixels(values, is_ink=is_ink))).convert("RGB"))
        return picture[..., :channels].astype(int)

    inverted = 255 - values if channels == 1 else values
    np.testing.assert_allclose(shown(is_ink=False), values, atol=1)
    np.testing.assert_allclose(shown(is_ink=True), inverted, atol=1)


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


RUNGS = SearchHistory(
    "ann",
    "val_accuracy",
    (
        TrialPoint(3, "COMPLETE", {"learning_rate": 0.01}, (0.80, 0.90), 5.0, 0, 1.5, "first"),
        TrialPoint(4, "COMPLETE", {"learning_rate": 0.02}, (0.94,), 10.0, 0, 1.6, "random"),
        TrialPoint(4, "COMPLETE", {"learning_rate": 0.02}, (0.70, 0.93), 20.0, 1, 6.2, "random"),
        TrialPoint(5, "FAIL", {"learning_rate": 0.03}, (), 21.0, 0, 1.6, "tpe"),
        TrialPoint(6, "COMPLETE", {"learning_rate": 0.04}, (0.99,), 25.0, 0, 1.6, "neighbour"),
        TrialPoint(6, "COMPLETE", {"learning_rate": 0.04}, (0.96,), 33.0, 1, 6.4, "neighbour"),
        TrialPoint(3, "OUT_OF_TIME", {"learning_rate": 0.01}, (0.97,), 40.0, 1, 6.4, "first"),
    ),
    {"learning_rate": 1.0},
)


def test_configuration_paths() -> None:
    """A configuration has a point for each training that was complete, from rung to rung; the winner is the last."""
    paths = plots.configuration_paths(RUNGS, "ann-004")
    assert [(each.trial, each.proposed_by, each.works, each.won) for each in paths] == [
        ("ann-003", "first", (1.5,), False),
        ("ann-006", "neighbour", (1.6, 6.4), False),
        ("ann-004", "random", (1.6, 6.2), True),
    ]
    assert [each.values for each in paths] == [pytest.approx(each) for each in ((0.1,), (0.01, 0.04), (0.06, 0.07))]
    assert not any(each.won for each in plots.configuration_paths(RUNGS, "ann-000"))


def test_search_rungs() -> None:
    """Each configuration has a line through its errors, near its work; ticks are the rungs, and the legend names the winner
    and who proposed anything."""
    figure = plots.search_rungs(RUNGS, "ann-006")
    assert inside(figure)
    (axes,) = figure.axes
    lines = [each for each in axes.lines if len(drawn(each)[0])]
    assert [drawn(each)[1] for each in lines] == [pytest.approx(each) for each in ([0.1], [0.06, 0.07], [0.01, 0.04])]
    assert np.ptp(np.log([drawn(each)[0][0] for each in lines])) < np.log(4.0)
    assert drawn(named(axes, "ann-006 won"))[1] == pytest.approx([0.01, 0.04])
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert [each.get_text() for each in axes.get_xticklabels()] == ["1.6 s\nrung 0", "6.3 s\nrung 1"]
    legend = axes.get_legend()
    assert legend is not None
    assert [each.get_text() for each in legend.get_texts()] == ["ann-006 won", "first", "neighbour", "random"]


def test_no_error_is_said_to_be_0() -> None:
    """An error of 0 has a place on a logarithmic axis, and its tick says 0."""
    trials = (TrialPoint(1, "COMPLETE", {}, (1.0,), 1.0, 0, 1.0, "first"), *RUNGS.trials[:2])
    for history in (dataclasses.replace(RUNGS, trials=trials), dataclasses.replace(RUNGS, trials=trials[:1])):
        for figure in (plots.search_rungs(history), plots.equal_cost([history])):
            (axes,) = figure.axes
            assert inside(figure)
            assert axes.get_yticklabels()[0].get_text() == "0 %"


@pytest.mark.parametrize("configurations", [0, 1, 2, 60])
def test_small_and_large_searches_with_rungs(configurations: int) -> None:
    """A search with rungs of any size is drawn, nothing beyond the picture."""
    history = samples.history_of_rungs("cnn", configurations)
    assert inside(plots.search_rungs(history, "cnn-000"))
    assert inside(plots.equal_cost([history]))


def test_the_best_so_far_is_of_the_highest_rung() -> None:
    """A longer training replaces a shorter one, even if it reached less, as it does for the search."""
    seconds, errors = zip(*plots.best_so_far(RUNGS), strict=True)
    assert seconds == (5.0, 10.0, 20.0, 33.0, 40.0)
    assert errors == pytest.approx((0.1, 0.06, 0.07, 0.04, 0.04))


def test_slices_compare_what_was_trained_equally_long() -> None:
    """A slice of a search with rungs shows only the rung with the most trainings."""
    (axes,) = plots.parameter_slice(RUNGS, "learning_rate").axes
    assert drawn(axes.lines[0])[0] == [0.01, 0.02, 0.04]


def test_importance() -> None:
    """A bar for each parameter, as long as its share."""
    (axes,) = plots.importance(HISTORY).axes
    assert [each.get_width() for each in axes.patches] == [0.8, 0.2]  # type: ignore[attr-defined]
    assert [each.get_text() for each in axes.get_yticklabels()] == ["learning_rate", "pooling"]


@pytest.mark.parametrize(("name", "values"), [("learning_rate", [0.001, 0.01, 0.003]), ("pooling", [0.0, 0.0, 1.0])])
def test_slices(name: str, values: list[float]) -> None:
    """A slice shows complete trials only, each at its value of the parameter."""
    (axes,) = plots.parameter_slice(HISTORY, name).axes
    assert drawn(axes.lines[0])[0] == values
    assert drawn(axes.lines[0])[1] == pytest.approx([0.05, 0.06, 0.03])
    assert plots.sliced(HISTORY) == ["learning_rate", "pooling"]


@pytest.mark.parametrize("high", [0.008, 0.03, 0.05, 0.3])
def test_ticks_of_slices_stand_apart(high: float) -> None:
    """The small pictures of single parameters have room for each of their ticks."""
    rates = np.geomspace(0.003, high, 6).tolist()
    trials = tuple(
        point(number, "COMPLETE", (0.9 + 0.01 * number,), 1.0, learning_rate=each) for number, each in enumerate(rates)
    )
    figure = plots.parameter_slice(dataclasses.replace(HISTORY, trials=trials), "learning_rate")
    plots.png(figure)
    (axes,) = figure.axes
    boxes = [each.get_window_extent() for each in axes.get_xticklabels() if each.get_text()]
    assert len(boxes) > 1
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


def test_equal_cost(whole: Comparison) -> None:
    """Both searches stand in the same axes, against their training seconds."""
    (axes,) = plots.equal_cost(list(whole.history.values())).axes
    for family, history in whole.history.items():
        seconds, errors = zip(*plots.best_so_far(history), strict=True)
        assert drawn(named(axes, family.upper())) == (list(seconds), list(errors))


def test_trade_off(whole: Comparison) -> None:
    """Each model stands at its cost and its test error, and has its name."""
    figure = plots.trade_off(whole.costs, lambda each: float(each.weights), "weights", {"best CNN": COLORS["second"]})
    (axes,) = figure.axes
    shown = {(drawn(each)[0][0], drawn(each)[1][0]) for each in axes.lines if each.get_marker() == "o"}
    assert shown == {(each.weights, 1.0 - each.accuracy) for each in whole.costs}
    assert {each.get_text() for each in axes.texts} == {each.name for each in whole.costs}
    assert [each.get_text() for each in axes.texts if each.get_fontweight() == "bold"] == ["best CNN"]


def test_names_keep_apart(whole: Comparison) -> None:
    """Names of points in a crowd hardly cover each other, and stay inside the picture."""
    figure = plots.trade_off(whole.costs, lambda each: each.train_seconds, "seconds", {"best CNN": COLORS["second"]})
    assert inside(figure)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [Text.get_window_extent(each, renderer) for each in figure.axes[0].texts]
    for one, other in itertools.combinations(boxes, 2):
        shared = Bbox.intersection(one, other)
        assert shared is None or shared.width * shared.height < 0.1 * one.width * one.height


def test_class_recalls(whole: Comparison) -> None:
    """Each model has a dot for each label at its recall, and a bar over its Wilson interval."""
    assert whole.mistakes is not None
    classes = whole.mistakes.classes
    (axes,) = plots.class_recalls(classes, {"ANN": COLORS["first"], "CNN": COLORS["second"]}).axes
    for name, bars in zip(("ANN", "CNN"), axes.collections, strict=True):
        assert drawn(named(axes, name))[0] == [each.recalls[name].accuracy for each in classes]
        ends = [tuple(segment[:, 0]) for segment in bars.get_segments()]  # type: ignore[attr-defined]
        assert ends == [pytest.approx(each.recalls[name].interval) for each in classes]


def test_finalists(whole: Comparison) -> None:
    """Each finalist shows every selection seed and the score that it was picked by; the winner its confirmation seeds and
    their mean too."""
    (axes,) = plots.finalists_on_seeds(whole.finalists).axes
    found = [drawn(each)[0] for each in axes.lines]
    parts: list[list[float]] = []
    for each in whole.finalists:
        parts.append(list(each.selection_val_accuracies))
        if each.confirmation:
            parts += [list(each.confirmation_val_accuracies), [each.confirmation.mean]]
        parts.append([each.search_val_accuracy])
    assert found == parts
    assert sum("won" in each.get_text() for each in axes.texts) == 2


def test_winners_that_no_selection_seed_chose(whole: Comparison) -> None:
    """Winners of searches with rungs have confirmation seeds, their mean and the score of the search; all of them won."""
    winners = samples.in_minutes(whole).finalists
    (axes,) = plots.finalists_on_seeds(winners).axes
    expected = [
        part
        for each in winners
        if each.confirmation
        for part in (list(each.confirmation_val_accuracies), [each.confirmation.mean], [each.search_val_accuracy])
    ]
    assert [drawn(each)[0] for each in axes.lines] == expected
    assert [each.get_text() for each in axes.texts] == [f"{each.trial}: {each.network}" for each in winners]


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


def test_difference_intervals(whole: Comparison) -> None:
    """Each pair has a bar over its interval, a dot at its difference and its name; only decided ones are strong."""
    found = samples.many(whole, 3).differences
    figure = plots.difference_intervals(found)
    assert inside(figure)
    (axes,) = figure.axes
    lines = [(drawn(each)[0], each.get_alpha()) for each in axes.lines[1:]]
    for each, bar, dot in zip(found, lines[::2], lines[1::2], strict=True):
        assert bar[0] == pytest.approx([100 * each.low, 100 * each.high])
        assert dot[0] == pytest.approx([100 * each.accuracy])
        assert (bar[1] == 1.0) == each.significant
    assert [text.get_text().partition(":")[0] for text in axes.texts] == [
        f"{each.second} minus {each.first}" for each in found
    ]


VISION = {
    "normal": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    "without red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "without green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "without blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""What linear red, green and blue look like (Machado, Oliveira and Fernandes 2009, severity 1)."""


def lab(colors: Iterable[str], vision: str) -> NDArray[np.float64]:
    """Lightness, from 0 to 100, and the two axes of colour (CIE 1976) that somebody with this vision sees: (colors, 3)."""
    encoded = np.array([to_rgb(each) for each in colors])
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(VISION[vision]), 0.0, 1.0)
    xyz = seen @ np.transpose([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.maximum(xyz / [0.9505, 1.0, 1.089], 1e-6)).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("scheme", ["figure", "light", "dark"])
def test_six_colours_can_be_told_apart(scheme: str, vision: str) -> None:
    """In figures and in both schemes of the page, no two of the six colours look alike to anybody (a distance of 2 can just
    be seen side by side), and those from the third on differ in lightness from all others."""
    colors = list(COLORS.values())
    if scheme != "figure":
        css = files("digitsweep.report").joinpath("templates/report.css").read_text()
        found = re.findall(rf"--({'|'.join(COLORS)}): (#\w+)", css)
        colors = [color for _, color in found[:6] if scheme == "light"] or [color for _, color in found[6:12]]
    seen = lab(colors, vision)
    for one, other in itertools.combinations(range(6), 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 15
        if vision == "normal" and other > 1:
            assert abs(seen[one, 0] - seen[other, 0]) > 2.5


def test_error_matrix() -> None:
    """Every error and every diagonal count stands in its cell; only errors are coloured, the frequent ones strongly."""
    matrix = np.array([[90, 10], [1, 99]])
    (axes,) = plots.error_matrix(matrix, COLORS["first"]).axes
    assert [each.get_text() for each in axes.texts] == ["90", "10", "1", "99"]
    assert [each.get_alpha() for each in axes.patches] == [0.6, 0.15]


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
@pytest.mark.parametrize("trials", [1, 2, 60])
def test_small_and_large_searches(metric: str, trials: int) -> None:
    """A search of any size is drawn, nothing beyond the picture, also where an error is 0."""
    history = dataclasses.replace(samples.history("ann", trials), metric=metric)
    perfect = dataclasses.replace(history.trials[0], values=(1.0 if metric == "val_accuracy" else 0.0,))
    history = dataclasses.replace(history, trials=(*history.trials, perfect))
    for figure in (plots.search_history(history), plots.learning_values(history)):
        assert inside(figure)
    assert inside(plots.equal_cost([history]))


def test_a_name_is_no_formula() -> None:
    """Names with dollar signs are drawn as they are, in a PNG as on a page."""
    figure = Figure()
    figure.suptitle(r"lr $\foo$")
    assert plots.png(figure)[:4] == b"\x89PNG"
    assert r"lr $\foo$" in plots.svg(figure, "one", "")


PIECES = (
    *("\\d", "\\1", "\\g<0>", "'", '"', "<b>", "</text>", "<svg", "<defs>", "&amp;", "-->", "<!--", "<?", "$x$", "1.23456"),
    *(
        ' id="a"',
        "url(#a)",
        'href="#b"',
        "xlink:href",
        "font: 9px serif",
        "font-family: x",
        INK,
        "viewBox=",
        "model",
        " ",
        "Ωé",
    ),
)
ODD = st.lists(st.sampled_from(PIECES), min_size=1).map("".join)
"""Names that look like what the picture, the page or a regular expression is made of."""


@PROPERTY
@given(name=ODD.filter(str.strip))
def test_any_name_stands_in_a_picture_as_it_is(name: str) -> None:
    """Whatever a model is called, its name is in the picture and in the picture's words letter for letter, as text."""
    name = name.strip()
    figure = Figure()
    figure.text(0.1, 0.1, name)
    drawn = plots.svg(figure, "one", name)
    root = ElementTree.fromstring(re.sub(r"<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', drawn, count=1))
    assert root.attrib["aria-label"] == name
    assert [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")] == [name]


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
