"""Registered models as ONNX and LiteRT files: the formats' own runtimes give what Keras gives."""

from __future__ import annotations

import json
import os
import sys
import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from networks import TRAINED, configurations, fitted, mixer, shuffled
from numpy.typing import NDArray
from running import Sweep, run_digitsweep
from support import only_line
from test_model_file import registered

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


def converted(model: keras.Model, to: str) -> bytes:
    """The file of a network, without metadata."""
    with warnings.catch_warnings(action="ignore"):  # of the converters; the command is as quiet
        return FORMATS[to].convert(model, {})


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
        found = computed(converted(model, to), to, images)
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
    assert right > 5000  # so few images and epochs are enough for a ResNet to learn
    found = computed(converted(model, to), to, test.images)
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
@pytest.mark.filterwarnings("ignore:.*AnyType:UserWarning")  # MLflow's, of a class of its own
def test_a_model_of_unknown_data_is_compared_on_noise(made_store: Path, to: str) -> None:
    """If nothing says where the test images are, random images take their place, and the output says so."""
    exported = export(registered(mixer((8, 8, 1))), to, None)
    assert "needs both tags" in exported.no_test_images
    assert "1,000 random images: the same class for each" in str(exported)
    assert exported.difference < 1e-4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*AnyType:UserWarning")  # MLflow's, of a class of its own
def test_a_layer_that_cannot_be_converted_is_one_line(made_store: Path, to: str) -> None:
    """A network with a layer that neither format has is refused with its label."""
    resized = keras.layers.Resizing(4, 4, interpolation="lanczos5")
    layers = [keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255), resized, keras.layers.Flatten()]
    with pytest.raises(InputError) as error:
        export(registered(keras.Sequential([*layers, keras.layers.Dense(3, "softmax")])), to, None)
    only_line(error, "some 1", f"cannot be converted to {FORMATS[to].title}", "name another model")


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_missing_extra_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra of a format, one line says what to install."""
    for module in FORMATS[name].packages:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"^export {name} needs .*; run `pip install 'digitsweep\[{name}\]'`$"):
        export(MODEL, name, None)


@pytest.mark.slow
def test_what_cannot_be_exported_is_one_line(smoke: Sweep, tmp_path: Path, to: str) -> None:
    """No such model, a place that is none, other images, a file that exists: one line, exit code 2, no file."""
    kept, other = tmp_path / "kept", tmp_path / "other"
    kept.write_text("kept")
    other.mkdir()
    for arguments, told in (
        ((MODEL, "--out", "missing/file"), "must be a file in an existing folder"),
        ((MODEL, "--out", str(kept)), "already exists; name another file, or replace it with --force"),
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
