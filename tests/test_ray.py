"""Workers on a real Ray cluster of several nodes on this machine: whatever is pulled out, or wrong from the start."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clusters import DEADLINE, MARKS, actors_of, add, nodes_of, remove, wait_until
from outside import MIXER
from running import run_digitsweep

from digitsweep import doctor
from digitsweep.config.experiment import WorkersSpec
from digitsweep.data import TrainingData
from digitsweep.data.sources import load_dataset
from digitsweep.doctor import State
from digitsweep.errors import DigitsweepError, InputError
from digitsweep.families import parse_params
from digitsweep.families.outside import find_family
from digitsweep.sweeping.workers import EpochEnded, Event, TrialEnded
from digitsweep.trial import Trial, TrialResult, TrialState

pytestmark = MARKS
PARAMS = parse_params("ann", {"hidden_layers": 1, "units": 16})


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return load_dataset("digits", validation=0.25, seed=0).training


@pytest.fixture
def start_workers(cluster: Any, data: TrainingData) -> Iterator[Callable[..., Any]]:
    """Starts workers on the cluster, which end with the test, and leave no process behind."""
    from digitsweep.sweeping.ray import RayWorkers

    made: list[RayWorkers] = []

    def begin(count: int | None = None, **keys: Any) -> RayWorkers:
        made.append(RayWorkers(data, WorkersSpec(engine="ray", address=cluster.address, **keys), count))
        return made[-1]

    yield begin
    for each in made:
        each.close()
    wait_until(lambda: not actors_of(cluster), "actors outlive their workers")


@pytest.fixture
def workers(start_workers: Callable[..., Any]) -> Any:
    return start_workers()


def trial(number: int, epochs: int) -> Trial:
    return Trial(number, PARAMS, seed=number, epochs=epochs)


def until(workers: Any, condition: Callable[[], Any]) -> list[Event]:
    """Listens until something is so."""
    found: list[Event] = []
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, found
        found += workers.events(0.2)
    return found


def until_said(workers: Any, what: str) -> None:
    """Listens until a notice says something."""
    notes: list[str] = []

    def is_said() -> bool:
        notes.extend(workers.notices())
        return any(what in each for each in notes)

    until(workers, is_said)


def until_end(workers: Any) -> TrialEnded:
    """Listens until a trial ends."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        for each in workers.events(0.2):
            if isinstance(each, TrialEnded):
                return each
    raise AssertionError("no trial ended")


def start_long(workers: Any, number: int = 0) -> Trial:
    """A trial that does not end by itself, after its first epoch."""
    until(workers, workers.free)
    long = trial(number, epochs=100_000)
    workers.start(long)
    while not any(isinstance(each, EpochEnded) for each in workers.events(0.2)):
        pass
    return long


def assert_trains(workers: Any, number: int = 1) -> TrialResult:
    """A worker gets ready and trains a trial to its end."""
    until(workers, workers.free)
    workers.start(trial(number, epochs=2))
    result = until_end(workers).result
    assert result.state is TrialState.COMPLETE
    return result


def test_a_worker_trains_stops_and_keeps_its_weights(workers: Any, data: TrainingData) -> None:
    """A result is that of the same training in a local worker, bit for bit; its weights come only if they are needed; a
    trial that is told to stop ends within a segment, and its worker goes on."""
    from digitsweep.sweeping.processes import LocalWorkers, Place

    there = assert_trains(workers, 3)
    assert workers.status() == "1 worker on 1 node"
    local = LocalWorkers(data, [Place(None)])
    try:
        here = assert_trains(local, 3)
    finally:
        local.close()
    assert [each.val_loss for each in there.epochs] == [each.val_loss for each in here.epochs]
    assert there.weights is not None
    assert here.weights is not None
    assert all(np.array_equal(*pair) for pair in zip(there.weights, here.weights, strict=True))
    assert there.precision == here.precision
    workers.start(trial(4, epochs=1), lambda result: False)
    without = until_end(workers).result
    assert without.state is TrialState.COMPLETE
    assert without.weights is None
    long = start_long(workers)
    workers.stop(long)
    assert until_end(workers).result.state is TrialState.PRUNED
    workers.stop(long)  # too late: it must not reach the next trial
    assert_trains(workers)


def test_workers_die_and_hang(cluster: Any, workers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An actor that dies, is killed, or no longer answers ends its trial as lost; another one takes its place."""
    start_long(workers)
    (process,) = actors_of(cluster)
    process.kill()
    end = until_end(workers)
    assert end.lost
    assert end.result.state is TrialState.FAIL
    assert end.result.epochs
    long = start_long(workers, 1)
    workers.kill(long, "it took too long")
    end = until_end(workers)
    assert end.lost
    assert end.result.reason.startswith("it took too long after epoch")
    start_long(workers, 2)
    monkeypatch.setattr("digitsweep.sweeping.ray.SILENT_SECONDS", 12.0)
    (process,) = actors_of(cluster)
    process.send_signal(signal.SIGSTOP)
    end = until_end(workers)
    assert end.lost
    assert "had not answered" in end.result.reason
    monkeypatch.undo()
    assert_trains(workers)


def test_nodes_come_and_go(cluster: Any, workers: Any) -> None:
    """A node that joins brings workers. One that is cut off takes its trials along, which are lost. With none left there is
    no worker, which is said once; a node that comes back goes on."""
    until(workers, lambda: workers.free() == 1)
    add(cluster)
    until(workers, lambda: workers.free() == 2)
    assert workers.status() == "2 workers on 2 nodes"
    assert any("has joined: 2 workers on 2 nodes" in each for each in workers.notices())
    running = {start_long(workers, number).name for number in (0, 1)}
    for node in nodes_of(cluster):
        remove(cluster, node)
    lost: list[TrialEnded] = []
    deadline = time.monotonic() + DEADLINE
    while len(lost) < 2 and time.monotonic() < deadline:
        lost += [each for each in workers.events(0.2) if isinstance(each, TrialEnded)]
    assert {each.trial.name for each in lost} == running
    assert all(each.lost for each in lost)
    assert workers.free() == 0
    until_said(workers, "the sweep waits for nodes")
    add(cluster)
    assert_trains(workers)


def demand(cluster: Any) -> list[dict[str, float]]:
    """What an autoscaler is told that the cluster lacks."""
    from ray._raylet import GcsClient
    from ray.autoscaler.v2.sdk import get_cluster_resource_state

    state = get_cluster_resource_state(GcsClient(address=cluster.address))
    return [dict(each.request.resources_bundle) for each in state.pending_resource_requests for _ in range(each.count)]


def test_a_cluster_is_told_how_many_workers_are_missing(cluster: Any, start_workers: Callable[..., Any]) -> None:
    """Workers that have no room are demand, for which an autoscaler adds nodes: from none that fits, too. It goes when the
    workers are there, and when they end."""
    workers = start_workers(2, cpus=2)
    until_said(workers, "waits for a node with room for a worker: workers.cpus: each worker needs 2 CPU, but no node")
    until(workers, lambda: demand(cluster) == [{"CPU": 2.0}] * 2)
    add(cluster, 2)
    until(workers, lambda: workers.free() == 1 and demand(cluster) == [{"CPU": 2.0}])
    assert workers.status() == "1 worker on 1 node"
    assert_trains(workers)
    workers.close()
    wait_until(lambda: demand(cluster) == [], "the demand outlives the workers")


def test_a_cluster_that_does_not_grow(start_workers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep does not wait for the first worker for ever."""
    monkeypatch.setattr("digitsweep.sweeping.ray.GROW_SECONDS", 3.0)
    workers = start_workers(1, cpus=2)
    with pytest.raises(DigitsweepError, match=r"each worker needs 2 CPU.*, and none joined within 3 s"):
        until(workers, workers.free)


# Wrong uses


def refusal(data: TrainingData, address: str | None, count: int | None = None, **keys: Any) -> str:
    """What is said instead of workers being started, which is one line."""
    from digitsweep.sweeping.ray import RayWorkers

    with pytest.raises(InputError) as error:
        RayWorkers(data, WorkersSpec(engine="ray", address=address, **keys), count)
    assert "\n" not in str(error.value)
    return str(error.value)


def package(folder: Path, name: str, version: str, family: str = "") -> Path:
    """A folder in which a package is installed; family: what it gives, as `mixer = my_models:MIXER`."""
    information = folder / f"{name}-{version}.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if family:
        (information / "entry_points.txt").write_text(f"[digitsweep.families]\n{family}\n")
    return folder


def test_nodes_with_other_versions(
    cluster: Any, start_workers: Callable[..., Any], data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other versions on a node, of Keras or of a family's package, nothing begins. A node with other versions that
    joins later is left alone, which is said."""
    family = "mixer = my_models:MIXER"
    here = package(tmp_path / "here", "mixers", "1.2", family)
    (here / "my_models.py").write_text(MIXER)
    monkeypatch.syspath_prepend(here)
    there = package(package(tmp_path / "there", "keras", "3.0.0"), "mixers", "1.1", family)
    workers = start_workers()
    path = os.pathsep.join([str(there), *filter(None, [os.environ.get("PYTHONPATH")])])
    add(cluster, env_vars={"PYTHONPATH": path})
    until_said(workers, "has keras 3.0.0, but the coordinator has keras")
    assert workers.count() == 1
    assert_trains(workers)
    workers.close()
    address = cluster.address
    assert "has keras 3.0.0, but the coordinator has keras" in refusal(data, address)
    find_family("mixer")
    _, findings = doctor.cluster(WorkersSpec(engine="ray", address=address), None, 10**6)
    assert any("family mixer (mixers 1.1), but the coordinator has keras" in each.found for each in findings)
    found = run_digitsweep("sweep", "smoke", "--engine", "ray", "--address", address, cwd=tmp_path)
    assert found.returncode == 2
    (line,) = found.stderr.splitlines()
    assert "has keras 3.0.0" in line
    states = examined(address)
    assert states["ray versions"] is State.WRONG
    assert states["ray cluster"] is states["ray object store"] is State.OK


def examined(address: str, workers: int | None = None) -> dict[str, State]:
    _, findings = doctor.cluster(WorkersSpec(engine="ray", address=address), workers, 10**6)
    return {each.name: each.state for each in findings}


def test_resources_that_no_node_has(cluster: Any, data: TrainingData, tmp_path: Path) -> None:
    """Without the processors or GPUs that a worker needs, or with a runtime environment that cannot be made, nothing
    begins."""
    address = cluster.address
    assert "workers.gpus: each worker needs 0.5 GPU, but no node" in refusal(data, address, gpus=0.5)
    assert "workers.cpus: each worker needs 2 CPU, but no node" in refusal(data, address, cpus=2)
    missing = {"working_dir": str(tmp_path / "missing")}
    assert "workers.runtime_env: " in refusal(data, address, runtime_env=missing)
    assert examined(address, workers=3)["ray cluster"] is State.WARNING


def test_a_cluster_of_another_ray(cluster: Any, data: TrainingData) -> None:
    """A cluster of another version of Ray is refused."""
    from ray._raylet import GcsClient

    client = GcsClient(address=cluster.address)
    key, namespace = b"CLUSTER_METADATA", b"cluster"
    before = client.internal_kv_get(key, namespace)
    other = {**json.loads(before), "ray_version": "2.9.0"}
    client.internal_kv_put(key, json.dumps(other).encode(), True, namespace)
    try:
        said = refusal(data, cluster.address)
    finally:
        client.internal_kv_put(key, before, True, namespace)
    assert "cannot use a Ray cluster at" in said
    assert "2.9.0" in said


def test_addresses_without_a_cluster(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address where nothing answers, or something else does, is refused within seconds."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
    for scheme in ("", "ray://"):
        assert "no Ray cluster answers at" in refusal(data, f"{scheme}{address}")
    assert examined(address) == {"ray cluster": State.WRONG}
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert "no Ray cluster answers at" in refusal(data, None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for scheme in ("", "ray://"):
            address = f"{scheme}127.0.0.1:{server.server_port}"
            assert f"what answers at {address} is not " in refusal(data, address)
    finally:
        server.shutdown()
        server.server_close()


def test_a_client_server_that_ends_as_it_begins(cluster: Any, data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the head fails to start the process for a `ray://` client, it is asked again, a few times."""
    import ray

    from digitsweep.sweeping.ray import CLIENT_TRIES

    connect, failures = ray.init, 1

    def fail(address: str, **options: Any) -> Any:
        nonlocal failures
        if not failures:
            return connect(address, **options)
        failures -= 1
        raise ConnectionAbortedError("Initialization failure from server: Starting Ray client server failed.")

    monkeypatch.setattr(ray, "init", fail)
    address = f"ray://127.0.0.1:{cluster.head_node._ray_params.ray_client_server_port}"
    _, findings = doctor.cluster(WorkersSpec(engine="ray", address=address), None, 10**6)
    assert {each.state for each in findings} == {State.OK}, findings
    assert failures == 0
    failures = CLIENT_TRIES
    assert "Starting Ray client server failed" in refusal(data, address)
    assert failures == 0


def test_the_other_port_of_a_cluster(cluster: Any, data: TrainingData) -> None:
    """The client's port without `ray://`, or the head's with it, is refused."""
    client = f"127.0.0.1:{cluster.head_node._ray_params.ray_client_server_port}"
    assert "is not a head, by default HEAD:6379; correct" in refusal(data, client)
    assert "is not the port of Ray's client, by default ray://HEAD:10001" in refusal(data, f"ray://{cluster.address}")
