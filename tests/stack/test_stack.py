"""The stack as a team uses it: a sweep from outside, one from inside, and what the containers may do."""

from __future__ import annotations

import hashlib
import json

import pytest
import requests
from stacked import Stack, artifacts, assert_confined, tags
from test_contract import FILES

from digitsweep.tracking.provenance import current_commit

pytestmark = pytest.mark.stack


def test_every_run_of_a_sweep_is_found(stack: Stack, swept: str) -> None:
    """A sweep from outside leaves its run, its trials, finalists, confirmations and refits, each of them ended."""
    children = {kind: stack.children(swept, kind) for kind in ("trial", "finalist", "confirmation", "refit")}
    assert {kind: len(runs) for kind, runs in children.items()} == {"trial": 8, "finalist": 8, "confirmation": 6, "refit": 2}
    assert {run["info"]["status"] for runs in children.values() for run in runs} <= {"FINISHED", "KILLED"}
    assert stack.run(swept)["info"]["status"] == "FINISHED"


def test_every_artifact_of_a_sweep_is_found(stack: Stack, swept: str) -> None:
    """Each trial's files, the page and each version's model come through the server, and none of them is empty."""
    files = stack.files()
    assert hashlib.sha256(b"").hexdigest() not in files.values()
    for run in stack.children(swept, "trial") + stack.children(swept, "finalist"):
        assert {artifacts(run) + name for name in FILES} <= set(files)
    assert artifacts(stack.run(swept)) + "comparison/report.html" in files
    for version in stack.versions():
        if version["name"].endswith("-ledger"):  # its versions are records, and hold no model
            continue
        model = version["source"].rsplit("/", 1)[-1]
        assert [path for path in files if f"/{model}/" in path and path.endswith(".keras")], version


def test_every_version_of_a_sweep_is_found(stack: Stack, swept: str) -> None:
    """The winner of each family is a version that is READY, and champion."""
    refits = [run["info"]["run_id"] for run in stack.children(swept, "refit")]
    versions = [each for each in stack.versions() if each["run_id"] in refits]
    assert [(each["name"], each["status"]) for each in versions] == [("digits-ann", "READY"), ("digits-cnn", "READY")]
    for version in versions:
        assert stack.champion(version["name"]) == version["version"]


def test_a_sweep_inside_the_stack(stack: Stack, swept: str) -> None:
    """The project's own image sweeps into the same server; its version is the newest, and the champion stays."""
    before = [each["run_id"] for each in stack.versions()]
    champion = stack.champion("digits-cnn")
    printed = stack.compose("--profile", "sweep", "run", "--rm", "sweep", "sweep", "smoke", "--workers", "2")
    assert f": http://localhost:{stack.port}/#/experiments/" in printed, "a link that works outside of the stack"
    (version,) = (each for each in stack.versions() if each["name"] == "digits-cnn" and each["run_id"] not in before)
    sweep = tags(stack.run(version["run_id"]))["mlflow.parentRunId"]
    told = tags(stack.run(sweep))
    assert told["digitsweep.state"] == "COMPLETE"
    assert told.items() >= current_commit().tags().items()  # the image has no git: `make image` has told it
    assert len(stack.children(sweep, "trial")) == 8
    assert stack.champion("digits-cnn") == champion


def test_what_containers_may_do(stack: Stack) -> None:
    """No container runs as root, writes to its own files, has a capability, sees Docker's socket or listens to others."""
    for container in stack.containers().values():
        assert_confined(container)


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


def test_tls(stack: Stack, swept: str) -> None:
    """With the profile `tls` the server answers on a host name with a certificate, and takes changes from its own page."""
    address, authority = stack.start_proxy()
    try:
        assert requests.get(address, verify=str(authority), timeout=5).status_code == 401
        for origin, code in ((address, 200), ("https://elsewhere.example", 403)):
            answer = requests.post(
                f"{address}/ajax-api/2.0/mlflow/runs/set-tag",
                json={"run_id": swept, "key": "note", "value": "x"},
                headers={"Origin": origin},
                auth=("admin", stack.secret("ADMIN_PASSWORD")),
                verify=str(authority),
                timeout=60,
            )
            assert answer.status_code == code, origin
    finally:
        stack.stop_proxy()
