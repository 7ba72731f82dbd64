"""Numbers and names as people read them: one function for each kind, for page, terminal, Markdown, pictures and gate."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from digitsweep.evaluation.imbalance import Estimate
from digitsweep.evaluation.statistics import LEVEL, Share, Spread
from digitsweep.families import title_of

MARKUP = "\\|<>&`*_~[]#!"
"""Characters that mean something in Markdown."""


def percent(share: float, digits: int | None = 2) -> str:
    """`99.08 %`; without `digits` as many as it takes, as on an axis: `0.5 %`."""
    return f"{100 * share:.4g} %" if digits is None else f"{100 * share:.{digits}f} %"


def share_interval(share: Share) -> str:
    """The 95 % interval of an accuracy: `98.87 to 99.25 %`."""
    low, high = share.interval
    return f"{100 * low:.2f} to {percent(high)}"


def estimate(found: Estimate) -> str:
    """A figure with its interval: `91.20 % (95 % interval 89.90 to 92.41 %)`."""
    return f"{percent(found.value)} (95 % interval {100 * found.low:.2f} to {percent(found.high)})"


def points(fraction: float, images: int = 10_000, *, signed: bool = False) -> str:
    """A difference of accuracies in percentage points: `0.51`, or with its sign `+0.51`. Two decimals, more if a single one
    of so many images is worth less than that, or if anything but 0 would be rounded to 0."""
    fraction, decimals = round(fraction, 12), max(2, math.ceil(math.log10(images)) - 2)
    while fraction and not round(100.0 * fraction, decimals) and decimals < 12:
        decimals += 1
    value = round(100.0 * fraction, decimals) + 0.0  # + 0.0: there is no -0.00
    return f"{value:{'+' if signed and value else ''}.{decimals}f}"


def p_value(value: float, level: float = LEVEL) -> str:
    """`p = 0.56`, `p = 0.041`, `p < 0.0001`; with enough digits to stay on its side of the level."""
    value = min(value, 1.0)
    if value < 0.0001 <= level:
        return "p < 0.0001"
    if value >= 0.1 > level:
        return f"p = {value:.2f}"
    texts = (f"{value:#.{digits}g}" for digits in range(2, 18))
    return "p = " + next(text for text in texts if (float(text) < level) == (value < level))


METRICS = {
    "val_accuracy": "accuracy",
    "val_balanced_accuracy": "balanced accuracy",
    "val_macro_f1": "macro F1",
    "val_loss": "loss",
}
"""What people read for the name of a metric."""


def by_metric(split: str, metric: str) -> str:
    """`validation`; with the name of the metric if that is not the accuracy, as `validation loss`."""
    return f"{split} {METRICS[metric]}" if metric in METRICS and metric != "val_accuracy" else split


def score(value: float, metric: str) -> str:
    """A value of a metric: a share as `99.08 %`, a loss as `0.0312`."""
    return f"{value:.4f}" if metric == "val_loss" else percent(value)


def mean(values: Sequence[float], metric: str = "val_accuracy") -> str:
    """Mean and standard deviation of a metric: `99.04 ± 0.05 %`; without the latter for a single value, a dash for none."""
    if not values:
        return "–"
    spread = Spread(tuple(values))
    if spread.std is None:
        return score(spread.mean, metric)
    if metric == "val_loss":
        return f"{spread.mean:.4f} ± {spread.std:.4f}"
    return f"{100 * spread.mean:.2f} ± {percent(spread.std)}"


def count(value: float) -> str:
    """`1,621,258`."""
    return f"{value:,.0f}"


def plural(number: float, word: str) -> str:
    """`1 image`, `2 images`, `2.5 epochs`."""
    told = f"{number:,.0f}" if number == int(number) else f"{number:,.3g}"
    return f"{told} {word}{'' if number == 1 else 's'}"


def times(number: int, models: int = 0) -> str:
    """`once`, `2 times`, `2 times, for 1 model`."""
    often = "once" if number == 1 else f"{number:,} times"
    return f"{often}, for {plural(models, 'model')}" if models else often


def seconds(value: float) -> str:
    """`31.5 s`, `11 min 24 s`, `2 h 5 min`."""
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def latency(value: float) -> str:
    """Seconds of a single call: `0.21 ms`, `17.4 ms`."""
    return f"{1000 * value:.{2 if value < 0.01 else 1}f} ms"


def moment(text: str) -> str:
    """ISO 8601 to the minute; any other text as it is."""
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return text


def scalar(value: Any) -> str:
    """A hyperparameter's value."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


PROPOSERS = {"tpe": "TPE"}
"""Who proposes a configuration, where the name is not the word for it."""


def proposer(by: str) -> str:
    """Who proposed a configuration: `first`, `default`, `neighbour`, `TPE`, `prior` or `random`."""
    return PROPOSERS.get(by, by)


def the(name: str, article: str = "the") -> str:
    """A family's title with its article. Registered models have none; their labels are lower-case or several words."""
    return f"{article} {name}" if name[:1].isupper() and " " not in name else name


def listed(parts: Sequence[str]) -> str:
    """`one`, `one and two`, `one, two and three`."""
    return ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else parts[0]


def cell(text: Any) -> str:
    """Any text inside a Markdown table or sentence, on one line, without its markup taking effect."""
    plain = " ".join(str(text).split())
    return "".join(f"\\{sign}" if sign in MARKUP else sign for sign in plain)


def inlined(data: bytes) -> str:
    """A PNG file's bytes as a URL that needs no network."""
    return "data:image/png;base64," + base64.b64encode(data).decode()


def tied(text: Any) -> Any:
    """Text in which a number stays on one line with its sign and unit: `95 %`, `p < 0.0001`."""
    if type(text) is not str:  # a page's markup is a subclass
        return text
    return re.sub(r"(?<=\d) (?=%|±|ms\b|s\b)|(?<=[±<=]) (?=\d)|(?<=\bp) (?=[<=])", "\N{NO-BREAK SPACE}", text)


FILTERS: Mapping[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        *(percent, share_interval, estimate, points, p_value, by_metric, score, mean, count, plural, seconds, latency),
        *(moment, scalar, proposer, the, title_of, listed, cell, inlined),
    )
}
"""For the templates, by name."""
