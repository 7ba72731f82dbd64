"""Where a result came from: a checkout, an image that was told, or nobody knows."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from faults import kill, start
from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from running import Sweep, brief_experiment

import digitsweep
from digitsweep.families.ann import AnnParams
from digitsweep.tracking.provenance import Commit, current_commit
from digitsweep.tracking.records import compact
from digitsweep.tracking.resume import recover
from digitsweep.trial import EpochMetrics, Trial, TrialRecord, TrialResult, TrialState

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git checkout with one file, committed."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "code.py").write_text("")
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    for arguments in (["init", "-q"], ["add", "code.py"], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    return tmp_path


def test_a_checkout_says_its_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git knows better than the environment; what was changed since makes it dirty."""
    monkeypatch.setenv("DIGITSWEEP_COMMIT", SHA)
    found = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    sha = found.stdout.strip()
    assert current_commit(checkout) == Commit(sha, dirty=False)
    (checkout / "code.py").write_text("changed")
    assert current_commit(checkout) == Commit(sha, dirty=True)


@pytest.mark.parametrize(
    ("told", "commit"),
    [
        (SHA, Commit(SHA, dirty=False)),
        (f"{SHA}-dirty", Commit(SHA, dirty=True)),
        ("", Commit("unknown", dirty=False)),
        (None, Commit("unknown", dirty=False)),
    ],
)
def test_an_image_says_what_it_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str | None, commit: Commit
) -> None:
    """Where there is no git, `DIGITSWEEP_COMMIT` says it."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv("DIGITSWEEP_COMMIT", raising=False)
    if told is not None:
        monkeypatch.setenv("DIGITSWEEP_COMMIT", told)
    assert current_commit(tmp_path) == commit


def test_what_git_cannot_say_is_not_clean(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where git knows the commit, but not what was changed since, nobody may take the code for clean."""
    found, programs = shutil.which("git"), tmp_path / "programs"
    programs.mkdir()
    (programs / "git").write_text(f'#!/bin/sh\ncase "$*" in *status*) exit 1;; esac\nexec {found} "$@"\n')
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    assert current_commit(checkout).sha != "unknown"
    assert current_commit(checkout).dirty


def test_somebody_elses_checkout_is_not_ours(checkout: Path) -> None:
    """A package that is installed below another project's checkout has not that project's commit."""
    installed = checkout / ".venv" / "digitsweep"
    installed.mkdir(parents=True)
    (installed / "code.py").write_text("")
    assert current_commit(installed) == Commit("unknown", dirty=False)


def test_make_image_and_this_module_use_the_same_words(checkout: Path) -> None:
    """What the Makefile asks git for is what is read here."""
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    words = "describe --always --abbrev=40 --exclude='*' --dirty"
    assert f"git {words}" in makefile
    arguments = words.replace("'", "").split()
    (checkout / "code.py").write_text("changed")
    told = subprocess.run(
        ["git", "-C", str(checkout), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert told == current_commit(checkout).sha + "-dirty"


def test_a_resumed_sweep_knows_who_trained_what(made_store: Path) -> None:
    """What had ended keeps the commit of its own run, whatever code resumes the sweep."""
    client = MlflowClient(f"sqlite:///{made_store}/mlflow.db")
    experiment = client.create_experiment("recovered")
    sweep = client.create_run(experiment, tags=Commit("b" * 40, dirty=False).tags()).info.run_id
    trial = Trial(1, AnnParams.model_validate({"hidden_layers": 0}), 1, 1)
    result = TrialResult(TrialState.PRUNED, (EpochMetrics(1, 0.5, 0.8, 0.4, 0.9, 0.001, 0.1),))
    commit, text = Commit(SHA, dirty=True), compact(TrialRecord(trial, result), "val_accuracy")
    tags = {MLFLOW_PARENT_RUN_ID: sweep, "digitsweep.trial": text, **commit.tags()}
    client.create_run(experiment, run_name=trial.name, tags=tags)
    assert recover(client, experiment, sweep, "val_accuracy").commits == {trial.name: commit}


@pytest.mark.slow
def test_a_resume_does_not_clean_what_was_dirty(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials that dirty code trained and clean code went on from give a version that is dirty, and the gate refuses it."""
    code = tmp_path / "code"
    shutil.copytree(Path(digitsweep.__file__).parent, code / "digitsweep", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(empty_database, tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(code))
    uri, log = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "log.txt"
    sweep = Sweep(tmp_path, uri, "")

    monkeypatch.setenv("DIGITSWEEP_COMMIT", f"{SHA}-dirty")
    longer = brief_experiment(tmp_path / "longer.yaml")
    brief = longer.read_text()  # so that no refit has ended before the kill, it gets more trials
    longer.write_text(brief.replace("trials: 3, epochs: 3, seconds: 20", "trials: 6, epochs: 3, seconds: 120"))
    process = start(tmp_path, "sweep", "longer.yaml", "--workers", "2", uri=uri)
    while not any(each.info.end_time for each in sweep.runs("trial")):
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    kill(process)

    clean = "c" * 40
    monkeypatch.setenv("DIGITSWEEP_COMMIT", clean)
    assert start(tmp_path, "sweep", "--resume", "last", "--workers", "2", uri=uri).wait(240) == 0, log.read_text()
    dirty = {run.info.run_name for run in sweep.runs("trial") if run.data.tags["digitsweep.dirty"] == "true"}
    assert dirty
    assert {run.data.tags["digitsweep.commit"] for run in sweep.runs("refit")} == {clean}
    (family, *_) = {name.partition("-")[0] for name in dirty}
    tags = sweep.client.get_model_version_by_alias(f"digits-{family}", "challenger").tags
    assert (tags["digitsweep.commit"], tags["digitsweep.commits"]) == (clean, f"{SHA} {clean}")
    assert tags["digitsweep.dirty"] == "true"

    gate = "min_accuracy: null\nmin_class_recall: null\nmax_latency_p95: null\nmax_weights: null\n"
    (tmp_path / "gate.yaml").write_text(gate)
    assert start(tmp_path, "promote", f"digits-{family}", "--gate", "gate.yaml", uri=uri).wait(180) == 3, log.read_text()
    said = " ".join(log.read_text().split())
    assert f"commit must be known and clean, but is {SHA[:12]}, {clean[:12]}, changed since" in said
