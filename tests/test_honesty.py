"""A sweep's prediction, computed again by other means; and what it says where there is nothing to find, or a leak."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from running import Sweep, run_digitsweep
from scipy.stats import binomtest
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix

from digitsweep.data.sources import load_dataset


def text_of(page: bytes) -> str:
    """What a page says, without its markup, its styles and its pictures."""
    plain = re.sub(r"<(style|svg|script)\b.*?</\1>", " ", page.decode(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", plain)).split())


def test_the_answer_is_what_the_registered_models_give(smoke: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accuracies, McNemar's test, recalls and confused pairs of comparison.json and of the page, computed again from the
    registry with nothing of digitsweep but its split."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", smoke.uri)
    mlflow.set_tracking_uri(smoke.uri)
    comparison = json.loads(smoke.artifact(smoke.parent(), "comparison/comparison.json"))
    page = text_of(smoke.artifact(smoke.parent(), "comparison/report.html"))
    test = load_dataset("digits", validation=0.25, seed=0).test.open("a test")
    predicted = {}
    for entry in (each for each in comparison["entries"] if each["role"] == "best"):
        model = mlflow.keras.load_model(entry["model"])
        predicted[entry["family"]] = model.predict(test.images, verbose=0).argmax(axis=1)
        hits = int((predicted[entry["family"]] == test.labels).sum())
        assert entry["test"]["hits"] == hits
        assert entry["weights"] == model.count_params()
        assert f"{100 * hits / 359:.2f} %" in page
        matrix = confusion_matrix(test.labels, predicted[entry["family"]], labels=range(10))
        for label, each in enumerate(comparison["mistakes"]["classes"]):
            assert each["recalls"][entry["family"].upper()]["hits"] == matrix[label, label]
        for pair in comparison["mistakes"]["confused"][entry["family"].upper()]:
            assert matrix[pair["true"], pair["predicted"]] == pair["count"]
    ann, cnn = predicted["ann"] != test.labels, predicted["cnn"] != test.labels
    more, fewer = int((ann & ~cnn).sum()), int((cnn & ~ann).sum())
    told = comparison["difference"]
    assert (told["only_first_wrong"], told["only_second_wrong"], told["both_wrong"]) == (more, fewer, int((ann & cnn).sum()))
    assert told["p_value"] == pytest.approx(binomtest(more, more + fewer).pvalue if more + fewer else 1.0)
    assert comparison["verdict"] in page
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # back to the default


NOTHING = """\
name: nothing
question: What does a sweep find where there is nothing to find?
seed: 1
data: {source: noise.npz, validation: 0.25}
budget: {trials: 2, epochs: 2, seconds: 30}
finalists: {top: 1, seeds: 1, confirm: 3}
families:
  ann:
    baselines: {softmax: {params: {hidden_layers: 0}, published_accuracy: 0.123}}
    space: {hidden_layers: 1, units: {type: int, low: 8, high: 32}, learning_rate: 0.01}
  cnn: {space: {blocks: 1, filters: {type: int, low: 4, high: 8}, padding: same, learning_rate: 0.01}}
"""


@pytest.mark.slow
def test_nothing_is_found_in_shuffled_labels_and_a_leak_is_reported(store: Path) -> None:
    """Labels that have nothing to do with the images: the test set cannot tell the families apart, and both guess. Thirty of
    the test images were planted among the training images, and the report says so."""
    digits = load_digits()
    images = (digits.images * 15).astype(np.uint8)
    images = images[np.unique(images.reshape(len(images), -1), axis=0, return_index=True)[1]]
    generator = np.random.default_rng(5)
    order = generator.permutation(len(images))
    labels = generator.integers(0, 10, len(images)).astype(np.uint8)
    train, test = order[:1200], order[1200:]
    leaked = np.concatenate([images[train], images[test[:30]]])
    np.savez("noise.npz", x_train=leaked, y_train=labels[: len(leaked)], x_test=images[test], y_test=labels[-len(test) :])
    Path("nothing.yaml").write_text(NOTHING)
    finished = run_digitsweep("sweep", "nothing.yaml", cwd=store)
    assert finished.returncode == 0, finished.stderr
    assert "This test set cannot tell this ANN from this CNN" in finished.stdout
    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    (run,) = client.search_runs(["1"], "tags.`digitsweep.kind` = 'sweep'")
    page = text_of(Path(client.download_artifacts(run.info.run_id, "comparison/report.html")).read_bytes())
    comparison = json.loads(Path(client.download_artifacts(run.info.run_id, "comparison/comparison.json")).read_text())
    assert all(each["test"]["low"] < 0.14 for each in comparison["entries"])
    duplicates = comparison["duplicates"]
    assert duplicates["train_test"] + duplicates["validation_test"] == 30
    assert f"{duplicates['train_test']} test images are also among the training images" in page
    assert "test images are also among the" in finished.stdout
    assert [each["published_accuracy"] for each in comparison["entries"] if each["role"] == "baseline"] == [0.123]
    assert "Compared with published models" in page


CLAIMED = """\
name: claimed
question: How good is a softmax on digits?
data: {source: digits, validation: 0.25}
budget: {trials: 0, epochs: 1, seconds: 1}
register_models: false
families: {ann: {baselines: {softmax: {params: {hidden_layers: 0}, published_accuracy: 0.123}}}}
"""


def test_what_is_published_of_other_images_is_not_held_against_these(store: Path) -> None:
    """With `--data` the experiment's published figures are of other images, and stand beside nothing."""
    digits = load_digits()
    images, labels = (digits.images * 15).astype(np.uint8), digits.target.astype(np.uint8)
    np.savez("mine.npz", x_train=images[:1200], y_train=labels[:1200], x_test=images[1200:], y_test=labels[1200:])
    Path("claimed.yaml").write_text(CLAIMED)
    finished = run_digitsweep("sweep", "claimed.yaml", "--data", "mine.npz", cwd=store)
    assert finished.returncode == 0, finished.stderr
    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    (run,) = client.search_runs(["1"], "tags.`digitsweep.kind` = 'sweep'")
    page = text_of(Path(client.download_artifacts(run.info.run_id, "comparison/report.html")).read_bytes())
    comparison = json.loads(Path(client.download_artifacts(run.info.run_id, "comparison/comparison.json")).read_text())
    assert {each["published_accuracy"] for each in comparison["entries"]} == {None}
    assert "Compared with the baselines" in page
    assert "Published" not in page
    assert " published " not in finished.stdout
