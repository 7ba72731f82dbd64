"""The page to draw on computes what Keras computes, and reads drawings as `predict` does."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from browser import Opened, opened
from mlflow import MlflowClient
from networks import TRAINED, configurations, fitted, mixer, shuffled
from numpy.typing import NDArray
from pages import made, wrote
from strokes import ODD, Stroke, drawings

from digitsweep.config.space import parse_space
from digitsweep.data import Split, TrainingData
from digitsweep.data.sources import load_dataset, read_folder
from digitsweep.families import FAMILIES, Params, parse_params
from digitsweep.prediction.browser import draw
from digitsweep.prediction.predicting import RegisteredModel, predict
from digitsweep.prediction.preparing import prepare
from digitsweep.registry.versions import log_model, register
from digitsweep.training.loop import probabilities

pytestmark = pytest.mark.slow

CLOSE = 0.001
"""Of a probability."""
MOST_OPERATIONS = 10_000_000
"""Multiplications for one image. Larger networks have the same layers, and take long in the page."""
Shape = tuple[int, int, int]


def classified(page: Opened, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What each network on a page makes of images: (networks, n, classes)."""
    script = "(images) => networks.map((network) => images.map((image) => Array.from(classify(network, image))))"
    return np.array(page.run(script, images.reshape(len(images), -1).tolist()))


def check_alike(page: Opened, models: Mapping[str, Any], images: NDArray[np.uint8]) -> None:
    """The page gives the classes that Keras gives, with the same probabilities. Where two classes are within CLOSE of each
    other, as for one of 1,000 images of MNIST, it may give either."""
    for (name, model), found in zip(models.items(), classified(page, images), strict=True):
        wanted = probabilities(model, images)
        print(f"{name}: {np.abs(found - wanted).max():.6f}")
        assert np.abs(found - wanted).max() < CLOSE, name
        lead = np.diff(np.sort(wanted, axis=1)[:, -2:], axis=1)[:, 0]
        assert (found.argmax(axis=1) == wanted.argmax(axis=1))[lead > CLOSE].all(), name


def drawn_by(family: str, shape: Shape) -> dict[str, Params]:
    """Each end and each choice of the family's default space, beside the first or last of the others."""
    space, problems = parse_space(family, FAMILIES[family].space)
    assert not problems
    found: dict[object, Params] = {}
    for params in space.corners():
        if params.smallest_image() <= shape[0] and params.operations(shape) <= MOST_OPERATIONS:
            own = tuple((name, value) for name, value in params if name not in Params.model_fields)
            found.setdefault(own, params)
    return {f"{family} {number}": params for number, params in enumerate(found.values())}


def random_images(shape: Shape) -> NDArray[np.uint8]:
    """Noise, and images that are mostly black, as digits are: three of each."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (6, *shape), dtype=np.uint8)
    images[3:] *= random.random((3, *shape)) < 0.2
    return images


@pytest.mark.parametrize("shape", [(28, 28, 1), (15, 15, 3)], ids=["grey", "colour"])
def test_every_layer_is_computed_as_keras_does(browser: Any, tmp_path: Path, shape: Shape) -> None:
    """Every pooling, normalisation, activation and padding, in every family: the classes and probabilities of Keras."""
    models = {name: made(params, shape, seed=seed) for seed, (name, params) in enumerate(configurations().items())}
    models["mixer"] = shuffled(mixer(shape), 1)
    with opened(browser, wrote(tmp_path, models)) as page:
        check_alike(page, models, random_images(shape))


@pytest.mark.parametrize("family", FAMILIES)
def test_whatever_a_search_draws_is_computed(browser: Any, tmp_path: Path, family: str) -> None:
    """Networks from the ends of the default space of a family, with each of its choices: those of Keras."""
    shape = (28, 28, 1)
    models = {name: made(params, shape, seed=seed) for seed, (name, params) in enumerate(drawn_by(family, shape).items())}
    with opened(browser, wrote(tmp_path, models)) as page:
        check_alike(page, models, random_images(shape))


@dataclass(frozen=True)
class Registered:
    """Trained networks in a registry, the page that has them, and the test images."""

    page: Path
    named: list[str]
    test: Split


@pytest.fixture(scope="module", params=["digits", "mnist"])
def registered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registered]:
    """A network of each family, trained for some seconds and registered."""
    folder = tmp_path_factory.mktemp("registered")
    if request.param == "digits":
        dataset = load_dataset("digits", validation=0.25)
        data, test = dataset.training, dataset.test.open("a test of the page")
    else:
        given = os.environ.get("DIGITSWEEP_TEST_MNIST")
        if not given:
            pytest.skip("DIGITSWEEP_TEST_MNIST names no folder with MNIST")
        part, test = read_folder(Path(given))
        data = TrainingData(part.take(np.arange(8000)), part.take(np.arange(8000, 8200)), 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        client = MlflowClient()
        experiment = client.create_experiment("registered", artifact_location=(folder / "files").as_uri())
        named = []
        for params in TRAINED.values():
            run_id, name = client.create_run(experiment).info.run_id, f"{request.param}-{params.family}"
            uri, model_id = trained(params, data, 8 if request.param == "digits" else 2, run_id)
            tags = {"family": params.family}
            named.append(register(name, uri, model_id, run_id=run_id, tags=tags, description="").uri)
        (folder / "draw.html").write_bytes(draw(named))
        yield Registered(folder / "draw.html", named, test)
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # back to the default


def trained(params: Params, data: TrainingData, epochs: int, run_id: str) -> tuple[str, str]:
    """A network, trained and logged on a run: the model's URI and id."""
    weights = fitted(params, data, epochs).get_weights()
    return log_model(params.family, params, weights, shape=data.shape, classes=data.classes, run_id=run_id, tags={})


def test_test_images_are_read_as_by_predict(browser: Any, registered: Registered) -> None:
    """1,000 test images: the digits that the registered networks give, with their probabilities."""
    models = {name: RegisteredModel.load(name).network for name in registered.named}
    with opened(browser, registered.page) as page:
        check_alike(page, models, registered.test.images[:1000])


def test_drawings_are_read_as_by_predict(browser: Any, registered: Registered) -> None:
    """200 drawings: the digits that `predict` gives for the same paper, with their probabilities, or none where it gives
    none."""
    papers, found = [], []
    with opened(browser, registered.page) as page:
        for strokes in drawings(200):
            papers.append(paper(page, strokes))
            found.append(page.run("(strokes) => { done.splice(0, done.length, ...strokes.map((points) => ({ points }))); "
                                  "return read(imagesOf(sheet())); }", strokes))  # fmt: skip
    for number, name in enumerate(registered.named):
        readings = predict(papers, name)
        worst = 0.0
        for wanted, each in zip(readings, found, strict=True):
            assert each[number]["label"] == wanted.label
            if wanted.label is not None:
                worst = max(worst, float(np.abs(np.subtract(each[number]["probabilities"], wanted.probabilities)).max()))
        read = sum(each.label is not None for each in readings)
        print(f"{name}: {worst:.6f}, {read} read")
        assert worst < CLOSE, name
        assert read > 150, "most drawings are of one digit"


def paper(page: Opened, strokes: list[Stroke]) -> NDArray[np.uint8]:
    """What the page draws, in grey levels (height, width)."""
    found = page.run(
        "(strokes) => Array.from(greyOf(strokes).values, (each) => String.fromCharCode(each)).join('')", strokes
    )
    values = np.frombuffer(found.encode("latin-1"), np.uint8)
    return values.reshape(round(len(values) ** 0.5), -1)


def test_preparation_is_that_of_predict(browser: Any, tmp_path: Path) -> None:
    """Digits and odd things, at several sizes: the image of `predict`, and its notes."""
    model = made(parse_params("ann", {"hidden_layers": 0}))
    script = (
        "(strokes, sides) => sides.map((side) => prepare(greyOf(strokes), side)).map((each) => [[...each.image], each.note])"
    )
    sides, apart = (8, 16, 28, 32), list[int]()
    with opened(browser, wrote(tmp_path, {"ANN": model})) as page:
        for name, strokes in [*ODD.items(), *((f"drawing {number}", each) for number, each in enumerate(drawings(50)))]:
            grey = paper(page, strokes).astype(np.float32)
            for side, (image, note) in zip(sides, page.run(script, strokes, sides), strict=True):
                wanted = prepare(grey, side)
                apart.append(np.abs(np.array(image) - wanted.image.ravel().astype(int)).max())
                assert wanted.note.partition(";")[0] == note, name
    print(np.bincount(apart))
    assert max(apart) == 0
