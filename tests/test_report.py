"""The report: it needs nothing but itself, says what the comparison says, and has no place for what there is not."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser

import numpy as np
import pytest
import samples
from PIL import Image

from digitsweep.data import Duplicates
from digitsweep.evaluation.comparison import Comparison, Opening
from digitsweep.evaluation.mistakes import Galleries, Mistakes
from digitsweep.evaluation.statistics import differences
from digitsweep.families import FAMILIES
from digitsweep.report.format import mean, p_value, percent, points, proposer, seconds, share_interval
from digitsweep.report.page import report
from digitsweep.report.sentences import ORIGINS, how_chosen, search_told, verdict

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
HOSTILE = "<script>alert('&\"')</script> $\\no$ \\d"


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
            self.text += data.replace("\N{NO-BREAK SPACE}", " ")

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
    text = page.text
    assert text.index(whole.question) < text.index(whole.verdict, text.index(whole.question)) < text.index("The models")
    for part in (whole.difference.accuracy, whole.difference.low, whole.difference.high):
        assert points(part, signed=True) in page.text
    assert p_value(whole.difference.p_value) in page.text
    for count in (67, 16, 25, 9_892):
        assert re.search(rf"\b{count:,}\b", page.text)


def test_classes_have_their_names(whole: Comparison) -> None:
    """If the data names its classes, the page calls them so wherever it would say a label, and tells how it was prepared."""
    names = [f"class-{label}-" for label in range(10)]
    prepared = "70,000 image files, brought to 28x28 pixels."
    named = dataclasses.replace(whole, data={**whole.data, "classes": names, "prepared": prepared})
    parsed = page_of(named)
    assert prepared in parsed.text
    assert not re.search(r"label \d|says \d|labelled \d", parsed.text)
    assert whole.mistakes is not None
    pair = next(iter(whole.mistakes.confused.values()))[0]
    assert re.search(rf"class-{pair.true}-\s+class-{pair.predicted}-", parsed.text)
    tile = whole.mistakes.galleries.both_wrong[0]
    assert any(f"labelled class-{tile.true}-" in str(each["alt"]) for each in parsed.all("img"))


@pytest.mark.parametrize(
    ("data", "is_ink"),
    [
        ({"name": "mnist"}, True),
        ({"name": "digits", "preparation": {"size": 16, "fit": "letterbox", "channels": 1}}, False),
        ({"name": "fashion"}, False),
    ],
    ids=["digits", "digits of another size", "other grey images"],
)
def test_only_digits_are_ink(whole: Comparison, data: dict[str, object], is_ink: bool) -> None:
    """Digits are dark on light in the galleries; other images look as they are."""
    values = samples.images()
    assert whole.mistakes is not None
    index = whole.mistakes.galleries.only_first_wrong[0].index
    shown_only = dataclasses.replace(whole, data={**whole.data, **data}, history={}, costs=(), finalists=())
    (inlined,) = {
        str(each["src"]) for each in page_of(shown_only).all("img")
        if str(each["alt"]).startswith(f"Test image {index}, ")
    }  # fmt: skip
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(inlined.partition(",")[2]))).convert("L"))
    wanted = values[index, ..., 0]
    np.testing.assert_allclose(shown, 255 - wanted if is_ink else wanted, atol=1)


def test_the_cards_are_the_best_models(whole: Comparison, page: Parsed) -> None:
    """Each best model has its accuracy, interval, weights, fresh seeds and the way to load it."""
    winners = {each.family: each for each in whole.finalists if each.won}
    for entry in whole.best():
        assert entry.test is not None
        for expected in (
            percent(entry.test.accuracy),
            share_interval(entry.test),
            f"{entry.weights:,}",
            entry.network,
            mean(winners[entry.family].confirmation_val_accuracies),
            mean(winners[entry.family].confirmation_test_accuracies),
            f"{entry.trained_on:,} images",
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
        ({"finalists": ()}, {"seeds"}),
        ({"mistakes": None}, {"errors"}),
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
    assert small.mistakes is not None
    bare = Mistakes(small.mistakes.classes, {"ANN": (), "CNN": ()}, Galleries((), (), (), (), 0))
    found = page_of(dataclasses.replace(small, mistakes=bare))
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
    assert "The best CNN gets 99.59 % of the test images right." in found.text
    assert "ANN" not in found.text
    assert {"models", "errors", "search", "seeds"} <= set(found.sections())


def test_registered_models(whole: Comparison) -> None:
    """Two registered models, of one family even, have the same page under their own names, without a search."""
    found = page_of(samples.registered(whole))
    assert found.sections() == ["models", "test-set", "difference", "errors", "provenance"]
    for name in ("models:/mnist-cnn/3", "models:/mnist-cnn@champion"):
        assert f'load_model("{name}")' in found.text
    assert "Only models:/mnist-cnn@champion is wrong" in found.text


def test_warnings_come_first(small: Comparison, page: Parsed) -> None:
    """An interruption, a second opening of the test set, test images that were trained on and processors that differed are
    said before any figure."""
    again = Opening("sweep 77: best CNN", "2026-11-21T10:00:00+00:00", "3" * 64, 2)
    warned = dataclasses.replace(
        small,
        state="INTERRUPTED",
        openings=(*small.openings, again),
        duplicates=Duplicates(12, 1, 0),
        precisions=("float32", "mixed_bfloat16"),
    )
    contents = report(warned, samples.images())
    for text in (Parsed(contents["report.html"].decode()).text.partition("The models")[0], contents["report.md"].decode()):
        assert "interrupted" in text
        assert "opened 2 times" in text
        assert "12 test images are also among the training images" in text
        assert "1 test image is also among the validation images" in text
        assert "in float32 and mixed_bfloat16" in text.replace(r"\_", "_")
    assert "Caution:" not in page.text


@pytest.fixture(scope="module")
def many(whole: Comparison) -> Iterator[Comparison]:
    """Of a sweep of five families, with one search and few figures."""
    with pytest.MonkeyPatch.context() as patch:
        for name, family in samples.MADE_UP.items():
            patch.setitem(FAMILIES, name, family)
        found = samples.many(whole, 5)
        searched = dataclasses.replace(found.history["resnet"], importance={})
        yield dataclasses.replace(found, history={"resnet": searched}, costs=whole.costs[:1])


def test_five_families(many: Comparison) -> None:
    """The ranking is the headline; each model has its card in a colour of its own; each pair has its difference, its own and
    its corrected p-value; what models get wrong is told of all of them."""
    contents = report(many, samples.images())
    page = Parsed(contents["report.html"].decode())
    text = " ".join(page.text.split())
    assert text.index(many.verdict, text.index(many.question)) < text.index(many.family_verdict) < text.index("The models")
    cards = [str(each["class"]) for each in page.all("article")]
    assert cards == ["card first", "card second", "card third", "card fourth", "card fifth"]
    for found in (many.differences, many.family_differences):
        assert len(found) == 10
        for each in found:
            better = each.ranked[0] if each.significant else "undecided"
            figures = [points(value, each.images, signed=True) for value in (each.accuracy, each.low, each.high)]
            assert each.raw_p_value is not None
            alone, corrected = p_value(each.raw_p_value), p_value(each.p_value)
            pair = f"{each.second} minus {each.first}"
            assert f"{pair} {figures[0]} {figures[1]} to {figures[2]} {alone} {corrected} {better}" in text
            row = f"| {pair} | {figures[0]} | {figures[1]} to {figures[2]} | {alone} | {corrected} | {better} |"
            assert row in contents["report.md"].decode().replace("\\", "")
    assert many.mistakes is not None
    assert many.mistakes.overlap is not None
    for name, count in many.mistakes.overlap.only_wrong.items():
        assert f"Only {name} is wrong {count} image" in text
    assert f"all models get {many.mistakes.overlap.all_right:,} right" in text
    assert "Both" not in text
    assert not re.search(r"Of the \d+ images? that", text)


def test_who_gets_wrong_what_another_gets_right(many: Comparison) -> None:
    """The table has, in the row of one model and the column of another, what only the former of the two gets wrong."""
    text = " ".join(page_of(many).text.split())
    rows = {
        name: list(map(int, re.findall(r"\d+", text.partition(f" {name} wrong ")[2])[:5])) for name in ("ANN", "Capsule")
    }
    with_ann = [each for each in many.differences if each.first == "ANN"]
    with_capsule = [each for each in many.differences if each.second == "Capsule"]
    assert rows["ANN"] == [*(each.only_first_wrong for each in with_ann), with_ann[0].first_wrong]
    assert rows["Capsule"] == [*(each.only_second_wrong for each in with_capsule), with_capsule[0].second_wrong]


def test_three_registered_models(whole: Comparison, many: Comparison) -> None:
    """Models that were named have their labels in place of families, and nothing is said of families."""
    names = ("mnist-cnn 3", "mnist-cnn 4", "mnist-ann 1")
    found = samples.registered(whole)
    entries = tuple(dataclasses.replace(each, trial=name, model="") for each, name in zip(many.best(), names, strict=False))
    true, predicted = samples.labels(), dict[str, np.ndarray]()
    for place, name in enumerate(names):
        predicted[name] = np.where(np.arange(len(true)) % 100 < place, (true + 1) % 10, true).astype(np.uint8)
    pairs = differences(true, predicted)
    found = dataclasses.replace(
        found, entries=entries, difference=None, differences=pairs, verdict=verdict(*pairs), mistakes=None
    )
    text = page_of(found).text
    assert "Of these networks, mnist-cnn 3 is better than mnist-cnn 4 and mnist-ann 1;" in text
    assert "over training seeds" not in text
    assert [str(each["class"]) for each in page_of(found).all("article")] == ["card first", "card second", "card third"]


def test_finalists_of_whom_nobody_won(small: Comparison, page: Parsed) -> None:
    """Where no finalist finished its seeds, the page says so, and names no winner on fresh seeds."""
    assert "the best mean won" in page.text
    finalists = tuple(dataclasses.replace(each, won=False) for each in small.finalists)
    nobody = page_of(dataclasses.replace(small, finalists=finalists))
    assert "none of them finished all of its seeds: the best of the search was taken" in nobody.text
    assert "the best mean won" not in nobody.text


def test_seeds_that_chose_are_told_from_those_that_did_not(small: Comparison, page: Parsed) -> None:
    """Where winners were confirmed, the page calls that mean unbiased; where they were not, it says that none is known."""
    assert "confirmation seeds, which chose nothing: their means" in page.text
    assert "no unbiased mean is known" not in page.text
    bare = {"confirmation_seeds": (), "confirmation_val_accuracies": (), "confirmation_test_accuracies": ()}
    finalists = tuple(dataclasses.replace(each, **bare) for each in small.finalists)  # type: ignore[arg-type]
    found = page_of(dataclasses.replace(small, finalists=finalists)).text
    assert "No confirmation seed was trained, so no unbiased mean is known" in found
    assert "which chose nothing" not in found


def test_luck_is_told_only_of_trainings_that_were_equally_long(small: Comparison, page: Parsed) -> None:
    """The ANN's finalists trained as long as its search, the CNN's did not: a figure and a sentence about luck are the ANN's
    alone, and a picture of both says that the distance is more than luck."""
    assert re.search(r"The search scored the ANN \d+\.\d\d points above", page.text)
    assert "overrated the CNN was not measured: the search trained 9 epochs, the finalists 14." in page.text
    assert "more than luck" in page.text
    alone = page_of(
        dataclasses.replace(small, finalists=tuple(each for each in small.finalists if each.family == "ann"))
    ).text
    assert "A diamond to the right of the dots was luck" in alone


def test_a_search_ends_in_four_ways(page: Parsed) -> None:
    """What the pruner stopped and what ran out of seconds are counted and drawn apart; the budget is said as a limit."""
    assert re.search(r"ANN \d+ complete, \d+ pruned, 1 out of time, 1 failed", " ".join(page.text.split()))
    assert "A cross is where the pruner stopped it; a triangle is where the family's seconds ran out" in page.text
    assert "at most 24 trials" in page.text


@pytest.fixture(scope="module")
def rungs(whole: Comparison) -> Comparison:
    """Of a sweep whose budget was in minutes, with one search and few figures."""
    found = samples.in_minutes(whole)
    searched = dataclasses.replace(found.history["cnn"], importance={})
    return dataclasses.replace(found, history={"cnn": searched}, costs=whole.costs[:1], mistakes=None)


def test_a_search_with_rungs_is_told(rungs: Comparison) -> None:
    """Page and short report count the configurations, who proposed them and what was promoted as the history does; one
    picture replaces those of the trials and of their epochs."""
    contents = report(rungs, samples.images())
    page, history = Parsed(contents["report.html"].decode()), rungs.history["cnn"]
    tried = {each.number: each for each in history.trials}
    told = search_told(history)
    assert f"tried {len(tried)} configurations: " in told
    for by, words in ORIGINS.items():
        count = sum(each.proposed_by == by for each in tried.values())
        assert (f"{count} {words}" in told) == (words in told) == (count > 0)
    below = {(each.number, each.rung + 1) for each in history.trials}
    above = [(each.number, each.rung) for each in history.trials if each.rung]
    promoted = Counter(rung for number, rung in above if (number, rung) in below)
    started = Counter(rung for number, rung in above if (number, rung) not in below)
    assert re.findall(r"(\d+) (?:(?:was|were) promoted )?to rung (\d)", told) == [
        (str(promoted[rung]), str(rung)) for rung in (1, 2)
    ]
    assert re.findall(r"(\d+) started on rung (\d)", told) == [(str(started[2]), "2")]
    assert "3 other configurations were too slow" in told
    assert told in page.text
    assert told in contents["report.md"].decode()
    assert f"CNN: {len(tried)} configurations, {len(history.trials)} trainings" in page.text
    assert "Accuracy on each rung" in page.text
    assert not {"Trial by trial", "Epoch by epoch"} & set(re.findall(r"\w+ by \w+", page.text))
    assert "1 training did not come to its end and is not shown" in page.text
    assert "The sweep had 15 minutes from the command to the answer." in page.text


def test_a_search_with_one_configuration_is_told(rungs: Comparison) -> None:
    """Of a single configuration, the sentence does not count."""
    history = rungs.history["cnn"]
    number = next(each.number for each in history.trials if each.rung == 1)
    alone = tuple(each for each in history.trials if each.number == number)
    told = search_told(dataclasses.replace(history, trials=alone, too_slow=0))
    assert told.startswith("The CNN search tried 1 configuration, ")
    assert re.search(r"\. It was promoted to rung 1( and rung 2)?\.$", told)
    at_once = dataclasses.replace(history, trials=history.trials[:1], too_slow=0)
    assert search_told(at_once) == "The CNN search tried 1 configuration, named in the experiment. It started on rung 2."


def test_a_winner_that_the_search_alone_chose(rungs: Comparison, page: Parsed) -> None:
    """Its page has no word of selection seeds or rival finalists, says who proposed it and what it was the best of."""
    found = page_of(rungs).text
    assert "election seed" not in found
    assert "Hollow dots" not in found
    assert "the winner of each search was trained again on confirmation seeds, which chose nothing" in found
    for each in rungs.best():
        winner = rungs.finalist_of(each)
        assert winner is not None
        assert f"Configuration {ORIGINS[winner.proposed_by]}" in " ".join(found.split())
        assert f"{each.family.upper()} {winner.trial} {proposer(winner.proposed_by)}" in " ".join(found.split())
    (_, cnn) = (how_chosen(rungs, each) for each in rungs.best())
    assert f", the best of {len(rungs.history['cnn'].rungs()[-1])} on the highest rung. Its configuration was " in cnn
    assert "Proposed by" not in page.text


def test_winners_without_any_fresh_seed(rungs: Comparison) -> None:
    """Winners that were only refitted have no picture of seeds, and their scores are called too high."""
    bare = {"confirmation_seeds": (), "confirmation_val_accuracies": (), "confirmation_test_accuracies": ()}
    finalists = tuple(dataclasses.replace(each, **bare) for each in rungs.finalists)  # type: ignore[arg-type]
    refitted = dataclasses.replace(rungs, finalists=finalists)
    found = page_of(refitted).text
    assert "No confirmation seed was trained, so no unbiased mean is known" in found
    assert "Winners on fresh seeds" not in found
    assert how_chosen(refitted, refitted.best()[1]).endswith("and the score that chose a winner is too high.")


def test_a_baseline_that_beats_the_highest_rung(rungs: Comparison) -> None:
    """It won against the baselines and the highest rung, and nobody proposed it; so also where no trial was searched."""
    finalists = tuple(
        dataclasses.replace(each, trial=f"{each.family}-000 softmax", proposed_by="") for each in rungs.finalists
    )
    told = how_chosen(dataclasses.replace(rungs, finalists=finalists), rungs.best()[1])
    assert "the best of the baselines and the highest rung. On 3 confirmation seeds" in told
    assert ", the best of the search." in how_chosen(dataclasses.replace(rungs, history={}), rungs.best()[1])


def test_duplicates_of_models_that_were_named(small: Comparison) -> None:
    """Where no split is known, nothing is said of one: neither a number nor that the choice has seen an image."""
    text = page_of(dataclasses.replace(small, duplicates=Duplicates(12, None, None))).text
    assert "12 test images are also among the training and validation images, pixel by pixel. A model may" in text
    assert "Images that are equal pixel by pixel: 12 in training or validation, and test." in text
    assert "chose the models" not in text


def test_earlier_openings_are_told(small: Comparison, page: Parsed) -> None:
    """How often the same test images had been opened before stands beside the openings; where never, nothing is said."""
    assert "earlier openings" not in page.text
    for count, models, said in ((1, 1, "images: once, for 1 model."), (1234, 20, "images: 1,234 times, for 20 models.")):
        assert said in page_of(dataclasses.replace(small, opened_before=count, models_before=models)).text


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
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {8}
    for each in whole.finalists:
        assert not each.won or mean(each.confirmation_test_accuracies) in text
    assert whole.family_verdict in text


def test_figures_in_words() -> None:
    """Points have the decimals that one image is worth, and never hide a difference; seconds become minutes and hours; one
    seed has no deviation."""
    assert [points(each, signed=True) for each in (0.0051, -0.0051, 0.0, -1e-17)] == ["+0.51", "-0.51", "0.00", "0.00"]
    assert [points(0.0051, 70_000), points(-0.00001)] == ["0.510", "-0.001"]
    assert [seconds(each) for each in (31.52, 684.2, 7501.0)] == ["31.5 s", "11 min 24 s", "2 h 5 min"]
    assert [mean(each) for each in ((), (0.99,), (0.98, 0.99, 1.0))] == ["–", "99.00 %", "99.00 ± 1.00 %"]


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
