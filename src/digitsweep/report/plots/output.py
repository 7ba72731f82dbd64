"""A figure, or an image of the data, as what a file or a page holds."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from matplotlib import image, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from digitsweep.report.plots.style import THEME

DPI = 100

_NAMELESS: dict[str, Any] = {"Software": None}


def png(figure: Figure) -> bytes:
    """The figure as a PNG file's bytes."""
    buffer = io.BytesIO()
    _take_words_literally(figure)
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as an `<svg>` element for the middle of a page: transparent, in the page's colours and typeface.

    `name` begins every id in it, so that several can stand on one page; the same figure gives the same text."""
    buffer = io.StringIO()
    _take_words_literally(figure)
    if (engine := figure.get_layout_engine()) is not None:  # once, here: savefig would draw everything a second time for it
        engine.execute(figure)
        figure.set_layout_engine(None)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "digitsweep"}):
        metadata: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"), None)
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|<\?.*?\?>", "", text, flags=re.DOTALL)
    parts = re.split(r"(<[^>]+>)", text)
    # Tags at odd places; between them text, which may be anything that somebody called a model, and stays as it is.
    parts[1::2] = _own_ids([_themed(tag) for tag in parts[1::2]], name)
    parts[2::2] = [each if each.strip() else "\n" * ("\n" in each) for each in parts[2::2]]
    text = re.sub(r"<defs>\s*</defs>", "", "".join(parts))
    viewed = re.search(r'viewBox="[^"]*"', text)
    assert viewed is not None
    head = f'<svg {viewed[0]} role="img" aria-label="{escape(alt)}">'
    return head + text.partition(">")[2].strip()


def pixels(values: NDArray[np.uint8], *, is_ink: bool = True) -> bytes:
    """One image of the data, (side, side), (side, side, 1) or (side, side, 3), as a small PNG file's bytes.

    is_ink: whether grey levels are ink, as in MNIST, which is shown dark on a light ground."""
    shown = values if values.shape[2:] == (3,) else values.reshape(values.shape[:2])
    if is_ink and shown.ndim == 2:
        shown = 255 - shown
    buffer = io.BytesIO()
    image.imsave(buffer, shown, cmap="gray", vmin=0, vmax=255, metadata=_NAMELESS)
    return buffer.getvalue()


def _take_words_literally(figure: Figure) -> None:
    """A name with dollar signs is a name, not a formula."""
    for each in figure.findobj(Text):
        each.set_parse_math(False)


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _themed(tag: str) -> str:
    """A tag with the page's colours and typeface, and no more digits than can be seen."""
    tag = tag.replace("xlink:href", "href")
    tag = re.sub(r"font: ([^;\"]*?px) [^;\"]*", r"font: \1 var(--sans)", tag)
    tag = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", tag)
    tag = re.sub(r"-?\d+\.\d{3,}", _rounded, tag)
    for color, themed in THEME.items():
        tag = tag.replace(color, themed)
    return re.sub(r"\s*\n\s*", "\n", tag)


def _own_ids(tags: Sequence[str], name: str) -> list[str]:
    """The tags without the ids that none of them refers to; the others are counted and begin with `name`."""
    used = dict.fromkeys(each for tag in tags for each in re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", tag))
    short = {each: f"{name}-{number}" for number, each in enumerate(used)}

    def renamed(tag: str) -> str:
        tag = re.sub(r' id="([^"]*)"', lambda match: f' id="{short[match[1]]}"' if match[1] in short else "", tag)
        return re.sub(r"(url\(#|href=\"#)([^)\"]+)", lambda match: match[1] + short[match[2]], tag)

    return [renamed(tag) for tag in tags]
