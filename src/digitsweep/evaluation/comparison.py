"""The comparison: who won in each family, beside the baselines, and what their differences are made of. Pure values."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from pydantic import SerializerFunctionWrapHandler, TypeAdapter, model_serializer

from digitsweep.data import Duplicates
from digitsweep.evaluation.cost import Cost
from digitsweep.evaluation.imbalance import ClassAverages
from digitsweep.evaluation.mistakes import Mistakes
from digitsweep.evaluation.statistics import Difference, FamilyDifference, Share, Spread
from digitsweep.families import title_of
from digitsweep.families.hyperparameters import Scalar
from digitsweep.trial import OUTCOMES, Kind, SearchHistory, TrialRecord

ACCURACIES = (
    "search_val_accuracy",
    "selection_val_accuracy",
    "confirmation_val_accuracy",
    "confirmation_test_accuracy",
    "val_accuracy",
    "test_accuracy",
    "test_balanced_accuracy",
    "test_macro_f1",
)
"""Every accuracy that an entry of a comparison can have, by the name that it has in metrics, tags and columns. The last four
are of one network, as on its own run; docs/architecture.md says what each is of."""


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
    epochs: float
    """Of the training; the last need not be whole."""
    trained_on: int
    """Images that it was fitted to: a refit saw those of validation too. 0 where that is not known."""
    weights: int
    train_seconds: float
    search_val_accuracy: float | None = None
    """Of a best: validation accuracy of the trial that found it, by which the search picked it, so it flatters."""
    validation: Share | None = None
    """Of a baseline: the network's own. A best has none: a refit is not validated, and its configuration was chosen on these
    images; what it is worth there is told by its finalist's confirmation seeds."""
    test: Share | None = None
    """Of this very network; None where the test set was not opened for it."""
    averages: ClassAverages | None = None
    """Of this very network on the test images; None for a baseline."""
    score: float | None = None
    """The value of the objective, where that is not val_accuracy: of a best in the search, by which it was picked; of a
    baseline its own."""
    model: str = ""
    """The registered model's URI, where there is one."""
    published_accuracy: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Used:
    """Trainings of one kind, however they ended."""

    trainings: int
    seconds: float
    """That they took, added up."""


@dataclass(frozen=True)
class Spent:
    """What a family took. A budget in seconds limits the search alone."""

    trials: Mapping[str, int]
    """Trials of the search by how they ended: COMPLETE, PRUNED, OUT_OF_TIME or FAIL."""
    search: Used
    baselines: Used = Used(0, 0.0)
    finalists: Used = Used(0, 0.0)
    """On selection seeds."""
    confirmations: Used = Used(0, 0.0)
    refits: Used = Used(0, 0.0)
    attempt_seconds: float = 0.0
    """Training seconds of attempts at searched trials that were broken off, besides those of `search`: a worker died, or the
    sweep was killed. They count in the budget."""

    @property
    def budget_seconds(self) -> float:
        """Training seconds that count in the budget: of the search, and of attempts that were broken off."""
        return self.search.seconds + self.attempt_seconds

    @property
    def ended(self) -> str:
        """How the trials of the search ended: `4 complete, 2 out of time`."""
        return ", ".join(f"{self.trials[name]} {told}" for name, told in OUTCOMES.items() if name in self.trials) or "none"

    def beside_the_search(self) -> dict[str, Used]:
        """By what they were trained for: those of which there is one or more."""
        kinds = {name: getattr(self, name) for name in ("baselines", "finalists", "confirmations", "refits")}
        return {name: used for name, used in kinds.items() if used.trainings}


@dataclass(frozen=True)
class Scores:
    """Values of the objective on the validation images: of the trial of the search, and by seed."""

    metric: str
    """One of `trial.DIRECTIONS`."""
    search: float
    selection: tuple[float, ...] = ()
    confirmation: tuple[float, ...] = ()


@dataclass(frozen=True)
class Finalist:
    """One of the best configurations of a family's search, trained again on fresh seeds: one network for each seed.

    The selection seeds chose the winner, so the winner's mean over them flatters it. The confirmation seeds came after the
    choice and are the winner's alone: their means are unbiased."""

    family: str
    trial: str
    """The trial of the search that it comes from."""
    network: str
    weights: int
    search_epochs: float
    """That the trial of the search was trained for."""
    epochs: float
    """That each of its networks was trained for."""
    search_val_accuracy: float
    """Validation accuracy in the search, by which it was picked."""
    selection_seeds: tuple[int, ...]
    selection_val_accuracies: tuple[float, ...]
    """Validation accuracy, by seed; so below."""
    confirmation_seeds: tuple[int, ...] = ()
    confirmation_val_accuracies: tuple[float, ...] = ()
    confirmation_test_accuracies: tuple[float, ...] = ()
    won: bool = False
    """Whether it has the best mean of its family over the selection seeds, of those that finished all of them; without
    selection seeds, the best score in the search."""
    proposed_by: str = ""
    """Where the configuration comes from, where the budget is in minutes."""
    scores: Scores | None = None
    """None where the objective is val_accuracy, whose values stand above."""

    @property
    def chosen_by(self) -> Scores:
        """Its values of the objective."""
        return self.scores or Scores(
            "val_accuracy",
            self.search_val_accuracy,
            self.selection_val_accuracies,
            self.confirmation_val_accuracies,
        )

    @property
    def selection(self) -> Spread | None:
        """Validation accuracy over the selection seeds; None where the search alone chose."""
        return Spread(self.selection_val_accuracies) if self.selection_val_accuracies else None

    @property
    def confirmation(self) -> Spread | None:
        """Validation accuracy over the confirmation seeds; None where there are none."""
        return Spread(self.confirmation_val_accuracies) if self.confirmation_val_accuracies else None

    @property
    def confirmation_test(self) -> Spread | None:
        """Test accuracy over the confirmation seeds; None where there are none."""
        return Spread(self.confirmation_test_accuracies) if self.confirmation_test_accuracies else None

    @property
    def equally_long(self) -> bool:
        """Whether the search trained it for as many epochs as the fresh seeds did: only then are their scores comparable."""
        return self.search_epochs == self.epochs

    @property
    def optimism(self) -> float | None:
        """The objective's value in the search minus its mean over the confirmation seeds. None where there are no such
        seeds, or the trainings differ in length: then the difference is more than luck."""
        if self.confirmation is None or not self.equally_long:
            return None
        return self.chosen_by.search - fmean(self.chosen_by.confirmation)

    def means(self) -> dict[str, float]:
        """Over its seeds, by name."""
        named = {
            "selection_val_accuracy": self.selection,
            "confirmation_val_accuracy": self.confirmation,
            "confirmation_test_accuracy": self.confirmation_test,
        }
        if self.scores is not None:
            for seeds in ("selection", "confirmation"):
                values = getattr(self.scores, seeds)
                named[f"{seeds}_{self.scores.metric}"] = Spread(values) if values else None
        return {name: each.mean for name, each in named.items() if each is not None}

    @model_serializer(mode="wrap")
    def _with_means(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        stds = {
            "selection_val_std": self.selection.std if self.selection else None,
            "confirmation_val_std": self.confirmation.std if self.confirmation else None,
            "confirmation_test_std": self.confirmation_test.std if self.confirmation_test else None,
        }
        return {**fields(self), **self.means(), **stds, "optimism": self.optimism}


@dataclass(frozen=True)
class Opening:
    """One opening of the sealed test set."""

    by: str
    """Who, and what for: `sweep 3f2a: best` and the family's title."""
    at: str
    """ISO 8601, UTC."""
    digest: str
    """SHA-256 of the test split."""
    number: int
    """1 for the first time that this was opened for the family in this sweep."""


@dataclass(frozen=True)
class Comparison:
    """The prediction of a sweep."""

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
    """One honest sentence, about the networks that `difference` or `differences` compare."""
    difference: Difference | None = None
    """Of two best models on the test images; None where there are more, or only one."""
    family_verdict: str = ""
    """What can be said about the families, whatever the seed; empty where no two families were compared."""
    family_difference: FamilyDifference | None = None
    """Of the confirmation networks of two winners on the test images; None where a family has none, or there are more
    families."""
    differences: tuple[Difference, ...] = ()
    """Of each pair of best models, where there are three or more."""
    family_differences: tuple[FamilyDifference, ...] = ()
    """Of each pair of families with enough networks, where there are three families or more."""
    finalists: tuple[Finalist, ...] = ()
    """By family, the winner first, then by their mean over the selection seeds."""
    mistakes: Mistakes | None = None
    costs: tuple[Cost, ...] = ()
    history: Mapping[str, SearchHistory] = dataclasses.field(default_factory=dict)
    """By family."""
    openings: tuple[Opening, ...] = ()
    opened_before: int = 0
    """How often the same test images had been opened before, by whatever the tracking server knows: sweeps, comparisons,
    promotions and dry runs."""
    models_before: int = 0
    """For how many models."""
    duplicates: Duplicates | None = None
    precisions: tuple[str, ...] = ()
    """In which the trainings computed: several, if their processors differed."""
    run_id: str = ""
    """The sweep's run."""
    seconds: float = 0.0
    """Wall-clock seconds of the sweep up to here; before an interruption, those in which anything was trained."""

    def class_name(self, label: int) -> str:
        """What the class with this label is called."""
        names = self.data.get("classes") or ()
        return str(names[label]) if label < len(names) else str(label)

    def best(self) -> list[Entry]:
        return [each for each in self.entries if each.role == "best"]

    def finalist_of(self, entry: Entry) -> Finalist | None:
        """What a best was on fresh seeds; None where the search alone chose it."""
        won = (each for each in self.finalists if each.won and each.family == entry.family)
        return next(won, None) if entry.role == "best" else None

    def accuracies(self, entry: Entry) -> dict[str, float]:
        """Those of ACCURACIES that an entry has; also its values of the objective where that is another metric."""
        finalist, averages = self.finalist_of(entry), entry.averages
        found = {
            f"search_{self.metric}" if entry.role == "best" else self.metric: entry.score,
            "search_val_accuracy": entry.search_val_accuracy,
            **(finalist.means() if finalist else {}),
            "val_accuracy": entry.validation.accuracy if entry.validation else None,
            "test_accuracy": entry.test.accuracy if entry.test else None,
            "test_balanced_accuracy": averages.balanced_accuracy.value if averages else None,
            "test_macro_f1": averages.macro_f1.value if averages else None,
        }
        return {name: value for name, value in found.items() if value is not None}

    def name_of(self, entry: Entry) -> str:
        """`best` and the family's title, a baseline's name, or, where no sweep found it, a registered model's label."""
        if entry.role != "best":
            return entry.trial.partition(" ")[2]
        return f"best {title_of(entry.family)}" if self.spent else entry.trial

    def values(self) -> dict[str, Any]:
        """For JSON: the keys are those of the fields; accuracies are fractions, with their intervals."""
        values: dict[str, Any] = TypeAdapter(Comparison).dump_python(self, mode="json", fallback=_plain)
        return values

    def table(self) -> pd.DataFrame:
        """The entries, a row each, with accuracies, intervals and hyperparameters as columns."""
        return pd.DataFrame([self._row(each) for each in self.entries])

    def _row(self, entry: Entry) -> dict[str, Any]:
        accuracies = self.accuracies(entry)
        columns: dict[str, Any] = {key: getattr(entry, key) for key in ("family", "role", "trial", "network")}
        columns |= {**dict.fromkeys(ACCURACIES), **accuracies}
        for name, share in (("val", entry.validation), ("test", entry.test)):
            columns[f"{name}_low"], columns[f"{name}_high"] = share.interval if share else (None, None)
        for name in ("balanced_accuracy", "macro_f1"):
            found = getattr(entry.averages, name, None)
            columns |= {f"test_{name}_{end}": getattr(found, end, None) for end in ("low", "high")}
        known = ("published_accuracy", "weights", "train_seconds", "epochs", "trained_on", "seed", "model", "note")
        return {**columns, **{key: getattr(entry, key) for key in known}, **entry.params}


def comparison_from(values: Mapping[str, Any]) -> Comparison:
    """The value that `Comparison.values` wrote.

    Raises ValueError for what another version wrote that means something else: version 0.1 called the search's score of a
    winner its validation accuracy."""
    return TypeAdapter(Comparison).validate_python(values)


def spent(records: Sequence[TrialRecord], finals: Sequence[TrialRecord] = (), attempt_seconds: float = 0.0) -> Spent:
    """Adds up a family's records: those of its study, and those of the trainings that followed."""
    searched = [each for each in records if each.trial.baseline is None]

    def used(trained: Iterable[TrialRecord]) -> Used:
        seconds = [each.result.train_seconds for each in trained]
        return Used(len(seconds), sum(seconds))

    def of(kind: Kind) -> Used:
        return used(each for each in finals if each.trial.kind is kind)

    return Spent(
        trials=dict(Counter(each.result.outcome for each in searched)),
        search=used(searched),
        baselines=used(each for each in records if each.trial.baseline is not None),
        finalists=of(Kind.FINALIST),
        confirmations=of(Kind.CONFIRMATION),
        refits=of(Kind.REFIT),
        attempt_seconds=attempt_seconds,
    )


def _plain(value: Any) -> Any:
    """A number of numpy's as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")
