"""Tells whether an image resembles the images that a model was trained on.

A classifier gives any image a label: a cat is an 8. So a registered model carries a reference, a sample of its training
images after the same preparation as the images to be read. An image that is farther from its nearest neighbour in the
sample than almost all of the sample's images are from theirs is flagged (distance rejection; Dubuisson and Masson 1993,
A statistical decision rule with incomplete knowledge about classes). Nothing in it depends on the kind of image or on
the network.

Other scores were measured on noise, textures, Greek letters and letters A to J, none of which were used for the figures in
benchmarks/RESULTS.md. Of 695 letters that a convolutional network trained on MNIST read with at least 80 %, and with 1 % of
MNIST's own images flagged, this left 381 unflagged; the energy of the logits left 641, the least probability over ten small
rotations and scalings 615, a class-conditional Gaussian 546, a subspace for each class 429, 400 prototypes of k-means 385.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digitsweep.data import TrainingData
from digitsweep.errors import InputError
from digitsweep.prediction.preparing import prepare

FILE = "training_images.png"
"""The reference among a registered model's files: one image below the other, as a person can look at them."""
COUNT = 1000
"""Images in the sample. Five times as many flag hardly more (364 letters are left instead of 381) and take as much
longer."""
LEAST = 100
"""A model trained on fewer images gets no reference: they do not show how much images vary."""
COARSE = 14
"""Pixels. Sides of at least twice this are averaged down to less than twice this, so that small shifts do not count:
with the full 28x28 pixels, 428 letters are left."""
FLAGGED = 0.01
"""Fraction of the sample that would be flagged against the rest of it."""


@dataclass(frozen=True, eq=False)
class Reference:
    """A sample of the images that a model was trained on."""

    images: NDArray[np.uint8]
    """(count, coarse side, coarse side)."""

    def unlike(self, images: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of the prepared images (n, side, side, 1) do not resemble the sample."""
        return np.asarray(_distances(_coarse(images), self.images).min(axis=1) > self._threshold)

    @cached_property
    def _threshold(self) -> float:
        distances = _distances(self.images, self.images)
        np.fill_diagonal(distances, np.inf)
        return float(np.quantile(distances.min(axis=1), 1 - FLAGGED))

    def png(self) -> bytes:
        """The sample as a file."""
        buffer = io.BytesIO()
        Image.fromarray(self.images.reshape(-1, self.images.shape[1])).save(buffer, "PNG")
        return buffer.getvalue()

    @classmethod
    def from_png(cls, content: bytes, side: int) -> Reference:
        """What `png` returned, for a model whose images have this side.

        Raises InputError if it is anything else."""
        width = _coarse(np.zeros((1, side, side, 1), np.uint8)).shape[1]
        try:
            with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
                count, rest = divmod(image.height, width)
                if image.mode != "L" or image.width != width or rest or not LEAST <= count <= COUNT:
                    raise InputError(
                        f"{FILE} must hold {LEAST} to {COUNT:,} grey images of {width}x{width}, one below the other, but is "
                        f"{image.width}x{image.height} in mode {image.mode}; register the model again"
                    )
                return cls(np.asarray(image).reshape(count, width, width))
        except InputError:
            raise
        except Exception:  # Pillow's readers raise whatever they meet in damaged bytes
            raise InputError(f"{FILE} is damaged; register the model again") from None


@lru_cache(maxsize=1)
def reference_of(training: TrainingData) -> Reference | None:
    """A sample of the training images, without those that hold no single digit; None if there are too few."""
    images = training.train.images
    chosen = np.random.default_rng(0).permutation(len(images))[:COUNT]
    prepared = [prepare(images[index, ..., 0].astype(np.float32), training.side) for index in chosen]
    kept = [each.image for each in prepared if not each.note]
    return Reference(_coarse(np.stack(kept))) if len(kept) >= LEAST else None


def _coarse(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (n, side, side, 1), averaged over squares: (n, coarse side, coarse side)."""
    step = max(1, images.shape[1] // COARSE)
    side = images.shape[1] // step
    squares = images[:, : side * step, : side * step, 0].reshape(-1, side, step, side, step)
    return np.asarray(squares.mean(axis=(2, 4)).round(), np.uint8)


def _distances(images: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Squared Euclidean distances of grey levels from 0 to 1: (images, others)."""
    first, second = (each.reshape(len(each), -1).astype(np.float32) / 255 for each in (images, others))
    return np.asarray((first**2).sum(1)[:, None] - 2 * first @ second.T + (second**2).sum(1)[None])
