"""What stands on the page, part by part; a part that the comparison has nothing for is empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from digitsweep import plots
from digitsweep.cautions import cautions
from digitsweep.comparison import Comparison, Entry, Finalist
from digitsweep.evidence import ConfusedPair, JudgedImage
from digitsweep.history import SearchHistory
from digitsweep.report import figures
from digitsweep.report.figures import Plot
from digitsweep.report.wording import percent

CONFUSED_SHOWN = 8
"""Pairs of each model."""
LONGEST = 6
"""A name that stands below a small image."""


@dataclass(frozen=True)
class Card:
    """A model that was compared."""

    name: str
    """As in the verdict."""
    tone: str
    """`first` or `second`: its colour."""
    entry: Entry
    finalist: Finalist | None
    """What it was on fresh seeds."""


@dataclass(frozen=True)
class Tile:
    """One image of a gallery."""

    image: JudgedImage
    png: bytes
    alt: str


@dataclass(frozen=True)
class Gallery:
    """Test images that have something in common."""

    title: str
    how: str
    count: int
    """Of all such images; the tiles may be fewer."""
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Search:
    """One family's search."""

    family: str
    history: SearchHistory
    overview: Sequence[Plot]
    importance: Plot | None
    parameters: Plot | None
    slices: Sequence[Plot]


@dataclass(frozen=True)
class Page:
    """All of it, in the order of the page."""

    headline: str
    warnings: Sequence[str]
    cards: Sequence[Card]
    tones: Mapping[str, str]
    """By a model's name."""
    letters: Mapping[str, str]
    """What stands for a model below an image: its name, or a letter where that is long."""
    difference: Plot | None
    optimism: Plot | None
    recalls: Plot | None
    confused: Mapping[str, Sequence[ConfusedPair]]
    matrices: Sequence[Plot]
    galleries: Sequence[Gallery]
    cost_plots: Sequence[Plot]
    best: Mapping[str, str]
    """The tones, by name, of those costs that are of the models compared."""
    batches: Sequence[int]
    """Whose latency was measured."""
    searches: Sequence[Search]

    @property
    def evidence(self) -> bool:
        return bool(self.recalls or self.confused or self.galleries)


def page_of(comparison: Comparison, images: NDArray[np.uint8]) -> Page:
    """Gathers and draws."""
    cards = _cards(comparison)
    tones = {each.name: each.tone for each in cards}
    evidence, histories = comparison.evidence, [each for each in comparison.history.values() if _told(each)]
    names = (
        list(evidence.classes[0].recalls) if evidence and evidence.classes else list(evidence.confused) if evidence else []
    )
    tones |= {name: ("first", "second")[number % 2] for number, name in enumerate(names) if name not in tones}
    named = {prefix + each.name: each.tone for each in cards for prefix in ("", "best ")}
    outstanding = {each.name: named[each.name] for each in comparison.costs if each.name in named}
    return Page(
        headline=comparison.verdict or _headline(cards),
        warnings=cautions(comparison),
        cards=cards,
        tones=tones,
        letters={name: name if len(name) <= LONGEST else chr(ord("A") + number) for number, name in enumerate(names)},
        difference=figures.difference(comparison.difference) if comparison.difference else None,
        optimism=figures.finalists(comparison.finalists) if comparison.finalists else None,
        recalls=figures.recalls(evidence.classes, tones) if evidence and evidence.classes and names else None,
        confused={name: pairs[:CONFUSED_SHOWN] for name, pairs in evidence.confused.items() if pairs} if evidence else {},
        matrices=figures.matrices(evidence, tones) if evidence else [],
        galleries=_galleries(comparison, names, images),
        cost_plots=[
            *([figures.equal_cost(histories)] if histories else []),
            *(figures.trade_offs(comparison.costs, outstanding) if len(comparison.costs) > 1 else []),
        ],
        best=outstanding,
        batches=sorted({latency.batch for cost in comparison.costs for latency in cost.latencies}),
        searches=[_search(each) for each in histories],
    )


def _search(history: SearchHistory) -> Search:
    return Search(
        history.family,
        history,
        figures.search(history),
        figures.importance(history),
        figures.parameters(history),
        figures.slices(history),
    )


def _told(history: SearchHistory) -> bool:
    """Whether a search has anything to show."""
    return any(each.values and each.state != "FAIL" for each in history.trials)


def _cards(comparison: Comparison) -> list[Card]:
    """The best models, named as the difference names them where it does."""
    best, difference = comparison.best(), comparison.difference
    known = [difference.first, difference.second] if difference else []
    by_family = {each.family.upper() for each in best} >= set(known) and len({each.family for each in best}) == len(best)
    cards = []
    for number, entry in enumerate(best):
        if by_family:
            name, tone = entry.family.upper(), "second" if entry.family.lower() == "cnn" else "first"
        else:
            name = known[number] if len(best) == len(known) else entry.model or entry.trial
            tone = "second" if known and name == known[1] else "first"
        won = [each for each in comparison.finalists if each.won and each.family == entry.family] if by_family else []
        cards.append(Card(name, tone, entry, won[0] if won else None))
    return cards


def _headline(cards: Sequence[Card]) -> str:
    """Where nothing was weighed against anything."""
    told = [
        f"{each.name} gets {percent(each.entry.test.accuracy)} of the test images right" for each in cards if each.entry.test
    ]
    return f"The best {'; the best '.join(told)}." if told else "No model was judged on the test images."


def _galleries(comparison: Comparison, names: Sequence[str], images: NDArray[np.uint8]) -> list[Gallery]:
    evidence, difference = comparison.evidence, comparison.difference
    if evidence is None or not names:
        return []
    found = evidence.galleries
    sure = "The surest mistakes come first."
    odd = "Both models say the same, with confidence, and the label says otherwise: look whether it is right."
    of_first, of_second, of_both = (
        (difference.only_first_wrong, difference.only_second_wrong, difference.both_wrong) if difference else (0, 0, 0)
    )
    alone = len(names) == 1
    listed = [
        (f"{names[0]} is wrong" if alone else f"Only {names[0]} is wrong", sure, found.only_first_wrong, of_first),
        (f"Only {names[-1]} is wrong", sure, found.only_second_wrong, of_second),
        ("Both are wrong", sure, found.both_wrong, of_both),
        ("Suspicious labels", odd, found.suspicious, found.suspicious_count),
    ]
    return [
        Gallery(title, how, max(count, len(shown)), [_tile(each, images) for each in shown])
        for title, how, shown, count in listed
        if shown
    ]


def _tile(image: JudgedImage, images: NDArray[np.uint8]) -> Tile:
    said = ", ".join(
        f"{name} says {answer.predicted} ({percent(answer.confidence, 0)} sure)" for name, answer in image.answers.items()
    )
    return Tile(image, plots.pixels(images[image.index]), f"Test image {image.index}, labelled {image.true}: {said}")
