"""The comparison: who won in each family, beside the baselines, and what their differences are made of. Pure values."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pydantic import SerializerFunctionWrapHandler, TypeAdapter, model_serializer

from digitsweep.cost import Cost
from digitsweep.data import Duplicates
from digitsweep.evidence import Evidence
from digitsweep.history import SearchHistory
from digitsweep.results import TrialRecord, TrialState
from digitsweep.statistics import Difference, Share, Spread
from digitsweep.training_params import Scalar


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
    validation: Share | None
    """None where that is not known: for a model that was named, not found by a sweep."""
    test: Share | None = None
    """None where the test set was not opened for it."""
    model: str = ""
    """The registered model's URI, where there is one."""
    published_accuracy: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Spent:
    """What a family's study took."""

    trials: Mapping[str, int]
    """Searched trials by state."""
    baselines: int
    seconds: float
    """Training seconds of the searched trials."""
    baseline_seconds: float
    finalists: int = 0
    """Trainings on fresh seeds, the refit included."""
    finalist_seconds: float = 0.0


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
    """Whether it has the best mean validation accuracy of its family, of those that finished all their seeds."""

    @property
    def spread(self) -> Spread:
        """Of validation over the fresh seeds."""
        return Spread(self.validation)

    @property
    def mean(self) -> float:
        return self.spread.mean

    @property
    def std(self) -> float | None:
        return self.spread.std

    @model_serializer(mode="wrap")
    def _with_spread(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {**fields(self), "mean": self.mean, "std": self.std}


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
    budget: Mapping[str, int | float]
    spent: Mapping[str, Spent]
    entries: tuple[Entry, ...]
    verdict: str = ""
    """One honest sentence."""
    difference: Difference | None = None
    """Of the two best models on the test images; None where there is only one family."""
    finalists: tuple[Finalist, ...] = ()
    """By family, the winner first, then by their mean."""
    evidence: Evidence | None = None
    costs: tuple[Cost, ...] = ()
    history: Mapping[str, SearchHistory] = dataclasses.field(default_factory=dict)
    """By family."""
    openings: tuple[Opening, ...] = ()
    earlier_sweeps: int = 0
    """Other sweeps at the same tracking server that had opened the same test images by then."""
    duplicates: Duplicates | None = None
    run_id: str = ""
    """The sweep's run."""
    seconds: float = 0.0
    """Wall-clock seconds of the sweep up to here."""

    def best(self) -> list[Entry]:
        return [each for each in self.entries if each.role == "best"]

    def name_of(self, entry: Entry) -> str:
        """`best ANN`, a baseline's name, or, where no sweep found it, what a registered model is called."""
        if entry.role != "best":
            return entry.trial.partition(" ")[2]
        return f"best {entry.family.upper()}" if self.spent else entry.trial

    def values(self) -> dict[str, Any]:
        """For JSON: the keys are those of the fields; accuracies are fractions, with their intervals."""
        values: dict[str, Any] = TypeAdapter(Comparison).dump_python(self, mode="json", fallback=_plain)
        return values

    def table(self) -> pd.DataFrame:
        """The entries, a row each, with accuracies, intervals and hyperparameters as columns."""
        return pd.DataFrame([_row(each) for each in self.entries])


def comparison_from(values: Mapping[str, Any]) -> Comparison:
    """The value that `Comparison.values` wrote."""
    return TypeAdapter(Comparison).validate_python(values)


def best_of(records: Sequence[TrialRecord], metric: str) -> TrialRecord | None:
    """The complete trial with the best value; of equals the one with fewer weights, then the earlier one."""
    return next(iter(ranked(records, metric)), None)


def ranked(records: Sequence[TrialRecord], metric: str) -> list[TrialRecord]:
    """The complete trials, the best value first; of equals the one with fewer weights, then the earlier one."""
    return in_order([each for each in records if each.result.state is TrialState.COMPLETE], metric)


def in_order(records: Sequence[TrialRecord], metric: str) -> list[TrialRecord]:
    """Trials that have finished an epoch, the best last value first; of equals as above."""
    sign = -1.0 if metric == "val_accuracy" else 1.0
    return sorted(records, key=lambda each: (sign * each.result.last(metric), each.result.weight_count, each.trial.number))


def spent(records: Sequence[TrialRecord], finalists: Sequence[TrialRecord] = ()) -> Spent:
    """Adds up a family's records."""
    searched = [each for each in records if each.trial.baseline is None]
    baselines = [each for each in records if each.trial.baseline is not None]
    return Spent(
        trials=dict(Counter(each.result.state.value for each in searched)),
        baselines=len(baselines),
        seconds=sum(each.result.train_seconds for each in searched),
        baseline_seconds=sum(each.result.train_seconds for each in baselines),
        finalists=len(finalists),
        finalist_seconds=sum(each.result.train_seconds for each in finalists),
    )


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


def _plain(value: Any) -> Any:
    """A number of numpy's as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")
