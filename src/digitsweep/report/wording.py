"""Numbers as words on a page: one way to write each kind."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from digitsweep.statistics import Share, Spread

MINUS = "−"
TIE = "\N{NO-BREAK SPACE}"


def tied(text: str) -> str:
    """A sentence whose numbers stay on one line with their signs and units: `95 %`, `p < 0.0001`."""
    return re.sub(r"(?<=\d) (?=[%±])|(?<=[±<=]) (?=\d)|(?<=\bp) (?=[<=])", TIE, text)


def percent(share: float, digits: int = 2) -> str:
    """`99.08 %`, with a space that does not break."""
    return f"{100 * share:.{digits}f}{TIE}%"


def points(share: float, digits: int = 2) -> str:
    """A difference of shares, in points, always with its sign: `+0.51`."""
    value = 100 * share
    return f"{value:+.{digits}f}".replace("-", MINUS) if round(value, digits) else f"{0:.{digits}f}"


def interval(share: Share, digits: int = 2) -> str:
    """`98.87 to 99.25 %`."""
    low, high = share.interval
    return f"{100 * low:.{digits}f} to {100 * high:.{digits}f}{TIE}%"


def p_value(value: float) -> str:
    """`p < 0.0001`, `p = 0.041`."""
    return tied("p < 0.0001" if value < 0.0001 else f"p = {value:.4f}" if value < 0.001 else f"p = {min(value, 1.0):.3f}")


def count(value: float) -> str:
    """`1,621,258`."""
    return f"{value:,.0f}"


def seconds(value: float) -> str:
    """`31.5 s`, `11 min 24 s`, `2 h 5 min`."""
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def duration(value: float) -> str:
    """A latency: `0.21 ms`, `17.4 ms`."""
    return f"{1000 * value:.{2 if value < 0.01 else 1}f}{TIE}ms"


def spread(values: tuple[float, ...]) -> str:
    """Mean and standard deviation of shares: `99.04 ± 0.05 %`; of one value it alone, of none a dash."""
    if not values:
        return "–"
    mean, std = Spread(values).mean, Spread(values).std
    return tied(f"{100 * mean:.2f} %" if std is None else f"{100 * mean:.2f} ± {100 * std:.2f} %")


def plural(number: int, word: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def moment(text: str) -> str:
    """ISO 8601 for reading, to the minute; what is no such text stays as it is."""
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return text


def scalar(value: Any) -> str:
    """A hyperparameter's value."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def inlined(data: bytes) -> str:
    """A PNG file's bytes as a URL that needs no network."""
    return "data:image/png;base64," + base64.b64encode(data).decode()


def cell(text: Any) -> str:
    """Somebody's text inside a Markdown table or sentence: none of it is markup."""
    plain = " ".join(str(text).split())
    for sign in ("\\", "|", "<", ">", "`", "*", "_", "[", "]", "#", "!"):
        plain = plain.replace(sign, f"\\{sign}")
    return plain


FILTERS: Mapping[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        tied,
        percent,
        points,
        interval,
        p_value,
        count,
        seconds,
        duration,
        spread,
        plural,
        moment,
        scalar,
        inlined,
        cell,
    )
}
"""For the templates, by name."""
