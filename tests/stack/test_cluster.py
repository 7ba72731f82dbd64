"""The profile `cluster`: a sweep on a Ray cluster of three containers, of which one is killed, into the stack's MLflow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stacked import Json, Stack, assert_confined, assert_whole, tags

pytestmark = pytest.mark.stack

PROFILE = ("--profile", "cluster")
TRIALS = 100
"""Of each family; a baseline comes on top."""
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"


def nodes(stack: Stack, *services: str) -> list[Json]:
    """What Docker knows of the containers of some services."""
    return stack.inspect(stack.compose(*PROFILE, "ps", "--quiet", *services).split())


@pytest.fixture(scope="module")
def cluster(stack: Stack) -> Iterator[Stack]:
    """The stack with a head and two workers."""
    stack.compose(*PROFILE, "up", "--detach", "--wait", "worker")
    yield stack
    stack.compose(*PROFILE, "rm", "--force", "--stop", "head", "worker")


def test_nobody_else_reaches_the_cluster(cluster: Stack) -> None:
    """Ray's containers may do no more than the others, publish no port, and have only the internal network, so that the
    tracking server, which others can reach, does not reach them."""
    head, *workers = nodes(cluster, "head", "worker")
    assert len(workers) == 2
    for container in (head, *workers):
        assert_confined(container)
        assert not any((container["NetworkSettings"]["Ports"] or {}).values())
        (network,) = container["NetworkSettings"]["Networks"]
        assert network == f"{cluster.project}_cluster"
    assert cluster._run("docker", "network", "inspect", "--format", "{{.Internal}}", network).strip() == "true"
    address = head["NetworkSettings"]["Networks"][network]["IPAddress"]
    cluster.compose(*PROFILE, "exec", "-T", "worker", "python", "-c", CONNECT, address, "6379")
    for name in ("head", address):
        with pytest.raises(AssertionError, match=r"gaierror|timed out|TimeoutError|unreachable"):
            cluster.compose("exec", "-T", "server", "python", "-c", CONNECT, name, "6379")


def test_a_worker_is_killed_and_replaced(cluster: Stack, tmp_path: Path) -> None:
    """A sweep runs as a job on two workers. One container is killed and removed, and another one takes its place: each
    trial is recorded once, with all values and files, and nothing stays RUNNING."""
    output = tmp_path / "output"
    command = ("sweep", "smoke", "--trials", f"{TRIALS}", "--seconds", "3000", "--engine", "ray")
    address = ("--address", "ray://head:10001")
    process = cluster.start(output, *PROFILE, "run", "--rm", "--no-TTY", "job", *command, *address)

    def running() -> list[Json]:
        if process.poll() is not None:
            pytest.fail(output.read_text())  # `Stack.wait` goes on after an AssertionError
        return cluster.runs("tags.`digitsweep.state` = 'RUNNING'")

    try:
        cluster.wait("the sweep's run", lambda: bool(running()), 600)
        (run,) = running()
        sweep = str(run["info"]["run_id"])
        cluster.wait("four trials", lambda: bool(running()) and len(cluster.children(sweep, "trial")) >= 4, 600)
        victim, survivor = (each["Id"] for each in nodes(cluster, "worker"))
        cluster._run("docker", "rm", "--force", victim)
        cluster.compose(*PROFILE, "up", "--detach", "--wait", "--no-recreate", "worker")
        replaced = {each["Id"] for each in nodes(cluster, "worker")}
        assert len(replaced) == 2
        assert survivor in replaced
        assert victim not in replaced
        cluster.wait("the new worker's node", lambda: " has joined: " in output.read_text(), 600)
        assert process.wait(timeout=1200) == 0, output.read_text()
        assert " has left: " in output.read_text()
    finally:
        process.kill()
    assert cluster.run(sweep)["info"]["status"] == "FINISHED"
    trials = cluster.children(sweep, "trial")
    assert_whole(cluster, trials)
    for family in ("ann", "cnn"):
        numbers = [int(tags(each)["trial.number"]) for each in trials if tags(each)["family"] == family]
        assert sorted(numbers) == list(range(TRIALS + 1))
    assert not [each["info"]["run_name"] for each in cluster.runs("attributes.status = 'RUNNING'")]
    refits = [each["info"]["run_id"] for each in cluster.children(sweep, "refit")]
    assert len([each for each in cluster.versions() if each["run_id"] in refits and each["status"] == "READY"]) == 2
