"""The verdict: one sentence, honest in every case."""

from __future__ import annotations

import dataclasses
import json
import re
from itertools import combinations

import numpy as np
import pytest
import samples
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support import PROPERTY
from test_report import Parsed

from digitsweep.cli.tables import sentences
from digitsweep.evaluation.comparison import Comparison, comparison_from
from digitsweep.evaluation.statistics import Difference, difference, differences
from digitsweep.report.format import p_value, points
from digitsweep.report.page import report
from digitsweep.report.sentences import verdict


def made(only_first: int, only_second: int, both: int = 0, images: int = 10_000) -> Difference:
    """The difference of two models with so many errors."""
    labels, first, second = (np.zeros(images, np.uint8) for _ in range(3))
    first[: only_first + both] = 1
    second[only_first : only_first + both + only_second] = 1
    return difference(labels, first, second, ("ANN", "CNN"))


def test_a_clear_difference() -> None:
    """The better model, by how much, on how many images, with interval and p-value; in its favour whichever it is."""
    found = dataclasses.replace(made(45, 14), low=0.0018, high=0.0044, p_value=0.00001)
    assert verdict(found) == (
        "This CNN is better than this ANN by 0.31 points on 10,000 test images (95 % interval 0.18 to 0.44, p < 0.0001)."
    )
    found = dataclasses.replace(made(14, 45), low=-0.0044, high=-0.0018, p_value=0.00001)
    assert verdict(found) == (
        "This ANN is better than this CNN by 0.31 points on 10,000 test images (95 % interval 0.18 to 0.44, p < 0.0001)."
    )


def test_no_clear_difference() -> None:
    """Who is ahead, what could be chance, and what would not have been."""
    found = dataclasses.replace(made(30, 25), low=-0.0010, high=0.0020, p_value=0.56, smallest=0.0021)
    assert verdict(found) == (
        "This test set cannot tell this ANN from this CNN: this CNN is ahead by 0.05 points (95 % interval -0.10 to 0.20, "
        "p = 0.56); a difference of 0.21 points or more would probably have shown."
    )


def test_models_by_name() -> None:
    """Registered models are called as they are called, at the beginning of the sentence too."""
    named = dataclasses.replace(made(45, 14), first="mnist-cnn 2", second="mnist-cnn 3")
    assert verdict(named).startswith("mnist-cnn 3 is better than mnist-cnn 2 by 0.31 points")
    equal = dataclasses.replace(made(7, 7), first="mnist-cnn 2", second="mnist-cnn 3")
    assert verdict(equal).startswith("This test set cannot tell mnist-cnn 2 from mnist-cnn 3: ")


def in_pairs(*wrong: range) -> tuple[Difference, ...]:
    """Models a, b, … that get these of 10,000 images wrong."""
    images, labels = np.arange(10_000), np.zeros(10_000, np.uint8)
    return differences(labels, {chr(97 + place): np.isin(images, each).astype(np.uint8) for place, each in enumerate(wrong)})


NOT_TOLD = "this test set cannot tell"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ((range(99), range(40), range(50, 60)), "Of these networks, c is better than b and a; b is better than a"),
        ((range(99), range(40), range(3, 41)), f"Of these networks, c and b are better than a; {NOT_TOLD} c from b"),
        ((range(99), range(2, 99), range(40)), f"Of these networks, c is better than b and a; {NOT_TOLD} b from a"),
        ((range(40), range(1, 40), range(2, 40)), "This test set cannot tell c, b and a apart"),
        ((range(60), range(15, 60), range(32, 60)), "Of these networks, c is better than b and a; b is better than a"),
        (
            (range(60), range(54, 107), range(54, 100)),
            f"Of these networks, c is better than b; {NOT_TOLD} c from a, or b from a",
        ),
        (
            (range(12), range(3, 12), range(6, 12), range(10, 12)),
            f"Of these networks, d is better than a; {NOT_TOLD} d, c and b apart, or c, b and a apart",
        ),
    ],
)
def test_models_are_ranked(wrong: tuple[range, ...], said: str) -> None:
    """Of three models or more, who is better than whom, the best first, and who cannot be told apart."""
    found = in_pairs(*wrong)
    assert verdict(*found) == f"{said} (10,000 test images; Holm's correction for {len(found)} comparisons)."


@PROPERTY
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 40)), min_size=3, max_size=6))
def test_the_ranking_is_that_of_the_pairs(wrong: list[tuple[int, int]]) -> None:
    """Every pair is either in a clause that calls one better, or in a group that cannot be told apart, and never in both."""
    found = in_pairs(*(range(start, start + count) for start, count in wrong))
    sentence = verdict(*found).removeprefix("Of these networks, ").partition(" (")[0]
    clauses, _, apart = sentence.rpartition("his test set cannot tell ") if "cannot tell" in sentence else (sentence, "", "")
    better = {
        (one, other)
        for first, second in re.findall(r"([a-f][a-f, and]*) (?:is|are) better than ([a-f][a-f, and]*)", clauses)
        for one in re.findall(r"\b[a-f]\b", first)
        for other in re.findall(r"\b[a-f]\b", second)
    }
    together = {frozenset(pair) for part in apart.split(", or ") for pair in combinations(re.findall(r"\b[a-f]\b", part), 2)}
    assert better == {each.ranked for each in found if each.significant}
    assert together == {frozenset((each.first, each.second)) for each in found if not each.significant}


def test_as_many_errors() -> None:
    """Nobody is ahead where both make as many errors, or are right on the same images."""
    assert "this CNN: both get 12 of 10,000 images wrong (95 % interval -0.08 to 0.08, p = 1.00);" in verdict(made(7, 7, 5))
    assert "this CNN: both are right on the same images (95 % interval -0.04 to 0.04, p = 1.00);" in verdict(made(0, 0, 9))


def test_few_images_against_none() -> None:
    """Five images against none do not show a difference: the interval ends at 0, as the exact test does not reject it."""
    sentence = verdict(made(5, 0))
    assert "this CNN is ahead by 0.05 points (95 % interval 0.00 to 0.12, p = 0.062)" in sentence


def test_too_few_images() -> None:
    """Five images could not show any difference, and the sentence does not promise one of 100 points."""
    assert verdict(made(1, 0, images=5)).endswith("; with 5 images no difference would have shown.")


def test_decimals_follow_the_images() -> None:
    """One image of 70,000 is 0.0014 points, so three decimals are shown; small sets have two."""
    assert "by 0.016 points on 70,000" in verdict(made(16, 5, images=70_000))
    assert "ahead by 0.56 points" in verdict(made(4, 2, images=359))


@PROPERTY
@given(st.integers(0, 80), st.integers(0, 80), st.integers(0, 20), st.integers(1, 20_000))
def test_the_sentence_fits_its_figures(only_first: int, only_second: int, both: int, more: int) -> None:
    """The sentence decides as McNemar's test does, names the model that is ahead, and never denies a difference as large
    as it says would have shown."""
    found = made(only_first, only_second, both, only_first + only_second + both + more)
    sentence = verdict(found)
    assert sentence.endswith(".")
    assert "-0.00 " not in sentence
    assert p_value(found.p_value) in sentence
    ahead = "CNN" if only_first > only_second else "ANN"
    if found.p_value < 0.05:
        assert sentence.startswith(f"This {ahead} is better than this ")
    else:
        assert sentence.startswith("This test set cannot tell this ANN from this CNN: ")
        assert re.findall(r"this (\w+) is ahead", sentence) == ([ahead] if only_first != only_second else [])
        assert abs(found.accuracy) < found.smallest


@pytest.fixture(scope="module")
def whole() -> Comparison:
    """A comparison without the parts that take time, and without a verdict on the families."""
    return dataclasses.replace(
        samples.comparison(trials=0), family_verdict="", finalists=(), mistakes=None, costs=(), history={}
    )


def counts(most: int) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(0, 12), st.integers(0, most))


@settings(PROPERTY, max_examples=30, phases=[Phase.generate])
@given(counts(80), counts(80), st.integers(0, 20), st.integers(1, 20_000))
def test_one_fact_told_once(whole: Comparison, only_first: int, only_second: int, both: int, more: int) -> None:
    """Headline, body, terminal, report.md and comparison.json have the same p-value and the same interval, as they are
    written; and all of them call two models different exactly if p is below 0.05 and the interval leaves out 0."""
    found = made(only_first, only_second, both, only_first + only_second + both + more)
    comparison = dataclasses.replace(whole, difference=found, verdict=verdict(found))
    files = report(comparison, samples.images(1))
    page = Parsed(files["report.html"].decode()).text
    headline, body = verdict(found), page[page.index("CNN minus ANN: ") :]
    short = files["report.md"].decode().replace("\\", "")
    values = json.loads(json.dumps(comparison.values()))
    written = values["difference"]
    assert comparison_from(values).difference == found

    p_values = {re.findall(r"p [=<] [\d.]*\d", text)[0] for text in (headline, body, *sentences(comparison)[:1], short)}
    assert p_values == {p_value(written["p_value"])}
    ends = [points(written[each], found.images, signed=True) for each in ("low", "high")]
    for text in (body, short[short.index("CNN minus ANN: ") :]):
        assert re.search(r"interval ([-+.\d]+) to ([-+.\d]+\d)", text).groups() == tuple(ends)  # type: ignore[union-attr]
    if found.accuracy < 0.0:  # the headline speaks of the model that is ahead
        ends = [points(-written[each], found.images, signed=True) for each in ("high", "low")]
    assert f"95 % interval {ends[0].lstrip('+')} to {ends[1].lstrip('+')}, " in headline

    claims = [" is better than " in text for text in (headline, sentences(comparison)[0], page, short.partition("\n")[0])]
    (shown,) = p_values
    below = shown.startswith("p <") or float(shown.removeprefix("p = ")) < 0.05
    assert {*claims, below, written["low"] > 0.0 or written["high"] < 0.0, float(ends[0]) > 0.0} == {found.significant}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "p = 1.00"), (1.0000000002, "p = 1.00"), (0.996, "p = 1.00"),
        (0.56, "p = 0.56"), (0.0962, "p = 0.096"), (0.05, "p = 0.050"),
        (0.0499, "p = 0.0499"), (0.04139, "p = 0.041"), (0.00123, "p = 0.0012"), (0.0001, "p = 0.00010"),
        (0.00009, "p < 0.0001"), (0.0, "p < 0.0001"),
    ],
)  # fmt: skip
def test_p_value(value: float, text: str) -> None:
    """Two digits, more where rounding would cross 0.05, and no smaller number than 0.0001."""
    assert p_value(value) == text
