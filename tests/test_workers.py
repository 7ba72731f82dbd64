"""Real worker processes: results come back, a stop is heard, a death is seen; and where workers run on other machines."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from digitsweep.data import TrainingData
from digitsweep.data.sources import load_dataset
from digitsweep.errors import DigitsweepError
from digitsweep.families import parse_params
from digitsweep.sweeping.processes import LocalWorkers, Place, places, visible_gpus
from digitsweep.sweeping.workers import EpochEnded, Event, TrialEnded
from digitsweep.trial import Trial, TrialState

PARAMS = parse_params("ann", {"hidden_layers": 1, "units": 16})


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return load_dataset("digits", validation=0.25, seed=0).training


@pytest.fixture
def workers(data: TrainingData) -> Iterator[LocalWorkers]:
    made = LocalWorkers(data, [Place(None)])
    wait_until_ready(made)
    yield made
    made.close()


def wait_until_ready(workers: LocalWorkers) -> None:
    """Workers import TensorFlow first."""
    deadline = time.monotonic() + 60
    while not workers.free():
        assert time.monotonic() < deadline
        workers.events(0.5)


def trial(number: int, epochs: int) -> Trial:
    return Trial(number, PARAMS, seed=number, epochs=epochs)


def until_end(workers: LocalWorkers, seconds: float = 60.0) -> tuple[list[Event], TrialEnded]:
    """Everything up to the first trial's end, and that."""
    found: list[Event] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found += workers.events(0.5)
        if found and isinstance(found[-1], TrialEnded):
            return found[:-1], found[-1]
    raise AssertionError(f"no trial ended within {seconds} s: {found}")


def assert_trains(workers: LocalWorkers, number: int = 1) -> None:
    """A worker gets ready and trains a trial to its end."""
    wait_until_ready(workers)
    workers.start(trial(number, epochs=1))
    assert until_end(workers)[1].result.state is TrialState.COMPLETE


def start_long(workers: LocalWorkers) -> Trial:
    """A trial that does not end by itself, after its first epoch."""
    long = trial(0, epochs=10_000)
    workers.start(long)
    while not workers.events(1.0):
        pass
    return long


def test_a_result_is_that_of_training_here(workers: LocalWorkers, data: TrainingData) -> None:
    """A worker's epochs and result are those of the same training in this process: a function of params and seed."""
    from digitsweep.training.loop import train

    workers.start(trial(3, epochs=2))
    assert workers.free() == 0
    epochs, end = until_end(workers)
    assert workers.free() == 1
    assert [each.epoch.metrics for each in epochs if isinstance(each, EpochEnded)] == list(end.result.epochs)
    here = train(PARAMS, data, seed=3, epochs=2)
    assert [round(each.metrics.val_loss, 4) for each in here] == [round(each.val_loss, 4) for each in end.result.epochs]


def test_a_stop_is_heard_and_the_worker_goes_on(workers: LocalWorkers) -> None:
    """A trial that is told to stop ends as PRUNED long before its last epoch, and its worker takes the next one."""
    long = start_long(workers)
    workers.stop(long)
    assert until_end(workers)[1].result.state is TrialState.PRUNED
    workers.stop(long)  # too late: it must not reach the next trial
    assert_trains(workers)


def test_a_killed_worker_is_seen_and_replaced(workers: LocalWorkers) -> None:
    """A worker that is killed ends its trial as FAIL with the signal in the reason; another one takes its place."""
    start_long(workers)
    os.kill(workers.pids()[0], signal.SIGKILL)
    _, end = until_end(workers)
    assert end.result.state is TrialState.FAIL
    assert "SIGKILL" in end.result.reason
    assert end.result.epochs
    assert_trains(workers)


def test_a_worker_that_dies_with_what_it_was_forked_from_is_replaced(workers: LocalWorkers) -> None:
    """A signal to the whole group ends the process that workers are forked from, too: it is started anew."""
    wait_until_ready(workers)
    (before,) = workers.pids()
    origin = psutil.Process(before).ppid()
    assert origin != os.getpid()
    for pid in (before, origin):
        os.kill(pid, signal.SIGKILL)
    while workers.pids() == [before]:
        workers.events(0.1)
    assert_trains(workers)


def test_a_worker_is_replaced_after_its_trials(workers: LocalWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    """What TensorFlow keeps of each trial ends with the worker: after so many trials another process takes the next."""
    monkeypatch.setattr("digitsweep.sweeping.processes.MOST_TRIALS", 2)
    pids = []
    for number in range(3):
        wait_until_ready(workers)
        pids.append(workers.pids()[0])
        assert_trains(workers, number)
    assert pids[0] == pids[1] != pids[2]


def test_workers_that_cannot_start_end_the_sweep(data: TrainingData) -> None:
    """Where every worker dies before it is ready, the coordinator gives up with one line."""
    workers = LocalWorkers(data, [Place(None)])

    def kill_every_one() -> None:
        for _ in range(10):
            for pid in workers.pids():
                os.kill(pid, signal.SIGKILL)
            workers.events(5.0)

    try:
        with pytest.raises(DigitsweepError, match="workers cannot start"):
            kill_every_one()
    finally:
        workers.close()


def test_nothing_is_left_after_close(data: TrainingData) -> None:
    """Closing ends every process, at work or not, and removes the shared images."""
    workers = LocalWorkers(data, [Place(None)] * 2)
    wait_until_ready(workers)
    workers.start(trial(0, epochs=10_000))
    pids, folder = workers.pids(), workers.folder
    assert folder.is_dir()
    workers.close()
    assert not folder.exists()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_workers_die_with_their_coordinator(tmp_path: object) -> None:
    """When the coordinator is killed its workers end too, within moments."""
    import subprocess
    import sys

    script = (
        "import time\n"
        "from digitsweep.data.sources import load_dataset\n"
        "from digitsweep.sweeping.processes import LocalWorkers\n"
        "from digitsweep.sweeping.processes import Place\n"
        "if __name__ == '__main__':\n"
        "    workers = LocalWorkers(load_dataset('digits', validation=0.25, seed=0).training, [Place(None)])\n"
        "    print(workers.pids()[0], flush=True)\n"
        "    time.sleep(600)\n"
    )
    path = tmp_path / "coordinator.py"  # type: ignore[operator]
    path.write_text(script)
    with subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True) as coordinator:
        assert coordinator.stdout is not None
        worker = int(coordinator.stdout.readline())
        coordinator.kill()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.2)
    raise AssertionError("the worker outlived its coordinator")


def test_a_worker_that_does_not_answer_is_ended(workers: LocalWorkers) -> None:
    """A worker that stands still is killed when that is asked for; its trial is lost, with the reason and the memory it
    held."""
    started = trial(0, 10_000)
    workers.start(started)
    (pid,) = workers.pids()
    os.kill(pid, signal.SIGSTOP)
    workers.events(0.5)
    workers.kill(started, "it had not ended an epoch for 9 s")
    _, end = until_end(workers)
    assert end.lost
    assert end.result.reason.startswith("it had not ended an epoch for 9 s after epoch ")
    assert end.result.reason.endswith(" MiB")
    wait_until_ready(workers)
    assert workers.pids() != [pid]


@pytest.mark.parametrize(
    ("workers", "gpus", "per_gpu", "expected"),
    [
        (None, [], 1, [None, None, None, None]),
        (2, [], 3, [None, None]),
        (None, ["0", "1"], 1, ["0", "1"]),
        (None, ["0", "1"], 2, ["0", "1", "0", "1"]),
        (3, ["GPU-a", "GPU-b"], 1, ["GPU-a", "GPU-b", "GPU-a"]),
        (1, ["0", "1"], 4, ["0"]),
    ],
)
def test_places(workers: int | None, gpus: list[str], per_gpu: int, expected: list[str | None]) -> None:
    """Workers are dealt out over the GPUs in turn, or get a core each where there is none."""
    assert [place.gpu for place in places(workers, gpus, per_gpu, cores=4)] == expected


def test_a_place_shows_one_device_only() -> None:
    """A worker on a GPU sees that one and lets its memory grow; one on the CPU sees none and has one thread."""
    assert Place("1").environment()["CUDA_VISIBLE_DEVICES"] == "1"
    assert Place("1").environment()["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert Place(None).environment()["CUDA_VISIBLE_DEVICES"] == "-1"
    assert Place(None).environment()["TF_NUM_INTRAOP_THREADS"] == "1"


def test_the_gpus_there_are(tmp_path: Path) -> None:
    """The driver's folder has an entry for each GPU; what the person chose goes before it."""
    for name in ("0000:3b:00.0", "0000:86:00.0"):
        (tmp_path / name).mkdir()
    assert visible_gpus(None, tmp_path) == ["0", "1"]
    assert visible_gpus(None, tmp_path / "none") == []
    assert visible_gpus("1", tmp_path) == ["1"]
    assert visible_gpus("-1", tmp_path) == []
    assert visible_gpus("", tmp_path) == []
