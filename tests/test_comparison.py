"""The comparison's figures, by hand."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from digitsweep.cli.tables import print_comparison, sentences
from digitsweep.data import Duplicates
from digitsweep.evaluation.comparison import (
    ACCURACIES,
    Comparison,
    Entry,
    Finalist,
    Opening,
    Spent,
    Used,
    comparison_from,
    spent,
)
from digitsweep.evaluation.cost import Cost, Latency
from digitsweep.evaluation.mistakes import find_mistakes
from digitsweep.evaluation.statistics import Share, difference, differences, family_difference, family_differences
from digitsweep.families import parse_params
from digitsweep.report.sentences import family_verdict, how_chosen, on_validation, verdict
from digitsweep.trial import (
    SPENT,
    EpochMetrics,
    Kind,
    SearchHistory,
    Trial,
    TrialPoint,
    TrialRecord,
    TrialResult,
    TrialState,
    best_of,
)

NAMES = ("ANN", "CNN")


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
    """Baselines are counted beside the searched trials, not among them, and so is all that follows the search. A trial that
    the seconds ended is not one that the pruner stopped."""
    late = record(3, 0.5, state=TrialState.PRUNED)
    late = dataclasses.replace(late, result=dataclasses.replace(late.result, reason=SPENT))
    again = record(1, 0.9)
    kinds = (Kind.FINALIST, Kind.FINALIST, Kind.CONFIRMATION, Kind.REFIT)
    finals = [dataclasses.replace(again, trial=dataclasses.replace(again.trial, kind=kind)) for kind in kinds]
    records = [record(0, 0.9, baseline="softmax"), record(1, 0.9), record(2, 0.5, state=TrialState.PRUNED), late]
    found = spent(records, finals)
    trials = {"COMPLETE": 1, "PRUNED": 1, "OUT_OF_TIME": 1}
    assert found == Spent(trials, Used(3, 6.0), Used(1, 2.0), Used(2, 4.0), Used(1, 2.0), Used(1, 2.0))
    assert found.ended == "1 complete, 1 pruned, 1 out of time"


@pytest.fixture
def comparison() -> Comparison:
    best = Entry(
        family="ann", role="best", trial="ann-001", network="dense 8", params={"units_1": 8, "learning_rate": 0.1}, seed=3,
        epochs=2, trained_on=11, weights=90, train_seconds=1.5, search_val_accuracy=0.97, test=Share(8, 10),
        model="models:/x-ann/1",
    )  # fmt: skip
    baseline = dataclasses.replace(
        best, role="baseline", trial="ann-000 softmax", published_accuracy=0.9, test=None, params={"learning_rate": 0.2},
        trained_on=1, search_val_accuracy=None, validation=Share(9, 10), model="",
    )  # fmt: skip
    return Comparison(
        experiment="x", question="?", digest="d", metric="val_accuracy", state="INTERRUPTED",
        data={"name": "x", "source": "here", "digests": {}, "images": {"train": 1, "validation": 10, "test": 10}},
        budget={"trials": 1, "epochs": 2, "seconds": 3.0}, spent={"ann": Spent({"COMPLETE": 1}, Used(1, 1.5), Used(1, 1.5))},
        entries=(best, baseline), run_id="r", seconds=9.0,
    )  # fmt: skip


@pytest.fixture
def full(comparison: Comparison) -> Comparison:
    """A comparison that has a value in every field."""
    labels = np.array([0, 1, 1, 0, 1, 0], np.uint8)
    ann, cnn = (np.eye(2, dtype=np.float32)[each] for each in ([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 1, 1]))
    found = difference(labels, ann.argmax(axis=1).astype(np.uint8), cnn.argmax(axis=1).astype(np.uint8), NAMES)
    fresh = ((5, 6), (0.94, 0.96), (7, 8), (0.9, 0.94), (0.8, 0.9))
    finalist = Finalist("ann", "ann-001", "dense 8", 90, 2, 2, 0.97, *fresh, won=True)
    families = family_difference(np.array([[True, False]] * 2), np.array([[True, True]] * 2), NAMES)
    point = TrialPoint(1, "PRUNED", {"units_1": 8, "learning_rate": 1.0, "optimizer": "sgd"}, (0.5, 0.75), 1.5)
    return dataclasses.replace(
        comparison,
        difference=found,
        verdict=verdict(found),
        family_verdict=family_verdict(families),
        family_difference=families,
        finalists=(finalist, Finalist("ann", "ann-002", "dense 9", 95, 2, 3, 0.96, (5,), (0.9,))),
        mistakes=find_mistakes(labels, {"ANN": ann, "CNN": cnn}, 2),
        costs=(Cost("best ANN", "ann", 0.8, 90, 1.5, (Latency(1, 0.001, 0.002),)),),
        history={"ann": SearchHistory("ann", "val_accuracy", (point,), {"learning_rate": 1.0}, ("learning_rate",))},
        openings=(Opening("sweep r: best ANN", "2024-05-01T12:00:00+00:00", "abc", 1),),
        opened_before=4,
        models_before=3,
        duplicates=Duplicates(1, 2, 3),
        precisions=("float32",),
    )


@pytest.fixture
def many(full: Comparison) -> Comparison:
    """A comparison of three families that has what two do not have."""
    said = {name: np.eye(2, dtype=np.float32)[[0, 1, 1, 0, 1, place]] for place, name in enumerate(("ANN", "CNN"))}
    said["ResNet"] = np.eye(2, dtype=np.float32)[[1, 1, 1, 0, 1, 1]]
    labels = np.array([0, 1, 1, 0, 1, 0], np.uint8)
    found = differences(labels, {name: each.argmax(axis=1).astype(np.uint8) for name, each in said.items()})
    between = family_differences({name: np.stack([each.argmax(axis=1) == labels] * 2) for name, each in said.items()})
    return dataclasses.replace(
        full,
        difference=None,
        family_difference=None,
        differences=found,
        family_differences=between,
        verdict=verdict(*found),
        family_verdict=family_verdict(*between),
        mistakes=find_mistakes(labels, said, 2),
    )


@pytest.mark.parametrize("which", ["comparison", "full", "many"])
def test_json_round_trip(which: str, request: pytest.FixtureRequest) -> None:
    """What is written as JSON is read back as the same comparison, whichever fields have values."""
    comparison: Comparison = request.getfixturevalue(which)
    written = json.dumps(comparison.values(), allow_nan=False)
    assert comparison_from(json.loads(written)) == comparison


def test_the_full_comparison_is_full(full: Comparison, many: Comparison) -> None:
    """No field is left out of the round trip: each has a value that is not its default."""
    for each in dataclasses.fields(full):
        assert getattr(full, each.name) or getattr(many, each.name), each.name


def test_json_of_pairs(many: Comparison) -> None:
    """Each pair has its own p-value, the corrected one and the name of the correction, which a single pair does not have."""
    values = many.values()
    for found in (values["differences"], values["family_differences"]):
        assert [(each["first"], each["second"]) for each in found] == [("ANN", "CNN"), ("ANN", "ResNet"), ("CNN", "ResNet")]
        assert {(each["comparisons"], each["correction"]) for each in found} == {(3, "Holm")}
        assert all(each["raw_p_value"] <= each["p_value"] <= 1.0 for each in found)
    single = dataclasses.replace(many, differences=(difference(*np.zeros((3, 4), np.uint8)),)).values()["differences"]
    assert not {"comparisons", "raw_p_value", "correction"} & set(single[0])


@pytest.mark.parametrize("old", [{"rivals": 3, "correction": "Bonferroni"}, {}])
def test_a_comparison_of_an_earlier_version_is_read(old: dict[str, object], full: Comparison) -> None:
    """What was written before there were more than two families is read, also if several models had been compared."""
    values = json.loads(json.dumps(full.values()))
    del values["differences"], values["family_differences"], values["mistakes"]["overlap"]
    del values["mistakes"]["galleries"]["only_wrong"]
    values["difference"] |= old
    assert comparison_from(values) == full


def test_overlap_is_told(many: Comparison) -> None:
    """Below the verdict, three models have a sentence on how their errors overlap, and none about two of them."""
    told = sentences(many)
    assert told[:2] == [many.verdict, many.family_verdict]
    said = "Of 6 test images, all models get 4 right and 0 wrong. Images that only one of them gets wrong: "
    assert f"{said}the ANN 0, the CNN 0 and the ResNet 1." in told
    assert not any(line.startswith("Of the") for line in told)


def test_json_keys(full: Comparison) -> None:
    """The JSON has a key for each field, and beside the fields the figures that follow from them."""
    values = full.values()
    assert list(values) == [each.name for each in dataclasses.fields(full)]
    share = values["entries"][1]["validation"]
    assert set(share) == {"accuracy", "low", "high", "hits", "images"}
    assert (share["accuracy"], share["hits"], share["images"]) == (0.9, 9, 10)
    assert (share["low"], share["high"]) == Share(9, 10).interval
    assert values["entries"][1]["test"] is None
    assert values["entries"][0]["validation"] is None
    differing = values["difference"]
    assert (differing["first_wrong"], differing["second_wrong"], differing["both_wrong"]) == (3, 2, 1)
    assert (differing["only_first_wrong"], differing["only_second_wrong"], differing["discordant"]) == (2, 1, 3)
    assert differing["accuracy"] == pytest.approx(1 / 6)
    first, second = values["finalists"]
    assert (first["selection_val_accuracy"], first["optimism"]) == (pytest.approx(0.95), pytest.approx(0.05))
    assert first["confirmation_val_accuracy"] == pytest.approx(0.92)
    assert first["confirmation_val_std"] == pytest.approx(0.02 * 2**0.5)
    assert first["confirmation_test_accuracy"] == pytest.approx(0.85)
    assert (second["selection_val_accuracy"], second["selection_val_std"], second["optimism"]) == (0.9, None, None)
    assert "confirmation_val_accuracy" not in second
    assert values["budget"] == {"trials": 1, "epochs": 2, "seconds": 3.0}
    assert type(values["budget"]["trials"]) is int


def test_numbers_of_numpy_are_written_as_numbers(comparison: Comparison) -> None:
    """A number of numpy's among the data becomes Python's; anything else that JSON has no form for is refused."""
    written = dataclasses.replace(comparison, data={"images": {"test": np.int64(10)}}).values()
    assert json.loads(json.dumps(written))["data"] == {"images": {"test": 10}}
    with pytest.raises(Exception, match="object has no JSON form"):
        dataclasses.replace(comparison, data={"images": object()}).values()


def test_a_comparison_may_have_more_or_less(full: Comparison) -> None:
    """Keys that are not known are passed over, and fields that are not there have their defaults."""
    values = {**full.values(), "disagreement": {"images": 6}}
    for name in ("difference", "verdict", "finalists", "mistakes", "costs", "history", "openings", "duplicates"):
        del values[name]
    found = comparison_from(values)
    assert found.entries == full.entries
    assert (found.difference, found.verdict, found.finalists) == (None, "", ())


def test_a_comparison_of_version_0_1_is_refused(full: Comparison) -> None:
    """What version 0.1 wrote meant other things by the same names: it does not say what a network was trained on."""
    values = json.loads(json.dumps(full.values()))
    for entry in values["entries"]:
        del entry["trained_on"], entry["search_val_accuracy"]
        entry["validation"] = Share(9, 10).values()
    with pytest.raises(ValueError, match="trained_on"):
        comparison_from(values)


def test_the_table_has_a_row_for_each_entry(comparison: Comparison) -> None:
    """comparison.csv has the accuracies, each under its own name, and each hyperparameter in columns of their own."""
    table = comparison.table()
    assert list(table["role"]) == ["best", "baseline"]
    assert set(ACCURACIES) <= set(table)
    assert table["val_accuracy"].isna().tolist() == [True, False]
    assert table["val_accuracy"][1] == 0.9
    assert table["search_val_accuracy"][0] == 0.97
    assert list(table["trained_on"]) == [11, 1]
    assert list(table["learning_rate"]) == [0.1, 0.2]
    assert table["test_accuracy"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("changed", "said", "unsaid"),
    [
        ({}, "On 2 confirmation seeds, which chose nothing, it got 92.00 ± 2.83 %", "not measured"),
        ({}, "The search scored the ANN 5.00 points above its mean over the confirmation seeds.", "too high"),
        ({"search_val_accuracy": 0.9}, "2.00 points below its mean", "above"),
        ({"epochs": 18}, "was not measured: the search trained 2 epochs, the finalists 18.", "points"),
        ({"search_epochs": 1}, "was not measured: the search trained 1 epoch, the finalists 2.", "points"),
        (
            {"confirmation_seeds": (), "confirmation_val_accuracies": (), "confirmation_test_accuracies": ()},
            "No confirmation seed was trained, and the mean over the seeds that chose a winner is a little too high.",
            "chose nothing",
        ),
        (
            {"confirmation_seeds": (7,), "confirmation_val_accuracies": (0.9,), "confirmation_test_accuracies": (0.8,)},
            "On 1 confirmation seed, which chose nothing, it got 90.00 %; ",
            "a little too high",
        ),
    ],
)
def test_how_a_winner_was_chosen(changed: dict[str, Any], said: str, unsaid: str, full: Comparison) -> None:
    """Only seeds that chose nothing are called so; the search is compared with them only where it trained as long."""
    winner, loser = full.finalists
    told = how_chosen(dataclasses.replace(full, finalists=(dataclasses.replace(winner, **changed), loser)), full.best()[0])
    assert said in told
    assert unsaid not in told


def test_nothing_is_said_of_rivals_that_there_were_not(full: Comparison) -> None:
    """One finalist alone was not chosen by its seeds, so they do not flatter it. Without finalists the search chose, and its
    score flatters. A model that somebody named was not chosen here."""
    winner = dataclasses.replace(full.finalists[0], confirmation_seeds=(), confirmation_val_accuracies=())
    alone = how_chosen(dataclasses.replace(full, finalists=(winner,)), full.best()[0])
    assert alone.endswith("on 2 selection seeds (2 epochs), the only finalist.")
    searched = how_chosen(dataclasses.replace(full, finalists=()), full.best()[0])
    assert "97.00 % of the validation images right and was chosen by that score, which is therefore too" in searched
    named = dataclasses.replace(full.best()[0], search_val_accuracy=None)
    assert how_chosen(dataclasses.replace(full, finalists=()), named) == ""


def test_validation_is_of_networks_that_it_did_not_choose(full: Comparison) -> None:
    """A best has the mean of its confirmation networks or nothing, never the score that chose it; a baseline its own."""
    best, baseline = full.entries
    assert on_validation(full, best) == "92.00 ± 2.83 % (2 seeds)"
    assert on_validation(dataclasses.replace(full, finalists=()), best) == ""
    assert on_validation(full, baseline) == "90.00 %"


def test_the_summary_counts_the_openings(full: Comparison) -> None:
    """That the test images were opened once for each is said only where it is so."""
    assert any("10 test images were opened once for each family, after the choice." in line for line in sentences(full))
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
    print_comparison(comparison, console)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    table = shown[: shown.index(sentences(comparison)[0][:20])]
    assert all(len(line) <= width for line in table.splitlines())
    for expected in ("best ANN", "dense 8", "90.00 %", "80.00 %", "(49.02 to 94.33 %)"):
        assert expected in table


def test_attempts_that_were_broken_off_count_in_the_budget(comparison: Comparison) -> None:
    """The terminal tells the seconds that a family used of its budget, and how many of them broken-off attempts took."""
    whole = Spent({"COMPLETE": 1}, Used(1, 10.0))
    spent = {"ann": whole, "cnn": dataclasses.replace(whole, attempt_seconds=4.0)}
    lines = sentences(dataclasses.replace(comparison, spent=spent))
    ann, cnn = (line.partition("(1 complete), ")[2] for line in lines if "(1 complete)" in line)
    assert ann.startswith("10.0 s of at most 3.0 s of training.")
    assert "interrupted" not in ann
    assert cnn.startswith("14.0 s of at most")
    assert "4.0 s of it in interrupted attempts" in cnn
