"""What all tests share: no variable of the machine reaches them, and each has an MLflow store of its own where it asks."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import chromium
from clusters import ray_cluster, restored
from faults import kill_started
from running import EXPERIMENTS, Sweep, run_digitsweep
from servers import free_port
from stacked import Stack

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a script has what it runs in the background ignore
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["DIGITSWEEP_STATE"] = tempfile.mkdtemp(prefix="digitsweep-state-")

_LEAKING = (
    "DIGITSWEEP_DATA",
    "DIGITSWEEP_CACHE",
    "DIGITSWEEP_COMMIT",
    "DIGITSWEEP_PATIENCE",
    "MLFLOW_RUN_ID",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _LEAKING:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _no_family_left() -> Iterator[None]:
    """A process knows only the families of its own experiment."""
    yield
    from digitsweep.families import FAMILIES
    from digitsweep.families.outside import ORIGINS

    for name in ORIGINS:
        del FAMILIES[name]
    ORIGINS.clear()


@pytest.fixture(autouse=True)
def _no_sweep_left() -> Iterator[None]:
    yield
    kill_started()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow's with nothing in it: to make one takes seconds, to copy it does not."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder that is the current one: MLflow's default store, SQLite and a folder of artifacts, is made in it."""
    import mlflow

    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # back to the default
    yield tmp_path
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # back to the default


@pytest.fixture
def made_store(store: Path, empty_database: Path) -> Path:
    """The same with the database in it."""
    shutil.copy(empty_database, store)
    return store


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A finished sweep of smoke.yaml, run as a person runs it: two real workers, a real SQLite store."""
    folder = tmp_path_factory.mktemp("smoke")
    uri = f"sqlite:///{folder}/mlflow.db"
    finished = run_digitsweep("sweep", str(EXPERIMENTS / "smoke.yaml"), "--workers", "2", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    return Sweep(folder, uri, finished.stdout)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Playwright's Browser."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack as `make up` starts it; gone afterwards, with its volumes."""
    folder = tmp_path_factory.mktemp("stack")
    stack = Stack(f"digitsweep-test-{os.getpid()}", folder / "env", free_port())
    stack.env_file.write_text(f"PORT={stack.port}\nTLS_PORT={free_port()}\n")
    try:
        stack.script("up")
        with pytest.MonkeyPatch.context() as patch:
            for name, value in stack.environment().items():
                if name != "MLFLOW_TRACKING_URI":
                    patch.setenv(name, value)
            yield stack
    finally:
        stack.compose("--profile", "*", "down", "--volumes", "--timeout", "10")


@pytest.fixture(scope="session")
def swept(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The run of a finished sweep of smoke.yaml, from outside, whose winners are champions."""
    folder = tmp_path_factory.mktemp("swept")
    path = str(EXPERIMENTS / "smoke.yaml")
    others = [each["info"]["run_id"] for each in stack.runs()]
    finished = run_digitsweep("sweep", path, cwd=folder, seconds=600, **stack.environment())
    assert finished.returncode == 0, finished.stderr
    assert not list(folder.iterdir()), "nothing is written beside the server"
    for family in ("ann", "cnn"):
        # Smoke's networks are weaker than the gate asks; what matters here is that the server takes a promotion.
        arguments = ("promote", f"digits-{family}", "--force", "--reason", "a test of the server")
        promoted = run_digitsweep(*arguments, cwd=folder, seconds=600, **stack.environment())
        assert promoted.returncode == 0, promoted.stderr
    sweeps = [str(each["info"]["run_id"]) for each in stack.runs("tags.`digitsweep.kind` = 'sweep'")]
    (sweep,) = (each for each in sweeps if each not in others)
    return sweep


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[Any]:
    """A Ray cluster of a head and a node, for all tests of a module."""
    with ray_cluster(1, ray_client_server_port=free_port()) as made:
        yield made


@pytest.fixture
def cluster(shared_cluster: Any) -> Iterator[Any]:
    """The same, with the same nodes for each test."""
    with restored(shared_cluster) as made:
        yield made
