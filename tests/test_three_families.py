"""A sweep of three families, from its experiment to its champions."""

from __future__ import annotations

import csv
import io
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from running import Sweep, run_digitsweep
from scipy.stats import binomtest
from test_report import Parsed

from digitsweep.evaluation.statistics import holm
from digitsweep.report.format import p_value

pytestmark = pytest.mark.slow
THREE = """\
name: three
question: Which of three is best?
data: {source: digits, validation: 0.25}
budget: {trials: 1, epochs: 2, seconds: 60}
pruner: {type: none}
finalists: {top: 1, seeds: 0, confirm: 2, refit: false}
families:
  ann: {space: {hidden_layers: 1, units: 32, batch_size: 64}}
  cnn: {space: {blocks: 1, filters: 8, batch_size: 64}}
  resnet: {space: {stages: 1, filters: 8, batch_size: 64}}
"""
FAMILIES, TITLES = ("ann", "cnn", "resnet"), ("ANN", "CNN", "ResNet")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("three")
    (folder / "three.yaml").write_text(THREE)
    finished = run_digitsweep("sweep", "three.yaml", "--workers", "2", cwd=folder, seconds=400)
    assert finished.returncode == 0, finished.stderr
    return Sweep(folder, f"sqlite:///{folder}/mlflow.db", finished.stdout)


@pytest.fixture(scope="module")
def told(three: Sweep) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(three.artifact(three.parent(), "comparison/comparison.json"))
    return found


def test_each_pair_is_compared(told: dict[str, Any]) -> None:
    """Networks and families are compared in pairs, each with Holm's correction over the three."""
    assert (told["difference"], told["family_difference"]) == (None, None)
    for pairs in (told["differences"], told["family_differences"]):
        assert [(each["first"], each["second"]) for each in pairs] == list(combinations(TITLES, 2))
        assert [each["p_value"] for each in pairs] == pytest.approx(holm([each["raw_p_value"] for each in pairs])[0])
    for each in told["differences"]:
        assert each["raw_p_value"] == pytest.approx(binomtest(each["only_first_wrong"], each["discordant"]).pvalue)
    accuracies = dict(zip(TITLES, (each["test"]["accuracy"] for each in told["entries"]), strict=True))
    for each in told["differences"]:
        assert each["accuracy"] == pytest.approx(accuracies[each["second"]] - accuracies[each["first"]])


def test_the_verdicts_stand_everywhere(three: Sweep, told: dict[str, Any]) -> None:
    """Page, short report and terminal have both verdicts, and each pair with its own and its corrected p-value."""
    page = Parsed(three.artifact(three.parent(), "comparison/report.html").decode()).text
    short = three.artifact(three.parent(), "comparison/report.md").decode().replace("\\", "")
    for text in (page, short, three.output):
        plain = " ".join(text.split())
        assert told["verdict"] in plain
        assert told["family_verdict"] in plain
        for each in (*told["differences"], *told["family_differences"]):
            assert f"{each['second']} minus {each['first']}" in plain
            assert p_value(each["raw_p_value"]) in plain
            assert p_value(each["p_value"]) in plain


def test_each_family_is_registered_and_listed(three: Sweep, told: dict[str, Any]) -> None:
    """Each family has a registered version, a row in the CSV and a metric on the sweep's run."""
    rows = list(csv.DictReader(io.StringIO(three.artifact(three.parent(), "comparison/comparison.csv").decode())))
    metrics = three.parent().data.metrics
    for family, entry in zip(FAMILIES, told["entries"], strict=True):
        version = three.client.get_model_version_by_alias(f"digits-{family}", "challenger")
        assert float(version.tags["test_accuracy"]) == pytest.approx(entry["test"]["accuracy"], abs=1e-6)
        assert metrics[f"{family}_test_accuracy"] == entry["test"]["accuracy"]
        (row,) = (each for each in rows if each["family"] == family)
        assert float(row["test_accuracy"]) == pytest.approx(entry["test"]["accuracy"])


def test_all_champions_agree_or_not(three: Sweep, tmp_path: Path) -> None:
    """`agree` asks the champions of all three families if nobody names a model."""
    for family in FAMILIES:
        three.client.set_registered_model_alias(f"digits-{family}", "champion", "1")
    Image.fromarray(np.full((40, 40), 255, np.uint8)).save(tmp_path / "blank.png")
    finished = run_digitsweep("agree", "blank.png", "--json", cwd=tmp_path, MLFLOW_TRACKING_URI=three.uri)
    (value,) = json.loads(finished.stdout)
    assert list(value["readings"]) == [f"digits-{family}@champion" for family in FAMILIES]
