"""Augmentation: what it may change, and what it must not."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from digitsweep.data import Split, TrainingData
from digitsweep.families import parse_params
from digitsweep.training.augmentation import ASPECT, LEAST_AREA, SHIFT, augment
from digitsweep.training.loop import train


def images(side: int = 28) -> tf.Tensor:
    """A bright square in the middle of each image."""
    batch = np.zeros((64, side, side, 1), np.uint8)
    batch[:, side // 3 : -side // 3, side // 3 : -side // 3] = 200
    return tf.constant(batch)


def noise(channels: int = 3, side: int = 28, count: int = 64) -> NDArray[np.uint8]:
    """No pixel is like its mirror image."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, channels), dtype=np.uint8)


def ramps(side: int = 28, count: int = 400) -> NDArray[np.uint8]:
    """(count, side, side, 2): the first channel is four times the column, the second four times the row."""
    rows, columns = np.indices((side, side))
    return np.repeat(4 * np.stack([columns, rows], axis=-1)[None], count, axis=0).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["shift", "affine", "flip", "crop"])
def test_it_changes_images_alike_for_one_seed(kind: str, channels: int) -> None:
    """One seed gives one batch, another seed another; type and shape stay."""
    before = noise(channels)
    first, second, other = (augment(tf.constant(before), kind, tf.constant([0, step])) for step in (1, 1, 2))
    assert first.dtype == tf.uint8
    assert first.shape == before.shape
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, before)


@pytest.mark.parametrize("kind", ["shift", "affine", "flip", "crop"])
def test_channels_stay_together(kind: str) -> None:
    """Three equal channels are equal afterwards, and each is what the image in grey becomes."""
    grey = noise(1)
    changed = augment(tf.constant(np.repeat(grey, 3, axis=-1)), kind, tf.constant([4, 9])).numpy()
    alone = augment(tf.constant(grey), kind, tf.constant([4, 9])).numpy()
    assert np.array_equal(changed, np.repeat(alone, 3, axis=-1))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_flip_mirrors_half_of_the_images(channels: int) -> None:
    """Each image is itself or its mirror image, left to right, to the last bit; about half are mirrored."""
    before = noise(channels, side=9, count=2000)
    after = augment(tf.constant(before), "flip", tf.constant([1, 7])).numpy()
    same = (after == before).all(axis=(1, 2, 3))
    mirrored = (after == before[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 0.46 < mirrored.mean() < 0.54  # more than three standard deviations either way


def test_a_crop_enlarges_a_part_of_the_image() -> None:
    """On ramps, the values say where each pixel comes from: a rectangle inside the image with the promised area and aspect
    ratio, evenly spread, upright, and mirrored in half of the images."""
    side = 28
    after = augment(tf.constant(ramps(side)), "crop", tf.constant([2, 3])).numpy().astype(float) / 4
    columns, rows = after[..., 0], after[..., 1]
    assert np.ptp(columns, axis=1).max() == 0
    assert np.ptp(rows, axis=2).max() == 0
    # From inner pixels, to a quarter of a pixel: outer ones may be beyond the centre of the image's last pixel.
    width = (columns[:, 0, -3] - columns[:, 0, 2]) * side / (side - 5)
    height = (rows[:, -3, 0] - rows[:, 2, 0]) * side / (side - 5)
    assert 0.4 < (width < 0).mean() < 0.6
    width = np.abs(width)
    assert (height > 0).all()
    assert max(width.max(), height.max()) < side + 0.5
    area = width * height / side**2
    assert LEAST_AREA - 0.02 < area.min() < LEAST_AREA + 0.02
    assert area.max() > 0.95
    assert 0.6 < np.median(area) < 0.75  # uniform, but for crops that are cut off
    ratio = width / height
    assert 1 / ASPECT - 0.05 < ratio.min() < 1 / ASPECT + 0.05
    assert ASPECT - 0.05 < ratio.max() < ASPECT + 0.05


def test_a_crop_lies_inside_the_image() -> None:
    """No crop shows anything beyond the edges: a bright image stays bright everywhere, up to rounding."""
    bright = np.full((256, 8, 8, 3), 255, np.uint8)
    assert augment(tf.constant(bright), "crop", tf.constant([5, 5])).numpy().min() >= 254


@pytest.mark.parametrize("kind", ["flip", "crop"])
def test_labels_stay_as_they_are(kind: str) -> None:
    """A network learns whether a bar is on the left or on the right, but not where images are mirrored and labels are
    not."""
    batch = np.zeros((512, 8, 8, 1), np.uint8)
    batch[:256, :, 1:3], batch[256:, :, 5:7] = 255, 255
    split = Split(batch, np.repeat(np.arange(2, dtype=np.uint8), 256))
    found = {}
    for each in ("none", kind):
        params = parse_params("ann", {"hidden_layers": 0, "augmentation": each, "learning_rate": 0.01})
        epochs = list(train(params, TrainingData(split, split, 2), seed=0, epochs=5))
        found[each] = epochs[-1].metrics
    assert found["none"].train_accuracy == 1.0
    assert 0.3 < found[kind].train_accuracy < 0.7


def test_none_changes_nothing() -> None:
    """Without augmentation the batch is the batch."""
    assert np.array_equal(augment(images(), "none", tf.constant([0, 0])), images())


def test_a_shift_only_moves() -> None:
    """A shift moves each square by whole pixels, up to 2 in 28, and keeps every value."""
    moved = augment(images(), "shift", tf.constant([3, 5])).numpy()
    assert (moved.sum(axis=(1, 2, 3)) == images().numpy().sum(axis=(1, 2, 3))).all()
    rows = np.array([np.flatnonzero(each.any(axis=(1, 2)))[0] for each in moved]) - 28 // 3
    assert np.abs(rows).max() <= SHIFT * 28
    assert len(set(rows.tolist())) > 2


@pytest.mark.parametrize("side", [8, 28, 33])
def test_an_affine_change_keeps_the_digit_in_sight(side: int) -> None:
    """Brightness stays within what scaling by a tenth each way and bilinear edges can do, at any size."""
    changed = augment(images(side), "affine", tf.constant([1, 2])).numpy().astype(float)
    before = images(side).numpy().astype(float).sum(axis=(1, 2, 3))
    ratio = changed.sum(axis=(1, 2, 3)) / before
    assert 0.6 < ratio.min() < ratio.max() < 1.6
