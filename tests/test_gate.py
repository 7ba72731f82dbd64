"""The gate: what its file may say, and what it decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import EXPERIMENTS, ROOT
from support import PROPERTY, only_line

from digitsweep.config.experiment_file import experiments_in, find_experiment
from digitsweep.errors import InputError
from digitsweep.evaluation.statistics import Difference, Share, mcnemar, score_interval
from digitsweep.registry.gate import (
    Attempt,
    Better,
    Decision,
    Figures,
    Gate,
    Limits,
    Unmeasured,
    decide,
    decision_from,
    load_gate,
)
from digitsweep.report.format import p_value


def written(folder: Path, text: str) -> Path:
    path = folder / "gate.yaml"
    path.write_text(text)
    return path


def test_the_gate_begins_with_its_question() -> None:
    """experiments/gate.yaml begins with its question and its command."""
    head = (EXPERIMENTS / "gate.yaml").read_text().splitlines()
    assert head[0].startswith("# Question:")
    assert any(line.startswith("# Command:") for line in head)


def test_the_gate_is_no_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate is among the experiments' files, but is neither listed nor loaded as one."""
    assert EXPERIMENTS / "gate.yaml" not in experiments_in(EXPERIMENTS)
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError) as error:
        find_experiment("gate")
    only_line(error, "gate: this is the gate of `digitsweep promote`, not an experiment; there are digits, images, mnist")
    with pytest.raises(InputError) as error:
        find_experiment("nothing")
    assert "gate" not in str(error.value)


def test_where_the_gate_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A named file counts, then ./experiments/gate.yaml, then the one that digitsweep brings."""
    monkeypatch.chdir(tmp_path)
    assert load_gate() == load_gate(EXPERIMENTS / "gate.yaml")
    (tmp_path / "experiments").mkdir()
    written(tmp_path / "experiments", "min_accuracy: 0.5")
    assert load_gate().min_accuracy == 0.5
    assert load_gate(written(tmp_path, "min_accuracy: 0.25")).min_accuracy == 0.25


def test_what_a_file_leaves_out(tmp_path: Path) -> None:
    """A rule that is left out is as in Gate, null is no rule, and 1e-1 is the number that it means."""
    gate = load_gate(written(tmp_path, "max_weights: null\nmin_accuracy: 1e-1\nbetter: {rule: not_worse, margin: 0.01}"))
    assert gate == Gate(max_weights=None, min_accuracy=0.1, better=Better(rule="not_worse", margin=0.01))


def test_limits_of_some_data() -> None:
    """The limits of some data replace those that they name, on that data only; null takes one away."""
    gate = Gate(data={"mnist": Limits(min_accuracy=0.99, max_weights=None)})
    assert gate.on("digits") == gate
    there = gate.on("mnist")
    assert (there.min_accuracy, there.max_weights, there.min_class_recall) == (0.99, None, gate.min_class_recall)


WRONG = {
    "min_acuracy: 0.9": ("gate.yaml:1: min_acuracy: unknown key; did you mean min_accuracy?",),
    "min_accuracy: 97": ("gate.yaml:1: min_accuracy:", "less than or equal to 1", "97"),
    "min_accuracy: true": ("min_accuracy: input should be a valid number, but is True",),
    "clean_commit: 3": ("clean_commit:", "3"),
    "max_weights: -5": ("max_weights:", "-5"),
    "max_latency_p95: .inf": ("max_latency_p95:", "finite"),
    "max_latency_p95: fast": ("max_latency_p95:", "'fast'"),
    "better: {rule: best}": ("better.rule:", "'better' or 'not_worse'", "'best'"),
    "better: {rule: better, margin: 0.1}": ("gate.yaml:1: better: `margin` belongs to the rule not_worse",),
    "better: {rule: not_worse}": ("`margin` of not_worse must be above 0",),
    "better: {level: 0}": ("better.level:", "greater than 0"),
    "min_accuracy: 0.9\ndata: {mnist: {min_acc: 1}}": ("gate.yaml:2: data.mnist.min_acc: unknown key",),
    "data: {mnist: {clean_commit: false}}": ("data.mnist.clean_commit: unknown key",),
    "[0.9]": ("a gate must be a mapping that begins with `min_accuracy:`",),
    "min_accuracy: [0.9": ("not valid YAML",),
    "min_accuracy: 0.9\nmin_accuracy: 0.8": ("gate.yaml:2: min_accuracy: is given twice",),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_is_one_clear_line(text: str, tmp_path: Path) -> None:
    """A mistake in a gate file is one line with the number of its line, the key, the rule and the value."""
    with pytest.raises(InputError) as error:
        load_gate(written(tmp_path, text))
    only_line(error, *WRONG[text])


def test_mistakes_and_missing_files(tmp_path: Path) -> None:
    """Two mistakes are two lines, and a named gate that does not exist is not replaced by the defaults."""
    with pytest.raises(InputError) as error:
        load_gate(written(tmp_path, "min_accuracy: 2\nmax_weight: 3"))
    assert len(str(error.value).splitlines()) == 2
    with pytest.raises(InputError) as error:
        load_gate(tmp_path / "none.yaml")
    only_line(error, "none.yaml: cannot be read")


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
FIRST = Attempt(1, 1)
CHAMPION = replace(GOOD, label="mnist-cnn 2", accuracy=Share(980, 1000))


def compared(only_champion_wrong: int, only_challenger_wrong: int, both: int = 5, images: int = 1000) -> Difference:
    """The challenger against the champion."""
    low, high = score_interval(images, only_champion_wrong, only_challenger_wrong)
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
    "worse is worse": (NOT_WORSE, GOOD, WORSE, {"score interval against the champion"}),
    "no comparison asked for": (Gate(better=None), GOOD, WORSE, set()),
    "inaccurate": (Gate(), replace(GOOD, accuracy=Share(949, 1000)), BETTER, {"accuracy"}),
    "just accurate": (Gate(), replace(GOOD, accuracy=Share(950, 1000)), BETTER, set()),
    "a digit given up": (Gate(), replace(GOOD, worst_recall=Share(84, 100)), BETTER, {"accuracy of the worst digit"}),
    "slow": (Gate(), replace(GOOD, latency_p95=0.0501), BETTER, {"p95 latency of one image"}),
    "large": (Gate(), replace(GOOD, weights=5_000_001), BETTER, {"weights"}),
    "dirty": (Gate(), replace(GOOD, dirty=True), BETTER, {"commit"}),
    "of unknown code": (Gate(), replace(GOOD, commit="unknown"), BETTER, {"commit"}),
    "of several commits": (Gate(), replace(GOOD, commits=("a" * 40, "b" * 40)), BETTER, set()),
    "one of them unknown": (Gate(), replace(GOOD, commits=("c" * 40, "unknown")), BETTER, {"commit"}),
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
    """A challenger is refused by exactly the rules that it breaks, and the reason names each with its figures. MLflow holds
    the decision as JSON, which reads back as the same value, and as a short text."""
    gate, challenger, difference, broken = CASES[name]
    decision = decide(gate, challenger, CHAMPION, difference, FIRST)
    assert {each.name for each in decision.failed} == broken
    assert decision.passed is decision.promotes is (not broken)
    assert not any(each.verdict == "skipped" for each in decision.rules)
    for each in decision.failed:
        assert f"{each.name} must be {each.requirement}, but is {each.value}" in decision.reason
    assert decision_from(decision.to_json()) == decision
    assert len(decision.to_json()) < 5000
    assert len(decision.text()) < 2500
    assert decision.reason in decision.text()


@pytest.mark.parametrize(("ahead", "passes"), [(1, False), (2, False), (3, False), (4, True)])
def test_a_few_images_ahead_are_not_yet_not_worse(ahead: int, passes: bool) -> None:
    """Of 359 images, one to three that the challenger alone gets right leave a difference of 0.2 points against it possible;
    the interval that was found is Tango's, as the rule says."""
    gate = Gate(better=Better(rule="not_worse", margin=0.002))
    decision = decide(gate, GOOD, CHAMPION, compared(ahead, 0, images=359), FIRST)
    assert decision.passed is passes
    (rule,) = [each for each in decision.rules if each.name == "score interval against the champion"]
    assert rule.value.startswith({1: "-0.78 to ", 2: "-0.51 to ", 3: "-0.23 to ", 4: "+0.04 to "}[ahead])


def test_the_level_is_spent_over_the_attempts() -> None:
    """The first attempt has the whole level, later ones a third, a sixth and so on, rounded down to what is shown; all of
    them together promote by luck, which is one of two sides, with the chance of one level."""
    assert [Attempt(number, 1).level(0.05) for number in (1, 2, 3, 20)] == [0.05, 0.0166, 0.00833, 0.000238]
    for level in (0.05, 0.001, 0.9):
        spent = [Attempt(number, 1).level(level) for number in range(1, 2000)]
        assert spent == sorted(spent, reverse=True)
        assert 0.99 * level < sum(spent) / 2 <= level


def test_a_later_attempt_needs_a_clearer_lead() -> None:
    """A lead that suffices at the first attempt is refused at the fifth, by either rule, and the decision says which attempt
    it was, at which level, by which method, and how often the images were opened."""
    clear = compared(12, 3)
    for gate in (Gate(), NOT_WORSE.model_copy(update={"better": Better(rule="not_worse", margin=0.0001)})):
        assert decide(gate, GOOD, CHAMPION, clear, FIRST).passed
        late = decide(gate, GOOD, CHAMPION, clear, Attempt(5, 7))
        assert len(late.failed) == 1
        assert "(attempt 5 on these test images)" in late.failed[0].requirement
        assert late.level == 0.00333
        said = "Attempt 5 on these test images, opened 7 times, tested at level 0.00333. Method: alpha-spending:"
        assert said in late.text()
        assert decision_from(late.to_json()).attempt == Attempt(5, 7)
    assert "p < 0.00333 in its favour" in decide(Gate(), GOOD, CHAMPION, clear, Attempt(5, 7)).reason


def test_a_p_value_stays_on_its_side_of_the_level() -> None:
    """What is shown of a p-value compares with the level that is shown as the values themselves do."""
    for number in range(1, 60):
        level = Attempt(number, 1).level(0.05)
        for value in (level * (1 - 1e-6), level, level * (1 + 1e-6)):
            shown = p_value(value, level)
            below = shown == "p < 0.0001" or float(shown.removeprefix("p = ")) < level
            assert below == (value < level)


def test_the_first_promotion_compares_with_nobody() -> None:
    """Without a champion the rules that compare are skipped, and the decision says so; the others hold."""
    decision = decide(Gate(), GOOD, None, None, FIRST)
    assert decision.promotes
    skipped = {each.name for each in decision.rules if each.verdict == "skipped"}
    assert skipped == {"test images", "lead over the champion", "McNemar's exact test"}
    assert "it is the first" in decision.reason
    assert decision.level is None
    assert not decide(Gate(), replace(GOOD, accuracy=Share(1, 2)), None, None, FIRST).promotes


UNMEASURED = Unmeasured("mnist-cnn 2", "knows 26 classes, not 10", GOOD.data)


@pytest.mark.parametrize("gate", [Gate(), NOT_WORSE])
def test_a_champion_that_cannot_be_evaluated(gate: Gate) -> None:
    """Where the champion has no figures, the rules that compare with it fail and say why; force promotes all the same. A
    gate without such a rule passes."""
    decision = decide(gate, GOOD, UNMEASURED, None, FIRST)
    assert not decision.promotes
    assert decision.failed
    assert all(each.value == "unknown, since the champion knows 26 classes, not 10" for each in decision.failed)
    assert not any(each.verdict == "skipped" for each in decision.rules)
    assert decision.level is None
    assert decision_from(decision.to_json()) == decision
    assert decide(gate, GOOD, UNMEASURED, None, FIRST, forced="it is new").promotes
    assert decide(Gate(better=None), GOOD, UNMEASURED, None, FIRST).passed


def test_force_promotes_and_does_not_hide() -> None:
    """A forced decision promotes, keeps every verdict, and says why it was forced and what the gate said."""
    decision = decide(Gate(), GOOD, CHAMPION, WORSE, FIRST, forced="the champion leaks")
    assert decision.promotes
    assert not decision.passed
    assert "is forced (the champion leaks); the gate refuses it: lead over the champion must be" in decision.reason
    assert decision_from(decision.to_json()) == decision


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
    decision = decide(Gate(), challenger, champion, difference if champion else None, FIRST)
    names = [each.name for each in decision.rules]
    assert len(names) == len(set(names)) == 8
    assert decision.passed is not any(each.verdict == "failed" for each in decision.rules)
    assert all(each.requirement and each.value for each in decision.rules)
    assert decide(Gate(), challenger, champion, difference if champion else None, FIRST, "why").promotes
    if decision.passed and champion:
        assert difference.accuracy > 0.0


@pytest.mark.parametrize(("taken", "shown", "verdict"), [(0.05004, "50.0 ms", "passed"), (0.05006, "50.1 ms", "failed")])
def test_the_latency_that_is_shown_decides(taken: float, shown: str, verdict: str) -> None:
    """No latency is shown as within the limit and fails, or as above it and passes."""
    rules = decide(Gate(), replace(GOOD, latency_p95=taken), None, None, FIRST).rules
    (found,) = (each for each in rules if each.name == "p95 latency of one image")
    assert (found.requirement, found.value, found.verdict) == ("at most 50 ms", shown, verdict)


@PROPERTY
@given(figures, differences, st.floats(0.0, 1.0))
def test_a_laxer_gate_lets_pass_whatever_a_stricter_one_does(
    challenger: Figures, difference: Difference, least: float
) -> None:
    """To lower a limit never refuses a model that has passed."""

    def passed(**limits: Any) -> Decision:
        return decide(Gate(min_accuracy=least, **limits), challenger, CHAMPION, difference, FIRST)

    if passed().passed:
        assert decide(Gate(min_accuracy=least / 2.0), challenger, CHAMPION, difference, FIRST).passed
        assert passed(max_weights=None, clean_commit=False, same_data=False, better=None).passed
