"""What the stack survives: a kill of each container during a sweep, `make down`, the loss of its volumes, an upgrade."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from running import EXPERIMENTS
from stacked import Stack, assert_whole, tags

pytestmark = pytest.mark.stack

TRIALS = 60
"""Of each family; a baseline comes on top."""


def ended(stack: Stack, sweep: str) -> int:
    """How many trials of a sweep have their last record."""
    return sum(1 for run in stack.children(sweep, "trial") if run["info"]["status"] != "RUNNING")


@contextmanager
def sweeping(stack: Stack, output: Path, **variables: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A sweep of many short trials that runs meanwhile: the id of its run, and its process."""

    def running() -> list[str]:
        return [str(run["info"]["run_id"]) for run in stack.runs("tags.`digitsweep.state` = 'RUNNING'")]

    command = [sys.executable, "-m", "digitsweep", "sweep", str(EXPERIMENTS / "smoke.yaml")]
    command += ["--trials", str(TRIALS), "--seconds", "3000"]
    environment = {**os.environ, **stack.environment(), **variables}
    with (
        output.open("w") as file,
        subprocess.Popen(command, cwd=output.parent, env=environment, stdout=file, stderr=subprocess.STDOUT) as process,
    ):
        try:
            stack.wait("the sweep's run", lambda: bool(running()))
            yield running()[0], process
            assert process.wait(timeout=600) == 0, output.read_text()
        finally:
            process.kill()


def test_a_kill_of_each_container(stack: Stack, swept: str, tmp_path: Path) -> None:
    """Each container is killed in turn while a sweep runs: it comes back by itself, the sweep ends, and nothing is lost."""
    address, authority = stack.start_proxy()
    variables = {"MLFLOW_TRACKING_URI": address, "MLFLOW_TRACKING_SERVER_CERT_PATH": str(authority)}
    try:
        with sweeping(stack, tmp_path / "output", **variables) as (sweep, process):
            for service in ("server", "database", "proxy"):
                seen = ended(stack, sweep)
                stack.wait(f"two more trials before the kill of {service}", lambda: ended(stack, sweep) >= seen + 2)  # noqa: B023
                assert process.poll() is None, "the sweep is over too soon to show anything"
                restarts = stack.containers()[service]["RestartCount"]
                stack.kill(service)
                stack.wait(f"{service} healed", lambda: stack.healed(service, restarts))  # noqa: B023
    finally:
        stack.stop_proxy()
    assert stack.run(sweep)["info"]["status"] == "FINISHED"
    trials = stack.children(sweep, "trial")
    assert_whole(stack, trials)
    for family in ("ann", "cnn"):
        numbers = [int(tags(run)["trial.number"]) for run in trials if tags(run)["family"] == family]
        assert sorted(numbers) == list(range(TRIALS + 1))
    refits = [run["info"]["run_id"] for run in stack.children(sweep, "refit")]
    assert len([each for each in stack.versions() if each["run_id"] in refits and each["status"] == "READY"]) == 2


def test_down_and_up(stack: Stack, swept: str) -> None:
    """After `make down` and `make up` everything is there."""
    before = stack.everything()
    stack.compose("down")
    stack.script("up")
    assert stack.everything() == before


def test_backup_and_restore(stack: Stack, swept: str) -> None:
    """With volumes and secrets lost, a backup brings back the same runs, artifacts byte for byte, champions and users."""
    before = stack.everything()
    folder = stack.env_file.parent / "backup"
    stack.script("backup", folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    refused = stack.script("restore", folder, code=2)
    for kind in ("runs: ", "registered models: ", "model versions: ", "tables in mlflow_auth: ", "artifacts"):
        assert kind in refused
    assert stack.everything() == before, "a refused restore changes nothing"
    stack.compose("down", "--volumes")
    stack.env_file.unlink()
    stack.script("restore", folder)
    assert stack.everything() == before
    assert "not a backup" in stack.script("restore", folder.parent, code=2)


def test_a_backup_during_a_sweep(stack: Stack, swept: str, tmp_path: Path) -> None:
    """A backup that is made while a sweep runs is whole: each of its trials that had ended has all its values and files."""
    folder = stack.env_file.parent / "meanwhile"
    with sweeping(stack, tmp_path / "output") as (sweep, _):
        stack.wait("three trials", lambda: ended(stack, sweep) >= 3)
        stack.script("backup", folder)
    stack.script("restore", folder, "yes")
    assert stack.run(sweep)["info"]["status"] == "RUNNING"
    trials = [run for run in stack.children(sweep, "trial") if run["info"]["status"] != "RUNNING"]
    assert len(trials) >= 3
    assert_whole(stack, trials)
    stack.admin("POST", "/api/2.0/mlflow/runs/delete", json={"run_id": sweep})


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
