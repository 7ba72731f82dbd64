"""The MLflow UI: an address that shows a sweep's trials in charts, and the UI itself for a store without a server.

MLflow keeps a saved view of its UI in a tag of the experiment, and an address names the view by its key. A view holds the
filter, the columns and the charts. MLflow ignores the view if the address has a filter, so each sweep needs its own view.
Only the newest are kept, because MLflow sends all tags with the experiment. `link_to` saves a deleted view again.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import get_tracking_uri
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from sqlalchemy.exc import SQLAlchemyError

from digitsweep.errors import DigitsweepError, InputError
from digitsweep.families import Params
from digitsweep.tracking.client import all_runs, artifact, first_line, open_store, server_errors, shown_uri

VIEW = "mlflow.sharedViewState."
"""The prefix of MLflow's tag of an experiment, before the key of a saved view."""
OURS = "sweep-"
"""The prefix of a view's key, before the id of the sweep's run."""
MOST_VIEWS = 20
"""Of sweeps, in one experiment."""
MOST_LINES = 100
"""Runs in a chart: as many as the UI loads at first. The best by validation accuracy come first."""
TRAINING = "workflowType=machine_learning"
"""In an address: opens the UI for trainings. Without it, a new browser sees the one for language models."""
PORT = 5000
"""MLflow's own."""
START_SECONDS = 300.0
"""Enough for a busy machine."""


def home(port: int = PORT) -> str:
    """The address of the UI's list of experiments. port: of the UI on this machine, where the store has no server."""
    return f"{_base(port)}/#/experiments?{TRAINING}"


def link_to(run_id: str, note: Callable[[str], None] = lambda text: None, *, port: int = PORT) -> str:
    """The address of a sweep's trials in the UI, in charts; of any other run, that of its artifacts.

    port: of the UI on this machine, where the store has no server.

    The charts are saved as a view of the experiment. If the server refuses this or cannot be reached, `note` is told why,
    and the address is that of the list of trials, or of the UI."""
    try:
        client = open_store()
        run = client.get_run(run_id)
        page = f"{_base(port)}/#/experiments/{run.info.experiment_id}/runs"
        if run.data.tags.get("digitsweep.kind") != "sweep":
            return f"{page}/{run_id}/artifacts?{TRAINING}"
    except (MlflowException, SQLAlchemyError, OSError) as error:
        note(f"Run {run_id} could not be read: {first_line(error)}")
        return home(port)
    try:
        save_view(client, run)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        note(f"The charts of this sweep could not be saved for the MLflow UI: {first_line(error)}")
        return f"{page}?{TRAINING}"
    return f"{page}?viewStateShareKey={OURS}{run_id}&{TRAINING}&compareRunsMode=CHART"


def save_view(client: MlflowClient, run: Run) -> None:
    """Saves the view of a sweep's trials, unless it is there already, and deletes the oldest views of other sweeps."""
    experiment = client.get_experiment(run.info.experiment_id)
    key = f"{VIEW}{OURS}{run.info.run_id}"
    saved = {name: text for name, text in experiment.tags.items() if name.startswith(VIEW + OURS)}
    if key in saved:  # a person may have changed it in the UI
        return
    client.set_experiment_tag(experiment.experiment_id, key, _envelope(run))
    others = sorted(saved, key=lambda each: _created(saved[each]), reverse=True)
    for old in others[MOST_VIEWS - 1 :]:
        client.delete_experiment_tag(experiment.experiment_id, old)


def newest_sweep() -> str | None:
    """The id of the newest sweep's run, whether that sweep has ended or not; None if there is none."""
    with server_errors("could not be asked"):
        for run in all_runs(open_store(), "tags.`digitsweep.kind` = 'sweep'"):
            return str(run.info.run_id)
    return None


def has_server() -> bool:
    """Whether the store is a server, which serves the UI itself."""
    return get_tracking_uri().startswith("http")


def comparison_files(run_id: str) -> dict[str, bytes]:
    """The files of a run's comparison by name; the short report also says where the run is, if the store has a server.

    Raises DigitsweepError where they cannot be read."""
    with server_errors(f"gave no files of run {run_id}"):
        client = open_store()
        run = client.get_run(run_id)
        found = [each.path for each in client.list_artifacts(run_id, "comparison") if not each.is_dir]
        files = {Path(path).name: artifact(client, run, path) for path in found}
    if has_server() and "report.md" in files:
        files["report.md"] += f"\n[Every trial in the MLflow UI]({link_to(run_id)})\n".encode()
    return files


def serve_ui(port: int, ready: Callable[[], None]) -> None:
    """Serves the UI of a store without a server on this machine until it ends; calls `ready` when it answers.

    Raises InputError if the port is taken, and DigitsweepError if the UI does not start."""
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind(("127.0.0.1", port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(f"--port {port}: cannot be used ({reason}); name another port, such as {port + 1}") from None
    # Not on the command line, where others could read a password. One worker is enough for one person, and starts sooner.
    environment = {
        "MLFLOW_BACKEND_STORE_URI": get_tracking_uri(),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the UI is ended too
    with subprocess.Popen(command, env={**os.environ, **environment}) as process:
        try:
            until = time.monotonic() + START_SECONDS
            while not _answers(f"http://127.0.0.1:{port}/health"):
                if process.poll() is not None or time.monotonic() > until:
                    raise DigitsweepError(f"the MLflow UI did not start on port {port}; see its output above")
                time.sleep(0.2)
            ready()
            process.wait()
        finally:
            process.terminate()


def has_screen(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a person would see a browser that opens: not in CI, and not over ssh without a display."""
    has_display = sys.platform == "darwin" or environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
    return not environment.get("CI") and bool(has_display)


def _base(port: int) -> str:
    """The UI's address, which may include a path, without a slash at its end.

    DIGITSWEEP_UI is the address at which people open a server's UI, if it is not the tracking URI."""
    return (os.environ.get("DIGITSWEEP_UI") or shown_uri()).rstrip("/") if has_server() else f"http://127.0.0.1:{port}"


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=2).close()
    except OSError:
        return False
    return True


def _envelope(run: Run) -> str:
    """A saved view as the UI writes it: its name in the UI's menu, and its state, compressed."""
    begun = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    state = base64.b64encode(zlib.compress(json.dumps(_state(run.info.run_id)).encode())).decode()
    return json.dumps(
        {
            "name": f"{run.info.run_name}, {begun:%Y-%m-%d %H:%M} UTC",
            "createdAt": run.info.start_time,
            "updatedAt": run.info.start_time,
            "state": f"deflate;{state}",
        }
    )


def _created(envelope: str) -> float:
    """When a view was saved, as it says; long ago if it cannot be read."""
    try:
        return float(json.loads(envelope)["createdAt"])
    except (ValueError, KeyError, TypeError):
        return 0.0


def _state(run_id: str) -> dict[str, Any]:
    """What the UI shows: fields that are left out have MLflow's defaults."""
    params = [name for name in Params.model_fields if name not in Params.conditional]  # those of every network
    columns = [
        *(f"tags.`{name}`" for name in ("family", "digitsweep.kind", "trial.state")),
        *(f"metrics.`{name}`" for name in ("val_accuracy", "test_accuracy", "weights", "train_seconds")),
        *(f"params.`{name}`" for name in ("epochs", *params)),
    ]
    lines = {"selectedMetricKeys": ["val_accuracy"], "xAxisKey": "step", "lineSmoothness": 0, "displayPoints": False}
    axes = {"selectedParams": params, "selectedMetrics": ["weights", "val_accuracy"], "showAllRuns": False}
    charts = [
        {**_chart("by-epoch", "accuracy", "LINE"), "metricKey": "val_accuracy", **lines},
        {**_chart("test", "accuracy", "BAR"), "metricKey": "test_accuracy"},
        {**_chart("parallel", "space", "PARALLEL"), **axes},
    ]
    return {
        "searchFilter": f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}' AND tags.`digitsweep.kind` != 'attempt'",
        "orderByKey": "metrics.`val_accuracy`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": columns,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": [
            _section("accuracy", "Accuracy", columns=2),
            _section("space", "Search space", columns=1),
            # Where the UI puts all other metrics, by this name.
            {**_section("rest", "Model metrics", columns=3), "display": False},
        ],
        "isAccordionReordered": True,
        "groupBy": {"aggregateFunction": "max", "groupByKeys": [{"mode": "tag", "groupByData": "family"}]},
        "useGroupedValuesInCharts": False,
    }


def _chart(key: str, section: str, kind: str) -> dict[str, Any]:
    place = {"uuid": key, "type": kind, "metricSectionId": section, "runsCountToCompare": MOST_LINES}
    return {**place, "deleted": False, "isGenerated": False}


def _section(key: str, title: str, columns: int) -> dict[str, Any]:
    place = {"uuid": key, "name": title, "display": True, "columns": columns, "cardHeight": 380}
    return {**place, "isReordered": True, "deleted": False, "isGenerated": False}
