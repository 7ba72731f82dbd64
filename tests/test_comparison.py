"""The comparison's figures, by hand."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pytest
from rich.console import Console

from digitsweep.comparison import (
    Comparison,
    Entry,
    Finalist,
    Opening,
    Spent,
    best_of,
    comparison_from,
    spent,
)
from digitsweep.cost import Cost, Latency
from digitsweep.data import Duplicates
from digitsweep.evidence import evidence
from digitsweep.history import SearchHistory, TrialPoint
from digitsweep.params import parse_params
from digitsweep.results import EpochMetrics, Trial, TrialRecord, TrialResult, TrialState
from digitsweep.statistics import Share, difference
from digitsweep.summary import print_summary, sentences
from digitsweep.verdict import verdict


def record(
    number: int,
    accuracy: float,
    *,
    weights: int = 10,
    state: TrialState = TrialState.COMPLETE,
    baseline: str | None = None,
) -> TrialRecord:
    trial = Trial(number, parse_params("ann", {"hidden_layers": 0, "batch_size": number + 1}), number, 1, baseline)
    epochs = (EpochMetrics(1, 0.1, 0.9, 1.0 - accuracy, accuracy, 0.001, 2.0),)
    return TrialRecord(trial, TrialResult(state, epochs, weight_count=weights, train_seconds=2.0))


def test_the_best_is_complete() -> None:
    """A pruned trial never wins its study, nor does a failed one."""
    records = [
        record(0, 0.8),
        record(1, 0.99, state=TrialState.PRUNED),
        record(2, 0.999, state=TrialState.FAIL),
        record(3, 0.9),
    ]
    best = best_of(records, "val_accuracy")
    assert best is not None
    assert best.trial.number == 3
    assert best_of(records[1:3], "val_accuracy") is None


def test_ties_go_to_the_smaller_then_the_earlier() -> None:
    """Of equally good trials the one with fewer weights wins, then the earlier one; a loss is better when lower."""
    records = [record(0, 0.9, weights=30), record(1, 0.9, weights=20), record(2, 0.9, weights=20), record(3, 0.8)]
    for metric in ("val_accuracy", "val_loss"):
        best = best_of(records, metric)
        assert best is not None
        assert best.trial.number == 1


def test_spent_keeps_baselines_apart() -> None:
    """Baselines are counted beside the searched trials, not among them."""
    found = spent([record(0, 0.9, baseline="softmax"), record(1, 0.9), record(2, 0.5, state=TrialState.PRUNED)])
    assert found == Spent({"COMPLETE": 1, "PRUNED": 1}, 1, 4.0, 2.0)


@pytest.fixture
def comparison() -> Comparison:
    best = Entry(
        family="ann", role="best", trial="ann-001", network="dense 8", params={"units_1": 8, "learning_rate": 0.1}, seed=3,
        epochs=2, weights=90, train_seconds=1.5, validation=Share(9, 10), test=Share(8, 10), model="models:/x-ann/1",
    )  # fmt: skip
    baseline = dataclasses.replace(
        best, role="baseline", trial="ann-000 softmax", published_accuracy=0.9, test=None, params={"learning_rate": 0.2}
    )
    return Comparison(
        experiment="x", question="?", digest="d", metric="val_accuracy", state="INTERRUPTED",
        data={"name": "x", "source": "here", "digests": {}, "images": {"train": 1, "validation": 10, "test": 10}},
        budget={"trials": 1, "epochs": 2, "seconds": 3.0}, spent={"ann": Spent({"COMPLETE": 1}, 1, 1.5, 1.5)},
        entries=(best, baseline), run_id="r", seconds=9.0,
    )  # fmt: skip


@pytest.fixture
def full(comparison: Comparison) -> Comparison:
    """A comparison that has a value in every field."""
    labels = np.array([0, 1, 1, 0, 1, 0], np.uint8)
    ann, cnn = (np.eye(2, dtype=np.float32)[each] for each in ([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 1, 1]))
    found = difference(labels, ann.argmax(axis=1).astype(np.uint8), cnn.argmax(axis=1).astype(np.uint8))
    finalist = Finalist("ann", "ann-001", "dense 8", 90, 0.97, (5, 6), (0.9, 0.94), (0.8,), 3.5, True)
    point = TrialPoint(1, "PRUNED", {"units_1": 8, "learning_rate": 1.0, "optimizer": "sgd"}, (0.5, 0.75), 1.5)
    return dataclasses.replace(
        comparison,
        difference=found,
        verdict=verdict(found),
        finalists=(finalist, dataclasses.replace(finalist, validation=(0.9,), seeds=(5,), test=(), won=False)),
        evidence=evidence(labels, {"ANN": ann, "CNN": cnn}, 2),
        costs=(Cost("best ANN", "ann", 0.8, 90, 1.5, (Latency(1, 0.001, 0.002),)),),
        history={"ann": SearchHistory("ann", "val_accuracy", (point,), {"learning_rate": 1.0}, ("learning_rate",))},
        openings=(Opening("sweep r: best ANN", "2024-05-01T12:00:00+00:00", "abc", 1),),
        earlier_sweeps=4,
        duplicates=Duplicates(1, 2, 3),
    )


@pytest.mark.parametrize("which", ["comparison", "full"])
def test_json_round_trip(which: str, request: pytest.FixtureRequest) -> None:
    """What is written as JSON is read back as the same comparison, whichever fields have values."""
    comparison: Comparison = request.getfixturevalue(which)
    written = json.dumps(comparison.values(), allow_nan=False)
    assert comparison_from(json.loads(written)) == comparison


def test_the_full_comparison_is_full(full: Comparison) -> None:
    """No field is left out of the round trip: each has a value that is not its default."""
    for each in dataclasses.fields(full):
        assert getattr(full, each.name), each.name


def test_json_keys(full: Comparison) -> None:
    """The JSON has a key for each field, and beside the fields the figures that follow from them."""
    values = full.values()
    assert list(values) == [each.name for each in dataclasses.fields(full)]
    share = values["entries"][0]["validation"]
    assert set(share) == {"accuracy", "low", "high", "hits", "images"}
    assert (share["accuracy"], share["hits"], share["images"]) == (0.9, 9, 10)
    assert (share["low"], share["high"]) == Share(9, 10).interval
    assert values["entries"][1]["test"] is None
    differing = values["difference"]
    assert (differing["first_wrong"], differing["second_wrong"], differing["both_wrong"]) == (3, 2, 1)
    assert (differing["only_first_wrong"], differing["only_second_wrong"], differing["discordant"]) == (2, 1, 3)
    assert differing["accuracy"] == pytest.approx(1 / 6)
    first, second = values["finalists"]
    assert (first["mean"], first["std"]) == (pytest.approx(0.92), pytest.approx(0.02 * 2**0.5))
    assert (second["mean"], second["std"]) == (0.9, None)
    assert values["budget"] == {"trials": 1, "epochs": 2, "seconds": 3.0}
    assert type(values["budget"]["trials"]) is int


def test_numbers_of_numpy_are_written_as_numbers(comparison: Comparison) -> None:
    """A number of numpy's among the data becomes Python's; anything else that JSON has no form for is refused."""
    written = dataclasses.replace(comparison, data={"images": {"test": np.int64(10)}}).values()
    assert json.loads(json.dumps(written))["data"] == {"images": {"test": 10}}
    with pytest.raises(Exception, match="object has no JSON form"):
        dataclasses.replace(comparison, data={"images": object()}).values()


def test_a_comparison_from_before_is_read(full: Comparison) -> None:
    """Keys that are no longer written are passed over, and fields that were not yet written have their defaults."""
    values = {**full.values(), "disagreement": {"images": 6}}
    for name in ("difference", "verdict", "finalists", "evidence", "costs", "history", "openings", "duplicates"):
        del values[name]
    found = comparison_from(values)
    assert found.entries == full.entries
    assert (found.difference, found.verdict, found.finalists) == (None, "", ())


def test_the_table_has_a_row_for_each_entry(comparison: Comparison) -> None:
    """comparison.csv has the accuracies and each hyperparameter in columns of their own."""
    table = comparison.table()
    assert list(table["role"]) == ["best", "baseline"]
    assert list(table["validation_accuracy"]) == [0.9, 0.9]
    assert list(table["learning_rate"]) == [0.1, 0.2]
    assert table["test_accuracy"].isna().tolist() == [False, True]


def test_the_summary_tells_of_an_interruption(comparison: Comparison) -> None:
    """A comparison of an interrupted sweep says that it is one."""
    assert any("interrupted" in line for line in sentences(comparison))
    assert not any("interrupted" in line for line in sentences(dataclasses.replace(comparison, state="COMPLETE")))


def test_the_summary_counts_the_openings(full: Comparison) -> None:
    """That the test images were opened once for each is said only where it is so."""
    assert any("10 test images were opened once for each, after the choice." in line for line in sentences(full))
    again = dataclasses.replace(full, openings=(*full.openings, dataclasses.replace(full.openings[0], number=2)))
    assert not any("once for each" in line for line in sentences(again))
    assert any("10 test images were opened more than once." in line for line in sentences(again))


def test_the_summary_begins_with_the_verdict(full: Comparison) -> None:
    """The first sentence is the verdict, and one says how the errors overlap."""
    first, *others = sentences(full)
    assert first == full.verdict
    assert (
        "Of the 3 test images that the ANN gets wrong, the CNN gets 2 right; "
        "of the 2 that the CNN gets wrong, the ANN gets 1 right; 1 both get wrong."
    ) in others


@pytest.mark.parametrize("width", [80, 100, 150])
def test_the_summary_fits_the_terminal(width: int, comparison: Comparison) -> None:
    """On a terminal of any usual width each network, accuracy and interval is readable, and no line is too long."""
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    print_summary(comparison, console)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    table = shown[: shown.index(sentences(comparison)[0][:20])]
    assert all(len(line) <= width for line in table.splitlines())
    for expected in ("best ANN", "dense 8", "90.00%", "80.00%", "(49.02 to 94.33)"):
        assert expected in table
