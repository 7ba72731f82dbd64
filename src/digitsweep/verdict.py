"""What a difference between two models says, in one honest sentence."""

from __future__ import annotations

import math

from digitsweep.statistics import LEVEL, Difference


def verdict(difference: Difference) -> str:
    """One sentence: which of the two models is better and by how much, or that this test set cannot tell.

    McNemar's exact test decides. Where the interval would decide otherwise, the sentence says so. It is about these two
    trained models; how much another seed changes either is told by the finalists. Where the second was chosen among rivals
    by the same images, the figures allow for that, and the sentence says so."""
    leads = difference.accuracy >= 0.0
    ahead = difference.second if leads else difference.first
    low, high = (difference.low, difference.high) if leads else (-difference.high, -difference.low)
    images, gap = difference.images, _points(abs(difference.accuracy), difference.images)
    found = f"95 % interval {_points(low, images)} to {_points(high, images)}, {p_text(difference.p_value)}"
    if difference.rivals > 1:
        found += f"; Bonferroni's correction for {difference.rivals} comparisons"
    if difference.p_value < LEVEL:
        doubt = "" if low > 0.0 else ", though only just: the interval reaches 0"
        return (
            f"{the(ahead).replace('the ', 'The ', 1)} is better by {gap} points on {images:,} test images ({found}){doubt}."
        )
    if difference.accuracy:
        seen = f"{the(ahead)} is ahead by {gap} points ({found})"
    elif difference.discordant:
        seen = f"both get {difference.first_wrong:,} of {images:,} images wrong ({found})"
    else:
        seen = f"both are right on the same images ({found})"
    if low > 0.0:
        seen += (
            f"; the interval leaves out 0, but with only {difference.discordant} images that one of them alone gets right "
            "the exact test decides"
        )
    could = (
        f"a difference of {_points(difference.smallest, images)} points or more would probably have shown"
        if difference.smallest < 1.0
        else f"with {images:,} images no difference would have shown"
    )
    return f"This test set cannot tell {the(difference.first)} and {the(difference.second)} apart: {seen}; {could}."


def the(name: str) -> str:
    """`the CNN`, but `mnist-cnn 3`."""
    return f"the {name}" if name.isupper() else name


def p_text(p_value: float) -> str:
    """`p = 0.56`, `p = 0.041`, `p < 0.0001`; as many digits as it takes to stay on its side of 0.05."""
    if p_value < 0.0001:
        return "p < 0.0001"
    if p_value >= 0.1:
        return f"p = {p_value:.2f}"
    texts = (f"{p_value:#.{digits}g}" for digits in range(2, 18))
    return "p = " + next(text for text in texts if (float(text) < LEVEL) == (p_value < LEVEL))


def _points(fraction: float, images: int) -> str:
    """A fraction in points of a hundred, with two decimals, or as many as one of the images is worth."""
    decimals = max(2, math.ceil(math.log10(images)) - 2)
    return f"{round(100.0 * fraction, decimals) + 0.0:.{decimals}f}"  # + 0.0: there is no -0.00
