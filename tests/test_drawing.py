"""The page to draw on: what it can compute, what it refuses, and how a sweep and the command write it."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from running import Sweep
from support import only_line

from digitsweep.cli import main
from digitsweep.errors import InputError
from digitsweep.families import parse_params
from digitsweep.families.build import network
from digitsweep.prediction.browser import ACTIVATIONS, draw, network_of, page_of
from digitsweep.registry.recipe import Recipe
from digitsweep.report.drawing import Examples

TEMPLATES = Path(__file__).parent.parent / "src" / "digitsweep" / "report" / "templates"
DIGITS = Recipe("digits", 4)
SMALL = {"hidden_layers": 1, "units": 4}


@pytest.fixture
def swept(smoke: Sweep, store: Path) -> Path:
    """The current folder, with the store of the finished sweep as MLflow's own."""
    shutil.copy(smoke.folder / "mlflow.db", store)
    return store


def dense(layers: list[Any], shape: tuple[int, int, int] = (4, 4, 1)) -> Any:
    """A network of these layers and a softmax of three classes."""
    import keras

    return keras.Sequential([keras.Input(shape), *layers, keras.layers.Dense(3), keras.layers.Softmax()])


def values_of(page: bytes) -> Any:
    """What the page's networks are read from."""
    return json.loads(page.decode().partition('id="data">')[2].partition("</script>")[0])


def test_every_family_can_be_computed() -> None:
    """A small network of each family becomes steps that `network.js` knows, and so do all activations of `browser.py`."""
    script = (TEMPLATES / "network.js").read_text()
    known = set(re.findall(r"^  (\w+)\(", script, re.MULTILINE))
    assert set(re.findall(r"^  (\w+): ", script, re.MULTILINE)) == ACTIVATIONS
    for family, minimal in (("ann", SMALL), ("cnn", {"blocks": 1, "filters": 2}), ("resnet", {"stages": 2, "filters": 2})):
        found = network_of(network(parse_params(family, minimal), (8, 8, 1), 3), family)
        assert {step.operation for step in found.steps} <= known
        assert (found.shape, found.classes) == ((8, 8, 1), 3)


def refused(layers: list[Any], *parts: str) -> None:
    with pytest.raises(InputError) as error:
        network_of(dense(layers), "mine 7")
    only_line(error, "mine 7", "cannot compute", *parts)


def test_what_the_page_cannot_compute_is_one_line() -> None:
    """A layer, or a setting of one, that the page does not know is refused with the model's and the layer's name."""
    from keras import layers

    refused([layers.Flatten(), layers.Dense(4, activation="mish", name="odd")], "odd", "activation mish")
    refused([layers.DepthwiseConv2D(2, name="deep"), layers.Flatten()], "deep", "DepthwiseConv2D")
    refused([layers.Conv2D(2, 2, dilation_rate=2, name="wide"), layers.Flatten()], "wide", "dilation")
    refused([layers.BatchNormalization(axis=1, name="rows"), layers.Flatten()], "rows", "axis")
    refused([layers.LayerNormalization(axis=(1, 2), name="all"), layers.Flatten()], "all", "axis")


def test_a_layer_that_is_used_twice_is_refused() -> None:
    """A network whose layer has two inputs in turn is no sequence of steps."""
    import keras

    image = keras.Input((4, 4, 1))
    twice = keras.layers.Dense(4)
    flat = keras.layers.Flatten()(image)
    wide = keras.layers.Dense(4)(flat)
    model = keras.Model(image, keras.layers.Softmax()(twice(twice(wide))))
    with pytest.raises(InputError) as error:
        network_of(model, "mine 7")
    only_line(error, "mine 7", "cannot compute")


def test_names_are_escaped() -> None:
    """Whatever data, classes and models are called, nothing of it becomes part of the page."""
    made = network_of(network(parse_params("ann", SMALL), (4, 4, 1), 3), "</script><b>")
    page = page_of([made], ("<i>", "</script>", "&"), DIGITS, "<u>").decode()
    assert "<i>" not in page
    assert "<u>" not in page
    assert page.count("</script>") == 4, "one for each script of the page"
    assert values_of(page.encode())["names"] == ["<i>", "</script>", "&"]


def test_kernels_have_16_bits() -> None:
    """A weight of a kernel is within a 65,534th of the largest one of its unit, even if units differ by much or are all 0;
    a bias is as it was."""
    from keras import layers

    model = dense([layers.Flatten(), layers.Dense(3, name="uneven")], (4, 4, 1))
    kernel = np.random.default_rng(0).normal(0, 1, (16, 3)) * [1e-6, 1e6, 0]
    model.get_layer("uneven").set_weights([kernel, np.array([0.1, -1e9, 0])])
    page = page_of([network_of(model, "uneven")], ("a", "b", "c"), DIGITS, "x")
    content = base64.b64decode(page.decode().partition('id="weights">')[2].partition("<")[0])
    (step, _) = (each for each in values_of(page)["networks"][0]["steps"] if each["op"] == "dense")
    offset, columns, count = step["weights"]["kernel"]
    scales = np.frombuffer(content, "<f4", columns, offset)
    found = np.frombuffer(content, "<i2", count, offset + 4 * columns).reshape(16, 3) * scales
    assert (np.abs(found - kernel).max(axis=0) <= np.abs(kernel).max(axis=0) / 65_000).all()
    offset, columns, count = step["weights"]["bias"]
    assert columns == 0
    np.testing.assert_array_equal(np.frombuffer(content, "<f4", count, offset), np.array([0.1, -1e9, 0], np.float32))


def test_the_page_asks_for_nothing() -> None:
    """The page has no address in it, and its policy forbids every request."""
    made = network_of(network(parse_params("ann", SMALL), (4, 4, 1), 3), "ANN")
    images = np.zeros((1, 4, 4, 1), np.uint8)
    page = page_of([made], ("0", "1", "2"), DIGITS, "digits", Examples([5], images, np.array([2], np.uint8))).decode()
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'; base-uri 'none'; form-action 'none';" in page


def test_a_sweep_leaves_the_page(smoke: Sweep) -> None:
    """comparison/draw.html has the winner of each family, by name, and test images that both get wrong."""
    page = smoke.artifact(smoke.parent(), "comparison/draw.html")
    found = values_of(page)
    assert [each["name"] for each in found["networks"]] == ["ANN", "CNN"]
    assert found["names"] == list("0123456789")
    assert found["examples"]
    assert len(page) < 1_000_000


def test_the_command_writes_the_page(smoke: Sweep, swept: Path) -> None:
    """Without options, the champions are on draw.html, and the command prints where it is."""
    client = MlflowClient(f"sqlite:///{swept}/mlflow.db")
    for name in ("digits-ann", "digits-cnn"):
        client.set_registered_model_alias(name, "champion", "1")
    written = CliRunner().invoke(main, ["draw"])
    assert (written.exit_code, written.output) == (0, "draw.html\n")
    found, left = values_of((swept / "draw.html").read_bytes()), smoke.artifact(smoke.parent(), "comparison/draw.html")
    assert found == {**values_of(left), "examples": []}


@pytest.mark.usefixtures("swept")
def test_models_of_one_family_have_their_own_names() -> None:
    """Two models of one family are told apart by their labels."""
    client = MlflowClient()
    first = client.get_model_version("digits-ann", "1")
    client.create_model_version("digits-ann", str(first.source), first.run_id, first.tags)
    page = draw(["digits-ann/1", "digits-ann/2"])
    assert [each["name"] for each in values_of(page)["networks"]] == ["digits-ann 1", "digits-ann 2"]


def registered_odd() -> None:
    """A model, `odd`, with a layer that the page cannot compute."""
    from keras import layers

    model = dense([layers.DepthwiseConv2D(2, name="deep"), layers.Flatten()], (8, 8, 1))
    inputs = Schema([TensorSpec(np.dtype(np.uint8), (-1, 8, 8, 1))])
    outputs = Schema([TensorSpec(np.dtype(np.float32), (-1, 3))])
    mlflow.keras.log_model(
        model, name="odd", registered_model_name="odd", signature=ModelSignature(inputs, outputs), pip_requirements=[]
    )


def tagged(name: str, value: str) -> None:
    MlflowClient().set_model_version_tag("digits-cnn", "1", name, value)


BOTH = ["--model", "digits-ann/1", "--model", "digits-cnn/1"]
WRONG: dict[str, tuple[Callable[[], object], list[str], str]] = {
    "no champion": (lambda: None, [], "there is no champion"),
    "a model that does not exist": (lambda: None, ["--model", "digits-rnn/1"], "digits-rnn/1: no such model"),
    "an alias that does not exist": (lambda: None, ["--model", "digits-cnn@best"], "digits-cnn@best: no such model"),
    "a version that does not exist": (lambda: None, ["--model", "digits-cnn/9"], "digits-cnn/9: no such model"),
    "no name": (lambda: None, ["--model", ""], "no such model"),
    "no model of the registry": (lambda: None, ["--model", "s3://bucket/model"], "models are loaded from the registry only"),
    "a model twice": (lambda: None, [*BOTH, "--model", "digits-cnn@challenger"], "digits-cnn 1 is named twice"),
    "other data": (
        lambda: tagged("digitsweep.data", "letters"), BOTH,
        "models on one page must be made for the same data, but digits-cnn 1 and digits-ann 1 are not",
    ),
    "other classes": (
        lambda: tagged("digitsweep.classes", json.dumps([*"abcdefghij"])), BOTH, "must be made for the same data"
    ),
    "a damaged tag": (
        lambda: tagged("digitsweep.preparation", "{"), BOTH, "digits-cnn 1: the tag digitsweep.preparation must be JSON"
    ),
    "an odd layer": (
        registered_odd, ["--model", "odd/1"], "odd 1: the drawing page cannot compute its layer deep, DepthwiseConv2D"
    ),
    "a folder as the file": (lambda: None, ["--out", "."], "--out .: must be a file"),
    "no file": (lambda: None, ["--out", ""], "--out .: must be a file in an existing folder"),
    "a folder that does not exist": (
        lambda: None, ["--out", "none/page.html"], "--out none/page.html: must be a file in an existing folder"
    ),
    "a place where nothing can be written": (
        lambda: None, [*BOTH, "--out", "/proc/page.html"], "--out /proc/page.html: cannot be written"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "arguments", "said"), WRONG.values(), ids=WRONG)
@pytest.mark.usefixtures("swept")
def test_a_mistake_is_one_line(before: Callable[[], object], arguments: list[str], said: str) -> None:
    """Whatever is wrong with the command gives one line and the exit code 2, and writes nothing."""
    before()
    found = CliRunner().invoke(main, ["draw", *arguments])
    assert found.exit_code == 2
    assert found.stdout == ""
    assert said in found.stderr
    assert len(found.stderr.splitlines()) == 1
    assert not list(Path().glob("*.html*"))


def test_other_images_than_digits_are_shown() -> None:
    """For models that were not trained on digits, the page asks for an image and fits it as the training images were."""
    made = network_of(network(parse_params("ann", SMALL), (4, 4, 3), 3), "ANN")
    page = page_of([made], ("cat", "dog", "fox"), Recipe("images", 4, "crop", 3), "animals")
    assert values_of(page)["fit"] == "crop"
    assert b'type="file"' in page
