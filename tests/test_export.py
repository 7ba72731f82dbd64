"""Registered models as ONNX and LiteRT files: the formats' own runtimes give what Keras gives."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import TRAINED, configurations, fitted, mixer, shuffled
from numpy.typing import NDArray
from running import Sweep, run_digitsweep

from digitsweep.data import TrainingData
from digitsweep.data.sources import load_dataset, read_folder
from digitsweep.errors import InputError
from digitsweep.families.build import network
from digitsweep.registry.export import FORMATS, export
from digitsweep.training.loop import probabilities

MODEL = "digits-cnn@challenger"
"""Of the smoke sweep."""


@pytest.fixture(params=list(FORMATS))
def to(request: pytest.FixtureRequest) -> str:
    """Each format whose extra is installed."""
    name = str(request.param)
    for module in FORMATS[name].packages:
        pytest.importorskip(module, reason=f"the extra {name} is not installed")
    return name


def computed(content: bytes, to: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the runtime makes of images, in batches of different sizes; it knows only the file."""
    run = FORMATS[to].runner(content)
    return np.concatenate([run(images[:1]), run(images[1:4]), run(images[4:])])


def metadata_of(path: Path, to: str) -> dict[str, str]:
    """What a file says of itself, read without digitsweep."""
    if to == "onnx":
        import onnx

        return {each.key: each.value for each in onnx.load(path).metadata_props}
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().split() == list("0123456789")
        return dict(json.loads(archive.read("metadata.json")))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(28, 28, 1), (15, 15, 3)], ids=["grey", "colour"])
def test_every_layer_is_converted(to: str, shape: tuple[int, int, int]) -> None:
    """Every pooling, normalisation, activation and padding, in every family and in one of another kind: Keras' figures."""
    images = np.random.default_rng(0).integers(0, 256, (8, *shape), dtype=np.uint8)
    models = {
        name: shuffled(network(params, shape, 10), seed) for seed, (name, params) in enumerate(configurations().items())
    }
    models["mixer"] = shuffled(mixer(shape), 1)
    for name, model in models.items():
        found = computed(FORMATS[to].convert(model, {}), to, images)
        assert found.dtype == np.float32
        assert np.abs(found - probabilities(model, images)).max() < 1e-4, name


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TRAINED))
def test_the_accuracy_is_that_of_the_registered_network(to: str, name: str) -> None:
    """On MNIST's 10,000 test images, a trained network of each family gives as many right answers, give or take one."""
    given = os.environ.get("DIGITSWEEP_TEST_MNIST")
    if not given:
        pytest.skip("DIGITSWEEP_TEST_MNIST names no folder with MNIST")
    part, test = read_folder(Path(given))
    data = TrainingData(part.take(np.arange(8000)), part.take(np.arange(8000, 8200)), 10)
    model = fitted(TRAINED[name], data, epochs=2)
    right = (probabilities(model, test.images).argmax(axis=1) == test.labels).sum()
    assert right > 9000
    found = computed(FORMATS[to].convert(model, {}), to, test.images)
    assert abs(int((found.argmax(axis=1) == test.labels).sum()) - int(right)) <= 1
    assert np.abs(found - probabilities(model, test.images)).max() < 1e-4


@pytest.mark.slow
def test_a_registered_model_is_exported(smoke: Sweep, tmp_path: Path, to: str) -> None:
    """The command writes one file, which has the model's name, version, classes and preparation, and says how near it is."""
    path = tmp_path / "model"
    done = run_digitsweep("export", to, MODEL, "--out", str(path), cwd=smoke.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{path}: digits-cnn 1 as {FORMATS[to].title}, ")
    assert "359 test images: the same class for each" in done.stdout
    assert [each.name for each in tmp_path.iterdir()] == ["model"]
    test = load_dataset("digits", validation=0.25).test.unlabelled()
    assert computed(path.read_bytes(), to, test).shape == (359, 10)
    metadata = metadata_of(path, to)
    assert metadata["model"] == "digits-cnn/1"
    assert json.loads(metadata["classes"]) == list("0123456789")
    assert json.loads(metadata["preparation"])["kind"] == "digits"
    assert (metadata["data"], metadata["family"]) == ("digits", "cnn")


@pytest.mark.slow
def test_without_its_data_a_model_is_compared_on_noise(smoke: Sweep, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the test images are not here, random images take their place, and the reason is told."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", smoke.uri)

    def missing(*_: Any) -> Any:
        raise InputError("the images are on another machine")

    monkeypatch.setattr("digitsweep.registry.export.dataset_of", missing)
    exported = export(MODEL, to, None)
    assert exported.no_test_images == "the images are on another machine"
    assert "1,000 random images: the same class for each" in str(exported)
    assert exported.difference < 1e-4


def test_a_missing_extra_is_named(to_any: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra of a format, one line says what to install."""
    for module in FORMATS[to_any].packages:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"^export {to_any} needs .*; run `pip install 'digitsweep\[{to_any}\]'`$"):
        export(MODEL, to_any, None)


@pytest.fixture(params=list(FORMATS))
def to_any(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.slow
def test_what_cannot_be_exported_is_one_line(smoke: Sweep, tmp_path: Path, to: str) -> None:
    """No such model, a place that is none, other images, a file that exists: one line, exit code 2, no file."""
    kept, other = tmp_path / "kept", tmp_path / "other"
    kept.write_text("kept")
    other.mkdir()
    for arguments, told in (
        ((MODEL, "--out", "missing/file"), "must be a file in an existing folder"),
        ((MODEL, "--out", str(kept)), "exists already; name another file, or replace it with --force"),
        (("nothing@champion", "--out", "new"), "no such model"),
        (("digits-cnn@champion", "--out", "new"), "name digits-cnn@challenger"),
        (("digits-cnn/99", "--out", "new"), "no such model"),
        (("runs:/abc/model", "--out", "new"), "models are loaded from the registry only"),
        ((MODEL, "--out", "new", "--data", str(tmp_path / "nowhere")), "nowhere"),
        ((MODEL, "--out", "new", "--data", str(other)), "other"),
    ):
        done = run_digitsweep("export", to, *arguments, cwd=tmp_path, MLFLOW_TRACKING_URI=smoke.uri)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert told in done.stderr
    assert kept.read_text() == "kept"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["kept", "other"]
