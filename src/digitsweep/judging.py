"""After the search: freeze and register the winners, open the test set once for each family, and say what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from digitsweep.asking import Asked, ask, open_test
from digitsweep.comparison import Comparison, Entry, Finalist, Opening, spent
from digitsweep.cost import Cost
from digitsweep.data import Dataset, Split, duplicates
from digitsweep.evidence import evidence
from digitsweep.experiment import Experiment
from digitsweep.finalists import Finals, Winner, winner_of
from digitsweep.history import SearchHistory
from digitsweep.lookup import load
from digitsweep.pictures import pictures
from digitsweep.provenance import Commit
from digitsweep.registry import Registered, describe_version
from digitsweep.report import report
from digitsweep.results import TrialRecord, TrialState
from digitsweep.statistics import Share, difference
from digitsweep.store import patiently, sweeps_that_opened
from digitsweep.tracker import Tracker
from digitsweep.training import trained_model
from digitsweep.verdict import verdict
from digitsweep.winners import register_winner


def judge(
    experiment: Experiment,
    dataset: Dataset,
    records: Mapping[str, Sequence[TrialRecord]],
    finals: Mapping[str, Finals],
    histories: Mapping[str, SearchHistory],
    tracker: Tracker,
    commit: Commit,
    *,
    state: str,
    seconds: Callable[[], float],
) -> tuple[Comparison, dict[str, bytes]]:
    """The comparison, and the files that show it by name.

    The winners are chosen on validation and registered before the test set is opened; then each registered model, loaded
    back from the registry, classifies the test images, and beside it each of the winner's fresh seeds and each baseline."""
    winners: dict[str, Winner] = {}
    registered: dict[str, Registered] = {}
    for family, each in records.items():
        winner = winner_of(each, finals.get(family), experiment.objective.metric)
        if winner is not None:
            winners[family] = winner
            if experiment.register_models:
                registered[family] = register_winner(experiment, dataset, winner, finals.get(family), tracker, commit)
    courts = {
        family: _Court(experiment, dataset, family, winner, registered.get(family), finals.get(family), tracker)
        for family, winner in winners.items()
    }
    for family, court in courts.items():
        court.sit(records[family])
    test = next(iter(courts.values())).test
    answers = {family.upper(): court.asked.probabilities for family, court in courts.items()}
    predicted = {family.upper(): court.asked.predicted() for family, court in courts.items()}
    found = difference(test.labels, predicted["ANN"], predicted["CNN"]) if len(predicted) == 2 else None
    training = dataset.training
    comparison = Comparison(
        experiment=experiment.name,
        question=experiment.question,
        digest=experiment.digest(),
        metric=experiment.objective.metric,
        state=state,
        data={
            "name": dataset.name,
            "source": dataset.source,
            "digests": dataset.digests(),
            "images": {"train": len(training.train), "validation": len(training.validation), "test": len(test)},
        },
        budget=experiment.budget.model_dump(),
        spent={family: spent(each, finals[family].records if family in finals else ()) for family, each in records.items()},
        entries=tuple(
            [court.entries[0] for court in courts.values()] + [each for c in courts.values() for each in c.entries[1:]]
        ),
        verdict=verdict(found) if found else "",
        difference=found,
        finalists=tuple(each for court in courts.values() for each in court.finalists()),
        evidence=evidence(test.labels, answers, training.classes),
        costs=tuple(each for court in courts.values() for each in court.costs),
        history=dict(histories),
        openings=tuple(court.opening for court in courts.values()),
        earlier_sweeps=patiently(lambda: sweeps_that_opened(dataset.test.digest, tracker.run_id)) if tracker.run_id else 0,
        duplicates=duplicates(dataset),
        run_id=tracker.run_id,
        seconds=seconds(),
    )
    shown = {court.entries[0].trial for court in courts.values()}
    told = {name: (test.labels, each) for name, each in predicted.items()}
    files = pictures(comparison, records, shown, told, training.classes)
    return comparison, {**files, **report(comparison, test.images)}


class _Court:
    """Judges one family: its registered winner, the winner's fresh seeds, and the baselines."""

    test: Split
    opening: Opening
    asked: Asked
    """What the winner says of the test images."""

    def __init__(
        self,
        experiment: Experiment,
        dataset: Dataset,
        family: str,
        winner: Winner,
        registered: Registered | None,
        finals: Finals | None,
        tracker: Tracker,
    ) -> None:
        self.winner = winner
        self.entries: list[Entry] = []
        """The winner first."""
        self.costs: list[Cost] = []
        self._experiment, self._dataset, self._family = experiment, dataset, family
        self._registered, self._finals, self._tracker = registered, finals, tracker
        self._fresh: tuple[float, ...] = ()

    def sit(self, records: Sequence[TrialRecord]) -> None:
        """Opens the test set and asks every model once."""
        by = f"sweep {self._tracker.run_id or self._experiment.name}: best {self._family.upper()}"
        self.test, self.opening = open_test(self._dataset, by, before=self._tracker.past.openings.get(self._family, 0))
        self._tracker.test_opened(self._family, self.opening)
        asked = self.asked = self._ask(self.winner.trained, self._registered)
        self._add("best", self.winner.search, self.winner.trained, asked)
        self._tracker.measured(self.winner.trained.trial, {"test_accuracy": asked.share.accuracy})
        fresh = []
        for record in self.winner.repetitions:
            found = self._ask(record, timed=False).share
            self._tracker.measured(record.trial, {"test_accuracy": found.accuracy})
            fresh.append(found.accuracy)
        self._fresh = tuple(fresh)
        for record in sorted(records, key=lambda each: each.trial.number):
            if record.trial.baseline is not None and record.result.state is TrialState.COMPLETE:
                # A baseline that won without finalists has been asked already: it is the same network.
                self._add("baseline", record, record, asked if record is self.winner.trained else self._ask(record))
        if self._registered is not None:
            self._describe(self._registered, self.entries[0])

    def finalists(self) -> list[Finalist]:
        """The family's finalists, the winner first. Where none finished its seeds, the search decided, and none has won."""
        if self._finals is None:
            return []
        found = []
        for each in self._finals.candidates():
            complete = [record for record in each.repetitions if record.result.state is TrialState.COMPLETE]
            won = bool(self.winner.repetitions) and each.search is self.winner.search
            if complete:
                found.append(
                    Finalist(
                        family=self._family,
                        trial=each.search.trial.name,
                        network=each.search.trial.params.describe(),
                        weights=each.search.result.weight_count,
                        search=each.search.result.last("val_accuracy"),
                        seeds=tuple(record.trial.seed for record in complete),
                        validation=tuple(record.result.last("val_accuracy") for record in complete),
                        test=self._fresh if won else (),
                        train_seconds=sum(record.result.train_seconds for record in each.repetitions),
                        won=won,
                    )
                )
        return found

    def _ask(self, record: TrialRecord, registered: Registered | None = None, *, timed: bool = True) -> Asked:
        training = self._dataset.training
        if registered is not None:
            return ask(patiently(lambda: load(registered.uri)), self.test, timed=timed)
        assert record.result.weights is not None
        model = trained_model(record.trial.params, training.side, training.classes, record.result.weights)
        return ask(model, self.test, timed=timed)

    def _add(self, role: str, source: TrialRecord, trained: TrialRecord, asked: Asked) -> None:
        trial, result = source.trial, source.result
        total = len(self._dataset.training.validation)
        baseline = self._experiment.families[self._family].baselines.get(trial.baseline or "")  # type: ignore[index]
        self.entries.append(
            Entry(
                family=trial.family,
                role=role,
                trial=trial.name,
                network=trial.params.describe(),
                params=trial.params.flat(),
                seed=trained.trial.seed,
                epochs=len(trained.result.epochs),
                weights=result.weight_count,
                train_seconds=trained.result.train_seconds,
                validation=Share(round(result.last("val_accuracy") * total), total),
                test=asked.share,
                model=self._registered.uri if self._registered and role == "best" else "",
                published_accuracy=baseline.published_accuracy if baseline and self._own_data() else None,
                note=baseline.note if baseline else "",
            )
        )
        self.costs.append(
            Cost(
                name=f"best {self._family.upper()}" if role == "best" else str(trial.baseline),
                family=self._family,
                accuracy=asked.share.accuracy,
                weights=result.weight_count,
                train_seconds=trained.result.train_seconds,
                latencies=asked.latencies,
            )
        )

    def _own_data(self) -> bool:
        """Whether these are the images that the experiment's published figures are of, not others (`--data`)."""
        source = self._experiment.data.source
        if source in ("mnist", "digits"):
            return self._dataset.name == source
        return self._dataset.source == str(self._experiment.beside(source, "data.source"))

    def _describe(self, registered: Registered, entry: Entry) -> None:
        assert entry.test is not None
        assert entry.validation is not None
        low, high = entry.test.interval
        fresh = self.winner.fresh_mean()
        tags = {"test_accuracy": f"{entry.test.accuracy:.6f}"}
        text = (
            f"{entry.network}: {entry.test.accuracy:.2%} of {entry.test.total:,} test images "
            f"(95 % interval {low:.2%} to {high:.2%}), {entry.weights:,} weights. "
            f"The best {entry.family.upper()} of experiment {self._experiment.name}, chosen on validation "
            f"({f'{fresh:.2%} over fresh seeds, ' if fresh else ''}{entry.validation.accuracy:.2%} in the search). "
            f"{'Trained on training and validation images together. ' if self.winner.refitted else ''}"
            "Takes raw uint8 images, 0 to 255; gives probabilities."
        )
        patiently(lambda: describe_version(registered, tags, text))
