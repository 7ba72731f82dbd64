"""The comparison: who won in each family, beside the baselines, and what their differences are made of. Pure values."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from digitsweep.cost import Cost
from digitsweep.evidence import Evidence
from digitsweep.history import SearchHistory
from digitsweep.params import Scalar
from digitsweep.results import TrialRecord, TrialState
from digitsweep.statistics import Difference, Share


@dataclass(frozen=True)
class Entry:
    """A line of the comparison: a family's best trial, or a baseline."""

    family: str
    role: str
    """`best` or `baseline`."""
    trial: str
    network: str
    params: Mapping[str, Scalar]
    seed: int
    epochs: int
    weights: int
    train_seconds: float
    validation: Share
    test: Share | None = None
    """None where the test set was not opened for it."""
    model: str = ""
    """The registered model's URI, where there is one."""
    published_accuracy: float | None = None
    note: str = ""

    def values(self) -> dict[str, Any]:
        """For JSON: everything, accuracies as fractions."""
        return {
            **{each.name: getattr(self, each.name) for each in dataclasses.fields(self)},
            "params": dict(self.params),
            "validation": self.validation.values(),
            "test": self.test.values() if self.test else None,
        }


@dataclass(frozen=True)
class Disagreement:
    """How the errors of the two winners on the test images overlap."""

    images: int
    ann_wrong: int
    cnn_wrong: int
    both_wrong: int

    @property
    def cnn_right_of_ann_wrong(self) -> int:
        return self.ann_wrong - self.both_wrong

    @property
    def ann_right_of_cnn_wrong(self) -> int:
        return self.cnn_wrong - self.both_wrong

    def values(self) -> dict[str, int]:
        return {
            **dataclasses.asdict(self),
            "cnn_right_of_ann_wrong": self.cnn_right_of_ann_wrong,
            "ann_right_of_cnn_wrong": self.ann_right_of_cnn_wrong,
        }


@dataclass(frozen=True)
class Spent:
    """What a family's study took."""

    trials: Mapping[str, int]
    """Searched trials by state."""
    baselines: int
    seconds: float
    """Training seconds of the searched trials."""
    baseline_seconds: float


@dataclass(frozen=True)
class Finalist:
    """One of the best configurations of a family's search, trained again on fresh seeds."""

    family: str
    trial: str
    """The trial of the search that it comes from."""
    network: str
    weights: int
    search: float
    """Validation accuracy in the search, by which it was picked: it flatters the picked."""
    seeds: tuple[int, ...]
    validation: tuple[float, ...]
    """Validation accuracy of each fresh seed."""
    test: tuple[float, ...]
    """Test accuracy of each fresh seed, for the winner of the family only: empty for the others."""
    train_seconds: float
    """Of all its seeds."""
    won: bool
    """Whether it has the best mean validation accuracy of its family."""

    @property
    def mean(self) -> float:
        """Of validation over the fresh seeds."""
        return sum(self.validation) / len(self.validation)


@dataclass(frozen=True)
class Opening:
    """One opening of the sealed test set."""

    by: str
    """As `sweep 3f2a: best CNN`."""
    at: str
    """ISO 8601, UTC."""
    digest: str
    """SHA-256 of the test split."""
    number: int
    """1 for the first time that this was opened for the family in this sweep."""


@dataclass(frozen=True)
class Duplicates:
    """Images that lie in two splits: what was trained on is no test."""

    train_test: int
    """Test images that are training images too, pixel by pixel."""
    validation_test: int
    train_validation: int


@dataclass(frozen=True)
class Comparison:
    """The answer of a sweep."""

    experiment: str
    question: str
    digest: str
    """Of the experiment."""
    metric: str
    """What was selected by."""
    state: str
    """COMPLETE, or INTERRUPTED where the sweep was stopped before its budget was spent."""
    data: Mapping[str, Any]
    """name, source, digests, number of images of each split."""
    budget: Mapping[str, float]
    spent: Mapping[str, Spent]
    entries: Sequence[Entry]
    disagreement: Disagreement | None = None
    verdict: str = ""
    """One honest sentence."""
    difference: Difference | None = None
    """Of the two best models on the test images; None where there is only one family."""
    finalists: Sequence[Finalist] = ()
    """By family, the winner first, then by their mean."""
    evidence: Evidence | None = None
    costs: Sequence[Cost] = ()
    history: Mapping[str, SearchHistory] = dataclasses.field(default_factory=dict)
    """By family."""
    openings: Sequence[Opening] = ()
    duplicates: Duplicates | None = None
    run_id: str = ""
    """The sweep's run."""
    seconds: float = 0.0
    """Wall-clock seconds of the sweep up to here."""

    def best(self) -> list[Entry]:
        return [each for each in self.entries if each.role == "best"]

    def values(self) -> dict[str, Any]:
        """For JSON; the keys are those of the fields."""
        return {
            **{each.name: getattr(self, each.name) for each in dataclasses.fields(self)},
            "data": dict(self.data),
            "budget": dict(self.budget),
            "spent": {family: dataclasses.asdict(each) for family, each in self.spent.items()},
            "entries": [each.values() for each in self.entries],
            "disagreement": self.disagreement.values() if self.disagreement else None,
        }

    def table(self) -> pd.DataFrame:
        """The entries, a row each, with accuracies, intervals and hyperparameters as columns."""
        return pd.DataFrame([_row(each) for each in self.entries])


def comparison_from(values: Mapping[str, Any]) -> Comparison:
    """The value that `Comparison.values` wrote."""

    def share(written: Mapping[str, Any] | None) -> Share | None:
        return Share(written["hits"], written["images"]) if written else None

    def entry(written: Mapping[str, Any]) -> Entry:
        validation = share(written["validation"])
        assert validation is not None
        return Entry(**{**written, "validation": validation, "test": share(written["test"])})

    differing = values["disagreement"]
    return Comparison(
        **{
            **values,
            "spent": {family: Spent(**each) for family, each in values["spent"].items()},
            "entries": [entry(each) for each in values["entries"]],
            "disagreement": Disagreement(**{each.name: differing[each.name] for each in dataclasses.fields(Disagreement)})
            if differing
            else None,
        }
    )


def best_of(records: Sequence[TrialRecord], metric: str) -> TrialRecord | None:
    """The complete trial with the best value; of equals the one with fewer weights, then the earlier one."""
    return next(iter(ranked(records, metric)), None)


def ranked(records: Sequence[TrialRecord], metric: str) -> list[TrialRecord]:
    """The complete trials, the best value first; of equals the one with fewer weights, then the earlier one."""
    complete = [each for each in records if each.result.state is TrialState.COMPLETE]
    sign = -1.0 if metric == "val_accuracy" else 1.0
    return sorted(complete, key=lambda each: (sign * each.result.last(metric), each.result.weight_count, each.trial.number))


def spent(records: Sequence[TrialRecord]) -> Spent:
    """Adds up a family's records."""
    searched = [each for each in records if each.trial.baseline is None]
    baselines = [each for each in records if each.trial.baseline is not None]
    return Spent(
        trials=dict(Counter(each.result.state.value for each in searched)),
        baselines=len(baselines),
        seconds=sum(each.result.train_seconds for each in searched),
        baseline_seconds=sum(each.result.train_seconds for each in baselines),
    )


def disagreement(labels: NDArray[np.uint8], ann: NDArray[np.uint8], cnn: NDArray[np.uint8]) -> Disagreement:
    """Counts the errors of two predictions of the same images, all (n,)."""
    ann_wrong, cnn_wrong = ann != labels, cnn != labels
    return Disagreement(len(labels), int(ann_wrong.sum()), int(cnn_wrong.sum()), int((ann_wrong & cnn_wrong).sum()))


def _row(entry: Entry) -> dict[str, Any]:
    def columns(name: str, share: Share | None) -> dict[str, Any]:
        low, high = share.interval if share else (None, None)
        return {f"{name}_accuracy": share.accuracy if share else None, f"{name}_low": low, f"{name}_high": high}

    return {
        **{key: getattr(entry, key) for key in ("family", "role", "trial", "network")},
        **columns("validation", entry.validation),
        **columns("test", entry.test),
        **{key: getattr(entry, key) for key in ("published_accuracy", "weights", "train_seconds", "epochs", "seed")},
        "model": entry.model,
        "note": entry.note,
        **entry.params,
    }
