"""The reference of a registered model: images unlike its training images are flagged, its own kind is not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images
from support import only_line

from digitsweep.data import Split, TrainingData
from digitsweep.data.sources import load_dataset
from digitsweep.errors import InputError
from digitsweep.prediction.preparing import prepare
from digitsweep.prediction.reference import COUNT, FLAGGED, LEAST, Reference, reference_of

SIDE = 8
TRAINING = load_dataset("digits", validation=0.25, seed=0).training


@pytest.fixture(scope="module")
def reference() -> Reference:
    """That of scikit-learn's digits."""
    found = reference_of(TRAINING)
    assert found is not None
    return found


def prepared(pages: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([prepare(each.astype(np.float32), SIDE).image for each in pages])


def test_images_of_the_same_kind_are_not_flagged(reference: Reference) -> None:
    """Of images of the same kind, about as many are flagged as intended."""
    flagged = reference.unlike(prepared(TRAINING.validation.images[..., 0]))
    assert flagged.mean() <= 3 * FLAGGED


def test_photographs_and_noise_are_flagged(reference: Reference) -> None:
    """Crops of photographs, taken as ink, and random pixels are flagged."""
    random = np.random.default_rng(0)
    (photo, _) = load_sample_images().images
    corners = random.integers(0, 300, (100, 2))
    crops = np.stack([photo[y : y + 120 : 15, x : x + 120 : 15, 1] for y, x in corners])[..., None]
    noise = random.integers(0, 256, (100, SIDE, SIDE, 1), dtype=np.uint8)
    assert reference.unlike(crops).mean() > 0.9
    assert reference.unlike(noise).all()


def test_a_reference_is_a_sample(reference: Reference) -> None:
    """It has no more images than it needs, and the same ones each time; too few images give none."""
    assert len(reference.images) == min(COUNT, len(TRAINING.train))
    few = TrainingData(TRAINING.train.take(np.arange(LEAST - 1)), TRAINING.validation, 10)
    assert reference_of(few) is None
    again = reference_of(TRAINING)
    assert again is not None
    assert np.array_equal(again.images, reference.images)


@pytest.mark.parametrize("side", [8, 14, 28, 33])
def test_a_reference_survives_its_file(side: int) -> None:
    """Written and read again, it flags the same images, whatever their size."""
    random = np.random.default_rng(side)
    few = TRAINING.train.take(np.arange(2 * LEAST))
    images = np.stack([np.asarray(Image.fromarray(each[..., 0]).resize((side, side))) for each in few.images])[..., None]
    data = TrainingData(Split(images, few.labels), TRAINING.validation, 10)
    reference = reference_of(data)
    assert reference is not None
    own = [prepare(each[..., 0].astype(np.float32), side).image for each in images[:50]]
    asked = np.stack([*own, *random.integers(0, 256, (50, side, side, 1), dtype=np.uint8)])
    read = Reference.from_png(reference.png(), side)
    assert np.array_equal(read.unlike(asked), reference.unlike(asked))
    assert not read.unlike(asked).all()
    assert read.unlike(asked).any()


def sheet(mode: str, width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image",
        sheet("L", SIDE, SIDE * LEAST)[:-20],
        sheet("RGB", SIDE, SIDE * LEAST),
        sheet("L", 9, SIDE * LEAST),
        sheet("L", SIDE, SIDE * LEAST + 1),
        sheet("L", SIDE, SIDE * (COUNT + 1)),
        sheet("L", SIDE, SIDE),
    ],
)
def test_a_file_that_is_no_reference(content: bytes) -> None:
    """A damaged file, or another image, is one line that says so."""
    with pytest.raises(InputError) as error:
        Reference.from_png(content, SIDE)
    only_line(error, "training_images.png", "register the model again")
