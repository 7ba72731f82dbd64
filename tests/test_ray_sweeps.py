"""Sweeps on a real Ray cluster, as commands: they end as with local workers, whatever is pulled out meanwhile."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import psutil
import pytest
from clusters import MARKS, actors_of, add, nodes_of, ray_cluster, remove, wait_until
from faults import assert_whole, comparison, kill, log_of, start
from running import EXPERIMENTS, Sweep

pytestmark = MARKS
SECONDS = 600.0
"""How long a sweep may take; none is expected to."""
TRIALS = 8
"""Of the search of smoke.yaml, with the baselines."""
SMOKE = str(EXPERIMENTS / "smoke.yaml")


def begin(folder: Path, *arguments: str, experiment: str = SMOKE) -> Any:
    """A sweep without a limit of training seconds, and with one worker: nothing depends on clocks, or on which of two
    trials ends first."""
    folder.mkdir(exist_ok=True)
    return start(folder, "sweep", experiment, "--seconds", "10000", "--workers", "1", *arguments, uri=uri_of(folder))


def begin_on(cluster: Any, folder: Path) -> Any:
    return begin(folder, "--engine", "ray", "--address", cluster.address)


def resume_on(cluster: Any, folder: Path) -> Any:
    return start(folder, "sweep", "--resume", "last", "--address", cluster.address, uri=uri_of(folder))


def uri_of(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def swept(folder: Path) -> Sweep:
    return Sweep(folder, uri_of(folder), log_of(folder))


def end(process: Any, folder: Path, code: int = 0) -> Sweep:
    """Waits for a sweep to end with this exit code."""
    assert process.wait(SECONDS) == code, log_of(folder)
    return swept(folder)


def trained(sweep: Sweep) -> dict[str, Any]:
    """Each training's parameters, state and values, without clocks."""
    return {
        run.info.run_name: (
            run.data.params,
            run.data.tags["trial.state"],
            {name: value for name, value in run.data.metrics.items() if "seconds" not in name},
        )
        for kind in ("trial", "finalist")
        for run in sweep.runs(kind)
    }


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The sweep on a local worker."""
    folder = tmp_path_factory.mktemp("local")
    return end(begin(folder), folder)


def assert_as(sweep: Sweep, local: Sweep, trials: int = TRIALS) -> None:
    """The same trials, params, values and winners, nothing twice and nothing RUNNING."""
    assert_whole(sweep, trials)
    assert trained(sweep) == trained(local)
    assert comparison(sweep) == comparison(local)


def wait_until_trained(process: Any, folder: Path, more_than: int) -> None:
    """Until more than so many trials have ended."""

    def has_trained() -> bool:
        return process.poll() is not None or len(re.findall(": (COMPLETE|PRUNED), epoch", log_of(folder))) > more_than

    wait_until(has_trained, "nothing is trained")
    assert process.poll() is None, log_of(folder)


def test_smoke_through_the_client(cluster: Any, local: Sweep, tmp_path: Path) -> None:
    """Over `ray://`, from outside the cluster, smoke.yaml ends with the trials, params, values and winners that it has with
    a local worker."""
    port = cluster.head_node._ray_params.ray_client_server_port
    sweep = end(begin(tmp_path, "--engine", "ray", "--address", f"ray://127.0.0.1:{port}"), tmp_path)
    assert_as(sweep, local)


def test_actors_and_the_only_node_are_lost(cluster: Any, local: Sweep, tmp_path: Path) -> None:
    """Ten actors are killed, one after the other, then the only node in mid-trial; a new one comes. The sweep ends as with a
    local worker."""
    process = begin_on(cluster, tmp_path)
    for count in range(10):
        wait_until_trained(process, tmp_path, count)  # one in between, so that no trial is lost three times
        wait_until(lambda: actors_of(cluster), "no actor begins")
        for each in actors_of(cluster):
            each.kill()
    wait_until_trained(process, tmp_path, 11)
    (node,) = nodes_of(cluster)
    remove(cluster, node)
    wait_until(lambda: "the sweep waits for nodes" in log_of(tmp_path), log_of(tmp_path))
    assert process.poll() is None, log_of(tmp_path)
    add(cluster)
    assert_as(end(process, tmp_path), local)


def test_messages_are_lost_and_late(local: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the messages to workers, and of the requests for them, is lost, as is a tenth of the answers; others are
    late. The sweep ends as with a local worker."""
    lost = {"num_failures": 1000, "req_failure_prob": 10, "resp_failure_prob": 10, "in_flight_failure_prob": 0}
    calls = ("CoreWorkerService.grpc_client.PushTask", "NodeManagerService.grpc_client.RequestWorkerLease")
    monkeypatch.setenv("RAY_testing_rpc_failure", json.dumps(dict.fromkeys(calls, lost)))
    late = ("CoreWorkerService.grpc_server.PushTask", "NodeManagerService.grpc_server.RequestWorkerLease")
    monkeypatch.setenv("RAY_testing_asio_delay_us", ",".join(f"{each}=1000:300000" for each in late))
    with ray_cluster(1) as cluster:
        assert_as(end(begin_on(cluster, tmp_path), tmp_path), local)


def test_the_head_dies(cluster: Any, local: Sweep, tmp_path: Path) -> None:
    """With the head and its node gone, a sweep ends in one line that says how to go on, and leaves nothing RUNNING. Resumed
    on another cluster, it ends as if nothing had happened."""
    with ray_cluster(1) as first:
        process = begin_on(first, tmp_path)
        wait_until_trained(process, tmp_path, 3)
        (node,) = nodes_of(first)
        first.head_node.kill_gcs_server(check_alive=False)
        remove(first, node)  # which would otherwise train on for half a minute
        failed = end(process, tmp_path, 1)
    assert "digitsweep: the head of the Ray cluster does not answer; start a cluster" in log_of(tmp_path)
    assert {run.info.status for run in failed.runs("trial")} <= {"FINISHED", "FAILED", "KILLED"}
    assert_as(end(resume_on(cluster, tmp_path), tmp_path), local)


def test_a_coordinator_is_killed_and_resumed_on_another_cluster(cluster: Any, local: Sweep, tmp_path: Path) -> None:
    """Killed with -9, a sweep is resumed on a new cluster and ends as if nothing had happened. Its actors ended with
    it."""
    process = begin_on(cluster, tmp_path)
    wait_until_trained(process, tmp_path, 3)
    kill(process)
    wait_until(lambda: not actors_of(cluster), "actors outlive the coordinator")
    with ray_cluster(1) as second:
        assert_as(end(resume_on(second, tmp_path), tmp_path), local)


HUNGRY = """
import time
from typing import ClassVar

from digitsweep.families import Family, Params


class HungryParams(Params):
    family: ClassVar[str] = "hungry"
    gigabytes: int = 0

    def operations(self, shape, classes=10):
        return shape[0] * shape[1] * classes


def build(params, shape, classes):
    from keras import layers

    from digitsweep.families.build import classifier

    memory = []
    for _ in range(10 * params.gigabytes):
        memory.append(bytearray(b"x") * 100_000_000)
        time.sleep(0.1)
    time.sleep(60 * bool(memory))
    return classifier("hungry", shape, classes, layers.Flatten())


HUNGRY = Family(HungryParams, build, title="Hungry")
"""
"""A family whose networks need as much memory as its configuration says."""

GREEDY = """\
name: greedy
question: What if a network does not fit into memory?
data: {source: digits, validation: 0.25}
budget: {trials: 0, epochs: 1, seconds: 10000}
families:
  hungry:
    build: hungry.py:HUNGRY
    baselines:
      fits: {params: {gigabytes: 0}}
      huge: {params: {gigabytes: 4}}
    space: {gigabytes: 0}
"""


def test_an_actor_runs_out_of_memory(cluster: Any, tmp_path: Path) -> None:
    """Ray kills an actor that fills its node's memory. That counts as a lost worker: after three attempts, the trial has
    failed, with the reason. The others go on."""
    memory = psutil.virtual_memory()
    threshold = (memory.total - memory.available + 2.5e9) / memory.total
    (before,) = nodes_of(cluster)
    remove(cluster, before)
    limits = {"RAY_memory_usage_threshold": f"{threshold:.3f}", "RAY_memory_monitor_refresh_ms": "100"}
    add(cluster, env_vars=limits)
    (tmp_path / "hungry.py").write_text(HUNGRY)
    (tmp_path / "greedy.yaml").write_text(GREEDY)
    arguments = ("sweep", "greedy.yaml", "--engine", "ray", "--address", cluster.address)
    sweep = end(start(tmp_path, *arguments, uri=uri_of(tmp_path)), tmp_path)
    states = {run.info.run_name: run.data.tags["trial.state"] for run in sweep.runs("trial")}
    assert sorted(states.values()) == ["COMPLETE", "FAIL"]
    (failed,) = (each for each in log_of(tmp_path).splitlines() if ": FAIL, epoch" in each)
    assert "memory" in failed
    assert "at attempt 3: given up" in failed
    assert len(sweep.runs("attempt")) == 2
