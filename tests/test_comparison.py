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
    Spent,
    best_of,
    comparison_from,
    disagreement,
    spent,
)
from digitsweep.params import parse_params
from digitsweep.results import EpochMetrics, Trial, TrialRecord, TrialResult, TrialState
from digitsweep.statistics import Share
from digitsweep.summary import print_summary, sentences


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


def test_wilson_interval() -> None:
    """9,900 of 10,000 has the interval that Wilson's formula gives by hand, and ends stay within 0 and 1."""
    p, n, z = 0.99, 10_000, 1.959963984540054
    middle, half = (p + z**2 / (2 * n)), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = Share(9_900, 10_000).interval
    assert low == pytest.approx((middle - half) / (1 + z**2 / n))
    assert high == pytest.approx((middle + half) / (1 + z**2 / n))
    assert Share(10, 10).interval[1] == pytest.approx(1.0)
    assert Share(0, 10).interval[0] == 0.0


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


def test_disagreement() -> None:
    """Errors of one, of the other and of both are counted image by image."""
    labels = np.array([0, 1, 2, 3, 4, 5], np.uint8)
    ann = np.array([9, 9, 9, 3, 4, 5], np.uint8)
    cnn = np.array([0, 1, 8, 8, 4, 5], np.uint8)
    found = disagreement(labels, ann, cnn)
    assert (found.images, found.ann_wrong, found.cnn_wrong, found.both_wrong) == (6, 3, 2, 1)
    assert (found.cnn_right_of_ann_wrong, found.ann_right_of_cnn_wrong) == (2, 1)


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
        entries=[best, baseline], disagreement=disagreement(*(np.array([1, 2], np.uint8),) * 3), run_id="r", seconds=9.0,
    )  # fmt: skip


def test_json_round_trip(comparison: Comparison) -> None:
    """What is written as JSON is read back as the same comparison."""
    assert comparison_from(json.loads(json.dumps(comparison.values()))) == comparison


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


@pytest.mark.parametrize("width", [80, 100, 150])
def test_the_summary_fits_the_terminal(width: int, comparison: Comparison) -> None:
    """On a terminal of any usual width each network, accuracy and interval is readable, and no line is too long."""
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    print_summary(comparison, console)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    table = shown[: shown.index("In brackets")]
    assert all(len(line) <= width for line in table.splitlines())
    for expected in ("best ANN", "dense 8", "90.00%", "80.00%", "(49.02 to 94.33)"):
        assert expected in table
