"""What tracking costs: the same sweep with a do-nothing tracker, on SQLite and against a server over HTTP.

Wall-clock times of one run differ by a tenth on a shared machine. What tracking takes away from two workers that fill two
cores is processor time, the coordinator's and the server's, and that is steady: its share of their time is the headline."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml
from common import folder, mnist_folder, report, run

REPEATS = 2
WORKERS = 2
EXPERIMENT = {
    "name": "overhead",
    "question": "What does tracking cost?",
    "data": {"source": "mnist", "validation": 10_000},
    "budget": {"trials": 0, "epochs": 10, "seconds": 1},
    "register_models": False,
    "families": {
        "ann": {
            "baselines": {
                f"dense-{units}": {"params": {"hidden_layers": 2, "units": [units, 256], "batch_size": 128}}
                for units in (384, 448, 512, 576)
            }
        },
        "cnn": {
            "baselines": {
                f"conv-{filters}": {"params": {"blocks": 2, "filters": [filters, 32], "dense_units": 100, "batch_size": 128}}
                for filters in (14, 16, 18, 20)
            }
        },
    },
}
SCRIPT = """
import sys, time
from pathlib import Path
from digitsweep.config.options import Options
from digitsweep.sweeping.run import sweep
from digitsweep.tracking.tracker import Listener, Tracker
from digitsweep.tracking.mlflow_tracker import MlflowTracker


class Watch(Listener):
    first = last = None

    def trial_started(self, trial):
        self.first = self.first or (time.perf_counter(), time.process_time())

    def note(self, text):
        self.last = time.perf_counter(), time.process_time()


if __name__ == "__main__":
    watch = Watch()
    trackers = {"none": lambda *_: Tracker(), "mlflow": MlflowTracker}
    path, data, tracker = sys.argv[1:]
    sweep(Path(path), Options(workers=WORKERS, data=Path(data)), watch, open_tracker=trackers[tracker])
    print(*(last - first for first, last in zip(watch.first, watch.last)))
""".replace("WORKERS", str(WORKERS))


@contextlib.contextmanager
def server(place: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A server with one process and no background jobs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{place}/mlflow.db", "--artifacts-destination", str(place / "files")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=place, env=environment, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        os.killpg(process.pid, 15)
        process.wait()


@dataclass(frozen=True)
class Searched:
    """One sweep, from the first trial's start to the search's end, with what is left to record included."""

    wall: float
    processor: float
    """Seconds of the coordinator and of the server; the workers' are not in it."""


def searched(data: Path, tracker: str, uri: str | None, server: psutil.Process | None = None) -> Searched:
    """Runs the sweep once."""
    before = used(server)
    with folder() as place:
        (place / "overhead.yaml").write_text(yaml.safe_dump(EXPERIMENT))
        (place / "script.py").write_text(SCRIPT)
        _, output = run(
            *(sys.executable, "script.py", "overhead.yaml", str(data), tracker),
            cwd=place,
            MLFLOW_TRACKING_URI=uri or f"sqlite:///{place}/mlflow.db",
        )
    wall, processor = map(float, output.splitlines()[-1].split())
    return Searched(wall, processor + used(server) - before)


def used(process: psutil.Process | None) -> float:
    """Processor seconds of a process and of those that it has started."""
    if process is None:
        return 0.0
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def main() -> None:
    data = mnist_folder()
    sweeps: dict[str, list[Searched]] = {"none": [], "SQLite": [], "HTTP": []}
    with folder() as place, server(place) as (uri, process):
        for _ in range(REPEATS):  # interleaved: a machine that slows down slows all three
            sweeps["none"].append(searched(data, "none", None))
            sweeps["SQLite"].append(searched(data, "mlflow", None))
            sweeps["HTTP"].append(searched(data, "mlflow", uri, process))
    wall = {name: min(each.wall for each in runs) for name, runs in sweeps.items()}
    processor = {name: min(each.processor for each in runs) for name, runs in sweeps.items()}
    shares = {name: (processor[name] - processor["none"]) / (WORKERS * wall["none"]) for name in sweeps}
    rows = [
        [
            name,
            *(f"{each.wall:.1f}" for each in runs),
            *(f"{each.processor:.1f}" for each in runs),
            f"{wall[name] / wall['none'] - 1:+.1%}",
            f"{shares[name]:.1%}",
        ]
        for name, runs in sweeps.items()
    ]
    header = ["tracking", *["wall s"] * REPEATS, *["processor s"] * REPEATS, "more wall", f"of {WORKERS} cores' time"]
    headline = f"overhead: SQLite {shares['SQLite']:.1%}, HTTP {shares['HTTP']:.1%} of the cores' time (least of {REPEATS})"
    report("overhead", headline, header, rows)


if __name__ == "__main__":
    main()
