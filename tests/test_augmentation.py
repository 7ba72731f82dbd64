"""Augmentation: what it may change, and what it must not."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from digitsweep.training.augmentation import SHIFT, augment


def images(side: int = 28) -> tf.Tensor:
    """A bright square in the middle of each image."""
    batch = np.zeros((64, side, side, 1), np.uint8)
    batch[:, side // 3 : -side // 3, side // 3 : -side // 3] = 200
    return tf.constant(batch)


@pytest.mark.parametrize("kind", ["shift", "affine"])
def test_it_changes_images_alike_for_one_seed(kind: str) -> None:
    """One seed gives one batch, another seed another; type and shape stay."""
    first, second, other = (augment(images(), kind, tf.constant([0, step])) for step in (1, 1, 2))
    assert first.dtype == tf.uint8
    assert first.shape == images().shape
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, images())


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
