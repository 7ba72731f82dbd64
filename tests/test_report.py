"""The report: it needs nothing but itself, says what the comparison says, and has no place for what there is not."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Mapping
from html.parser import HTMLParser

import pytest
import samples

from digitsweep.comparison import Comparison, Opening, comparison_from
from digitsweep.data import Duplicates
from digitsweep.evidence import Evidence, Galleries
from digitsweep.report import report
from digitsweep.report.wording import interval, p_value, percent, points, seconds, spread

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
HOSTILE = "<script>alert('&\"')</script> $\\no$"


class Parsed(HTMLParser):
    """A page's elements; refuses what is not closed in its order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, Mapping[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.text += " "
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & {*self._open}:
            self.text += data

    def all(self, *tags: str) -> list[Mapping[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]

    def sections(self) -> list[str | None]:
        return [each.get("id") for each in self.all("section")]


def page_of(comparison: Comparison) -> Parsed:
    return Parsed(report(comparison, samples.images())["report.html"].decode())


@pytest.fixture(scope="module")
def whole() -> Comparison:
    return samples.comparison()


@pytest.fixture(scope="module")
def small(whole: Comparison) -> Comparison:
    """All parts, but few figures: they take time."""
    searched = dataclasses.replace(samples.history("cnn", 5), importance={})
    return dataclasses.replace(whole, history={"cnn": searched}, costs=whole.costs[:1])


@pytest.fixture(scope="module")
def page(whole: Comparison) -> Parsed:
    return page_of(whole)


def test_the_page_needs_nothing_else(whole: Comparison) -> None:
    """No script, style sheet, image or font from elsewhere; what a URL is named in is text; all of it is small."""
    content = report(whole, samples.images())["report.html"]
    parsed = Parsed(content.decode())
    assert len(content) < 1_500_000
    assert not parsed.all("link", "iframe", "object", "embed", "base", "form")
    for tag, attributes in parsed.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
                assert str(value).startswith(("#", "data:image/png;base64,")), f"<{tag} {name}={value}>"
    assert not re.search(r"url\((?!#)|@import", content.decode())


def test_the_only_script_is_the_one_that_the_policy_names(page: Parsed, whole: Comparison) -> None:
    """The page's policy forbids everything from elsewhere, and every script but the one that scrolls in MLflow's frame."""
    (policy,) = (str(each["content"]) for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
    content = report(dataclasses.replace(whole, history={}, costs=()), samples.images())["report.html"].decode()
    (script,) = re.findall(r"<script>(.*?)</script>", content, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_the_headline_is_the_verdict(whole: Comparison, page: Parsed) -> None:
    """The verdict stands first, word for word, and the difference and its interval are the comparison's."""
    assert whole.difference is not None
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert text.index(whole.question) < text.index(whole.verdict, text.index(whole.question)) < text.index("The models")
    for part in (whole.difference.accuracy, whole.difference.low, whole.difference.high):
        assert points(part) in page.text
    assert p_value(whole.difference.p_value) in page.text
    for count in (67, 16, 25, 9_892):
        assert re.search(rf"\b{count:,}\b", page.text)


def test_the_cards_are_the_best_models(whole: Comparison, page: Parsed) -> None:
    """Each best model has its accuracy, interval, weights, fresh seeds and the way to load it."""
    winners = {each.family: each for each in whole.finalists if each.won}
    for entry in whole.best():
        assert entry.test is not None
        for expected in (
            percent(entry.test.accuracy),
            interval(entry.test),
            f"{entry.weights:,}",
            entry.network,
            spread(winners[entry.family].validation),
            spread(winners[entry.family].test),
            f'mlflow.keras.load_model("{entry.model}")',
        ):
            assert expected in page.text


def test_every_entry_and_cost_is_on_the_page(whole: Comparison, page: Parsed) -> None:
    """Every baseline has its accuracy, its published figure and its remark; every model its place in the table of costs."""
    for entry in whole.entries:
        assert entry.test is not None
        assert percent(entry.test.accuracy) in page.text
        assert entry.note in page.text
        if entry.published_accuracy:
            assert percent(entry.published_accuracy, 1) in page.text
    for cost in whole.costs:
        assert cost.name in page.text
        assert seconds(cost.train_seconds) in page.text


def test_ids_are_unique_and_referred_to(page: Parsed) -> None:
    """No id stands twice, also not in two figures, and every reference leads somewhere."""
    ids = [str(attributes["id"]) for _, attributes in page.elements if "id" in attributes]
    assert [each for each, count in Counter(ids).items() if count > 1] == []
    wanted = {str(value)[1:] for _, each in page.elements for name, value in each.items() if name == "href"}
    wanted |= {each for _, attributes in page.elements for each in re.findall(r"url\(#([^)]*)\)", str(attributes))}
    assert wanted <= set(ids)


def test_every_picture_has_its_words(page: Parsed) -> None:
    """Each image has an alternative text of its own, each figure's drawing too, and each figure a caption."""
    alternatives = [each.get("alt") for each in page.all("img")]
    alternatives += [each.get("aria-label") for each in page.all("svg")]
    assert all(alternatives)
    assert len(set(alternatives)) == len(alternatives)
    assert len(page.all("figure")) == len(page.all("figcaption")) > 10


def test_the_outline_is_whole(page: Parsed) -> None:
    """One first heading, no level left out, the language said, and the contents lead to the sections."""
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert page.all("html")[0]["lang"] == "en"
    links = [str(each["href"])[1:] for each in page.all("a")]
    assert links[1:] == page.sections()


@pytest.mark.parametrize(
    ("missing", "gone"),
    [
        ({"difference": None, "verdict": ""}, {"difference"}),
        ({"finalists": ()}, {"optimism"}),
        ({"evidence": None}, {"errors"}),
        ({"history": {}}, {"search"}),
        ({"history": {"ann": samples.history("ann", 0)}}, {"search"}),
        ({"costs": (), "history": {}, "spent": {}}, {"cost", "search"}),
        ({"openings": (), "duplicates": None, "data": {"name": "x"}}, {"test-set"}),
        ({"data": {"source": "here", "images": {"test": 10}}, "budget": {}}, set()),
    ],
)
def test_what_is_missing_is_left_out(small: Comparison, page: Parsed, missing: dict[str, object], gone: set[str]) -> None:
    """A part that the comparison has nothing for is not there: neither as a box nor in the contents."""
    found = page_of(dataclasses.replace(small, **missing))  # type: ignore[arg-type]
    assert set(page.sections()) - set(found.sections()) == gone
    assert not {str(each["href"])[1:] for each in found.all("a")} & gone


def test_empty_galleries_are_left_out(small: Comparison) -> None:
    """Where no image is wrong there is no gallery, and where nothing is confused no table."""
    assert small.evidence is not None
    bare = Evidence(small.evidence.classes, {"ANN": (), "CNN": ()}, Galleries((), (), (), (), 0))
    found = page_of(dataclasses.replace(small, evidence=bare))
    assert not found.all("img")
    assert "Most confused" not in found.text
    assert "Each label by itself" in found.text


def test_next_to_nothing_is_still_a_page(whole: Comparison) -> None:
    """An interrupted sweep that has no best model gives a page that says so."""
    found = page_of(
        Comparison(
            experiment="x",
            question="?",
            digest="",
            metric="val_accuracy",
            state="INTERRUPTED",
            data={},
            budget={},
            spent={},
            entries=(),
        )
    )
    assert found.sections() == ["provenance"]
    assert "No model was judged" in found.text
    assert "interrupted" in found.text


def test_one_family_alone(small: Comparison) -> None:
    """A sweep of one family has a headline, its card and its mistakes, and no word of another."""
    found = page_of(samples.alone(small))
    assert "The best CNN gets 99.59\N{NO-BREAK SPACE}% of the test images right." in found.text
    assert "ANN" not in found.text
    assert {"models", "errors", "search", "optimism"} <= set(found.sections())


def test_registered_models(whole: Comparison) -> None:
    """Two registered models, of one family even, have the same page under their own names, without a search."""
    found = page_of(samples.registered(whole))
    assert found.sections() == ["models", "test-set", "difference", "errors", "provenance"]
    for name in ("models:/mnist-cnn/3", "models:/mnist-cnn@champion"):
        assert f'load_model("{name}")' in found.text
    assert "Only models:/mnist-cnn@champion is wrong" in found.text


def test_warnings_come_first(small: Comparison, page: Parsed) -> None:
    """An interruption, a second opening of the test set and test images that were trained on are said before any figure."""
    again = Opening("sweep 77: best CNN", "2026-11-21T10:00:00+00:00", "3" * 64, 2)
    warned = dataclasses.replace(
        small, state="INTERRUPTED", openings=(*small.openings, again), duplicates=Duplicates(12, 1, 0)
    )
    contents = report(warned, samples.images())
    for text in (Parsed(contents["report.html"].decode()).text.partition("The models")[0], contents["report.md"].decode()):
        assert "interrupted" in text
        assert "opened 2 times" in text
        assert "12 test images are also among the training images" in text
        assert "1 test image is also among the validation images" in text
    assert "Mind:" not in page.text


def test_the_correction_of_a_choice_is_named(small: Comparison, page: Parsed) -> None:
    """Where the second model is the best of several, both pages and the JSON name Bonferroni; else nothing does."""
    assert small.difference is not None
    chosen = dataclasses.replace(small, difference=dataclasses.replace(small.difference, rivals=3))
    contents = report(chosen, samples.images())
    text = Parsed(contents["report.html"].decode()).text
    assert "the best of 3 others by these same images. Bonferroni’s correction" in text
    assert "chose one thing: CNN, the best of 3 others, to compare with." in text
    assert "nothing is chosen by them" not in text
    assert "Bonferroni's correction for 3 comparisons" in contents["report.md"].decode()
    assert "Bonferroni" not in page.text
    values = chosen.values()
    assert (values["difference"]["rivals"], values["difference"]["correction"]) == (3, "Bonferroni")
    assert comparison_from(values) == chosen
    assert not {"rivals", "correction"} & set(small.values()["difference"])


def test_finalists_of_whom_nobody_won(small: Comparison, page: Parsed) -> None:
    """Where no finalist finished its seeds, the page says so, and names no winner on fresh seeds."""
    assert "the one with the best mean won" in page.text
    finalists = tuple(dataclasses.replace(each, won=False) for each in small.finalists)
    nobody = page_of(dataclasses.replace(small, finalists=finalists))
    assert "none of them finished all of its seeds: the best of the search was taken" in nobody.text
    assert "the one with the best mean won" not in nobody.text


def test_duplicates_of_models_that_were_named(small: Comparison) -> None:
    """Where no split is known, nothing is said of one: neither a number nor that the choice has seen an image."""
    text = page_of(dataclasses.replace(small, duplicates=Duplicates(12, None, None))).text
    assert "12 test images are also among the training and validation images, pixel by pixel: a model may" in text
    assert "Images that are equal pixel by pixel: 12 in training or validation, and test." in text
    assert "the choice of the models" not in text


def test_earlier_sweeps_are_told(small: Comparison, page: Parsed) -> None:
    """How many sweeps had opened the same test images before stands beside the openings; of none nothing is said."""
    assert "at this tracking server had opened" not in page.text
    for count, said in ((1, "1 other sweep at this"), (1234, "1,234 other sweeps at this")):
        assert said in page_of(dataclasses.replace(small, earlier_sweeps=count)).text


def test_hostile_names_are_text(whole: Comparison) -> None:
    """Names and remarks are shown as they are, and none of them becomes markup."""
    assert whole.difference is not None
    entries = tuple(dataclasses.replace(each, network=HOSTILE, note=HOSTILE, model=HOSTILE) for each in whole.entries)
    hostile = dataclasses.replace(
        whole,
        experiment=HOSTILE,
        question=HOSTILE,
        verdict=HOSTILE,
        entries=entries,
        openings=tuple(dataclasses.replace(each, by=HOSTILE, at=HOSTILE) for each in whole.openings),
        difference=dataclasses.replace(whole.difference, first=HOSTILE),
        finalists=tuple(dataclasses.replace(each, network=HOSTILE, trial=HOSTILE) for each in whole.finalists),
        costs=tuple(dataclasses.replace(each, name=HOSTILE) for each in whole.costs[:2]),
        history={},
        data={**whole.data, "name": HOSTILE, "source": HOSTILE},
        run_id=HOSTILE,
    )
    contents = report(hostile, samples.images())
    found = Parsed(contents["report.html"].decode())
    assert found.all("script") == [{}], "the page's own"
    assert found.text.count(HOSTILE) > 20
    assert "<script" not in contents["report.md"].decode().replace("\\<", "")


def test_the_same_comparison_gives_the_same_page(small: Comparison) -> None:
    """Nothing on the page depends on the day or on chance."""
    alone = samples.alone(small)
    assert report(alone, samples.images()) == report(alone, samples.images())


def test_the_short_report(whole: Comparison) -> None:
    """For a pull request: the verdict, a row for each model, and what the winners were on fresh seeds."""
    text = report(whole, samples.images())["report.md"].decode()
    assert text.startswith(f"**{whole.verdict.replace('<', chr(92) + '<')}**\n")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(whole.entries)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {7}
    for each in whole.finalists:
        assert not each.won or spread(each.validation) in text


@pytest.mark.parametrize(
    ("value", "text"), [(2.6e-8, "p < 0.0001"), (0.0004, "p = 0.0004"), (0.0414, "p = 0.041"), (1.0000000002, "p = 1.000")]
)
def test_p_values(value: float, text: str) -> None:
    """A p-value has the digits that it deserves."""
    assert p_value(value).replace("\N{NO-BREAK SPACE}", " ") == text


def test_figures_in_words() -> None:
    """Points have their sign, also where they are 0; seconds become minutes and hours; one seed has no deviation."""
    assert [points(each) for each in (0.0051, -0.0051, 0.0, -0.000001)] == ["+0.51", "−0.51", "0.00", "0.00"]
    assert [seconds(each) for each in (31.52, 684.2, 7501.0)] == ["31.5 s", "11 min 24 s", "2 h 5 min"]
    assert spread((0.99,)).replace("\N{NO-BREAK SPACE}", " ") == "99.00 %"
    assert spread(()) == "–"
    assert spread((0.98, 0.99, 1.0)).replace("\N{NO-BREAK SPACE}", " ") == "99.00 ± 1.00 %"


def test_a_search_that_was_interrupted(whole: Comparison) -> None:
    """Failed trials have no end to be drawn by: with others they are left out, and so are parameters that only they have;
    alone they leave no search to show."""
    history = whole.history["ann"]
    failed = dataclasses.replace(history.trials[0], state="FAIL", params={"only_here": 1})
    mixed = dataclasses.replace(history, trials=(failed, *history.trials[1:3]))
    alone = dataclasses.replace(history, trials=(failed,), importance={})
    contents = report(dataclasses.replace(whole, history={"ann": mixed, "cnn": alone}), samples.images())
    page = Parsed(contents["report.html"].decode())
    assert "only_here" not in page.text
    assert "ANN: " in page.text
    assert "CNN: 1 trial" not in page.text
