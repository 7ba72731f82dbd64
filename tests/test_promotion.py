"""decide(): figures against a gate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import PROPERTY

from digitsweep.promotion.decision import Decision, Figures, Verdict, decide, decision_from
from digitsweep.promotion.gate import Better, Gate
from digitsweep.statistics import Difference, Share, bootstrap_interval, mcnemar

GOOD = Figures(
    label="mnist-cnn 3",
    accuracy=Share(990, 1000),
    worst_class=8,
    worst_recall=Share(96, 100),
    latency_p95=0.002,
    weights=100_000,
    data="d" * 64,
    commit="c" * 40,
    dirty=False,
)
CHAMPION = replace(GOOD, label="mnist-cnn 2", accuracy=Share(980, 1000))


def compared(only_champion_wrong: int, only_challenger_wrong: int, both: int = 5, images: int = 1000) -> Difference:
    """The challenger against the champion."""
    low, high = bootstrap_interval(images, only_champion_wrong, only_challenger_wrong)
    return Difference(
        first="mnist-cnn 2",
        second="mnist-cnn 3",
        images=images,
        first_wrong=only_champion_wrong + both,
        second_wrong=only_challenger_wrong + both,
        both_wrong=both,
        low=low,
        high=high,
        p_value=mcnemar(only_champion_wrong, only_challenger_wrong),
        smallest=0.01,
    )


BETTER, A_LITTLE, EQUAL, WORSE = compared(15, 2), compared(5, 3), compared(0, 0), compared(2, 15)
NOT_WORSE = Gate(better=Better(rule="not_worse", margin=0.01))

CASES: dict[str, tuple[Gate, Figures, Difference, set[str]]] = {
    "better": (Gate(), GOOD, BETTER, set()),
    "ahead by luck": (Gate(), GOOD, A_LITTLE, {"McNemar's exact test"}),
    "equal": (Gate(), GOOD, EQUAL, {"lead over the champion", "McNemar's exact test"}),
    "worse": (Gate(), GOOD, WORSE, {"lead over the champion", "McNemar's exact test"}),
    "a laxer level": (Gate(better=Better(level=0.9)), GOOD, A_LITTLE, set()),
    "equal is not worse": (NOT_WORSE, GOOD, EQUAL, set()),
    "a little ahead is not worse": (NOT_WORSE, GOOD, A_LITTLE, set()),
    "worse is worse": (NOT_WORSE, GOOD, WORSE, {"95 % score interval against the champion"}),
    "no comparison asked for": (Gate(better=None), GOOD, WORSE, set()),
    "inaccurate": (Gate(), replace(GOOD, accuracy=Share(949, 1000)), BETTER, {"accuracy"}),
    "just accurate": (Gate(), replace(GOOD, accuracy=Share(950, 1000)), BETTER, set()),
    "a digit given up": (Gate(), replace(GOOD, worst_recall=Share(84, 100)), BETTER, {"accuracy of the worst digit"}),
    "slow": (Gate(), replace(GOOD, latency_p95=0.0501), BETTER, {"p95 latency of one image"}),
    "large": (Gate(), replace(GOOD, weights=5_000_001), BETTER, {"weights"}),
    "dirty": (Gate(), replace(GOOD, dirty=True), BETTER, {"commit"}),
    "of unknown code": (Gate(), replace(GOOD, commit="unknown"), BETTER, {"commit"}),
    "dirty is allowed": (Gate(clean_commit=False), replace(GOOD, dirty=True), BETTER, set()),
    "other data": (Gate(), replace(GOOD, data="e" * 64), BETTER, {"test images"}),
    "data that is not told": (Gate(), replace(GOOD, data=""), BETTER, {"test images"}),
    "other data is allowed": (Gate(same_data=False), replace(GOOD, data="e" * 64), BETTER, set()),
    "no rule at all": (
        Gate.model_validate(
            {**dict.fromkeys(("min_accuracy", "min_class_recall", "max_latency_p95", "max_weights", "better")),
             "same_data": False, "clean_commit": False}
        ),
        replace(GOOD, accuracy=Share(0, 1000)), WORSE, set(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_rule_decides(name: str) -> None:
    """A challenger is refused by exactly the rules that it breaks, and the reason names each with its figures."""
    gate, challenger, difference, broken = CASES[name]
    decision = decide(gate, challenger, CHAMPION, difference)
    assert {each.name for each in decision.failed} == broken
    assert decision.passed is decision.promotes is (not broken)
    assert not any(each.verdict is Verdict.SKIPPED for each in decision.rules)
    for each in decision.failed:
        assert f"{each.name} must be {each.requirement}, but is {each.value}" in decision.reason


@pytest.mark.parametrize(("ahead", "passes"), [(1, False), (2, False), (3, False), (4, True)])
def test_a_few_images_ahead_are_not_yet_not_worse(ahead: int, passes: bool) -> None:
    """Of 359 images, one to three that the challenger alone gets right leave a difference of 0.2 points against it possible;
    the interval that was found is Tango's, as the rule says."""
    gate = Gate(better=Better(rule="not_worse", margin=0.002))
    decision = decide(gate, GOOD, CHAMPION, compared(ahead, 0, images=359))
    assert decision.passed is passes
    (rule,) = [each for each in decision.rules if each.name == "95 % score interval against the champion"]
    assert rule.value.startswith({1: "-0.78 to ", 2: "-0.51 to ", 3: "-0.23 to ", 4: "+0.04 to "}[ahead])


def test_the_first_promotion_compares_with_nobody() -> None:
    """Without a champion the rules that compare are skipped, and the decision says so; the others hold."""
    decision = decide(Gate(), GOOD, None, None)
    assert decision.promotes
    skipped = {each.name for each in decision.rules if each.verdict is Verdict.SKIPPED}
    assert skipped == {"test images", "lead over the champion", "McNemar's exact test"}
    assert "it is the first" in decision.reason
    assert not decide(Gate(), replace(GOOD, accuracy=Share(1, 2)), None, None).promotes


def test_force_promotes_and_does_not_hide() -> None:
    """A forced decision promotes, keeps every verdict, and says why it was forced and what the gate said."""
    decision = decide(Gate(), GOOD, CHAMPION, WORSE, forced="the champion leaks")
    assert decision.promotes
    assert not decision.passed
    assert "is forced (the champion leaks); the gate refuses it: lead over the champion must be" in decision.reason


@pytest.mark.parametrize("name", CASES)
def test_a_decision_survives_json(name: str) -> None:
    """What is written to MLflow reads back as the same value, and holds the derived fields for other readers."""
    gate, challenger, difference, _ = CASES[name]
    decision = decide(gate, challenger, CHAMPION, difference, "why" if "worse" in name else None)
    assert decision_from(decision.to_json()) == decision
    assert len(decision.to_json()) < 5000
    assert len(decision.text()) < 2500
    assert decision.reason in decision.text()


figures = st.builds(
    Figures,
    label=st.just("m 1"),
    accuracy=st.integers(0, 1000).map(lambda hits: Share(hits, 1000)),
    worst_class=st.integers(0, 9),
    worst_recall=st.integers(0, 100).map(lambda hits: Share(hits, 100)),
    latency_p95=st.floats(1e-5, 1.0),
    weights=st.integers(1, 10_000_000),
    data=st.sampled_from(["", "d" * 64, "e" * 64]),
    commit=st.sampled_from(["", "unknown", "c" * 40]),
    dirty=st.booleans(),
)
differences = st.builds(compared, st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))


@PROPERTY
@given(figures, st.one_of(st.none(), figures), differences)
def test_all_rules_or_none(challenger: Figures, champion: Figures | None, difference: Difference) -> None:
    """A challenger passes exactly if no rule failed; every rule is in the decision, once; force always promotes."""
    decision = decide(Gate(), challenger, champion, difference if champion else None)
    names = [each.name for each in decision.rules]
    assert len(names) == len(set(names)) == 8
    assert decision.passed is not any(each.verdict is Verdict.FAILED for each in decision.rules)
    assert all(each.requirement and each.value for each in decision.rules)
    assert decide(Gate(), challenger, champion, difference if champion else None, "why").promotes
    if decision.passed and champion:
        assert difference.accuracy > 0.0


@PROPERTY
@given(figures, differences, st.floats(0.0, 1.0))
def test_a_laxer_gate_lets_pass_whatever_a_stricter_one_does(
    challenger: Figures, difference: Difference, least: float
) -> None:
    """To lower a limit never refuses a model that has passed."""

    def passed(**limits: Any) -> Decision:
        return decide(Gate(min_accuracy=least, **limits), challenger, CHAMPION, difference)

    if passed().passed:
        assert decide(Gate(min_accuracy=least / 2.0), challenger, CHAMPION, difference).passed
        assert passed(max_weights=None, clean_commit=False, same_data=False, better=None).passed
