"""Writes what is known from other data into the experiments with wide spaces: configurations to try first, and priors. Into
defaults.yaml it writes the configurations that come with digitsweep, for any experiment.

    portfolio.py          writes them; `portfolio.py check` only says whether they are what the table gives

All are learned from the table of `make bench-search`, without the data set that the experiment is about. `images.yaml` is
about any images: it learns from MNIST and digits, so that letters can show what it is worth on data it has not seen.
defaults.yaml learns from letters and digits, so that MNIST can show this."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search import Table, portfolio, priors, tables
from search_table import RUNGS

from digitsweep.config.experiment_file import DEFAULTS
from digitsweep.families import Params

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
DEFAULTS_FROM = ("letters", "digits")
LEARNED_FROM = {"mnist": ("letters", "digits"), "digits": ("mnist", "letters"), "images": ("mnist", "digits")}
SIZE = 4
"""Configurations of each family."""


def main(mode: str = "write") -> None:
    known = tables()
    texts = {DEFAULTS: default_configurations(known)}
    for name, sources in LEARNED_FROM.items():
        path = EXPERIMENTS / f"{name}.yaml"
        texts[path] = path.read_text()
        for family in RUNGS[sources[0]]:
            texts[path] = with_knowledge(texts[path], family, [known[family, source] for source in sources])
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    names = ", ".join(path.name for path in stale)
    if mode == "check" and stale:
        raise SystemExit(f"{names}: not what the table gives; run `make portfolio`")
    for path in stale:
        path.write_text(texts[path])
    print(f"{names or 'nothing'} {'written' if mode == 'write' else 'to be written'}")


def default_configurations(known: dict[tuple[str, str], Table]) -> str:
    """The text of defaults.yaml."""
    sources = " and ".join(DEFAULTS_FROM)
    lines = [
        "# Configurations that a search in minutes tries after those in `first`. If there are none, or they do badly, these",
        f"# are trained on the top rung at once. Learned on {sources}; `make portfolio` writes this file.",
    ]
    for family in RUNGS[DEFAULTS_FROM[0]]:
        others = [known[family, source] for source in DEFAULTS_FROM]
        lines += [f"{family}:", *(f"  - {_shown(others[0].params[each], 4)}" for each in portfolio(others, SIZE))]
    return "\n".join(lines) + "\n"


def with_knowledge(text: str, family: str, others: Sequence[Table]) -> str:
    """An experiment's text, with a family's priors and first configurations replaced."""
    begin = text.index(f"\n  {family}:")
    end = next((found.start() + begin + 1 for found in [re.search(r"\n  \w+:", text[begin + 1 :])] if found), len(text))
    block = re.sub(r"\n    first:.*?(?=\n    \w|\Z)", "", text[begin:end].rstrip("\n"), flags=re.DOTALL)
    for name, prior in priors(family, others).items():
        known = f"{{value: {prior.value}, sure: {prior.sure}}}"
        block = re.sub(rf"(\n      {name}: \{{[^}}\n]*?)(?:, prior: \{{[^}}]*\}})?\}}", rf"\1, prior: {known}}}", block)
    sources = " and ".join(each.data for each in others)
    lines = [f"    first:   # learned on {sources}: make portfolio"]
    lines += [f"      - {_shown(others[0].params[each], 9)}" for each in portfolio(others, SIZE)]
    rest = text[end:]
    return text[:begin] + block + "\n" + "\n".join(lines) + (rest if rest.startswith("\n") else "\n" + rest)


def _shown(params: Params, indent: int) -> str:
    """As a mapping in YAML, without what has no effect; layers with equal values have one. indent: of its further lines."""
    values = params.model_dump(mode="json")
    parts = []
    for name, value in values.items():
        if not params.applies(name, values):
            continue
        if name in params.layered:
            value = value[0] if len(set(value)) == 1 and name not in ("units", "filters") else value
        parts.append(f"{name}: {_scalar(value)}")
    return textwrap.fill(f"{{{', '.join(parts)}}}", 112, subsequent_indent=" " * indent, break_long_words=False)


def _scalar(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_scalar, value))}]"
    return f"{float(f'{value:.3g}')}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main(*sys.argv[1:])
