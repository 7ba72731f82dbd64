"""How the figures of the report look: one palette, quiet axes, ticks that can be read on a logarithmic scale.

The colours are real ones, so that a figure can stand alone; `output.svg` swaps each for a variable of the page's style
sheet, and the figure then follows light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from digitsweep.families import FAMILIES

INK, MUTED, RULE, PAPER = "#1c2026", "#666d78", "#d8dbe0", "#fefefd"
COLORS: Mapping[str, str] = {
    "first": "#3b6fb6",
    "second": "#d1603d",
    "third": "#1b4836",
    "fourth": "#7e00d8",
    "fifth": "#512d00",
    "sixth": "#08080c",
}
"""Of the things compared, by tone, as the page's style sheet calls them. They differ for every kind of colour vision, and
those from the third on in lightness, too."""
MARKERS, DASHES = "os^DvP", ("-", (0, (6, 1.5)), (0, (2, 1)), (0, (6, 1.5, 1, 1.5)), (0, (1, 1)), (0, (10, 2, 2, 2)))
"""Of the things compared, for a picture without colours."""

THEME: Mapping[str, str] = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
    **{color: f"var(--{tone})" for tone, color in COLORS.items()},
}
"""Colour of a figure: what stands for it on the page."""

TEXT, SMALL = 8.5, 7.5
"""Points. A panel is drawn 4.8 inches wide and shown between 350 and 520 pixels wide."""
SIZE = (4.8, 3.2)


def tone_at(place: int) -> str:
    """The tone of the thing at this place, from 0; after the last, the first comes again."""
    return tuple(COLORS)[place % len(COLORS)]


def family_tone(family: str) -> str:
    """A family has its tone in every figure: that of its place among the registered families."""
    names = list(FAMILIES)
    return tone_at(names.index(family) if family in names else len(names))


def family_color(family: str) -> str:
    return COLORS[family_tone(family)]


def panel(width: float = SIZE[0], height: float = SIZE[1]) -> tuple[Figure, Axes]:
    """A figure with one pair of quiet axes."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    axes = figure.subplots()
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
        axes.spines[side].set_linewidth(0.6)
    axes.tick_params(which="both", color=MUTED, labelcolor=INK, labelsize=TEXT, width=0.6, length=3)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(INK)
        axis.label.set_fontsize(TEXT)
    axes.grid(True, color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def legend(axes: Axes, order: Sequence[str] = ()) -> None:
    """Names above the axes, in a line."""
    named = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    names = [*(name for name in order if name in named), *(name for name in named if name not in order)]
    axes.legend(
        [named[name] for name in names],
        names,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=4 if sum(map(len, names)) < 50 else 1,
        fontsize=TEXT,
        labelcolor=INK,
        frameon=False,
        borderaxespad=0.2,
        handlelength=1.4,
        columnspacing=1.3,
    )


def short(value: float) -> str:
    """A number for an axis: `0.001`, `250`, `1,024`, `12 k`, `1.5 M`."""
    size = abs(value)
    for least, unit, sign in ((1e9, 1e9, " G"), (1e6, 1e6, " M"), (1e4, 1e3, " k")):
        if size >= least:
            return f"{value / unit:.3g}{sign}"
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if size >= 1e-4 or size == 0 else f"{value:.0e}".replace("e-0", "e-")


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values between two positive ones, for a logarithmic axis."""
    if high / low < 4:
        ticks = [float(tick) for tick in MaxNLocator(most - 1).tick_values(low, high)]
        return [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for digits in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 2.0, 3.0, 5.0, 7.0)):
        ticks = [round(digit * 10.0**power, 12) for power in powers for digit in digits]
        inside = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(inside) > most and len(found) >= 2:
            break
        found = inside
        if len(found) >= 4:
            break
    return found[:: math.ceil(len(found) / most)] if found else [low, high]


def logarithmic(
    axes: Axes,
    which: str,
    values: Sequence[float],
    text: Callable[[float], str],
    room: float = 0.06,
    zero: float | None = None,
    most: int = 6,
) -> None:
    """Makes one axis (`x` or `y`) logarithmic, with ticks that say their value. zero: where 0 is drawn, if it is; most:
    ticks at most."""
    low, high = min(values), max(values)
    stretch = max((high / low) ** room, 1.05)
    low, high = low / stretch, high * stretch
    axis: Axis = getattr(axes, f"{which}axis")
    getattr(axes, f"set_{which}scale")("log")
    getattr(axes, f"set_{which}lim")(low, high)
    ticks = log_ticks(low, high, most)
    if zero is not None:  # what is shown below twice its place is there for nothing else
        ticks = [zero, *(tick for tick in ticks if tick >= 1.6 * zero)]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(0.0 if value == zero else value)))


def positive(values: Sequence[float]) -> list[float]:
    """For a logarithmic axis: what is 0 is drawn at half of the least that is not."""
    least = min((value for value in values if value > 0), default=1e-3)
    return [value if value > 0 else least / 2 for value in values]
