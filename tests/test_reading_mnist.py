"""MNIST's own test images as a person would have them, on paper, through the registry: the proof of the preparation."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from numpy.typing import NDArray
from PIL import Image

from digitsweep.data import TrainingData
from digitsweep.data.sources import read_folder
from digitsweep.data.splits import Split
from digitsweep.families import parse_params
from digitsweep.prediction.predicting import predict
from digitsweep.prediction.preparing import prepare
from digitsweep.registry.versions import log_model, register
from digitsweep.training.loop import train

COUNT = 200
TRAINED, EPOCHS = 20_000, 2
PARAMS = parse_params(
    "cnn",
    {"blocks": 2, "filters": [16, 32], "padding": "same", "dense_units": 64, "batch_size": 64, "optimizer": "adamw",
     "learning_rate": 0.003, "schedule": "one_cycle", "augmentation": "affine"},
)  # fmt: skip


@pytest.fixture(scope="module")
def mnist() -> tuple[Split, Split]:
    """MNIST's training and test images."""
    given = os.environ.get("DIGITSWEEP_TEST_MNIST")
    if not given:
        pytest.skip("DIGITSWEEP_TEST_MNIST names no folder with MNIST")
    return read_folder(Path(given))


def on_paper(digit: NDArray[np.uint8], random: np.random.Generator) -> Image.Image:
    """A digit of 28x28 as dark ink on a sheet of 100 to 600 pixels: scaled, shifted, with a shadow and noise."""
    side = int(random.integers(100, 601))
    size = int(side * random.uniform(0.4, 0.95))
    ink = Image.fromarray(digit[..., 0]).resize((size, size), Image.Resampling.BICUBIC)
    covered = np.zeros((side, side))
    y, x = random.integers(0, side - size + 1, 2)
    covered[y : y + size, x : x + size] = np.asarray(ink) / 255
    angle = random.uniform(0, 2 * np.pi)
    down, right = np.mgrid[0:side, 0:side] / side
    paper = random.uniform(190, 245) - 40 * (np.cos(angle) * right + np.sin(angle) * down)
    page = paper * (1 - covered) + random.uniform(20, 80) * covered + random.normal(0, 12, (side, side))
    return Image.fromarray(page.clip(0, 255).astype(np.uint8))


def registered_cnn(train_split: Split) -> str:
    """A small CNN, trained for some seconds on a part of MNIST's training images, as a registered model."""
    part = train_split.take(np.random.default_rng(0).permutation(len(train_split))[:TRAINED])
    data = TrainingData(part, Split(part.images[:0], part.labels[:0]), 10)
    generator = train(PARAMS, data, seed=0, epochs=EPOCHS)
    while True:
        try:
            next(generator)
        except StopIteration as end:
            result = end.value
            break
    client = MlflowClient()
    run_id = client.create_run(client.create_experiment("reading")).info.run_id
    uri, model_id = log_model("mnist-cnn", PARAMS, result.weights, shape=(28, 28, 1), classes=10, run_id=run_id, tags={})
    register("mnist-cnn", uri, model_id, run_id=run_id, tags={}, description="")
    return "mnist-cnn@challenger"


@pytest.mark.slow
def test_mnist_on_paper_is_read(mnist: tuple[Split, Split], store: Path) -> None:
    """Of 200 test images saved as PNG, inverted, 100 to 600 pixels large, shifted, on uneven and noisy paper, 95 % and more
    are read rightly, and few are given up; of the same images as they are hardly more."""
    train_split, test_split = mnist
    random = np.random.default_rng(1998)
    chosen = test_split.take(random.permutation(len(test_split))[:COUNT])
    folder = store / "pages"
    folder.mkdir()
    for number, digit in enumerate(chosen.images):
        on_paper(digit, random).save(folder / f"{number:03}.png")
    model = registered_cnn(train_split)
    plain = predict(chosen.images, model)
    readings = predict(folder, model)
    plain_hits, hits = (
        sum(each.label == label for each, label in zip(found, chosen.labels, strict=True)) for found in (plain, readings)
    )
    print(f"{hits} of {COUNT} on paper, {plain_hits} as they are")
    assert hits >= 0.95 * COUNT
    assert hits >= plain_hits - 0.02 * COUNT
    assert sum(each.label is None for each in readings) <= 0.01 * COUNT
    wrong = [each for each, label in zip(readings, chosen.labels, strict=True) if each.label != label]
    assert sum(not each.doubtful for each in wrong) <= 0.02 * COUNT


def test_mnists_own_images_keep_their_form(mnist: tuple[Split, Split]) -> None:
    """What is in MNIST's form comes out as it went in, in its place, but for the faintest pixels of its edge."""
    images = mnist[1].images[:200]
    prepared = [prepare(each[..., 0].astype(np.float32)) for each in images]
    assert sum(bool(each.note) for each in prepared) <= 2
    off = [np.abs(a.image.astype(float) - b).sum() / b.sum() for a, b in zip(prepared, images, strict=True)]
    assert np.median(off) < 0.3
