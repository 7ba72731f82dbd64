"""What MLflow holds after a sweep: the contract in docs/architecture.md, read back from a real store."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from running import Sweep

from digitsweep.report.format import p_value

METRICS_BY_EPOCH = {"train_loss", "train_accuracy", "learning_rate", "epoch_seconds"}
METRICS_BY_EPOCH |= {"val_loss", "val_accuracy", "val_balanced_accuracy", "val_macro_f1"}
METRICS_AT_END = {"weights", "train_seconds"}
FILES = {
    "classification_report.json",
    "classification_report.txt",
    "confusion_matrix.json",
    "confusion_matrix.png",
    "learning_curves.png",
}


def test_the_sweep_run(smoke: Sweep) -> None:
    """The sweep is one finished run with its digest, its data, its commit, its files and the best of each family."""
    run = smoke.parent()
    assert run.info.status == "FINISHED"
    tags = run.data.tags
    assert tags["digitsweep.state"] == "COMPLETE"
    assert tags["digitsweep.data"] == "digits"
    for name in ("id", "digest", "data.digest", "data.digest.test", "commit"):
        assert tags[f"digitsweep.{name}"]
    coordinator = json.loads(tags["digitsweep.coordinator"])
    assert (coordinator["generation"], coordinator["released"]) == (1, True)
    assert not [name for name in run.data.params if name.startswith("digitsweep.")], "only a later coordinator claims it"
    figures = {"test_accuracy", "weights", "search_val_accuracy", "selection_val_accuracy"}
    figures |= {"confirmation_val_accuracy", "confirmation_test_accuracy", "test_balanced_accuracy", "test_macro_f1"}
    assert set(run.data.metrics) == {f"{family}_{figure}" for family in ("ann", "cnn") for figure in figures}
    assert "experiment.yaml" in smoke.artifacts(run)
    assert tags["mlflow.note.content"] == smoke.artifact(run, "comparison/report.md").decode()
    files = (
        "comparison.json",
        "comparison.csv",
        "report.html",
        "report.md",
        "mistakes.npz",
        "training_curves.png",
        "confusion_matrices.png",
        "draw.html",
        "model-card-ann.md",
        "model-card-cnn.md",
    )
    assert smoke.artifacts(run, "comparison") == {f"comparison/{name}" for name in files}
    assert run.inputs is not None
    assert run.inputs.dataset_inputs[0].dataset.name == "digits"


def test_every_trial_has_ended_below_the_sweep(smoke: Sweep) -> None:
    """Each trial is a child of the one sweep run, and its status tells its state; baselines are never pruned."""
    trials = smoke.runs("trial")
    assert len(trials) == 2 * 3 + 2
    for run in trials:
        assert run.data.tags["mlflow.parentRunId"] == smoke.parent().info.run_id
        assert run.info.status == {"COMPLETE": "FINISHED", "PRUNED": "KILLED"}[run.data.tags["trial.state"]]
        assert "baseline" not in run.data.tags or run.data.tags["trial.state"] == "COMPLETE"


def test_every_training_names_its_code(smoke: Sweep) -> None:
    """Each training's run, and each registered version, says which commit it is of, and whether that was changed since."""
    sweep = smoke.parent().data.tags
    for kind in ("trial", "finalist", "refit"):
        for run in smoke.runs(kind):
            for name in ("digitsweep.commit", "digitsweep.dirty"):
                assert run.data.tags[name] == sweep[name]
    for family in ("ann", "cnn"):
        tags = smoke.client.get_model_version_by_alias(f"digits-{family}", "challenger").tags
        assert tags["digitsweep.commits"] == tags["digitsweep.commit"] == sweep["digitsweep.commit"]
        assert tags["digitsweep.dirty"] == sweep["digitsweep.dirty"]


def test_versions_say_how_an_image_is_prepared(smoke: Sweep) -> None:
    """The versions of scikit-learn's digits are for digits on paper, called by their labels."""
    for family in ("ann", "cnn"):
        tags = smoke.client.get_model_version_by_alias(f"digits-{family}", "challenger").tags
        preparation = {"kind": "digits", "size": 8, "fit": "letterbox", "channels": 1}
        assert json.loads(tags["digitsweep.preparation"]) == preparation
        assert json.loads(tags["digitsweep.classes"]) == [str(label) for label in range(10)]


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
        assert report["macro avg"]["recall"] == pytest.approx(run.data.metrics["val_balanced_accuracy"])
        assert smoke.artifact(run, "confusion_matrix.png").startswith(b"\x89PNG")


def test_params_are_flat_and_typed_alike(smoke: Sweep) -> None:
    """A hyperparameter is one flat key, an integer everywhere or a number with a point everywhere, or a word."""
    kinds: dict[str, set[type]] = {}
    for run in smoke.runs("trial"):
        for name, text in run.data.params.items():
            kind = int if text.isdecimal() else str if text.isidentifier() else float
            assert str(kind(text)) == text
            kinds.setdefault(name, set()).add(kind)
    assert all(len(kind) == 1 for kind in kinds.values()), kinds
    assert kinds["units_1"] == {int}
    assert kinds["learning_rate"] == {float}
    assert "family" not in kinds


def test_no_configuration_is_trained_twice(smoke: Sweep) -> None:
    """No two trials of a family have the same hyperparameters."""
    seen = [(run.data.tags["family"], tuple(sorted(run.data.params.items()))) for run in smoke.runs("trial")]
    assert len(set(seen)) == len(seen)


def test_finalists_are_runs_of_their_own(smoke: Sweep) -> None:
    """Two configurations of each family on the same two fresh seeds, and the winner on three others: children of the sweep,
    with files and a model."""
    finalists = smoke.runs("finalist")
    for family in ("ann", "cnn"):
        own = [run for run in finalists if run.data.tags["family"] == family]
        seeds = Counter(run.data.tags["seed"] for run in own)
        assert set(seeds.values()) == {2}
        assert len(seeds) == 2
        assert not set(seeds) & {run.data.tags["seed"] for run in smoke.runs("trial")}
        confirmations = [run for run in smoke.runs("confirmation") if run.data.tags["family"] == family]
        names = {f"{_winner(smoke, family)} confirmation {number}" for number in (1, 2, 3)}
        assert {run.info.run_name for run in confirmations} == names
        assert len({run.data.tags["seed"] for run in confirmations} - set(seeds)) == 3
    for run in finalists + smoke.runs("confirmation") + smoke.runs("refit"):
        assert run.data.tags["mlflow.parentRunId"] == smoke.parent().info.run_id
        assert run.info.status == "FINISHED"
        assert run.outputs is not None
        assert len(run.outputs.model_outputs) == 1
    assert all(smoke.artifacts(run) >= FILES for run in finalists + smoke.runs("confirmation"))


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
    """comparison.json names, in each family, the best mean over the selection seeds, as the runs' own metrics give it."""
    comparison = json.loads(smoke.artifact(smoke.parent(), "comparison/comparison.json"))
    for best in (each for each in comparison["entries"] if each["role"] == "best"):
        means: dict[str, list[float]] = {}
        for run in smoke.runs("finalist"):
            if run.data.tags["family"] == best["family"]:
                means.setdefault(run.data.tags["trial.number"], []).append(run.data.metrics["val_accuracy"])
        (won,) = (each for each in comparison["finalists"] if each["family"] == best["family"] and each["won"])
        assert won["trial"] == best["trial"]
        assert won["selection_val_accuracy"] == pytest.approx(max(sum(values) / len(values) for values in means.values()))
        assert sorted(won["selection_val_accuracies"]) == sorted(means[str(int(won["trial"][4:7]))])
        assert best["test"]["images"] == 359
        assert best["test"]["low"] < best["test"]["accuracy"] < best["test"]["high"]
    differing = comparison["difference"]
    assert differing["first_wrong"] == differing["only_first_wrong"] + differing["both_wrong"]
    tested = {each["family"]: each["test"] for each in comparison["entries"] if each["role"] == "best"}
    assert differing["first_wrong"] == tested["ann"]["images"] - tested["ann"]["hits"]
    assert differing["second_wrong"] == tested["cnn"]["images"] - tested["cnn"]["hits"]
    assert p_value(differing["p_value"]) in comparison["verdict"]
    assert comparison["verdict"] in smoke.output


def _winner(smoke: Sweep, family: str) -> str:
    (refit,) = (run for run in smoke.runs("refit") if run.data.tags["family"] == family)
    return str(refit.info.run_name).removesuffix(" refit")
