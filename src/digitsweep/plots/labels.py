"""Names beside points, where they hide neither a point nor each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from digitsweep.plots.style import INK, SMALL


@dataclass(frozen=True)
class Label:
    """A name for a point, in the units of the axes."""

    x: float
    y: float
    name: str
    strong: bool = False


def name_points(axes: Axes, labels: Sequence[Label], corners: Sequence[tuple[float, float]] = ()) -> None:
    """Writes each name where it is least in the way, the strong ones first; call it when scales and limits are set.

    `corners` are those of a line of level and upright pieces, which names should not cross."""
    figure = axes.figure.figure
    assert figure is not None
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw_without_rendering()
    dots = figure.dpi / 72.0
    inside = axes.get_window_extent(renderer)
    points = [axes.transData.transform((each.x, each.y)) for each in labels]
    taken = [
        Bbox.from_bounds(x - size * dots, y - size * dots, 2 * size * dots, 2 * size * dots)
        for (x, y), size in ((point, 5.0 if label.strong else 3.5) for point, label in zip(points, labels, strict=True))
    ]
    bends = [axes.transData.transform(each) for each in corners]
    for (x, y), (u, v) in itertools.pairwise(bends):
        left, right, below, above = min(x, u), max(x, u), min(y, v), max(y, v)
        taken.append(Bbox([(left - 3 * dots, below - 2 * dots), (right + 3 * dots, above + 2 * dots)]))
    for label, (x, y) in sorted(zip(labels, points, strict=True), key=lambda each: not each[0].strong):
        text = axes.annotate(
            label.name,
            (label.x, label.y),
            xytext=(0, 0),
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=SMALL,
            fontweight="bold" if label.strong else "normal",
            color=INK,
            zorder=6,
            annotation_clip=False,
        )
        text.set_in_layout(False)
        size = text.get_window_extent(renderer)
        boxes = [
            (offset, Bbox.from_bounds(x + offset[0] * dots, y + offset[1] * dots, size.width, size.height))
            for offset in offsets(size.width / dots, size.height / dots)
        ]
        best, box = min(enumerate(boxes), key=lambda each: (hidden(each[1][1], taken, inside), each[0]))[1]
        text.set_position(best)
        taken.append(box)


def offsets(width: float, height: float) -> Iterator[tuple[float, float]]:
    """Places of the lower left corner of a text of that size around its point, in points, the nearest first."""
    for away in (6.0, 9.0, 13.0, 18.0, 24.0):
        right, left, middle = away, -width - away, -width / 2
        above, below, level = away - 3, -height - away + 3, -height / 2
        yield from ((right, level), (left, level), (middle, above), (middle, below))
        yield from itertools.product((right - 3, left + 3), (above - 1, below + 1))


def hidden(box: Bbox, taken: Sequence[Bbox], inside: Bbox) -> float:
    """How much of a box lies on others or outside."""
    overlaps = (Bbox.intersection(box, each) for each in taken)
    covered = sum(each.width * each.height for each in overlaps if each is not None)
    seen = Bbox.intersection(box, inside)
    return round(covered + 2 * (box.width * box.height - (seen.width * seen.height if seen is not None else 0.0)), 3)
