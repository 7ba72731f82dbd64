"""`mlflow models serve`, as a person starts it: the champions answer over HTTP, from processes of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from mlflow import MlflowClient
from running import ROOT, Sweep

from digitsweep.data.sources import load_dataset


@contextmanager
def served(model: str, store: str, folder: Path) -> Iterator[str]:
    """The address at which a registered model of a store answers, once it does; the server ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{model}", "--env-manager=local"]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": store,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    log = folder / f"serve-{port}.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [*command, "--port", str(port)],
            env=environment,
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the process, and uvicorn that it started


def asked(address: str, body: object) -> tuple[int, Any]:
    """The status and the JSON of `POST /invocations`."""
    answer = requests.post(f"{address}/invocations", json=body, timeout=60)
    return answer.status_code, answer.json()


def wait_for(address: str, seconds: float = 120) -> None:
    """Waits until `/ping` is answered."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            requests.get(f"{address}/ping", timeout=5).raise_for_status()
        except requests.RequestException:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"{address} does not answer")


@pytest.mark.slow
def test_both_champions_answer_over_http(smoke: Sweep, tmp_path: Path) -> None:
    """Each champion, served by MLflow, reads the test images with the recorded accuracy; a wrong request gets status 400."""
    shutil.copy(smoke.folder / "mlflow.db", tmp_path)
    store = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(store)
    for family in ("ann", "cnn"):
        version = client.get_model_version_by_alias(f"digits-{family}", "challenger").version
        client.set_registered_model_alias(f"digits-{family}", "champion", version)
    test = load_dataset("digits", validation=0.25, seed=0).test.open("test_serving")
    with served("digits-ann@champion", store, tmp_path) as ann, served("digits-cnn@champion", store, tmp_path) as cnn:
        for family, address in (("ann", ann), ("cnn", cnn)):
            wait_for(address)
            status, answer = asked(address, {"inputs": test.images.tolist()})
            assert status == 200
            probabilities = np.array(answer["predictions"])
            assert probabilities.shape == (len(test), 10)
            np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
            accuracy = float((probabilities.argmax(axis=1) == test.labels).mean())
            assert accuracy == smoke.parent().data.metrics[f"{family}_test_accuracy"]
            questions: list[object] = [{"inputs": [[0, 1]]}, {"images": []}, {"inputs": np.full((1, 8, 8, 1), 300).tolist()}]
            for wrong in questions:
                status, answer = asked(address, wrong)
                assert status == 400
                assert answer["message"]


def test_the_page_shows_the_request() -> None:
    """The page about reading digits shows the JSON of the request and of the answer."""
    page = (ROOT / "docs" / "predicting.md").read_text()
    assert '{"inputs": [' in page
    assert '{"predictions": [' in page
