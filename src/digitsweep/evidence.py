"""What a difference between two models is made of: digits, confused pairs, and single images. Pure values."""

from __future__ import annotations

from dataclasses import dataclass

from digitsweep.statistics import Share


@dataclass(frozen=True)
class ClassRecall:
    """Of the test images of one class, how many each model gets right."""

    label: int
    recalls: dict[str, Share]
    """By the model's name, as `ANN`."""


@dataclass(frozen=True)
class ConfusedPair:
    """Images of one class that a model takes for another."""

    true: int
    predicted: int
    count: int


@dataclass(frozen=True)
class Answer:
    """What a model says of one image."""

    predicted: int
    confidence: float
    """The probability that it gives to what it predicts."""


@dataclass(frozen=True)
class JudgedImage:
    """One test image with what the models say of it."""

    index: int
    """In the test set, from 0."""
    true: int
    answers: dict[str, Answer]
    """By the model's name."""


@dataclass(frozen=True)
class Galleries:
    """Test images worth a look; the surest mistakes first. Each list holds at most a page's worth; counts are of all."""

    only_first_wrong: tuple[JudgedImage, ...]
    only_second_wrong: tuple[JudgedImage, ...]
    both_wrong: tuple[JudgedImage, ...]
    suspicious: tuple[JudgedImage, ...]
    """Both models say the same wrong class with confidence: often the label is wrong."""
    suspicious_count: int


@dataclass(frozen=True)
class Evidence:
    """All of it, for two models, or for one alone (then the galleries hold its mistakes in `only_first_wrong`)."""

    classes: tuple[ClassRecall, ...]
    confused: dict[str, tuple[ConfusedPair, ...]]
    """The most frequent first, by the model's name."""
    galleries: Galleries
