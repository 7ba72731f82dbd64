"""Names beside points, where they hide neither a point nor each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from digitsweep.plots.style import INK, MUTED, SMALL

LINE = 8.0
"""A piece of line is this much worse to cover than as much ground of another name."""
FAR = 13.0
"""From this distance on, in points, a name is tied to its point by a hair."""


@dataclass(frozen=True)
class Label:
    """A name for a point, in the units of the axes."""

    x: float
    y: float
    name: str
    strong: bool = False


Box = tuple[float, float, float, float]
"""Left, lower, right and upper end."""


def name_points(axes: Axes, labels: Sequence[Label], corners: Sequence[tuple[float, float]] = ()) -> None:
    """Writes each name where it is least in the way; call it when scales and limits are set.

    `corners` are those of a line of level and upright pieces, which names should not cross."""
    figure = axes.figure.figure
    assert figure is not None
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw_without_rendering()
    dots = figure.dpi / 72.0
    inside = axes.get_window_extent(renderer)
    points = [axes.transData.transform((each.x, each.y)) / dots for each in labels]
    bends = [axes.transData.transform(each) / dots for each in corners]
    texts = [
        axes.annotate(
            each.name,
            (each.x, each.y),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=SMALL,
            fontweight="bold" if each.strong else "normal",
            color=INK,
            zorder=6,
            parse_math=False,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3},
        )
        for each in labels
    ]
    sizes = [each.get_window_extent(renderer) for each in texts]
    offsets = places(
        [(x, y, 5.0 if label.strong else 3.5) for (x, y), label in zip(points, labels, strict=True)],
        [(size.width / dots, size.height / dots) for size in sizes],
        [_around(*before, *after) for before, after in itertools.pairwise(bends)],
        (inside.x0 / dots, inside.y0 / dots, inside.x1 / dots, inside.y1 / dots),
    )
    for text, (right, up, away) in zip(texts, offsets, strict=True):
        text.set_position((right, up))
        text.set_in_layout(False)
        if text.arrow_patch is not None and away < FAR:
            text.arrow_patch.set_visible(False)


def places(
    points: Sequence[tuple[float, float, float]], sizes: Sequence[tuple[float, float]], lines: Sequence[Box], inside: Box
) -> list[tuple[float, float, float]]:
    """Of each point (x, y, radius) with a name of a size: where the name's lower left corner goes from it, and how far away.

    Each name takes the best place beside what is there; then each once more, now that it knows of all the others."""
    ground = [((x - radius, y - radius, x + radius, y + radius), 1.0) for x, y, radius in points]
    ground += [(each, LINE) for each in lines]
    chosen: dict[int, tuple[float, float, float]] = {}

    def box(number: int, right: float, up: float) -> Box:
        (x, y, _), (width, height) = points[number], sizes[number]
        return x + right, y + up, x + right + width, y + up + height

    for number in [*range(len(points))] * 3:
        others = [(box(other, right, up), 1.0) for other, (right, up, _) in chosen.items() if other != number]
        (width, height), radius = sizes[number], points[number][2]
        costs = [
            (hidden(box(number, right, up), [*ground, *others], inside) + 0.4 * away, (right, up, away))
            for right, up, away in around(width, height, radius)
        ]
        chosen[number] = min(costs, key=lambda each: each[0])[1]
    return [chosen[number] for number in range(len(points))]


def around(width: float, height: float, radius: float) -> list[tuple[float, float, float]]:
    """Places of a text's lower left corner around a point, and their distance, in points; those to the right come first."""
    found = []
    for away in (radius + 2.0, radius + 5.0, 13.0, 18.0, 24.0):
        for turn in range(16):
            angle = (0, 8, 4, 12, 2, 14, 6, 10, 1, 15, 7, 9, 3, 13, 5, 11)[turn] * math.pi / 8
            x, y = away * math.cos(angle), away * math.sin(angle)
            left = (math.cos(angle) - 1) / 2 * width
            low = (math.sin(angle) - 1) / 2 * height
            found.append((x + left, y + low, away))
    return found


def hidden(box: Box, obstacles: Sequence[tuple[Box, float]], inside: Box) -> float:
    """How much of a box lies on others, each with its weight, or outside."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    return sum(weight * shared(box, other) for other, weight in obstacles) + 2 * (area - shared(box, inside))


def shared(one: Box, other: Box) -> float:
    """The area that two boxes have in common."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _around(x: float, y: float, u: float, v: float) -> Box:
    """The box of a level or upright piece of line."""
    return min(x, u) - 1.5, min(y, v) - 1.5, max(x, u) + 1.5, max(y, v) + 1.5
