"""A sweep on a folder of image files: class names and what was left out are in all records."""

from __future__ import annotations

import json
import re
from pathlib import Path
from subprocess import CompletedProcess

import mlflow
import numpy as np
import pytest
from PIL import Image
from running import Sweep, run_digitsweep
from sklearn.datasets import load_digits

pytestmark = pytest.mark.slow
NAMES = ("zero", "one", "two", "three")
EXPERIMENT = """\
name: animals
question: Are names shown?
data: {source: animals, validation: 0.2, fit: crop}
budget: {trials: 1, epochs: 2, seconds: 20}
finalists: {top: 1, seeds: 0, confirm: 1}
families:
  ann:
    space: {hidden_layers: 1, units: {type: int, low: 16, high: 32, per: hidden_layers}, batch_size: 32}
  cnn:
    space: {blocks: 1, filters: {type: int, low: 4, high: 8, per: blocks}, padding: same, batch_size: 32}
"""


def run(place: Path, *arguments: str) -> CompletedProcess[str]:
    """digitsweep with its records and its cache in a folder."""
    return run_digitsweep(
        *arguments,
        cwd=place,
        MLFLOW_TRACKING_URI=f"sqlite:///{place}/mlflow.db",
        DIGITSWEEP_CACHE=str(place / "cache"),
        DIGITSWEEP_STATE=str(place / "state"),
    )


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A sweep of seconds on small digits as PNG files, of which one is damaged and one is in both splits."""
    place = tmp_path_factory.mktemp("sweep")
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        if label < len(NAMES):
            path = place / "animals" / ("test" if number % 4 == 0 else "train") / NAMES[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15).astype(np.uint8)).resize((10, 12 if number % 2 else 10)).save(path)
    (place / "animals/train/two/bad.png").write_bytes(b"bad")
    first = sorted((place / "animals/train/one").iterdir())[0]
    (place / "animals/test/one/again.png").write_bytes(first.read_bytes())
    (place / "animals.yaml").write_text(EXPERIMENT)
    done = run(place, "sweep", "animals.yaml", "--workers", "2")
    assert done.returncode == 0, done.stderr
    return Sweep(place, f"sqlite:///{place}/mlflow.db", done.stdout)


def test_the_terminal_says_what_was_read(swept: Sweep) -> None:
    """What was chosen and left out is said when the sweep begins."""
    assert re.search(r"Reading \d+ image files\.", swept.output)
    assert "12x12 pixels, grey" in swept.output
    assert "1 damaged (train/two/bad.png)" in swept.output


def test_reports_of_trials_have_names(swept: Sweep) -> None:
    """The classification report and the confusion matrix of each trial name the classes, in the order of the labels."""
    for run in swept.runs("trial"):
        report = json.loads(swept.artifact(run, "classification_report.json"))
        assert set(NAMES) < report.keys()
        assert "three" in swept.artifact(run, "classification_report.txt").decode()
        matrix = json.loads(swept.artifact(run, "confusion_matrix.json"))
        assert tuple(matrix["classes"]) == NAMES
        supports = [report[name]["support"] for name in NAMES]
        assert np.array(matrix["matrix"]).sum(axis=1).tolist() == supports
        assert np.trace(matrix["matrix"]) / sum(supports) == pytest.approx(report["accuracy"])


def test_the_comparison_has_names_and_what_was_left_out(swept: Sweep) -> None:
    """comparison.json, the page and the run's dataset tell names, preparation and the damaged file; the leak counts."""
    parent = swept.parent()
    comparison = json.loads(swept.artifact(parent, "comparison/comparison.json"))
    assert tuple(comparison["data"]["classes"]) == NAMES
    assert comparison["data"]["preparation"] == {"size": 12, "fit": "crop", "channels": 1}
    left_out = {"damaged": {"count": 1, "first": ["train/two/bad.png"]}}
    assert comparison["data"]["files"]["left_out"] == left_out
    assert comparison["duplicates"]["train_test"] + comparison["duplicates"]["validation_test"] == 1
    assert parent.inputs is not None
    profile = json.loads(parent.inputs.dataset_inputs[0].dataset.profile or "")
    assert (tuple(profile["class_names"]), profile["files"]["left_out"]) == (NAMES, left_out)
    page = swept.artifact(parent, "comparison/report.html").decode()
    assert "train/two/bad.png" in page
    shown = set(re.findall(r"label <b>([^<]*)</b>|labelled (\w+):|<td>(\w+)</td><td>\w+</td>", page))
    assert {name for found in shown for name in found if name} <= set(NAMES)


def test_registered_versions_have_names(swept: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version's tags, and the metadata of its model, have the names of the classes and how to prepare an image."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", swept.uri)
    for family in ("ann", "cnn"):
        version = swept.client.get_model_version_by_alias(f"animals-{family}", "challenger")
        preparation = {"kind": "images", "size": 12, "fit": "crop", "channels": 1}
        assert tuple(json.loads(version.tags["digitsweep.classes"])) == NAMES
        assert json.loads(version.tags["digitsweep.preparation"]) == preparation
        about = mlflow.models.get_model_info(f"models:/animals-{family}@challenger").metadata
        assert about == {"classes": list(NAMES), "preparation": preparation}


def test_models_are_compared_on_the_same_images(swept: Sweep) -> None:
    """`compare` prepares the images as the models' tags say, and its gate names classes."""
    names = [f"animals-{family}@challenger" for family in ("ann", "cnn")]
    compared = run(swept.folder, "compare", *names)
    assert compared.returncode == 0, compared.stderr
    gated = run(swept.folder, "promote", "animals-ann", "--dry-run")
    assert re.search(rf"class ({'|'.join(NAMES)})", gated.stdout), gated.stdout + gated.stderr
