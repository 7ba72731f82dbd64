"""The page to draw on: what it can compute, what it refuses, and how a sweep and the command write it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from running import Sweep
from support import only_line

from digitsweep.cli import main
from digitsweep.errors import InputError
from digitsweep.families import parse_params
from digitsweep.families.build import network
from digitsweep.predict.browser import draw, network_of, page_of
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
    """A small network of each family becomes steps that `network.js` knows."""
    script = (TEMPLATES / "network.js").read_text()
    known = set(re.findall(r"^  (\w+)\(", script, re.MULTILINE))
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


def test_large_kernels_have_16_bits() -> None:
    """A kernel with many weights has 16 bits each, unless one of them is too large for that; a small one has 32."""
    from keras import layers

    def bits(largest: float) -> list[int]:
        model = dense([layers.Flatten(), layers.Dense(300)], (16, 16, 1))
        model.layers[1].kernel.assign(np.full((256, 300), largest))
        steps = values_of(page_of([network_of(model, "large")], ("a", "b", "c"), DIGITS, "x"))["networks"][0]["steps"]
        return [step["weights"]["kernel"][2] for step in steps if step["op"] == "dense"]

    assert bits(1.0) == [16, 32]
    assert bits(1e5) == [32, 32]


def test_the_page_asks_for_nothing() -> None:
    """The page has no address in it, and its policy forbids every request."""
    made = network_of(network(parse_params("ann", SMALL), (4, 4, 1), 3), "ANN")
    images = np.zeros((1, 4, 4, 1), np.uint8)
    page = page_of([made], ("0", "1", "2"), DIGITS, "digits", Examples([5], images, np.array([2], np.uint8))).decode()
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'" in page


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
    page = draw(["digits-ann/1", "digits-ann@challenger"])
    assert [each["name"] for each in values_of(page)["networks"]] == ["digits-ann 1"] * 2


WRONG = {
    "no champion": ([], "there is no champion"),
    "a model that does not exist": (["--model", "digits-rnn@champion"], "digits-rnn@champion: no such model"),
    "no model of the registry": (["--model", "s3://bucket/model"], "models are loaded from the registry only"),
    "a folder as the file": (["--out", "."], "--out .: must be a file"),
    "a folder that does not exist": (
        ["--out", "none/page.html"],
        "--out none/page.html: must be a file in an existing folder",
    ),
}


@pytest.mark.parametrize(("arguments", "said"), WRONG.values(), ids=WRONG)
@pytest.mark.usefixtures("swept")
def test_a_mistake_is_one_line(arguments: list[str], said: str) -> None:
    """Whatever is wrong with the command gives one line and the exit code 2, and writes nothing."""
    found = CliRunner().invoke(main, ["draw", *arguments])
    assert found.exit_code == 2
    assert found.stdout == ""
    assert said in found.stderr
    assert len(found.stderr.splitlines()) == 1
    assert not list(Path().glob("*.html"))


@pytest.mark.usefixtures("swept")
def test_models_of_different_data_are_refused() -> None:
    """Models whose data differ have nothing to say about the same drawing."""
    client = MlflowClient()
    client.set_model_version_tag("digits-cnn", "1", "digitsweep.data", "letters")
    with pytest.raises(InputError) as error:
        draw(["digits-ann/1", "digits-cnn/1"])
    only_line(error, "digits-cnn 1", "digits-ann 1", "same data")


def test_other_images_than_digits_are_shown() -> None:
    """For models that were not trained on digits, the page asks for an image and fits it as the training images were."""
    made = network_of(network(parse_params("ann", SMALL), (4, 4, 3), 3), "ANN")
    page = page_of([made], ("cat", "dog", "fox"), Recipe("images", 4, "crop", 3), "animals")
    assert values_of(page)["fit"] == "crop"
    assert b'type="file"' in page
