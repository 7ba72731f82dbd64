"""How often the gate promotes a challenger that is no better than the champion, after 1, 5 and 20 attempts on one test set,
with every attempt at the whole level and with the level spent over them; and how often it promotes one that is better.

A test image is of one of three difficulties, which says how often a model gets it wrong; given that, models err
independently. All challengers of one draw are asked about the same images and compared with the same champion, so what they
gain over it is correlated. `apart` gives each attempt a champion and images of its own, as the worst case. The rules are the
gate's own code."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from digitsweep.evaluation.statistics import mcnemar, score_interval
from digitsweep.registry.gate import METHOD, Attempt

IMAGES = 10_000
HARD: tuple[tuple[int, float], ...] = ((60, 0.6), (100, 0.1), (1000, 0.005))
"""Images of each difficulty, and how often a model gets one wrong: 51 errors, 99.49 % right; two models differ on 57 images,
about as two convolutional networks do on MNIST. Nobody gets the other images wrong."""
LEVEL, MARGIN = 0.05, 0.002
DRAWS = 20_000
ATTEMPTS = (1, 5, 20)
LEADS = (0.1, 0.2, 0.3)
"""Points by which a better challenger is better."""

Counts = NDArray[np.int64]
Rule = Callable[[int, int, float], bool]
"""Whether a gate promotes: images that only the champion gets wrong, that only the challenger does, and the level."""


def better(more: int, fewer: int, level: float) -> bool:
    return more > fewer and mcnemar(more, fewer) < level


def not_worse(more: int, fewer: int, level: float) -> bool:
    return score_interval(IMAGES, more, fewer, 1.0 - level)[0] > -MARGIN


def asked(
    random: np.random.Generator, challengers: int, lead: float, *, draws: int = DRAWS, apart: bool = False
) -> tuple[Counts, Counts]:
    """Images that only the champion gets wrong, and that only the challenger does, (draws, challengers) each.

    A challenger is better by `lead`, a fraction of the images: it makes that many errors less, of every difficulty alike."""
    errors = sum(count * wrong for count, wrong in HARD)
    kept = 1.0 - lead * IMAGES / errors
    more, fewer = np.zeros((draws, challengers), np.int64), np.zeros((draws, challengers), np.int64)
    for count, wrong in HARD:
        champion = random.binomial(count, wrong, (draws, challengers if apart else 1))
        more += champion - random.binomial(champion, kept * wrong, (draws, challengers))
        fewer += random.binomial(count - champion, kept * wrong, (draws, challengers))
    return more, fewer


def promoted(rule: Rule, counts: tuple[Counts, Counts], level: float) -> NDArray[np.bool_]:
    """What a rule says of each pair of counts; each different pair is decided once."""
    pairs, where = np.unique(np.stack(counts, axis=-1).reshape(-1, 2), axis=0, return_inverse=True)
    said = np.array([rule(int(more), int(fewer), level) for more, fewer in pairs])
    found: NDArray[np.bool_] = said[where].reshape(counts[0].shape)
    return found


def spent(number: int) -> float:
    return Attempt(number, number).level(LEVEL)


def whole(number: int) -> float:
    return LEVEL


def share(hits: NDArray[np.bool_]) -> str:
    """A rate with its 95 % Monte Carlo interval (Clopper and Pearson)."""
    found = binomtest(int(hits.sum()), len(hits))
    ends = found.proportion_ci(0.95)
    return f"{100 * found.statistic:.1f} % ({100 * ends.low:.1f} to {100 * ends.high:.1f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for row in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(row) + " |")
    print()


def wrong_promotions(name: str, rule: Rule, lead: float, *, apart: bool = False) -> list[list[str]]:
    """Challengers that are tried one after the other: whether any is promoted."""
    counts = asked(np.random.default_rng(14), max(ATTEMPTS), lead, apart=apart)
    rows = []
    for way, level in (("every attempt at 0.05", whole), ("spent over the attempts", spent)):
        said = np.stack(
            [promoted(rule, (counts[0][:, k : k + 1], counts[1][:, k : k + 1]), level(k + 1))[:, 0] for k in range(20)],
            axis=1,
        )
        rows.append([name, way, *(share(said[:, :attempts].sum(axis=1) > 0) for attempts in ATTEMPTS)])
    return rows


def picked(name: str, rule: Rule, lead: float) -> list[list[str]]:
    """Models that were all measured before one of them, the best, is brought to the gate."""
    counts = asked(np.random.default_rng(15), max(ATTEMPTS), lead)
    rows = []
    for way, level in (("every attempt at 0.05", whole), ("spent over the attempts", spent)):
        cells = []
        for attempts in ATTEMPTS:
            best = (counts[0] - counts[1])[:, :attempts].argmax(axis=1)[:, None]
            one = tuple(np.take_along_axis(each, best, axis=1) for each in counts)
            cells.append(share(promoted(rule, (one[0], one[1]), level(attempts))[:, 0]))
        rows.append([name, way, *cells])
    return rows


def power() -> list[list[str]]:
    rows = []
    for lead in LEADS:
        counts = asked(np.random.default_rng(16), 1, lead / 100.0)
        for way, level in (("every attempt at 0.05", whole), ("spent over the attempts", spent)):
            cells = [share(promoted(better, counts, level(attempt))[:, 0]) for attempt in ATTEMPTS]
            rows.append([f"{lead} points", way, *cells])
    return rows


def main() -> None:
    print(f"{DRAWS:,} draws of {IMAGES:,} test images; {METHOD}, level {LEVEL:g}; in brackets 95 % Monte Carlo intervals.\n")
    print("Champions that lose their place to a model that is no better (`not_worse`: one worse by exactly the margin):\n")
    heads = [f"{each} {'attempt' if each == 1 else 'attempts'}" for each in ATTEMPTS]
    rows = wrong_promotions("better", better, 0.0)
    rows += wrong_promotions("better, independent attempts", better, 0.0, apart=True)
    rows += wrong_promotions("not_worse", not_worse, -MARGIN)
    table(["rule", "level", *heads], rows)
    print("The same, if all models are measured beforehand and only the best of them is brought to the gate:\n")
    table(["rule", "level", *heads], picked("better", better, 0.0) + picked("not_worse", not_worse, -MARGIN))
    print("Challengers that are better than the champion, and promoted, under the rule `better`:\n")
    table(["better by", "level", *(f"at attempt {each}" for each in ATTEMPTS)], power())


if __name__ == "__main__":
    main()
