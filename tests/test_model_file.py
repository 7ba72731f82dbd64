"""What a registered model may hold: stock layers in one `.keras` file; whatever would run code of its own is not loaded."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import mlflow.keras
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from support import only_line

from digitsweep.errors import InputError
from digitsweep.families import parse_params
from digitsweep.families.build import network
from digitsweep.registry.models import checked_model, find, load
from digitsweep.registry.versions import register

EVERY_LAYER = [
    parse_params("ann", {"hidden_layers": 2, "units": 4, "normalization": ["batch", "layer"], "dropout": 0.2}),
    parse_params(
        "cnn",
        {"blocks": 3, "filters": 2, "pooling": ["max", "average", "stride"], "normalization": ["batch", "layer", "none"],
         "dense_units": 4, "dropout": 0.1, "activation": "leaky_relu", "padding": "same"},
    ),
]  # fmt: skip

SIGNATURE = ModelSignature(Schema([TensorSpec(np.dtype(np.uint8), (-1, 8, 8, 1))]))

Config = dict[str, Any]


def saved(folder: Path, change: Callable[[Config], object] | None = None) -> Path:
    """A folder with a model's file, whose description of itself was changed."""
    folder.mkdir(exist_ok=True)
    path = folder / "model.keras"
    network(EVERY_LAYER[0], (8, 8, 1), 3).save(path)
    if change is not None:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        config = json.loads(members["config.json"])
        change(config)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in {**members, "config.json": json.dumps(config).encode()}.items():
                archive.writestr(name, content)
    return folder


def refused(folder: Path, *parts: str) -> None:
    with pytest.raises(InputError) as error:
        checked_model(folder, "models:/some/1")
    only_line(error, "models:/some/1", *parts)


@pytest.mark.parametrize("params", EVERY_LAYER, ids=["ann", "cnn"])
def test_our_own_models_pass(tmp_path: Path, params: Any) -> None:
    """Every layer that this project builds networks of is one that it loads."""
    network(params, (12, 12, 1), 3).save(tmp_path / "model.keras")
    assert checked_model(tmp_path, "models:/some/1") == tmp_path / "model.keras"


def layer(config: Config) -> Config:
    found: Config = config["config"]["layers"][2]
    return found


CHANGES: dict[str, Callable[[Config], object]] = {
    "a Lambda layer": lambda config: layer(config).update({"class_name": "Lambda"}),
    "a saved graph": lambda config: layer(config).update({"class_name": "TFSMLayer"}),
    "a layer of somebody's": lambda config: layer(config).update({"module": "mine", "class_name": "Layer"}),
    "a function of the system": lambda config: layer(config)["config"].update(
        {"activation": {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}}
    ),
    "a lambda": lambda config: layer(config)["config"].update({"name": {"class_name": "__lambda__", "config": {}}}),
    "a utility of Keras": lambda config: layer(config).update({"module": "keras.utils", "class_name": "get_file"}),
    "a class that is a number": lambda config: layer(config).update({"class_name": 3, "module": None}),
    "a module that is a list": lambda config: layer(config).update({"module": ["keras"]}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_brings_code_is_refused(tmp_path: Path, name: str) -> None:
    """A layer that runs code of the file's own, or is not Keras', is named and not loaded."""
    refused(saved(tmp_path, CHANGES[name]), "Keras' own layers")


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    """A file that says it unpacks to more than a model has is refused before it is unpacked."""
    path = saved(tmp_path) / "model.keras"
    content = path.read_bytes()
    at = content.index(b"PK\x01\x02")
    path.write_bytes(content[: at + 24] + (2**32 - 2).to_bytes(4, "little") + content[at + 28 :])
    refused(tmp_path, "unpacks to")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04K\x01.", b"\x89HDF\r\n\x1a\n"])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    """A pickle, an old HDF5 file and damaged files are refused; and so is a folder with no such file, or with two."""
    refused(tmp_path, "has 0")
    (tmp_path / "model.keras").write_bytes(content)
    refused(tmp_path, "damaged")
    shutil.copy(tmp_path / "model.keras", tmp_path / "other.keras")
    refused(tmp_path, "has 2")


def registered(model: keras.Model, **how: Any) -> str:
    """The address of a new version of a model, as somebody else might register it."""
    run = MlflowClient().create_run("0")
    with mlflow.start_run(run.info.run_id):
        logged = mlflow.keras.log_model(model, name="model", pip_requirements=[], signature=SIGNATURE, **how)
    return register("some", logged.model_uri, logged.model_id, run_id=run.info.run_id, tags={}, description="").uri


@pytest.mark.filterwarnings("ignore:.*AnyType:UserWarning")  # MLflow's, of a class of its own
def test_only_the_registry_and_only_stock_layers(store: Path, tmp_path: Path) -> None:
    """A registered network of stock layers loads and answers as it did; one with a Lambda layer or a saved graph does not,
    and no address but one of the registry is followed."""
    model = network(EVERY_LAYER[0], (8, 8, 1), 3)
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
    loaded = load(registered(model))
    np.testing.assert_array_equal(np.asarray(loaded(images)), np.asarray(model(images)))
    shouting = keras.Sequential([keras.Input((8,)), keras.layers.Lambda(lambda values: values)])
    for uri in (registered(shouting), registered(model, save_exported_model=True)):
        with pytest.raises(InputError) as error:
            load(uri)
        only_line(error, uri)
    for named in (f"file:{saved(tmp_path / 'own')}", "runs:/0123456789abcdef0123456789abcdef/model", "s3://bucket/model"):
        with pytest.raises(InputError) as error:
            find(named)
        only_line(error, "from the registry only")
