"""The registered models, used by somebody who has never heard of digitsweep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient
from running import Sweep

from digitsweep.registry.models import CHALLENGER
from digitsweep.registry.versions import point_alias

SCRIPT = """
import sys
sys.modules["digitsweep"] = None  # importing it fails, as where it is not installed
import json, warnings, numpy as np, mlflow, mlflow.keras
warnings.filterwarnings("error", "The structure of .inputs.", UserWarning)
images, labels = np.load(sys.argv[2]), np.load(sys.argv[3])
found = {}
for family in ("ann", "cnn"):
    uri = f"models:/digits-{family}@challenger"
    keras_model = mlflow.keras.load_model(uri)
    pyfunc_model = mlflow.pyfunc.load_model(uri)
    probabilities = keras_model.predict(images, verbose=0)
    same = pyfunc_model.predict(images)
    assert np.allclose(probabilities, same, atol=1e-6)
    assert np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert np.allclose(keras_model.predict(images.astype("float32"), verbose=0), probabilities, atol=1e-6)
    found[family] = float((probabilities.argmax(axis=1) == labels).mean())
    assert getattr(keras_model, "optimizer", None) is None
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def versions(smoke: Sweep) -> dict[str, object]:
    return {family: smoke.client.get_model_version_by_alias(f"digits-{family}", "challenger") for family in ("ann", "cnn")}


def test_a_stranger_gets_the_recorded_accuracy(smoke: Sweep, tmp_path: Path) -> None:
    """Both challengers load with pickle forbidden, without digitsweep, and give the recorded accuracy from uint8 images."""
    import numpy as np

    from digitsweep.data.sources import load_dataset

    test = load_dataset("digits", validation=0.25, seed=0).test.open("test_registry")
    np.save(tmp_path / "images.npy", test.images)
    np.save(tmp_path / "labels.npy", test.labels)
    environment = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "MLFLOW_TRACKING_URI": smoke.uri,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    arguments = [sys.executable, "-c", SCRIPT, "digits", str(tmp_path / "images.npy"), str(tmp_path / "labels.npy")]
    finished = subprocess.run(
        arguments, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout.splitlines()[-1])
    metrics = smoke.parent().data.metrics
    assert found == {"ann": metrics["ann_test_accuracy"], "cnn": metrics["cnn_test_accuracy"]}


def test_a_version_says_where_it_came_from(smoke: Sweep, versions: dict[str, object]) -> None:
    """A version has tags for data, experiment, commit, dirtiness and seed, and the run that trained it."""
    for family, version in versions.items():
        tags = version.tags  # type: ignore[attr-defined]
        assert {"digitsweep.data.digest", "digitsweep.digest", "digitsweep.commit", "digitsweep.dirty", "seed"} <= set(tags)
        assert tags["digitsweep.sweep"] == smoke.parent().info.run_id
        run = smoke.client.get_run(version.run_id)  # type: ignore[attr-defined]
        assert run.data.tags["family"] == family
        assert run.data.tags["seed"] == tags["seed"]
        assert "test images" in version.description  # type: ignore[attr-defined]


def test_a_model_has_a_signature_and_pinned_requirements(
    smoke: Sweep, versions: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registered model takes uint8 images and pins what it was made with."""
    import mlflow
    from mlflow.models import get_model_info

    monkeypatch.setenv("MLFLOW_TRACKING_URI", smoke.uri)
    for version in versions.values():
        uri = f"models:/{version.name}/{version.version}"  # type: ignore[attr-defined]
        folder = Path(mlflow.artifacts.download_artifacts(uri))
        info = get_model_info(str(folder))
        assert info.signature is not None
        assert info.signature.inputs.to_dict()[0]["tensor-spec"] == {"dtype": "uint8", "shape": (-1, 8, 8, 1)}
        requirements = (folder / "requirements.txt").read_text()
        assert all(f"{name}==" in requirements for name in ("keras", "tensorflow", "numpy"))
        assert not list(folder.rglob("*.pkl"))


def test_an_alias_set_by_many_at_once(made_store: Path) -> None:
    """Whoever points an alias at a version that nobody has pointed at anything yet succeeds, however many do so at that
    moment: sweeps that end together register their challengers together."""
    client = MlflowClient(f"sqlite:///{made_store}/mlflow.db")
    for name in (f"model-{number}" for number in range(6)):
        client.create_registered_model(name)
        versions = [client.create_model_version(name, str(made_store)).version for _ in range(6)]
        together = threading.Barrier(len(versions))

        def point(name: str, version: str, together: threading.Barrier = together) -> None:
            together.wait()
            point_alias(client, name, CHALLENGER, version)

        with ThreadPoolExecutor(len(versions)) as people:
            for each in [people.submit(point, name, version) for version in versions]:
                each.result()
        assert client.get_registered_model(name).aliases[CHALLENGER] in versions
