"""What accuracy costs: the searches at equal seconds, and models that nobody beats in cost and accuracy at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Container, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from digitsweep.evaluation.cost import Cost, pareto
from digitsweep.families import title_of
from digitsweep.report.format import percent
from digitsweep.report.plots.search import Measure, best_so_far
from digitsweep.report.plots.style import (
    DASHES,
    INK,
    MUTED,
    PAPER,
    SMALL,
    family_color,
    legend,
    logarithmic,
    panel,
    positive,
    short,
)
from digitsweep.trial import SearchHistory


def equal_cost(histories: Sequence[SearchHistory]) -> Figure:
    """The best so far of every family against the training seconds that its search had used."""
    figure, axes = panel()
    paths = {history.family: best_so_far(history) for history in histories}
    values = [reached for path in paths.values() for _, reached in path]
    everything = positive(values)
    for place, history in enumerate(histories):
        path = paths[history.family]
        if path:
            axes.step(
                [seconds for seconds, _ in path],
                [max(reached, min(everything)) for _, reached in path],
                where="post",
                color=family_color(history.family),
                linestyle=DASHES[place % len(DASHES)],
                linewidth=1.8,
                label=title_of(history.family),
            )
    measure = Measure(histories[0].metric)
    if everything:
        logarithmic(axes, "y", everything, measure.text, zero=min(everything) if 0.0 in values else None)
    axes.set_xlim(left=0.0)
    axes.set(xlabel="training seconds of the family's search", ylabel=f"best {measure.label} so far")
    legend(axes)
    return figure


def trade_off(costs: Sequence[Cost], of: Callable[[Cost], float], label: str, best: Mapping[str, str]) -> Figure:
    """Test error against one cost, both logarithmic, and the front.

    `of` tells a model's cost; `best` has the colours, by name, of those that stand out from the baselines."""
    figure, axes = panel(height=3.4)
    errors = positive([1.0 - each.accuracy for each in costs])
    spent = positive([of(each) for each in costs])
    points = list(zip(spent, errors, strict=True))
    names = pareto(costs, of)
    unbeaten = sorted({point for each, point in zip(costs, points, strict=True) if each.name in names})
    line = [unbeaten[0]]
    for (_, above), (x, y) in itertools.pairwise(unbeaten):
        line += [(x, above), (x, y)]
    axes.plot([x for x, _ in line], [y for _, y in line], color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=2)
    for each, (x, y) in zip(costs, points, strict=True):
        strong = each.name in best
        axes.plot(
            x,
            y,
            "o",
            color=best.get(each.name, family_color(each.family)),
            markersize=8 if strong else 5.5,
            markeredgecolor=PAPER,
            markeredgewidth=0.8,
            zorder=4 if strong else 3,
        )
    logarithmic(axes, "x", spent, short, room=0.12)
    logarithmic(axes, "y", errors, lambda error: percent(error, None), room=0.1)
    axes.set(xlabel=label, ylabel="test error")
    _name_points(axes, {each.name: point for each, point in zip(costs, points, strict=True)}, best, line)
    return figure


def _name_points(
    axes: Axes,
    points: Mapping[str, tuple[float, float]],
    strong: Container[str],
    corners: Sequence[tuple[float, float]],
) -> None:
    """Writes each name where it covers as little as possible of the points, of the line between the corners, and of other
    names. Scales and limits of the axes must be set."""
    figure = axes.figure.figure
    assert figure is not None
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw_without_rendering()
    dot = figure.dpi / 72.0
    inside = axes.get_window_extent(renderer)
    places = {name: axes.transData.transform(point) for name, point in points.items()}
    bends = [axes.transData.transform(each) for each in corners]
    taken = [(Bbox([place - 4 * dot, place + 4 * dot]), 1.0) for place in places.values()]
    # A piece of line is worse to cover than another name.
    taken += [
        (Bbox([np.minimum(a, b) - 1.5 * dot, np.maximum(a, b) + 1.5 * dot]), 8.0) for a, b in itertools.pairwise(bends)
    ]
    for name in sorted(points, key=lambda name: name not in strong):
        text = axes.annotate(
            name,
            points[name],
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=SMALL,
            fontweight="bold" if name in strong else "normal",
            color=INK,
            zorder=6,
            parse_math=False,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3},
        )
        size = text.get_window_extent(renderer)
        found = []
        for away, turn in itertools.product((6.0, 10.0, 15.0, 21.0, 28.0), range(16)):
            across, upward = math.cos(turn * math.pi / 8), math.sin(turn * math.pi / 8)
            right = away * across + (across - 1) / 2 * size.width / dot
            up = away * upward + (upward - 1) / 2 * size.height / dot
            x, y = places[name] + (right * dot, up * dot)
            box = Bbox.from_bounds(x, y, size.width, size.height)
            hidden = sum(weight * _shared(box, other) for other, weight in taken)
            outside = size.width * size.height - _shared(box, inside)
            found.append((hidden + 2 * outside + 0.8 * away * dot, away, right, up, box))
        _, away, right, up, box = min(found, key=lambda each: each[0])
        taken.append((box, 1.0))
        text.set_position((right, up))
        text.set_in_layout(False)
        if text.arrow_patch is not None:
            text.arrow_patch.set_visible(away > 12.0)


def _shared(one: Bbox, other: Bbox) -> float:
    """The area that two boxes have in common."""
    found = Bbox.intersection(one, other)
    return float(found.width * found.height) if found is not None else 0.0
