"""Ctrl-C, as a terminal sends it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running import EXPERIMENTS, Sweep


def interrupted(folder: Path, *signals: int, after: str = "COMPLETE") -> tuple[int, str, str]:
    """Runs a long sweep, sends signals to its whole process group once a line tells of `after`: code, output, errors."""
    text = (EXPERIMENTS / "smoke.yaml").read_text()
    (folder / "long.yaml").write_text(
        text.replace("trials: 3, epochs: 3, seconds: 20", "trials: 500, epochs: 500, seconds: 5000").replace(
            "successive_halving, min_epochs: 1, reduction_factor: 2", "none"
        ).replace("{params: {hidden_layers: 0", "{epochs: 1, params: {hidden_layers: 0")
    )  # fmt: skip
    command = [sys.executable, "-u", "-m", "digitsweep", "sweep", "long.yaml", "--workers", "2"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if after in line:
                break
        time.sleep(1.0)
        for each in signals:
            os.killpg(process.pid, each)
            time.sleep(0.3)
        output, errors = process.communicate(timeout=90)
    return process.returncode, "".join(lines) + output, errors


def test_ctrl_c_compares_what_is_finished(tmp_path: Path) -> None:
    """After Ctrl-C running trials are FAILED and say why, finished ones are compared, nothing stays RUNNING."""
    code, output, errors = interrupted(tmp_path, signal.SIGINT)
    assert code == 130, errors
    assert "best ANN" in output
    assert "The sweep was interrupted" in output
    assert "Traceback" not in errors
    sweep = Sweep(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", output)
    parent = sweep.parent()
    assert (parent.info.status, parent.data.tags["digitsweep.state"]) == ("KILLED", "INTERRUPTED")
    trials = sweep.runs("trial")
    assert {run.info.status for run in trials} <= {"FINISHED", "FAILED"}
    failed = [run for run in trials if run.info.status == "FAILED"]
    assert failed
    for run in failed:
        assert run.data.tags["trial.state"] == "FAIL"
        assert run.data.tags["trial.reason"] == "the sweep was interrupted"
        assert "confusion_matrix.png" in sweep.artifacts(run)


@pytest.mark.parametrize("signals", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)], ids=["twice", "SIGTERM"])
def test_nothing_stays_running(signals: tuple[int, ...], tmp_path: Path, empty_database: Path) -> None:
    """A second Ctrl-C ends at once, SIGTERM ends as Ctrl-C does; either way no run is RUNNING and no process is left."""
    shutil.copy(empty_database, tmp_path)  # a second Ctrl-C does not wait until MLflow has made its tables
    code, output, errors = interrupted(tmp_path, *signals)
    assert code == 130, errors
    assert "Traceback" not in errors
    sweep = Sweep(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", output)
    assert sweep.parent().info.status == "KILLED"
    assert "RUNNING" not in {run.info.status for run in sweep.runs("trial")}
