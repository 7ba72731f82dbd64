"""The comparison as a page that people read, and in short for a pull request or a chat."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from digitsweep.data.preparation import is_ink
from digitsweep.evaluation.comparison import Comparison, Entry, Finalist
from digitsweep.evaluation.mistakes import ClassifiedImage, ConfusedPair
from digitsweep.evaluation.statistics import Difference
from digitsweep.families import title_of
from digitsweep.report import figures, plots
from digitsweep.report.figures import Plot
from digitsweep.report.format import FILTERS, percent, plural, tied
from digitsweep.report.plots.style import family_tone, tone_at
from digitsweep.report.sentences import (
    ORIGINS,
    cautions,
    counted_alike,
    earlier_openings,
    fresh_seeds,
    how_chosen,
    limits,
    optimism,
    overlap,
    search_told,
)
from digitsweep.trial import SearchHistory

PAGE, SHORT, SCRIPT = "report.html", "report.md", "framed.js"
IMAGES = "mistakes.npz"
"""The images of the galleries: `index`, int64 (n,), in the test set, and `images`, uint8 (n, side, side, channels)."""
CONFUSED_SHOWN = 8
"""Pairs of each model."""
LONGEST = 6
"""A name that stands below a small image."""


def report(comparison: Comparison, images: NDArray[np.uint8]) -> dict[str, bytes]:
    """`report.html`, which needs nothing else to be shown, `report.md` and `mistakes.npz`, by file name.

    `images` are the test images, (n, side, side, channels); only those of the galleries are looked at. What the comparison
    does not have, the page does not have either."""
    found = environment()
    script = found.get_template(SCRIPT).render()
    values = {"comparison": comparison, "page": page_of(comparison, images), "script": script}
    values["script_digest"] = script_digest(script)
    return {
        PAGE: found.overlay(finalize=tied).get_template(f"{PAGE}.jinja").render(values).encode(),
        SHORT: found.get_template(f"{SHORT}.jinja").render(values).encode(),
        IMAGES: _packed(comparison, images),
    }


def _packed(comparison: Comparison, images: NDArray[np.uint8]) -> bytes:
    """The file IMAGES."""
    index = np.array(sorted({each.index for each in shown_images(comparison)}), dtype=np.int64)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, index=index, images=images[index])
    return buffer.getvalue()


def unpacked(content: bytes) -> dict[int, NDArray[np.uint8]]:
    """The images of a file IMAGES, uint8 (side, side, channels), by their number in the test set."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(zip(arrays["index"].tolist(), arrays["images"], strict=True))


def shown_images(comparison: Comparison) -> list[ClassifiedImage]:
    """The images of all galleries, each once."""
    if comparison.mistakes is None:
        return []
    found = comparison.mistakes.galleries
    one_wrong = (found.only_first_wrong, found.only_second_wrong, *found.only_wrong.values())
    return list({each.index: each for shown in (*one_wrong, found.both_wrong, found.suspicious) for each in shown}.values())


def environment() -> Environment:
    """What renders the templates, escaped in pages."""
    made = Environment(
        loader=PackageLoader("digitsweep.report", "templates"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= FILTERS
    return made


def script_digest(script: str) -> str:
    """By which a page's policy knows its own script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@dataclass(frozen=True)
class Card:
    """A model that was compared."""

    name: str
    """As in the verdict."""
    tone: str
    """Its colour, as in `COLORS`."""
    entry: Entry
    finalist: Finalist | None
    """What it was on fresh seeds."""
    origin: str = ""
    """Where its configuration comes from, where the budget was in minutes."""


@dataclass(frozen=True)
class Tile:
    """One image of a gallery."""

    image: ClassifiedImage
    png: bytes
    """One pixel for each of the image's."""
    alt: str
    """Its number, its label, and what each model says."""
    label: str
    """The name of its class."""
    said: Mapping[str, str]
    """What each model says, by its name: `7 (98 %)`."""

    def _repr_html_(self) -> str:
        source = f"data:image/png;base64,{base64.b64encode(self.png).decode()}"
        style = "width: 84px; image-rendering: pixelated; border: 1px solid #8888"
        return f'<img src="{source}" alt="{escape(self.alt)}" title="{escape(self.alt)}" style="{style}">'


@dataclass(frozen=True)
class Gallery:
    """Test images that have something in common."""

    title: str
    how: str
    count: int
    """Of all such images; the tiles may be fewer."""
    tiles: Sequence[Tile]

    def _repr_html_(self) -> str:
        """The images as a notebook shows them, with what each model says below."""
        tiles = "".join(
            f'<figure style="margin: 0; width: 132px">{each._repr_html_()}<figcaption>{_said(each)}</figcaption></figure>'
            for each in self.tiles
        )
        return (
            f"<div><b>{escape(self.title)}</b>: {plural(self.count, 'image')}. {escape(self.how)}</div>"
            f'<div style="display: flex; flex-wrap: wrap; gap: 8px; margin: 0.5em 0 1em">{tiles}</div>'
        )


def _said(tile: Tile) -> str:
    """The text below a tile in a notebook: wrong predictions in bold."""
    lines = [f"label {escape(tile.label)}"]
    for name, said in tile.said.items():
        is_right = tile.image.predictions[name].predicted == tile.image.true
        lines.append(f"{escape(name)} {escape(said)}" if is_right else f"<b>{escape(name)} {escape(said)}</b>")
    return "<br>".join(lines)


@dataclass(frozen=True)
class Row:
    """One of three models or more, against each of the others."""

    name: str
    wrong: int
    """Test images that it gets wrong."""
    others_right: Mapping[str, int]
    """Of these, those that another one gets right, by its name."""


@dataclass(frozen=True)
class Search:
    """One family's search."""

    family: str
    history: SearchHistory
    title: str
    told: str
    """What was tried, where the budget was in minutes."""
    overview: Sequence[Plot]
    importance: Plot | None
    slices: Sequence[Plot]


@dataclass(frozen=True)
class Page:
    """All of it, in the order of the page."""

    headline: str
    warnings: Sequence[str]
    earlier_openings: str
    """Of the test set; empty where there were none."""
    cards: Sequence[Card]
    tones: Mapping[str, str]
    """By a model's name."""
    letters: Mapping[str, str]
    """What stands for a model below an image: its name, or a letter where that is long."""
    difference: Plot | None
    """Of two models, or of each pair of more."""
    overlap: str
    """How many test images three models or more get wrong together."""
    rows: Sequence[Row]
    """One for each of three models or more."""
    fresh_seeds: str
    """What the finalists' seeds are for."""
    finalists: Plot | None
    chosen: Sequence[str]
    """How each best was chosen, and what it is worth; also if each class counts alike, where that matters."""
    optimism: Sequence[str]
    """By how much the search overrated each best."""
    limits: str
    """Of the searches."""
    beside_the_search: Sequence[str]
    """What else was trained, as `refits`."""
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

    def plots(self) -> Iterator[Plot]:
        """All figures, in the order of the page."""
        yield from (each for each in (self.difference, self.finalists, self.recalls) if each)
        yield from (*self.matrices, *self.cost_plots)
        for each in self.searches:
            yield from each.overview
            yield from (each.importance,) if each.importance else ()
            yield from each.slices

    @property
    def has_mistakes(self) -> bool:
        return bool(self.recalls or self.confused or self.galleries)


def page_of(comparison: Comparison, images: NDArray[np.uint8] | None) -> Page:
    """Gathers and draws; without the test images, there are no galleries."""
    cards = _cards(comparison)
    tones = {each.name: each.tone for each in cards}
    mistakes, histories = comparison.mistakes, [each for each in comparison.history.values() if _told(each)]
    names = _models(comparison)
    tones |= {name: tone_at(number) for number, name in enumerate(names) if name not in tones}
    named = {prefix + each.name: each.tone for each in cards for prefix in ("", "best ")}
    winners = {each.family: each.trial.split()[0] for each in comparison.best()}
    outstanding = {each.name: named[each.name] for each in comparison.costs if each.name in named}
    return Page(
        headline=comparison.verdict or _headline(cards),
        warnings=cautions(comparison),
        earlier_openings=earlier_openings(comparison) if comparison.opened_before else "",
        cards=cards,
        tones=tones,
        letters={name: name if len(name) <= LONGEST else chr(ord("A") + number) for number, name in enumerate(names)},
        difference=_difference(comparison),
        overlap=overlap(mistakes.overlap) if mistakes and mistakes.overlap else "",
        rows=_rows(comparison.differences),
        fresh_seeds=fresh_seeds(comparison),
        finalists=figures.finalists(comparison.finalists) if comparison.finalists else None,
        chosen=[
            told
            for best in comparison.best()
            for told in (how_chosen(comparison, best), counted_alike(comparison, best))
            if told
        ],
        optimism=[optimism(each) for each in comparison.finalists if each.won],
        limits=limits(comparison),
        beside_the_search=list(
            dict.fromkeys(kind for used in comparison.spent.values() for kind in used.beside_the_search())
        ),
        recalls=figures.recalls(mistakes.classes, tones, comparison.class_name)
        if mistakes and mistakes.classes and names
        else None,
        confused={name: pairs[:CONFUSED_SHOWN] for name, pairs in mistakes.confused.items() if pairs} if mistakes else {},
        matrices=figures.matrices(mistakes, tones, comparison.data.get("classes", ())) if mistakes else [],
        galleries=[] if images is None else galleries(comparison, images),
        cost_plots=[
            *([figures.equal_cost(histories)] if histories else []),
            *(figures.trade_offs(comparison.costs, outstanding) if len(comparison.costs) > 1 else []),
        ],
        best=outstanding,
        batches=sorted({latency.batch for cost in comparison.costs for latency in cost.latencies}),
        searches=[_search(each, winners.get(each.family, "")) for each in histories],
    )


def _search(history: SearchHistory, winner: str) -> Search:
    """winner: family, hyphen and number of its trial."""
    trials, name = plural(len(history.trials), "trial"), title_of(history.family)
    if history.has_rungs:
        configurations = plural(len(history.configurations()), "configuration")
        trials = f"{configurations}, {plural(len(history.trials), 'training')}"
    return Search(
        history.family,
        history,
        f"{name}: {trials}",
        search_told(history),
        figures.search(history, winner),
        figures.importance(history),
        figures.slices(history),
    )


def _models(comparison: Comparison) -> list[str]:
    """The names of the models whose mistakes are known."""
    if (mistakes := comparison.mistakes) is None:
        return []
    return list(mistakes.classes[0].recalls if mistakes.classes else mistakes.confused)


def _told(history: SearchHistory) -> bool:
    """Whether a search has anything to show."""
    return any(each.values and each.state != "FAIL" for each in history.trials)


def _cards(comparison: Comparison) -> list[Card]:
    """The best models: of a sweep by their families, else by their labels."""
    cards = []
    for place, entry in enumerate(comparison.best()):
        if comparison.spent:
            name, tone, finalist = title_of(entry.family), family_tone(entry.family), comparison.finalist_of(entry)
        else:
            name, tone, finalist = entry.trial, tone_at(place), None
        cards.append(Card(name, tone, entry, finalist, ORIGINS.get(finalist.proposed_by, "") if finalist else ""))
    return cards


def _difference(comparison: Comparison) -> Plot | None:
    if comparison.difference:
        return figures.difference(comparison.difference)
    return figures.differences(comparison.differences) if comparison.differences else None


def _rows(differences: Sequence[Difference]) -> list[Row]:
    wrong, right = dict[str, int](), dict[str, dict[str, int]]()
    for each in differences:
        wrong |= {each.first: each.first_wrong, each.second: each.second_wrong}
        right.setdefault(each.first, {})[each.second] = each.only_first_wrong
        right.setdefault(each.second, {})[each.first] = each.only_second_wrong
    return [Row(name, count, right[name]) for name, count in wrong.items()]


def _headline(cards: Sequence[Card]) -> str:
    """Where nothing was weighed against anything."""
    told = [
        f"{each.name} gets {percent(each.entry.test.accuracy)} of the test images right" for each in cards if each.entry.test
    ]
    return f"The best {'; the best '.join(told)}." if told else "No model was judged on the test images."


def galleries(comparison: Comparison, images: NDArray[np.uint8] | Mapping[int, NDArray[np.uint8]]) -> list[Gallery]:
    """The test images worth a look, grouped by what they have in common.

    images: the test images, (n, side, side, channels), or those of `shown_images`, by their number."""
    names = _models(comparison)
    mistakes, difference = comparison.mistakes, comparison.difference
    if mistakes is None or not names:
        return []
    found, overlap = mistakes.galleries, mistakes.overlap
    sure = "The surest mistakes come first."
    odd = f"{'All' if overlap else 'Both'} models agree, with confidence, against the label: check whether it is right."
    of_first, of_second, of_both = (
        (difference.only_first_wrong, difference.only_second_wrong, difference.both_wrong) if difference else (0, 0, 0)
    )
    alone = len(names) == 1
    listed = [
        (f"{names[0]} is wrong" if alone else f"Only {names[0]} is wrong", sure, found.only_first_wrong, of_first),
        (f"Only {names[-1]} is wrong", sure, found.only_second_wrong, of_second),
        *(
            (f"Only {name} is wrong", sure, shown, overlap.only_wrong[name] if overlap else 0)
            for name, shown in found.only_wrong.items()
        ),
        (
            "All are wrong" if overlap else "Both are wrong",
            sure,
            found.both_wrong,
            overlap.all_wrong if overlap else of_both,
        ),
        ("Suspicious labels", odd, found.suspicious, found.suspicious_count),
    ]
    return [
        Gallery(title, how, max(count, len(shown)), [_tile(each, images[each.index], comparison) for each in shown])
        for title, how, shown, count in listed
        if shown
    ]


def _tile(image: ClassifiedImage, pixels: NDArray[np.uint8], comparison: Comparison) -> Tile:
    said = {
        name: (comparison.class_name(prediction.predicted), percent(prediction.confidence, 0))
        for name, prediction in image.predictions.items()
    }
    told = ", ".join(f"{name} says {label} ({sure} sure)" for name, (label, sure) in said.items())
    label = comparison.class_name(image.true)
    return Tile(
        image,
        plots.pixels(pixels, is_ink=is_ink(comparison.data.get("name", ""), comparison.data.get("preparation"))),
        f"Test image {image.index}, labelled {label}: {told}",
        label,
        {name: f"{found} ({sure})" for name, (found, sure) in said.items()},
    )
