"""A sweep whose budget is in minutes, from the command line: real workers, a real store."""

from __future__ import annotations

import json
from typing import Any

import pytest
from running import Sweep, run_digitsweep
from support import MINUTES_EXPERIMENT

from digitsweep.trial import Kind

MINUTES = 0.5


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Of half a minute; of more where the machine is so busy that this is over before it has searched."""
    for minutes in (MINUTES, 2.0):
        folder = tmp_path_factory.mktemp("minutes")
        (folder / "minutes.yaml").write_text(MINUTES_EXPERIMENT)
        given = () if minutes == MINUTES else ("--minutes", str(minutes))
        finished = run_digitsweep("sweep", "minutes.yaml", "--workers", "2", *given, cwd=folder, seconds=400)
        assert finished.returncode == 0, finished.stderr
        sweep = Sweep(folder, f"sqlite:///{folder}/mlflow.db", finished.stdout)
        if searched(sweep):
            break
    return sweep


def searched(sweep: Sweep) -> list[dict[str, Any]]:
    """The trials of the search without baselines, as their runs' tags have them."""
    runs = [each for each in sweep.runs("trial") if "baseline" not in each.data.tags]
    return [{**json.loads(each.data.tags["digitsweep.trial"]), "tags": each.data.tags} for each in runs]


def test_everything_has_ended(swept: Sweep) -> None:
    """Every run has come to its end, no two trainings have the same name, and each family has a refit that is registered."""
    runs = [each for kind in ("sweep", *Kind, "attempt") for each in swept.runs(kind)]
    assert [each.info.run_name for each in runs if each.info.status == "RUNNING"] == []
    names = [each.info.run_name for kind in Kind for each in swept.runs(kind)]
    assert len(names) == len(set(names))
    assert sorted(each.data.tags["family"] for each in swept.runs("refit")) == ["ann", "cnn"]
    assert {each.name for each in swept.client.search_registered_models()} == {"digits-ann", "digits-cnn"}


def test_each_trial_tells_its_rung_and_its_proposer(swept: Sweep) -> None:
    """The runs of the search carry `rung` and `proposed_by`; the known configurations are the first ones; whatever
    else was promoted has a complete training at the rung below."""
    trials = searched(swept)
    assert trials
    for each in trials:
        assert each["tags"]["rung"] == str(each["rung"])
        assert each["tags"]["proposed_by"] == each["proposed_by"] != ""
        assert 0 <= each["rung"] < len(each["ladder"])
    by_rung = {(each["family"], each["number"], each["rung"]): each for each in trials}
    for (family, number, rung), each in by_rung.items():
        if rung and each["proposed_by"] not in {"first", "default"}:
            assert by_rung[family, number, rung - 1]["state"] == "COMPLETE"
    ann = sorted({each["number"]: each["proposed_by"] for each in trials if each["family"] == "ann"}.items())
    assert [by for _, by in ann][:3] == ["first", "default", "first"][: len(ann)]
    for run in swept.runs("trial"):
        assert ("rung" in run.data.tags) == ("baseline" not in run.data.tags)


def test_the_answer_is_about_the_search(swept: Sweep) -> None:
    """The comparison has the budget and the history of every searched trial, with its rung and its proposer."""
    found = json.loads(swept.artifact(swept.parent(), "comparison/comparison.json"))
    assert found["budget"].keys() == {"minutes"}
    assert [each["role"] for each in found["entries"]] == ["best", "best", "baseline", "baseline"]
    for family, history in found["history"].items():
        told = sorted((each["number"], each["rung"], each["proposed_by"]) for each in history["trials"])
        own = [each for each in searched(swept) if each["family"] == family]
        assert told == sorted((each["number"], each["rung"], each["proposed_by"]) for each in own)
        assert all(each["work"] > 0 for each in history["trials"])


def test_its_models_can_be_compared_by_name(swept: Sweep) -> None:
    """Registered models whose epochs are no whole number are compared as all others."""
    finished = run_digitsweep("compare", "digits-ann@challenger", "digits-cnn@challenger", cwd=swept.folder)
    assert finished.returncode == 0, finished.stderr
    assert "digits-cnn" in finished.stdout
