"""`mlflow run`, from another folder and with parameters that hold spaces."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from running import ROOT, Sweep, brief_experiment

from digitsweep.cli import main


def mlflow_run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`mlflow run` of the project, from `folder`, with its store there."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }
    command = [sys.executable, "-m", "mlflow", "run", str(ROOT), "--env-manager=local", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=180, check=False)


def test_the_run_that_mlflow_opens_is_the_sweep(tmp_path: Path) -> None:
    """`mlflow run PATH -e sweep` from another folder, with spaces in a parameter: its run is the sweep's, and the parent."""
    spaced = tmp_path / "with some spaces"
    spaced.mkdir()
    experiment = brief_experiment(spaced / "my smoke.yaml")
    finished = mlflow_run(tmp_path, "-e", "sweep", "-P", f"experiment={experiment}", "-P", "trials=1", "-P", "workers=1")
    assert finished.returncode == 0, finished.stderr
    sweep = Sweep(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", finished.stdout)
    parent = sweep.parent()
    assert parent.data.tags["mlflow.project.entryPoint"] == "sweep"
    assert parent.info.status == "FINISHED"
    assert parent.data.params["trials"] == "1"
    assert {run.data.tags["mlflow.parentRunId"] for run in sweep.runs("trial")} == {parent.info.run_id}
    assert len(sweep.runs("trial")) == 4
    compared = mlflow_run(tmp_path, "-e", "compare")
    assert compared.returncode == 0, compared.stderr
    assert "best ANN" in compared.stdout
    (run,) = sweep.runs("comparison")
    assert run.data.tags["digitsweep.sweep"] == parent.info.run_id


def test_wrong_input_fails_the_run(tmp_path: Path) -> None:
    """A wrong parameter is told in one line of ours, and the run that `mlflow run` opened is FAILED, not RUNNING."""
    finished = mlflow_run(tmp_path, "-e", "sweep", "-P", "experiment=nothing")
    assert finished.returncode != 0
    assert "nothing: no such experiment file" in finished.stderr
    client = Sweep(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", "").client
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert [run.info.status for run in runs] == ["FAILED"]


@pytest.mark.parametrize("entry_point", ["main", "sweep", "resume", "compare", "promote"])
def test_entry_points_fit_the_command_line(entry_point: str) -> None:
    """Each entry point's command, with its defaults, is one that digitsweep's command line understands."""
    project = yaml.safe_load((ROOT / "MLproject").read_text())
    point = project["entry_points"][entry_point]
    defaults = {name: each.get("default", "given") for name, each in point["parameters"].items()}
    words = point["command"].format(**defaults).split()
    assert words[:4] == ["PYTHONPATH=src", "python", "-m", "digitsweep"]
    found = CliRunner().invoke(main, [*words[4:], "--help"])
    assert found.exit_code == 0, found.output


def test_main_is_sweep() -> None:
    """`mlflow run .` without an entry point is a sweep."""
    points = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
    assert points["main"] == points["sweep"]
