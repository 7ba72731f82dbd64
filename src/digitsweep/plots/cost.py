"""What accuracy costs: the searches at equal seconds, and models that nobody beats in cost and accuracy at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from matplotlib.figure import Figure

from digitsweep.cost import Cost, pareto
from digitsweep.history import SearchHistory
from digitsweep.plots.labels import Label, name_points
from digitsweep.plots.search import Measure, best_so_far
from digitsweep.plots.style import INK, PAPER, family_color, legend, logarithmic, panel, percent, positive, short


def equal_cost(histories: Sequence[SearchHistory]) -> Figure:
    """The best so far of every family against the training seconds that its search had used."""
    figure, axes = panel()
    paths = {history.family: best_so_far(history) for history in histories}
    everything = positive([reached for path in paths.values() for _, reached in path])
    for history in histories:
        path = paths[history.family]
        if path:
            axes.step(
                [seconds for seconds, _ in path],
                [max(reached, min(everything)) for _, reached in path],
                where="post",
                color=family_color(history.family),
                linewidth=1.8,
                label=history.family.upper(),
            )
    measure = Measure(histories[0].metric)
    if everything:
        logarithmic(axes, "y", everything, measure.text)
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
    logarithmic(axes, "y", errors, percent, room=0.1)
    axes.set(xlabel=label, ylabel="test error")
    name_points(axes, [Label(x, y, each.name, each.name in best) for each, (x, y) in zip(costs, points, strict=True)], line)
    return figure
