"""What the tests with pulled plugs share: a sweep of twenty trials a family, and what must be the same however it went."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from running import Sweep

from digitsweep.trial import Kind

EXPERIMENT = """\
name: faults
question: Does anything get lost?
seed: 3
data: {source: digits, validation: 0.25}
budget: {trials: 20, epochs: 3, seconds: 10000}
objective: {metric: val_accuracy, direction: maximize}
sampler: {type: tpe, startup_trials: 6}
pruner: {type: successive_halving, min_epochs: 1, reduction_factor: 3}
finalists: {top: 2, seeds: 1, confirm: 1}
families:
  ann:
    baselines:
      softmax: {params: {hidden_layers: 0, batch_size: 32}}
    space:
      hidden_layers: {type: int, low: 0, high: 2}
      units: {type: int, low: 16, high: 64, log: true, per: hidden_layers}
      learning_rate: {type: float, low: 1.0e-3, high: 1.0e-1, log: true}
      optimizer: {type: categorical, choices: [adam, sgd]}
      batch_size: 64
  cnn:
    baselines:
      conv: {params: {blocks: 1, filters: 8, dense_units: 32, batch_size: 64}}
    space:
      blocks: 1
      filters: {type: int, low: 8, high: 16}
      padding: same
      learning_rate: {type: float, low: 1.0e-3, high: 1.0e-1, log: true}
      batch_size: 64
"""
CLOCKS = {"seconds", "train_seconds", "attempt_seconds", "latencies", "ended", "openings"}
IDS = {"run_id", "model"}
"""What may differ from one sweep to the next, with the clocks."""
STARTED: list[subprocess.Popen[str]] = []


def start(
    folder: Path, *arguments: str, uri: str, cwd: Path | None = None, state: Path | None = None, patience: int = 10
) -> subprocess.Popen[str]:
    """`digitsweep ARGUMENTS` in a session of its own; the folder gets what it says, and its state. At its end it waits
    `patience` seconds for a server that is away."""
    places = {
        "DIGITSWEEP_STATE": str(state or folder / "state"),
        "MLFLOW_TRACKING_URI": uri,
        "DIGITSWEEP_PATIENCE": str(patience),
    }
    with (folder / "log.txt").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "digitsweep", *arguments],
            cwd=cwd or folder,
            env={**os.environ, **places},
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    STARTED.append(process)
    return process


def begin(folder: Path, uri: str, text: str = EXPERIMENT, *, workers: int = 2, patience: int = 10) -> subprocess.Popen[str]:
    """A sweep of an experiment in its own folder."""
    folder.mkdir(exist_ok=True)
    (folder / "faults.yaml").write_text(text)
    return start(folder, "sweep", "faults.yaml", "--workers", str(workers), uri=uri, patience=patience)


def resume(
    folder: Path, uri: str, named: str = "last", *, workers: int = 2, cwd: Path | None = None
) -> subprocess.Popen[str]:
    """Resumes a sweep; with a folder of its own as another machine."""
    folder.mkdir(exist_ok=True)
    return start(folder, "sweep", "--resume", named, "--workers", str(workers), uri=uri, cwd=cwd)


def log_of(folder: Path) -> str:
    """What the commands in a folder have printed."""
    log = folder / "log.txt"
    return log.read_text() if log.is_file() else ""


def wait_for(condition: Any, process: subprocess.Popen[str], folder: Path) -> None:
    """Until something is so, while the process runs."""
    while not condition():
        assert process.poll() is None, log_of(folder)
        time.sleep(0.05)


def kill_started() -> None:
    """Ends what a test that failed in the middle has left running, with its workers."""
    for process in STARTED:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    STARTED.clear()


def kill(process: subprocess.Popen[str]) -> None:
    """As the kernel does when memory is short: the coordinator alone, at once; its workers have to notice."""
    process.send_signal(signal.SIGKILL)
    process.wait()


def suspend_between_requests(process: subprocess.Popen[str], folder: Path) -> None:
    """Suspends a coordinator, as on a machine that falls asleep, while none of its records is on its way to the server: a
    request that is under way cannot be taken back."""
    while True:
        wait_for(lambda: not list(folder.glob("state/*/records/*.zip")), process, folder)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        if not list(folder.glob("state/*/records/*.zip")):
            return
        process.send_signal(signal.SIGCONT)


def comparison(sweep: Sweep) -> dict[str, Any]:
    """What a sweep came to, without clocks and ids."""
    values: dict[str, Any] = without_clocks(json.loads(sweep.artifact(sweep.parent(), "comparison/comparison.json")))
    return values


def without_clocks(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: without_clocks(each) for name, each in values.items() if name not in CLOCKS | IDS}
    return [without_clocks(each) for each in values] if isinstance(values, list) else values


def assert_whole(sweep: Sweep, trials: int) -> None:
    """Every planned trial is there once, none is running, and each has what a trial has."""
    found = sweep.runs("trial")
    names = sorted(each.info.run_name for each in found)
    assert len(names) == len(set(names)) == trials, names
    everything = [each for kind in ("sweep", *Kind, "attempt") for each in sweep.runs(kind)]
    assert [each.info.run_name for each in everything if each.info.status == "RUNNING"] == []
    for run in found:
        values = json.loads(run.data.tags["digitsweep.trial"])
        assert values["state"] == run.data.tags["trial.state"]
        history = sweep.client.get_metric_history(run.info.run_id, "val_accuracy")
        assert [each.step for each in history] == list(range(1, len(history) + 1)), "each epoch once, in order"
        if history:
            assert "learning_curves.png" in sweep.artifacts(run)
