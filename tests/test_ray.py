"""Workers on a real Ray cluster of several nodes on this machine: the same results as local ones, whatever is pulled out."""

from __future__ import annotations

import os
import re
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
from clusters import DEADLINE, add, nodes_of, ray_cluster, remove, wait_until, worker_processes
from faults import EXPERIMENT, assert_whole, comparison, kill, log_of, start
from running import Sweep, run_digitsweep

from digitsweep.config.experiment import WorkersSpec
from digitsweep.data import TrainingData
from digitsweep.data.sources import load_dataset
from digitsweep.doctor import State
from digitsweep.doctor import cluster as examine_cluster
from digitsweep.errors import InputError
from digitsweep.families import parse_params
from digitsweep.sweep.workers import EpochEnded, Event, TrialEnded
from digitsweep.trial import Trial, TrialResult, TrialState

pytestmark = pytest.mark.ray
PARAMS = parse_params("ann", {"hidden_layers": 1, "units": 16})
BRIEF = EXPERIMENT.replace("trials: 20", "trials: 6")
TRIALS = 14
"""Of the search, with the baselines."""


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return load_dataset("digits", validation=0.25, seed=0).training


@pytest.fixture
def cluster() -> Iterator[Any]:
    with ray_cluster(1) as made:
        yield made


@pytest.fixture
def workers(cluster: Any, data: TrainingData) -> Iterator[Any]:
    from digitsweep.sweep.ray import RayWorkers

    made = RayWorkers(data, WorkersSpec(engine="ray", address=cluster.address), None)
    yield made
    made.close()


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
    from digitsweep.sweep.processes import LocalWorkers, Place

    there = assert_trains(workers, 3)
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


def test_workers_die_and_hang(workers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An actor that dies, is killed, or no longer answers ends its trial as lost; another one takes its place."""
    start_long(workers)
    (process,) = worker_processes()
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
    monkeypatch.setattr("digitsweep.sweep.ray.SILENT_SECONDS", 12.0)
    start_long(workers, 2)
    (process,) = worker_processes()
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
    assert workers.count() == 2
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
    notes: list[str] = []

    def is_said() -> bool:
        notes.extend(workers.notices())
        return any("the sweep waits for nodes" in each for each in notes)

    until(workers, is_said)
    add(cluster)
    assert_trains(workers)


# Wrong uses


def refusal(data: TrainingData, address: str, count: int | None = None, **keys: Any) -> str:
    """What is said instead of workers being started, which is one line."""
    from digitsweep.sweep.ray import RayWorkers

    with pytest.raises(InputError) as error:
        RayWorkers(data, WorkersSpec(engine="ray", address=address, **keys), count)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_nodes_that_do_not_fit(cluster: Any, data: TrainingData, tmp_path: Path) -> None:
    """Without the processors or GPUs that a worker needs, or with other versions on a node, nothing begins. A node with
    other versions that joins later is left alone, which is said."""
    from digitsweep.sweep.ray import RayWorkers

    address = cluster.address
    assert "workers.gpus: each worker needs 0.5 GPU, but no node" in refusal(data, address, gpus=0.5)
    assert "workers.cpus: each worker needs 2 CPU, but no node" in refusal(data, address, cpus=2)
    workers = RayWorkers(data, WorkersSpec(engine="ray", address=address), None)
    try:
        other = tmp_path / "other" / "keras-3.0.0.dist-info"
        other.mkdir(parents=True)
        (other / "METADATA").write_text("Metadata-Version: 2.1\nName: keras\nVersion: 3.0.0\n")
        path = os.pathsep.join([str(other.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        add(cluster, env_vars={"PYTHONPATH": path})
        notes: list[str] = []

        def is_said() -> bool:
            notes.extend(workers.notices())
            return any("has keras 3.0.0, but the coordinator has keras" in each for each in notes)

        until(workers, is_said)
        assert workers.count() == 1
        assert_trains(workers)
    finally:
        workers.close()
    assert "has keras 3.0.0, but the coordinator has keras" in refusal(data, address)
    found = run_digitsweep("sweep", "smoke", "--engine", "ray", "--address", address, cwd=tmp_path)
    assert found.returncode == 2
    (line,) = found.stderr.splitlines()
    assert "has keras 3.0.0" in line
    findings = survey_findings(address)
    assert findings["ray versions"] is State.WRONG
    assert findings["ray cluster"] is findings["ray object store"] is State.OK


def survey_findings(address: str) -> dict[str, State]:
    return {each.name: each.state for each in examine_cluster(WorkersSpec(engine="ray", address=address), None, 10**6)}


def test_addresses_without_a_cluster(data: TrainingData) -> None:
    """An address where nothing answers, or something else does, is refused within seconds."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    for scheme in ("", "ray://"):
        assert "no Ray cluster answers at" in refusal(data, f"{scheme}127.0.0.1:{port}")
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for scheme in ("", "ray://"):
            address = f"{scheme}127.0.0.1:{server.server_port}"
            assert f"what answers at {address} is not a Ray cluster" in refusal(data, address)
    finally:
        server.shutdown()
        server.server_close()
    assert survey_findings(f"127.0.0.1:{port}") == {"ray cluster": State.WRONG}


# Whole sweeps, as commands


def begin(folder: Path, *arguments: str) -> Any:
    """A sweep with one worker, so that nothing depends on which of two trials ends first."""
    folder.mkdir(exist_ok=True)
    (folder / "faults.yaml").write_text(BRIEF)
    return start(folder, "sweep", "faults.yaml", "--workers", "1", *arguments, uri=f"sqlite:///{folder}/mlflow.db")


def swept(folder: Path) -> Sweep:
    return Sweep(folder, f"sqlite:///{folder}/mlflow.db", log_of(folder))


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
    assert begin(folder).wait(DEADLINE) == 0, log_of(folder)
    return swept(folder)


def assert_as(sweep: Sweep, local: Sweep) -> None:
    """The same trials, values and winners, nothing twice and nothing RUNNING."""
    assert_whole(sweep, TRIALS)
    assert trained(sweep) == trained(local)
    assert comparison(sweep) == comparison(local)


def wait_until_trained(process: Any, folder: Path, more_than: int) -> None:
    """Until more than so many trials have ended."""

    def has_trained() -> bool:
        return process.poll() is not None or len(re.findall(": (COMPLETE|PRUNED), epoch", log_of(folder))) > more_than

    wait_until(has_trained, "nothing is trained")
    assert process.poll() is None, log_of(folder)


def test_a_sweep_survives_its_workers_and_nodes(cluster: Any, local: Sweep, tmp_path: Path) -> None:
    """Ten actors are killed, one after the other, then the only node in mid-trial; a new one comes. The sweep ends with the
    trials, values and winners of one with a local worker."""
    process = begin(tmp_path, "--engine", "ray", "--address", cluster.address)
    for count in range(10):
        wait_until_trained(process, tmp_path, 2 * count)  # two in between, so that no trial is lost three times
        wait_until(worker_processes, "no actor begins")
        for each in worker_processes():
            each.kill()
    wait_until_trained(process, tmp_path, 20)
    (node,) = nodes_of(cluster)
    remove(cluster, node)
    wait_until(lambda: "the sweep waits for nodes" in log_of(tmp_path), log_of(tmp_path))
    assert process.poll() is None, log_of(tmp_path)
    add(cluster)
    assert process.wait(DEADLINE) == 0, log_of(tmp_path)
    assert_as(swept(tmp_path), local)


def test_the_head_dies(local: Sweep, tmp_path: Path) -> None:
    """With the head and its node gone, a sweep ends in one line that says how to go on, and leaves nothing RUNNING. Resumed
    on another cluster, it ends as if nothing had happened."""
    with ray_cluster(1) as first:
        process = begin(tmp_path, "--engine", "ray", "--address", first.address)
        wait_until_trained(process, tmp_path, 3)
        (node,) = nodes_of(first)
        first.head_node.kill_gcs_server(check_alive=False)
        remove(first, node)  # which would otherwise train on for half a minute
        assert process.wait(DEADLINE) == 1, log_of(tmp_path)
    assert "digitsweep: the head of the Ray cluster does not answer; start a cluster" in log_of(tmp_path)
    assert {run.info.status for run in swept(tmp_path).runs("trial")} <= {"FINISHED", "FAILED", "KILLED"}
    with ray_cluster(1) as second:
        uri = f"sqlite:///{tmp_path}/mlflow.db"
        again = start(tmp_path, "sweep", "--resume", "last", "--address", second.address, uri=uri)
        assert again.wait(DEADLINE) == 0, log_of(tmp_path)
    assert_as(swept(tmp_path), local)


def test_a_coordinator_is_killed_and_resumed_on_another_cluster(local: Sweep, tmp_path: Path) -> None:
    """Killed with -9, a sweep is resumed on a new cluster and ends as if nothing had happened. Its actors ended with
    it."""
    with ray_cluster(1) as first:
        process = begin(tmp_path, "--engine", "ray", "--address", first.address)
        wait_until_trained(process, tmp_path, 3)
        kill(process)
        wait_until(lambda: not worker_processes(), "actors outlive the coordinator")
    with ray_cluster(1) as second:
        uri = f"sqlite:///{tmp_path}/mlflow.db"
        again = start(tmp_path, "sweep", "--resume", "last", "--address", second.address, uri=uri)
        assert again.wait(DEADLINE) == 0, log_of(tmp_path)
    assert_as(swept(tmp_path), local)
