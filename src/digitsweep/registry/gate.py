"""The gate: the rules that a challenger must pass to become champion, and what they decide.

    gate = load_gate(Path("experiments/gate.yaml"))
    decision = decide(gate, challenger, champion, difference, attempt)

A person writes a Gate as YAML. RULES apply it. The Decision says of every rule what it requires, what was found, and the
verdict. To add a rule, add a field to Gate and a function to RULES.

**The level is spent over the attempts.** A gate that tests one challenger after another on the same images promotes one
that is no better sooner or later. So attempt k is tested at level / (k (k + 1) / 2): the level, then a third, a sixth, a
tenth of it. This is alpha-spending, the online form of Bonferroni's correction (Foster and Stine 2008; Tian and Ramdas 2021,
"Online control of the familywise error rate"), which needs neither the number of attempts beforehand nor independent ones.
The weights 1 / (k (k + 1)) add up to 1. They are doubled because the p-value and the interval are two-sided, and only one
side promotes. So while a champion stands, the chance that it ever loses its place to a model that is no better is at most
the level, whichever of the attempts somebody picks.

An attempt is a model, not an opening: asking the same model again reveals nothing new. It counts every model whose answers
on the images are known, since each could have been picked by them, except the champion. No count covers an experiment that
was tuned after reading its report; only new test images help there. (The Ladder of Blum and Hardt 2015 allows for such
tuning, but it bounds the error of a leaderboard's figures, and would have to hide ours.)"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)

from digitsweep.config.yaml_file import BUNDLED, GATE, read_yaml, readable, refused
from digitsweep.evaluation.statistics import Difference, Share, score_interval
from digitsweep.report.format import latency, p_value, percent, points, times

METHOD = "alpha-spending: level / (k (k + 1) / 2) at attempt k"

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Milliseconds = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    """Abstract: a part of a gate."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Better(_Part):
    """How a challenger must compare with the champion, on the same test images."""

    rule: Literal["better", "not_worse"] = "better"
    """`better`: more images right, and a small p in McNemar's exact test. `not_worse`, for a smaller or faster model: the
    whole score interval (Tango 1998) of its accuracy minus the champion's lies above minus `margin`."""
    level: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """The chance that a champion ever loses its place to a model that is no better (or worse by more than the margin),
    however many are tried on the same test images. `Attempt.level` spends it over them."""
    margin: Fraction = 0.0
    """For `not_worse`: how much worse is acceptable, as a fraction of the images: 0.002 is 0.2 points."""

    @model_validator(mode="after")
    def _check(self) -> Better:
        if "margin" in self.model_fields_set and self.rule != "not_worse":
            raise ValueError(f"`margin` belongs to the rule not_worse, but the rule is {self.rule}")
        if self.rule == "not_worse" and self.margin == 0.0:
            raise ValueError("`margin` of not_worse must be above 0, but is 0.0; write 0.002 for 0.2 points")
        return self


class Limits(_Part):
    """Limits that replace the gate's own for one dataset."""

    min_accuracy: Fraction | None = None
    min_class_recall: Fraction | None = None
    max_latency_p95: Milliseconds | None = None
    max_weights: Count | None = None


class Gate(_Part):
    """All rules; a limit that is `null` is off."""

    min_accuracy: Fraction | None = 0.95
    """The least accuracy on the test images, as a fraction."""
    min_class_recall: Fraction | None = 0.85
    """The least accuracy on the images of each single digit, as a fraction."""
    better: Better | None = Better()
    """How it must compare with the champion; the first promotion skips this. `null`: it need not compare."""
    max_latency_p95: Milliseconds | None = 50.0
    """Milliseconds for one image that 95 of 100 calls stay below, on the machine that promotes."""
    max_weights: Count | None = 5_000_000
    """Weights, four bytes each."""
    same_data: bool = True
    """Challenger and champion must have been made for the same test images, by their digest."""
    clean_commit: bool = True
    """All code that took part in the challenger's search, choice and training must be of known commits, with nothing changed
    since."""
    data: Mapping[str, Limits] = {}
    """By the data's name, the limits that differ there."""

    def on(self, data: str) -> Gate:
        """The gate with the limits for one dataset in place."""
        limits = self.data.get(data)
        return self if limits is None else self.model_copy(update=limits.model_dump(exclude_unset=True))


def load_gate(path: Path | None = None) -> Gate:
    """Reads and checks a gate file: without a path ./experiments/gate.yaml, or else the one that digitsweep brings. A rule
    that the file leaves out is as in Gate.

    Raises InputError with a line for each mistake, `file:line: key: rule, but values`."""
    path = path or (GATE if GATE.is_file() else BUNDLED / GATE.name)
    raw, _, lines = read_yaml(path, "a gate", "min_accuracy")
    try:
        return Gate.model_validate(raw)
    except ValidationError as error:
        raise refused(path, lines, readable(error, Gate)) from None


@dataclass(frozen=True)
class Figures:
    """What is known of a model that was evaluated on every test image."""

    label: str
    """Name and version."""
    accuracy: Share
    worst_class: int
    """The label of the class with the lowest recall."""
    worst_recall: Share
    """Of that class's images."""
    latency_p95: float
    """Seconds for one image that 95 of 100 calls stay below."""
    weights: int
    data: str
    """SHA-256 of the test images that it was made for; empty if unknown."""
    commit: str
    """Of the code that trained it; `unknown` or empty if unknown."""
    dirty: bool
    """Whether any code that took part had been changed since its commit."""
    commits: tuple[str, ...] = ()
    """Of all code that took part in its search, its choice and its training; empty if only `commit` is known."""
    class_name: str = ""
    """Of the class with the lowest recall; empty for a digit."""

    @property
    def worst_named(self) -> str:
        """`digit 8`, or `class cat`."""
        return f"class {self.class_name}" if self.class_name else f"digit {self.worst_class}"


@dataclass(frozen=True)
class Unmeasured:
    """A champion that cannot be evaluated on the challenger's test images."""

    label: str
    """Name and version."""
    why: str
    """`takes images of shape (8, 8, 1), not (12, 12, 3)`."""
    data: str
    """SHA-256 of the test images that it was made for; empty if unknown."""


@dataclass(frozen=True)
class Attempt:
    """Where a challenger stands among all models that were tried on the same test images."""

    number: int
    """Models whose answers on these images are known by now, including the challenger but not the champion."""
    openings: int
    """How often the images have been opened, for any model; shown, not corrected for."""
    method: str = METHOD

    def level(self, level: float) -> float:
        """What this attempt may spend of a gate's level. Three digits, rounded down: what is shown is what decides."""
        spent = level / (self.number * (self.number + 1) / 2)
        scale = 10.0 ** (2 - math.floor(math.log10(spent)))
        return math.floor(spent * scale + 1e-9) / scale

    def __str__(self) -> str:
        return f"attempt {self.number:,} on these test images"


@dataclass(frozen=True)
class Rule:
    """A rule of the gate, applied."""

    name: str
    requirement: str
    value: str
    verdict: Literal["passed", "failed", "skipped"]
    """`skipped` if there is no champion to compare with."""


@dataclass(frozen=True)
class Decision:
    """Whether a challenger becomes champion, and why."""

    challenger: Figures
    champion: Figures | Unmeasured | None
    """None for the first promotion."""
    rules: tuple[Rule, ...]
    difference: Difference | None
    """The challenger's accuracy minus the champion's; None unless both were evaluated."""
    attempt: Attempt
    level: float | None
    """At which the comparison with the champion was tested; None if there was none."""
    forced: str | None = None
    """The reason to promote it whatever the gate says; None if nobody forced it."""

    @property
    def passed(self) -> bool:
        """Whether no rule failed."""
        return not self.failed

    @property
    def promotes(self) -> bool:
        return self.passed or self.forced is not None

    @property
    def failed(self) -> tuple[Rule, ...]:
        return tuple(each for each in self.rules if each.verdict == "failed")

    @property
    def reason(self) -> str:
        """One sentence."""
        failures = "; ".join(f"{each.name} must be {each.requirement}, but is {each.value}" for each in self.failed)
        if self.forced is not None:
            gate = f"the gate refuses it: {failures}" if failures else "the gate passes it"
            return f"{self.challenger.label} is forced ({self.forced}); {gate}"
        if failures:
            return f"{self.challenger.label} is refused: {failures}"
        count = sum(each.verdict == "passed" for each in self.rules)
        rules = f"all {count} rules" if self.champion else f"all {count} rules that need no champion; it is the first"
        return f"{self.challenger.label} passes {rules}"

    @property
    def counted(self) -> str:
        """A sentence on the attempt and the level that it was tested at."""
        level = f", tested at level {self.level:g}" if self.level is not None else ""
        return f"Attempt {self.attempt.number:,} on these test images, opened {times(self.attempt.openings)}{level}."

    @model_serializer(mode="wrap")
    def _with_derived(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {**fields(self), "passed": self.passed, "promotes": self.promotes, "reason": self.reason}

    def to_json(self) -> str:
        return _DECISION.dump_json(self).decode()

    def text(self) -> str:
        """For a version's description, in Markdown."""
        rows = [f"| {each.name} | {each.requirement} | {each.value} | {each.verdict} |" for each in self.rules]
        head = [f"{self.reason}.", f"{self.counted} Method: {self.attempt.method}."]
        return "\n".join([*head, "", "| rule | must be | is | |", "| --- | --- | --- | --- |", *rows])


_DECISION = TypeAdapter(Decision)


def decision_from(text: str) -> Decision:
    """The value that `Decision.to_json` wrote. Raises ValueError for any other text."""
    return _DECISION.validate_json(text)


def decide(
    gate: Gate,
    challenger: Figures,
    champion: Figures | Unmeasured | None,
    difference: Difference | None,
    attempt: Attempt,
    forced: str | None = None,
) -> Decision:
    """Applies every rule of the gate.

    `difference` is the challenger's accuracy minus the champion's. Without a champion both are None, and the rules that
    compare are skipped. With a champion that is Unmeasured, `difference` is None, and these rules fail. `forced` is the
    reason to promote it anyway."""
    evidence = Evidence(challenger, champion, difference, attempt)
    asked = ((getattr(gate, field), rule) for field, rule in RULES.items())
    rules = tuple(found for value, rule in asked if value not in (None, False) for found in rule(value, evidence))
    level = attempt.level(gate.better.level) if gate.better and difference else None
    return Decision(challenger, champion, rules, difference, attempt, level, forced)


@dataclass(frozen=True)
class Evidence:
    """What the rules are applied to."""

    challenger: Figures
    champion: Figures | Unmeasured | None
    difference: Difference | None
    attempt: Attempt


def _accuracy(least: float, evidence: Evidence) -> Iterator[Rule]:
    share = evidence.challenger.accuracy
    yield _rule("accuracy", f"at least {percent(least)}", _share(share), share.accuracy >= least)


def _worst_digit(least: float, evidence: Evidence) -> Iterator[Rule]:
    share = evidence.challenger.worst_recall
    value = f"{_share(share)}, {evidence.challenger.worst_named}"
    kind = "class" if evidence.challenger.class_name else "digit"
    yield _rule(f"accuracy of the worst {kind}", f"at least {percent(least)}", value, share.accuracy >= least)


def _latency(most: float, evidence: Evidence) -> Iterator[Rule]:
    shown = latency(evidence.challenger.latency_p95)
    taken = float(shown.removesuffix(" ms"))  # what is shown is what decides
    yield _rule("p95 latency of one image", f"at most {most:g} ms", shown, taken <= most)


def _weights(most: int, evidence: Evidence) -> Iterator[Rule]:
    count = evidence.challenger.weights
    yield _rule("weights", f"at most {most:,}", f"{count:,}", count <= most)


def _clean_commit(_: bool, evidence: Evidence) -> Iterator[Rule]:
    challenger = evidence.challenger
    commits = challenger.commits or (challenger.commit,)
    known = all(each not in ("", "unknown") for each in commits)
    value = ", ".join(each[:12] or "unknown" for each in commits) + (", changed since" if challenger.dirty else "")
    yield _rule("commit", "known and clean", value, known and not challenger.dirty)


def _same_data(_: bool, evidence: Evidence) -> Iterator[Rule]:
    data = [each.data for each in (evidence.challenger, evidence.champion) if each]
    same = len(set(data)) == 1 and data[0] != ""
    shown = [each[:12] or "unknown" for each in data]
    value = shown[0] if same else " against ".join(shown)
    yield _rule("test images", "the champion's", value, same if evidence.champion else None)


def _better(better: Better, evidence: Evidence) -> Iterator[Rule]:
    level, apart = evidence.attempt.level(better.level), evidence.difference
    if better.rule == "not_worse":
        yield _not_worse(better.margin, level, evidence)
        return
    lead, below = ("lead over the champion", "above 0 points"), f"p < {level:g} in its favour ({evidence.attempt})"
    if apart is None:
        yield _uncompared(*lead, evidence)
        yield _uncompared("McNemar's exact test", below, evidence)
        return
    ahead = apart.accuracy > 0.0
    wrong = f"{apart.second_wrong:,} of {apart.images:,} wrong, the champion's {apart.first_wrong:,}"
    yield _rule(*lead, f"{points(apart.accuracy, apart.images, signed=True)} points ({wrong})", ahead)
    value = f"{p_value(apart.p_value, level)}{', against it' if apart.accuracy < 0.0 else ''}"
    yield _rule("McNemar's exact test", below, value, ahead and apart.p_value < level)


def _not_worse(margin: float, level: float, evidence: Evidence) -> Rule:
    name, confidence = "score interval against the champion", f"{100 * (1 - level):g} % confidence"
    required = f"above {points(-margin, signed=True)} points at its lower end with {confidence} ({evidence.attempt})"
    apart = evidence.difference
    if apart is None:
        return _uncompared(name, required, evidence)
    low, high = score_interval(apart.images, apart.only_first_wrong, apart.only_second_wrong, 1.0 - level)
    value = f"{points(low, apart.images, signed=True)} to {points(high, apart.images, signed=True)} points"
    return _rule(name, required, value, low > -margin)


RULES: Mapping[str, Callable[[Any, Evidence], Iterator[Rule]]] = {
    "min_accuracy": _accuracy,
    "min_class_recall": _worst_digit,
    "max_latency_p95": _latency,
    "max_weights": _weights,
    "clean_commit": _clean_commit,
    "same_data": _same_data,
    "better": _better,
}
"""By the field of Gate that states it, in the order in which they are shown. A field that is null or false is no rule."""


def _uncompared(name: str, requirement: str, evidence: Evidence) -> Rule:
    """A rule that compares with the champion where there is no difference."""
    if isinstance(evidence.champion, Unmeasured):
        return _rule(name, requirement, f"unknown, since the champion {evidence.champion.why}", False)
    return _rule(name, requirement, "", None)


def _rule(name: str, requirement: str, value: str, passed: bool | None) -> Rule:
    """`passed` is None if the rule compares with the champion and there is none."""
    if passed is None:
        return Rule(name, requirement, "no champion yet", "skipped")
    return Rule(name, requirement, value, "passed" if passed else "failed")


def _share(share: Share) -> str:
    return f"{percent(share.accuracy)} ({share.hits:,} of {share.total:,})"
