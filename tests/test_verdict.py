"""The verdict: one sentence, honest in every case."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import PROPERTY

from digitsweep.statistics import Difference, bootstrap_interval, mcnemar, smallest_difference
from digitsweep.verdict import p_text, verdict


def made(only_first: int, only_second: int, both: int = 0, images: int = 10_000) -> Difference:
    """The difference of two models with so many errors."""
    low, high = bootstrap_interval(images, only_first, only_second)
    return Difference(
        first="ANN", second="CNN", images=images, first_wrong=only_first + both, second_wrong=only_second + both,
        both_wrong=both, low=low, high=high, p_value=mcnemar(only_first, only_second),
        smallest=smallest_difference(images, (only_first + only_second) / images),
    )  # fmt: skip


def test_a_clear_difference() -> None:
    """The better model, by how much, on how many images, with interval and p-value; in its favour whichever it is."""
    found = dataclasses.replace(made(45, 14), low=0.0018, high=0.0044, p_value=0.00001)
    assert verdict(found) == (
        "The CNN is better by 0.31 points on 10,000 test images (95 % interval 0.18 to 0.44, p < 0.0001)."
    )
    found = dataclasses.replace(made(14, 45), low=-0.0044, high=-0.0018, p_value=0.00001)
    assert verdict(found) == (
        "The ANN is better by 0.31 points on 10,000 test images (95 % interval 0.18 to 0.44, p < 0.0001)."
    )


def test_no_clear_difference() -> None:
    """Who is ahead, what could be chance, and what would not have been."""
    found = dataclasses.replace(made(30, 25), low=-0.0010, high=0.0020, p_value=0.56, smallest=0.0021)
    assert verdict(found) == (
        "This test set cannot tell the ANN and the CNN apart: the CNN is ahead by 0.05 points (95 % interval -0.10 to 0.20, "
        "p = 0.56); a difference of 0.21 points or more would probably have shown."
    )


def test_a_choice_among_rivals_is_said() -> None:
    """Where the second is the best of several, the sentence names the correction, whichever way it goes."""
    said = "; Bonferroni's correction for 3 comparisons)"
    for sentence in (verdict(dataclasses.replace(made(*each), rivals=3)) for each in ((45, 14), (30, 25), (7, 7), (0, 0))):
        assert sentence.count(said) == 1
    assert "Bonferroni" not in verdict(made(45, 14))


def test_fifteen_against_five() -> None:
    """15 images that only the CNN gets right against 5 is a difference, p = 0.041."""
    sentence = verdict(made(15, 5, 40))
    assert sentence.startswith("The CNN is better by 0.10 points on 10,000 test images")
    assert "p = 0.041" in sentence


def test_as_many_errors() -> None:
    """Nobody is ahead where both make as many errors, or are right on the same images."""
    assert "apart: both get 12 of 10,000 images wrong (95 % interval -0.07 to 0.07, p = 1.00);" in verdict(made(7, 7, 5))
    assert "apart: both are right on the same images (95 % interval -0.03 to 0.03, p = 1.00);" in verdict(made(0, 0, 9))


def test_interval_and_test_disagree() -> None:
    """Where the interval leaves out 0 and the test does not, or the other way round, the sentence says so."""
    sentence = verdict(made(5, 0))
    assert sentence.startswith("This test set cannot tell")
    assert (
        "the interval leaves out 0, but with only 5 images that one of them alone gets right the exact test decides"
        in sentence
    )
    narrow = dataclasses.replace(made(15, 5), low=0.0)
    assert verdict(narrow).startswith("The CNN is better")
    assert verdict(narrow).endswith("p = 0.041), though only just: the interval reaches 0.")


def test_too_few_images() -> None:
    """Five images could not show any difference, and the sentence does not promise one of 100 points."""
    assert verdict(made(1, 0, images=5)).endswith("; with 5 images no difference would have shown.")


def test_decimals_follow_the_images() -> None:
    """One image of 70,000 is 0.0014 points, so three decimals are shown; small sets have two."""
    assert "better by 0.016 points on 70,000" in verdict(made(16, 5, images=70_000))
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
    assert p_text(found.p_value) in sentence
    ahead = "CNN" if only_first > only_second else "ANN"
    if found.p_value < 0.05:
        assert sentence.startswith(f"The {ahead} is better by ")
        assert ("reaches 0" in sentence) == (found.low <= 0.0 <= found.high)
    else:
        assert sentence.startswith("This test set cannot tell the ANN and the CNN apart: ")
        assert re.findall(r"the (\w+) is ahead", sentence) == ([ahead] if only_first != only_second else [])
        assert ("leaves out 0" in sentence) == (found.low > 0.0 or found.high < 0.0)
        assert abs(found.accuracy) < found.smallest


@pytest.mark.parametrize(
    ("p_value", "text"),
    [
        (1.0, "p = 1.00"), (0.996, "p = 1.00"), (0.56, "p = 0.56"), (0.0962, "p = 0.096"), (0.05, "p = 0.050"),
        (0.0499, "p = 0.0499"), (0.04139, "p = 0.041"), (0.00123, "p = 0.0012"), (0.0001, "p = 0.00010"),
        (0.00009, "p < 0.0001"), (0.0, "p < 0.0001"),
    ],
)  # fmt: skip
def test_p_text(p_value: float, text: str) -> None:
    """Two digits, more where rounding would cross 0.05, and no smaller number than 0.0001."""
    assert p_text(p_value) == text
