"""What MLflow holds after a sweep: the contract in docs/architecture.md, read back from a real store."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from running import Sweep

from digitsweep.verdict import p_text

METRICS_BY_EPOCH = {"train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate", "epoch_seconds"}
METRICS_AT_END = {"val_macro_f1", "weights", "train_seconds"}
FILES = {
    "classification_report.json",
    "classification_report.txt",
    "confusion_matrix.json",
    "confusion_matrix.png",
    "learning_curves.png",
}
STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}


def test_the_sweep_run(smoke: Sweep) -> None:
    """The sweep is one finished run with its digest, its data, its commit, its files and the best of each family."""
    run = smoke.parent()
    assert run.info.status == "FINISHED"
    tags = run.data.tags
    assert tags["digitsweep.state"] == "COMPLETE"
    assert tags["digitsweep.data"] == "digits"
    for name in ("digitsweep.digest", "digitsweep.data.digest", "digitsweep.data.digest.test", "digitsweep.commit"):
        assert tags[name]
    assert {"ann_val_accuracy", "ann_test_accuracy", "cnn_val_accuracy", "cnn_test_accuracy"} <= set(run.data.metrics)
    assert "experiment.yaml" in smoke.artifacts(run)
    assert {
        "comparison/comparison.json",
        "comparison/comparison.csv",
        "comparison/report.html",
        "comparison/report.md",
        "comparison/training_curves.png",
        "comparison/confusion_matrices.png",
    } == smoke.artifacts(run, "comparison")
    assert run.inputs is not None
    assert run.inputs.dataset_inputs[0].dataset.name == "digits"


def test_nothing_is_left_running(smoke: Sweep) -> None:
    """After a sweep no run is RUNNING, and each trial is a child of the one sweep run."""
    trials = smoke.runs("trial")
    assert len(trials) == 2 * 3 + 2
    assert {run.info.status for run in trials} <= {"FINISHED", "KILLED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {smoke.parent().info.run_id}


def test_status_tells_the_state(smoke: Sweep) -> None:
    """COMPLETE is FINISHED, PRUNED is KILLED, FAIL is FAILED; baselines are never pruned."""
    for run in smoke.runs("trial"):
        assert run.info.status == STATUS[run.data.tags["trial.state"]]
        assert "baseline" not in run.data.tags or run.data.tags["trial.state"] == "COMPLETE"


def test_metrics_by_epoch(smoke: Sweep) -> None:
    """Every trial, a pruned one too, has each metric at each of its epochs, counted from 1."""
    for run in smoke.runs("trial"):
        epochs = len(json.loads(run.data.tags["digitsweep.trial"])["values"])
        assert 1 <= epochs <= 3
        assert epochs == 3 or run.data.tags["trial.state"] == "PRUNED"
        for name in METRICS_BY_EPOCH:
            history = smoke.client.get_metric_history(run.info.run_id, name)
            assert sorted(each.step for each in history) == list(range(1, epochs + 1)), name
        assert set(run.data.metrics) >= METRICS_AT_END


def test_files_of_every_trial(smoke: Sweep) -> None:
    """Every trial, a pruned one too, has its report and its matrix, and both tell the accuracy of its last epoch."""
    for run in smoke.runs("trial"):
        assert smoke.artifacts(run) >= FILES
        matrix = np.array(json.loads(smoke.artifact(run, "confusion_matrix.json")))
        assert matrix.sum() == 360
        accuracy = float(np.trace(matrix) / matrix.sum())
        last = max(smoke.client.get_metric_history(run.info.run_id, "val_accuracy"), key=lambda each: each.step)
        assert accuracy == last.value
        report = json.loads(smoke.artifact(run, "classification_report.json"))
        assert report["accuracy"] == accuracy
        assert report["macro avg"]["f1-score"] == run.data.metrics["val_macro_f1"]
        assert smoke.artifact(run, "confusion_matrix.png").startswith(b"\x89PNG")


def test_params_are_flat_and_typed_alike(smoke: Sweep) -> None:
    """A hyperparameter is one flat key, an integer everywhere or a number with a point everywhere, or a word."""
    kinds: dict[str, set[type]] = {}
    for run in smoke.runs("trial"):
        for name, text in run.data.params.items():
            kinds.setdefault(name, set()).add(type(_read(text)))
    assert all(len(kind) == 1 for kind in kinds.values()), kinds
    assert kinds["units_1"] == {int}
    assert kinds["learning_rate"] == {float}
    assert "family" not in kinds


def test_no_configuration_is_trained_twice(smoke: Sweep) -> None:
    """No two trials of a family have the same hyperparameters."""
    seen = [(run.data.tags["family"], tuple(sorted(run.data.params.items()))) for run in smoke.runs("trial")]
    assert len(set(seen)) == len(seen)


def test_finalists_are_runs_of_their_own(smoke: Sweep) -> None:
    """Two configurations of each family on the same two fresh seeds, children of the sweep, with files and a model."""
    finalists = smoke.runs("finalist")
    for family in ("ann", "cnn"):
        own = [run for run in finalists if run.data.tags["family"] == family]
        seeds = Counter(run.data.tags["seed"] for run in own)
        assert set(seeds.values()) == {2}
        assert len(seeds) == 2
        assert not set(seeds) & {run.data.tags["seed"] for run in smoke.runs("trial")}
    for run in finalists + smoke.runs("refit"):
        assert run.data.tags["mlflow.parentRunId"] == smoke.parent().info.run_id
        assert run.info.status == "FINISHED"
        assert run.outputs is not None
        assert len(run.outputs.model_outputs) == 1
    assert all(smoke.artifacts(run) >= FILES for run in finalists)


def test_a_refit_is_registered_and_validates_nothing(smoke: Sweep) -> None:
    """One refit for each family: a version of its own run, with its curve, and no figure of validation."""
    refits = {run.data.tags["family"]: run for run in smoke.runs("refit")}
    for family in ("ann", "cnn"):
        run = refits[family]
        version = smoke.client.get_model_version_by_alias(f"digits-{family}", "challenger")
        assert version.run_id == run.info.run_id
        assert not [name for name in run.data.metrics if name.startswith("val_")]
        assert run.data.metrics["test_accuracy"] == smoke.parent().data.metrics[f"{family}_test_accuracy"]
        assert smoke.artifacts(run) == {"learning_curves.png", "weights.npz"}


def test_the_test_set_was_opened_once_for_each_family(smoke: Sweep) -> None:
    """Who, when and the digest stand on the sweep's run, and in the comparison."""
    tags = smoke.parent().data.tags
    comparison = json.loads(smoke.artifact(smoke.parent(), "comparison/comparison.json"))
    for family, opening in zip(("ann", "cnn"), comparison["openings"], strict=True):
        told = tags[f"digitsweep.test.opened.{family}"]
        assert tags["digitsweep.data.digest.test"] in told
        assert told.endswith("opening 1")
        assert opening["number"] == 1
        assert opening["at"] in told


def test_the_comparison_says_what_the_runs_say(smoke: Sweep) -> None:
    """comparison.json names, in each family, the best mean over fresh seeds, as the runs' own metrics give it."""
    comparison = json.loads(smoke.artifact(smoke.parent(), "comparison/comparison.json"))
    for best in (each for each in comparison["entries"] if each["role"] == "best"):
        means: dict[str, list[float]] = {}
        for run in smoke.runs("finalist"):
            if run.data.tags["family"] == best["family"]:
                means.setdefault(run.data.tags["trial.number"], []).append(run.data.metrics["val_accuracy"])
        (won,) = (each for each in comparison["finalists"] if each["family"] == best["family"] and each["won"])
        assert won["trial"] == best["trial"]
        assert won["mean"] == pytest.approx(max(sum(values) / len(values) for values in means.values()))
        assert sorted(won["validation"]) == sorted(means[str(int(won["trial"][4:7]))])
        assert best["test"]["images"] == 359
        assert best["test"]["low"] < best["test"]["accuracy"] < best["test"]["high"]
    differing = comparison["difference"]
    assert differing["first_wrong"] == differing["only_first_wrong"] + differing["both_wrong"]
    tested = {each["family"]: each["test"] for each in comparison["entries"] if each["role"] == "best"}
    assert differing["first_wrong"] == tested["ann"]["images"] - tested["ann"]["hits"]
    assert differing["second_wrong"] == tested["cnn"]["images"] - tested["cnn"]["hits"]
    assert p_text(differing["p_value"]) in comparison["verdict"]
    assert comparison["verdict"] in smoke.output


def _read(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
