"""Registered models compared by name, on a real store with what a sweep left there."""

from __future__ import annotations

import json
from itertools import combinations

import pytest
from mlflow import MlflowClient
from running import Sweep, run_digitsweep
from scipy.stats import binomtest

from digitsweep.evaluation.statistics import holm


def test_registered_models_are_compared(smoke: Sweep) -> None:
    """The two challengers of a sweep, by alias and by version: the same accuracies as the sweep found, on a run of its own
    with the page, and metrics that tell the models apart."""
    finished = run_digitsweep(
        "compare", "digits-ann@challenger", "digits-cnn/1", cwd=smoke.folder, MLFLOW_TRACKING_URI=smoke.uri
    )
    assert finished.returncode == 0, finished.stderr
    (run,) = [each for each in smoke.runs("comparison") if "digitsweep.models" in each.data.tags]
    assert run.info.status == "FINISHED"
    assert run.data.tags["digitsweep.models"] == "models:/digits-ann/1 models:/digits-cnn/1"
    found = json.loads(smoke.artifact(run, "comparison/comparison.json"))
    swept = json.loads(smoke.artifact(smoke.parent(), "comparison/comparison.json"))
    assert run.data.tags["digitsweep.data.digest.test"] == swept["data"]["digests"]["test"]
    assert swept["opened_before"] == 0
    assert found["opened_before"] >= 2, "by the sweep, once for each family, and by whatever was compared before"
    assert found["models_before"] >= 2
    assert "The tracking server knows of earlier openings of the same test images: " in finished.stdout
    best = [each for each in swept["entries"] if each["role"] == "best"]
    assert [each["test"] for each in found["entries"]] == [each["test"] for each in best]
    assert found["difference"]["p_value"] == swept["difference"]["p_value"]
    assert found["verdict"] in finished.stdout
    assert run.data.metrics["digits-ann_1_test_accuracy"] == best[0]["test"]["accuracy"]
    assert run.data.metrics["digits-cnn_1_test_accuracy"] == best[1]["test"]["accuracy"]
    assert smoke.artifact(run, "comparison/report.html").startswith(b"<!")


def test_models_of_one_name_are_told_apart(smoke: Sweep) -> None:
    """Two logged models of one name beside a version: each has a label of its own, and each pair is compared, with Holm's
    correction, which the sentence names."""
    client = MlflowClient(smoke.uri)
    logged = client.search_logged_models([each.experiment_id for each in client.search_experiments()])
    ids = [each.model_id for each in logged if each.name == "digits-cnn"][:2]
    assert len(ids) == 2
    named = ("digits-ann/1", *(f"models:/{each}" for each in ids))
    finished = run_digitsweep("compare", *named, cwd=smoke.folder, MLFLOW_TRACKING_URI=smoke.uri)
    assert finished.returncode == 0, finished.stderr
    (run,) = [each for each in smoke.runs("comparison") if each.data.tags.get("digitsweep.models", "").endswith(ids[1])]
    found = json.loads(smoke.artifact(run, "comparison/comparison.json"))
    labels = [each["trial"] for each in found["entries"]]
    assert labels == ["digits-ann 1", *(f"digits-cnn {each[:10]}" for each in ids)]
    pairs = found["differences"]
    assert [(each["first"], each["second"]) for each in pairs] == list(combinations(labels, 2))
    for told in pairs:
        raw = binomtest(told["only_first_wrong"], told["discordant"]).pvalue if told["discordant"] else 1.0
        assert told["raw_p_value"] == pytest.approx(raw)
        assert f"{told['second']} minus {told['first']}" in finished.stdout
    assert [each["p_value"] for each in pairs] == pytest.approx(holm([each["raw_p_value"] for each in pairs])[0])
    assert "Holm's correction for 3 comparisons" in finished.stdout
    assert found["difference"] is None


@pytest.mark.parametrize(
    ("named", "told"),
    [
        (["digits-ann/1"], "name two or more"),
        (["digits-ann/1", "digits-ann@challenger"], "twice"),
        (["digits-ann@nobody", "digits-cnn/1"], "digits-ann@nobody: no such model"),
        (["digits-ann/99", "digits-cnn/1"], "digits-ann/99: no such model"),
    ],
)
def test_models_that_cannot_be_compared(named: list[str], told: str, smoke: Sweep) -> None:
    """One line says which model, and what to write; exit code 2."""
    finished = run_digitsweep("compare", *named, cwd=smoke.folder, MLFLOW_TRACKING_URI=smoke.uri)
    assert finished.returncode == 2
    assert told in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1
