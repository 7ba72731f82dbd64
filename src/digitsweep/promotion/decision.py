"""Whether a challenger becomes champion: figures against a gate, decided as a value. Pure functions.

    decision = decide(gate, challenger, champion, difference)

Every rule that the gate has is in the Decision with what it asks, what was found, and its verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import SerializerFunctionWrapHandler, TypeAdapter, model_serializer

from digitsweep.promotion.gate import Gate
from digitsweep.statistics import Difference, Share, score_interval
from digitsweep.verdict import p_text


@dataclass(frozen=True)
class Figures:
    """What is known of a model that was asked about every test image."""

    label: str
    """`mnist-cnn 3`."""
    accuracy: Share
    worst_class: int
    """The digit that it reads worst."""
    worst_recall: Share
    """Of that digit's images."""
    latency_p95: float
    """Seconds for one image that 95 of 100 calls stay below."""
    weights: int
    data: str
    """SHA-256 of the test images that it was made for; empty where it does not say."""
    commit: str
    """Of the code that trained it; `unknown` or empty where that is not known."""
    dirty: bool
    """Whether that code had been changed since the commit."""


class Verdict(StrEnum):
    """Of one rule."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """There is no champion to compare with."""


@dataclass(frozen=True)
class Rule:
    """A rule of the gate, applied."""

    name: str
    requirement: str
    value: str
    verdict: Verdict


@dataclass(frozen=True)
class Decision:
    """What a gate says of a challenger, and why."""

    challenger: Figures
    champion: Figures | None
    """None for the first promotion."""
    rules: tuple[Rule, ...]
    difference: Difference | None = None
    """The challenger's accuracy minus the champion's; None for the first promotion."""
    forced: str | None = None
    """Why it is promoted whatever the gate says; None where nobody forced it."""

    @property
    def passed(self) -> bool:
        """Whether no rule failed."""
        return all(each.verdict is not Verdict.FAILED for each in self.rules)

    @property
    def promotes(self) -> bool:
        return self.passed or self.forced is not None

    @property
    def failed(self) -> tuple[Rule, ...]:
        return tuple(each for each in self.rules if each.verdict is Verdict.FAILED)

    @property
    def reason(self) -> str:
        """One sentence."""
        found = "; ".join(f"{each.name} must be {each.requirement}, but is {each.value}" for each in self.failed)
        if self.forced is not None:
            said = f"the gate refuses it: {found}" if found else "the gate lets it pass"
            return f"{self.challenger.label} is forced ({self.forced}); {said}"
        if found:
            return f"{self.challenger.label} is refused: {found}"
        count = sum(each.verdict is Verdict.PASSED for each in self.rules)
        rules = f"all {count} rules" if self.champion else f"all {count} rules that need no champion; it is the first"
        return f"{self.challenger.label} passes {rules}"

    @model_serializer(mode="wrap")
    def _with_derived(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {**fields(self), "passed": self.passed, "promotes": self.promotes, "reason": self.reason}

    def to_json(self) -> str:
        return _DECISION.dump_json(self).decode()

    def text(self) -> str:
        """For a version's description, in Markdown."""
        rows = [f"| {each.name} | {each.requirement} | {each.value} | {each.verdict} |" for each in self.rules]
        return "\n".join([f"{self.reason}.", "", "| rule | must be | is | |", "| --- | --- | --- | --- |", *rows])


_DECISION = TypeAdapter(Decision)


def decision_from(text: str) -> Decision:
    """The value that `Decision.to_json` wrote."""
    return _DECISION.validate_json(text)


def decide(
    gate: Gate, challenger: Figures, champion: Figures | None, difference: Difference | None, forced: str | None = None
) -> Decision:
    """Applies every rule of the gate.

    `difference` has the champion first and the challenger second, and is None, as the champion, where there is no champion:
    the rules that compare are skipped then. `forced` is why somebody forces it."""
    rules = (*_alone(gate, challenger), *_beside(gate, challenger, champion, difference))
    return Decision(challenger, champion, rules, difference, forced)


def _alone(gate: Gate, challenger: Figures) -> Iterator[Rule]:
    """The rules that need no champion."""
    if gate.min_accuracy is not None:
        share = challenger.accuracy
        yield _rule("accuracy", f"at least {gate.min_accuracy:.2%}", _share(share), share.accuracy >= gate.min_accuracy)
    if gate.min_class_recall is not None:
        share = challenger.worst_recall
        found = f"{_share(share)}, digit {challenger.worst_class}"
        requirement = f"at least {gate.min_class_recall:.2%}"
        yield _rule("accuracy of the worst digit", requirement, found, share.accuracy >= gate.min_class_recall)
    if gate.max_latency_p95 is not None:
        taken = 1000.0 * challenger.latency_p95
        requirement = f"at most {gate.max_latency_p95:g} ms"
        yield _rule("p95 latency of one image", requirement, f"{taken:.2f} ms", taken <= gate.max_latency_p95)
    if gate.max_weights is not None:
        count = challenger.weights
        yield _rule("weights", f"at most {gate.max_weights:,}", f"{count:,}", count <= gate.max_weights)
    if gate.clean_commit:
        known = challenger.commit not in ("", "unknown")
        found = f"{challenger.commit[:12]}{', changed since' if challenger.dirty else ''}" if known else "unknown"
        yield _rule("commit", "known and clean", found, known and not challenger.dirty)


_Comparison = Callable[[Figures, Difference], tuple[str, bool]]
"""Of the champion's figures and the difference to it: what was found, and whether the rule holds."""


def _beside(gate: Gate, challenger: Figures, champion: Figures | None, difference: Difference | None) -> Iterator[Rule]:
    """The rules that compare with the champion."""
    for name, requirement, found in _comparing(gate, challenger):
        if champion is None or difference is None:
            yield Rule(name, requirement, "no champion yet", Verdict.SKIPPED)
        else:
            yield _rule(name, requirement, *found(champion, difference))


def _comparing(gate: Gate, challenger: Figures) -> Iterator[tuple[str, str, _Comparison]]:
    """Name and requirement of each rule that compares, and how to apply it."""
    if gate.same_data:
        yield "test images", "the champion's", lambda champion, _: _same_images(challenger, champion)
    better = gate.better
    if better is None:
        return
    if better.rule == "not_worse":
        yield (
            "95 % score interval against the champion",
            f"above {_points(-better.margin)} points at its lower end",
            lambda _, apart: _not_worse(apart, better.margin),
        )
        return
    yield "lead over the champion", "above 0 points", lambda _, apart: (_lead(apart), apart.accuracy > 0.0)
    yield (
        "McNemar's exact test",
        f"p < {better.level:g} in its favour",
        lambda _, apart: (
            f"{p_text(apart.p_value)}{', against it' if apart.accuracy < 0.0 else ''}",
            apart.accuracy > 0.0 and apart.p_value < better.level,
        ),
    )


def _same_images(challenger: Figures, champion: Figures) -> tuple[str, bool]:
    digests = [each.data[:12] or "unknown" for each in (challenger, champion)]
    same = challenger.data == champion.data != ""
    return (digests[0] if same else " against ".join(digests)), same


def _not_worse(apart: Difference, margin: float) -> tuple[str, bool]:
    """By Tango's interval, not by the bootstrap's, which is too short at its lower end where few images differ."""
    low, high = score_interval(apart.images, apart.only_first_wrong, apart.only_second_wrong)
    return f"{_points(low)} to {_points(high)} points", low > -margin


def _lead(apart: Difference) -> str:
    wrong = f"{apart.second_wrong:,} of {apart.images:,} wrong, the champion's {apart.first_wrong:,}"
    return f"{_points(apart.accuracy)} points ({wrong})"


def _rule(name: str, requirement: str, value: str, passed: bool) -> Rule:
    return Rule(name, requirement, value, Verdict.PASSED if passed else Verdict.FAILED)


def _share(share: Share) -> str:
    return f"{share.accuracy:.2%} ({share.hits:,} of {share.total:,})"


def _points(fraction: float) -> str:
    return f"{100.0 * fraction:+.2f}"
