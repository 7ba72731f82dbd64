"""What tracking costs: the same sweep with a do-nothing tracker, on SQLite and against a server over HTTP."""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import yaml
from common import folder, mnist_folder, report, run

REPEATS = 3
EXPERIMENT = {
    "name": "overhead",
    "question": "What does tracking cost?",
    "data": {"source": "mnist", "validation": 10_000},
    "budget": {"trials": 0, "epochs": 6, "seconds": 1},
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
from digitsweep.options import Options
from digitsweep.progress import NoDisplay
from digitsweep.sweep import sweep
from digitsweep.tracker import NoTracker
from digitsweep.tracking.mlflow_tracker import MlflowTracker


class Watch(NoDisplay):
    first = last = 0.0

    def trial_started(self, trial):
        self.first = self.first or time.perf_counter()

    def note(self, text):
        self.last = time.perf_counter()


if __name__ == "__main__":
    watch = Watch()
    trackers = {"none": lambda *_: NoTracker(), "mlflow": MlflowTracker}
    path, data, tracker = sys.argv[1:]
    sweep(Path(path), Options(workers=2, data=Path(data)), watch, make_tracker=trackers[tracker])
    print(watch.last - watch.first)
"""


@contextlib.contextmanager
def server(place: Path) -> Iterator[str]:
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
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def searched(data: Path, tracker: str, uri: str | None) -> float:
    """Seconds from the first trial's start to the search's end, with what is left to record included."""
    with folder() as place:
        (place / "overhead.yaml").write_text(yaml.safe_dump(EXPERIMENT))
        (place / "script.py").write_text(SCRIPT)
        _, output = run(
            *(sys.executable, "script.py", "overhead.yaml", str(data), tracker),
            cwd=place,
            MLFLOW_TRACKING_URI=uri or f"sqlite:///{place}/mlflow.db",
        )
        return float(output.splitlines()[-1])


def main() -> None:
    data = mnist_folder()
    seconds: dict[str, list[float]] = {"none": [], "SQLite": [], "HTTP": []}
    with folder() as place, server(place) as uri:
        for _ in range(REPEATS):  # interleaved: a machine that slows down slows all three
            seconds["none"].append(searched(data, "none", None))
            seconds["SQLite"].append(searched(data, "mlflow", None))
            seconds["HTTP"].append(searched(data, "mlflow", uri))
    least = {name: min(each) for name, each in seconds.items()}
    costs = {name: least[name] / least["none"] - 1 for name in seconds}
    rows = [
        [name, f"{min(each):.2f}", f"{statistics.median(each):.2f}", f"{max(each):.2f}", f"{costs[name]:+.1%}"]
        for name, each in seconds.items()
    ]
    headline = f"overhead: SQLite {costs['SQLite']:+.1%}, HTTP {costs['HTTP']:+.1%} (least of {REPEATS})"
    report("overhead", headline, ["tracking", "least s", "median s", "most s", "cost"], rows)


if __name__ == "__main__":
    main()
