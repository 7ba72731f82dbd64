"""What the stack survives: a kill of each container during a sweep, `make down`, the loss of its volumes, an upgrade."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import EXPERIMENTS
from stacked import Json, Stack, artifacts, tags

pytestmark = pytest.mark.stack

TRIALS = 20
"""Of each family; a baseline comes on top."""
FILES = 5
"""Of each trial."""


def ended(stack: Stack, sweep: str) -> int:
    """How many trials of a sweep have their last record."""
    return sum(1 for run in stack.children(sweep, "trial") if run["info"]["status"] != "RUNNING")


def running_sweeps(stack: Stack) -> list[str]:
    return [str(run["info"]["run_id"]) for run in stack.runs("tags.`digitsweep.state` = 'RUNNING'")]


def test_a_kill_of_each_container(stack: Stack, swept: str, tmp_path: Path) -> None:
    """Each container is killed in turn while a sweep runs: it comes back by itself, the sweep ends, and nothing is lost."""
    address, authority = stack.start_proxy()
    through_proxy = {"MLFLOW_TRACKING_URI": address, "MLFLOW_TRACKING_SERVER_CERT_PATH": str(authority)}
    command = [sys.executable, "-m", "digitsweep", "sweep", str(EXPERIMENTS / "smoke.yaml")]
    command += ["--trials", str(TRIALS), "--seconds", "3000"]
    variables = {**os.environ, **stack.environment(), **through_proxy}
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=output, stderr=subprocess.STDOUT)
    try:
        stack.wait("the sweep's run", lambda: bool(running_sweeps(stack)))
        (sweep,) = running_sweeps(stack)
        for service in ("server", "database", "proxy"):
            seen = ended(stack, sweep)
            stack.wait(f"two more trials before the kill of {service}", lambda: ended(stack, sweep) >= seen + 2)  # noqa: B023
            assert process.poll() is None, "the sweep is over too soon to show anything"
            restarts = stack.containers()[service]["RestartCount"]
            stack.kill(service)
            stack.wait(f"{service} healed", lambda: stack.healed(service, restarts))  # noqa: B023
        code = process.wait(timeout=600)
    finally:
        process.kill()
        process.wait()
        stack.stop_proxy()
    assert code == 0, (tmp_path / "output").read_text()
    assert stack.run(sweep)["info"]["status"] == "FINISHED"
    assert_whole(stack, stack.children(sweep, "trial"))
    refits = [run["info"]["run_id"] for run in stack.children(sweep, "refit")]
    assert len([each for each in stack.versions() if each["run_id"] in refits and each["status"] == "READY"]) == 2


def assert_whole(stack: Stack, trials: list[Json]) -> None:
    """Trials are numbered without a gap, and each has ended, with every value of every epoch and every file."""
    files = stack.files()
    assert {run["info"]["status"] for run in trials} <= {"FINISHED", "KILLED"}
    for family in ("ann", "cnn"):
        own = [run for run in trials if tags(run)["family"] == family]
        assert sorted(int(tags(run)["trial.number"]) for run in own) == list(range(TRIALS + 1))
        for run in own:
            query = {"run_id": run["info"]["run_id"], "metric_key": "val_accuracy"}
            history = stack.admin("GET", "/api/2.0/mlflow/metrics/get-history", params=query)["metrics"]
            values = {int(each["step"]): round(float(each["value"]), 6) for each in history}
            assert [values[step] for step in sorted(values)] == json.loads(tags(run)["digitsweep.trial"])["values"]
            assert len([path for path in files if path.startswith(artifacts(run))]) == FILES


def test_down_and_up(stack: Stack, swept: str) -> None:
    """After `make down` and `make up` everything is there."""
    before = stack.everything()
    stack.compose("down")
    stack.script("up")
    assert stack.everything() == before


def test_backup_and_restore(stack: Stack, swept: str) -> None:
    """A backup brings back the same runs, artifacts byte for byte, champions and users after the volumes were destroyed."""
    before = stack.everything()
    folder = stack.env_file.parent / "backup"
    stack.script("backup", folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert "runs, which a restore would remove" in stack.script("restore", folder, code=2)
    assert stack.everything() == before, "a refused restore changes nothing"
    stack.compose("down", "--volumes")
    stack.script("restore", folder)
    assert stack.everything() == before


def test_a_damaged_backup(stack: Stack, swept: str) -> None:
    """A backup of which a byte has changed is not restored, and the stack stays as it is."""
    before = stack.everything()
    folder = stack.env_file.parent / "damaged"
    stack.script("backup", folder)
    with (folder / "artifacts.tar").open("r+b") as file:
        file.seek(5000)
        file.write(b"\0x")
    assert "artifacts.tar: FAILED" in stack.script("restore", folder, "yes", code=1)
    assert stack.everything() == before


def test_upgrade(stack: Stack, swept: str) -> None:
    """`make upgrade` to the same versions makes a backup first and changes nothing else."""
    before = stack.everything()
    said = stack.script("upgrade")
    assert "upgraded" in said
    (folder,) = (stack.env_file.parent / "backups").iterdir()
    assert (folder / "SHA256SUMS").is_file()
    assert stack.everything() == before
