"""The stack as a team uses it: a sweep from outside, one from inside, and what the containers may do."""

from __future__ import annotations

import json

import pytest
import requests
from running import Sweep
from stacked import Stack, tags

pytestmark = pytest.mark.stack

FILES = {
    "classification_report.json",
    "classification_report.txt",
    "confusion_matrix.json",
    "confusion_matrix.png",
    "learning_curves.png",
}


def test_every_run_of_a_sweep_is_found(stack: Stack, swept: Sweep) -> None:
    """A sweep from outside leaves its run, its eight trials, finalists and refits, each of them ended."""
    own = [swept.parent().info.run_id]
    children = [run for run in stack.runs() if tags(run).get("mlflow.parentRunId") in own]
    kinds = [tags(run)["digitsweep.kind"] for run in children]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"trial": 8, "finalist": 8, "refit": 2}
    assert {run["info"]["status"] for run in children} <= {"FINISHED", "KILLED"}
    assert swept.parent().info.status == "FINISHED"


def test_every_artifact_of_a_sweep_is_found(stack: Stack, swept: Sweep) -> None:
    """Each trial's files, the page and each version's model come through the server, and none of them is empty."""
    files = stack.files()
    assert "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" not in files.values(), "an empty file"
    for kind in ("trial", "finalist"):
        for run in swept.runs(kind):
            place = f"{run.info.experiment_id}/{run.info.run_id}/artifacts"
            assert {f"{place}/{name}" for name in FILES} <= set(files)
    parent = swept.parent()
    assert f"{parent.info.experiment_id}/{parent.info.run_id}/artifacts/comparison/report.html" in files
    for version in stack.versions():
        assert [path for path in files if f"/{version['model_id']}/" in path and path.endswith(".keras")]


def test_every_version_of_a_sweep_is_found(stack: Stack, swept: Sweep) -> None:
    """The winner of each family is a version that is READY, challenger and champion."""
    versions = stack.versions()
    assert [(each["name"], each["status"]) for each in versions] == [("digits-ann", "READY"), ("digits-cnn", "READY")]
    refits = {run.info.run_id for run in swept.runs("refit")}
    assert {each["run_id"] for each in versions} == refits
    assert {stack.champion(name) for name in ("digits-ann", "digits-cnn")} == {"1"}


def test_a_sweep_inside_the_stack(stack: Stack, swept: Sweep) -> None:
    """The project's own image sweeps into the same server; its versions come after those of the sweep before."""
    stack.compose("--profile", "sweep", "run", "--rm", "sweep", "sweep", "smoke", "--workers", "2")
    sweeps = stack.runs("tags.`digitsweep.kind` = 'sweep'")
    assert [tags(run)["digitsweep.state"] for run in sweeps] == ["COMPLETE", "COMPLETE"]
    newest = max(stack.versions(), key=lambda each: int(each["version"]))
    assert (newest["version"], newest["status"]) == ("2", "READY")
    assert stack.champion("digits-cnn") == "1", "a sweep promotes nothing"


def test_what_containers_may_do(stack: Stack) -> None:
    """No container runs as root, writes to its own files, has a capability, sees Docker's socket or listens to others."""
    for service, container in stack.containers().items():
        host = container["HostConfig"]
        assert container["Config"]["User"] not in ("", "0", "root", "0:0"), service
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert not host["CapAdd"], service
        assert not host["Privileged"], service
        assert any(each.startswith("no-new-privileges") for each in host["SecurityOpt"]), service
        assert host["Memory"] > 0, service
        assert host["RestartPolicy"]["Name"] == "unless-stopped", service
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}, service
        assert not [each for each in container["Mounts"] if "docker.sock" in each["Source"]], service
        for ports in (container["NetworkSettings"]["Ports"] or {}).values():
            assert {each["HostIp"] for each in ports or []} <= {"127.0.0.1"}, service


def test_only_the_owner_reads_the_secrets(stack: Stack) -> None:
    """The file of secrets has mode 600, and no secret is in a command line."""
    assert stack.env_file.stat().st_mode & 0o777 == 0o600
    shown = json.dumps([[each["Path"], each["Args"]] for each in stack.containers().values()])
    for name in ("ADMIN_PASSWORD", "SERVER_SECRET_KEY", "DATABASE_PASSWORD", "DATABASE_ADMIN_PASSWORD"):
        assert len(stack.secret(name)) == 48
        assert stack.secret(name) not in shown


def test_secrets_are_made_once(stack: Stack) -> None:
    """`make up` again changes no secret; without the file that the database was made with it starts nothing."""
    before = stack.env_file.read_text()
    stack.script("up")
    assert stack.env_file.read_text() == before
    try:
        stack.env_file.write_text("")
        said = stack.script("up", code=2)
        assert "DATABASE_PASSWORD is missing" in said
        assert stack.env_file.read_text() == ""
    finally:
        stack.env_file.write_text(before)


def test_memory_at_rest(stack: Stack) -> None:
    """The stack takes less than 1.5 GB when nothing is asked of it."""
    names = [each["Name"].lstrip("/") for each in stack.containers().values()]
    shown = stack._run("docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", *names)
    units = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
    used = 0.0
    for line in shown.splitlines():
        amount = line.split()[1]
        used += float(amount[:-3]) * units[amount[-3:]]
    print(f"\n{shown}{used / 2**20:.0f} MiB in all")
    assert used < 1.5e9


def test_tls(stack: Stack, swept: Sweep) -> None:
    """With the profile `tls` the server answers on a host name with a certificate, and takes changes from its own page."""
    address, authority = stack.start_proxy()
    try:
        assert requests.get(address, verify=str(authority), timeout=5).status_code == 401
        for origin, code in ((address, 200), ("https://elsewhere.example", 403)):
            answer = requests.post(
                f"{address}/ajax-api/2.0/mlflow/runs/set-tag",
                json={"run_id": swept.parent().info.run_id, "key": "note", "value": "x"},
                headers={"Origin": origin},
                auth=("admin", stack.secret("ADMIN_PASSWORD")),
                verify=str(authority),
                timeout=60,
            )
            assert answer.status_code == code, origin
    finally:
        stack.stop_proxy()
