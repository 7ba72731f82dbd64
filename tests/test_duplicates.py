"""Images that lie in two splits are found, and the test set stays sealed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support import PROPERTY, made_split

from digitsweep.data import Dataset, Duplicates, SealedSplit, Split, TrainingData, duplicates, make_dataset


def joined(*splits: Split) -> Split:
    return Split(np.concatenate([each.images for each in splits]), np.concatenate([each.labels for each in splits]))


def some(split: Split, *indices: int) -> Split:
    return split.take(np.array(indices, np.intp))


TRAIN, VALIDATION, TEST = made_split(30, seed=1), made_split(12, seed=2), made_split(9, seed=3)


def dataset(train: Split = TRAIN, validation: Split = VALIDATION, test: Split = TEST) -> Dataset:
    return Dataset("small", "somewhere", TrainingData(train, validation, 3), SealedSplit(test))


def test_different_images_are_no_duplicates() -> None:
    """Random images have no duplicates, not even with one pixel's difference."""
    assert duplicates(dataset()) == Duplicates(0, 0, 0)
    images = TEST.images.copy()
    images[:, 0, 0, 0] ^= 1
    assert duplicates(dataset(train=Split(images, TEST.labels))) == Duplicates(0, 0, 0)


def test_planted_duplicates_are_counted() -> None:
    """Test images in train and in validation, and validation images in train, are counted each by itself."""
    validation = joined(VALIDATION, some(TEST, 7))
    train = joined(some(TEST, 0, 3, 4), TRAIN, some(VALIDATION, 1, 2))
    assert duplicates(dataset(train, validation)) == Duplicates(train_test=3, validation_test=1, train_validation=2)


def test_labels_do_not_matter() -> None:
    """The same image with another label is the same image."""
    relabelled = Split(TEST.images, (TEST.labels + 1) % 3)
    assert duplicates(dataset(train=joined(TRAIN, relabelled))).train_test == len(TEST)


def test_equal_images_count_once_each() -> None:
    """Three blank test images and five blank training images are three test images that were trained on, not fifteen."""

    def blank(count: int) -> Split:
        return Split(np.zeros((count, 4, 4, 1), np.uint8), np.zeros(count, np.uint8))

    assert duplicates(dataset(train=joined(TRAIN, blank(5)), test=joined(TEST, blank(3)))).train_test == 3
    found = duplicates(dataset(joined(TRAIN, blank(1)), joined(VALIDATION, blank(5)), joined(TEST, blank(3))))
    assert found == Duplicates(train_test=3, validation_test=3, train_validation=5)
    assert duplicates(dataset(test=joined(TEST, blank(3)))).train_test == 0  # equal among themselves only


def test_images_of_another_shape_are_others() -> None:
    """Blank images of different sizes, or with the same bytes in another shape, are not equal."""
    flat = Split(TEST.images.reshape(9, 2, 8, 1), TEST.labels)
    assert flat.duplicates_of(TEST) == 0


def test_without_a_split_there_is_one_number() -> None:
    """Where nobody knows which images were set apart to validate, all that are not for testing count together."""
    found = make_dataset("small", "somewhere", joined(TRAIN, some(TEST, 2, 3, 5)), TEST, validation=None)
    assert duplicates(found) == Duplicates(3, None, None)


def test_counting_is_no_opening() -> None:
    """To count leaves the test set sealed: nobody is on record, and a number is all that is given."""
    made = dataset(train=joined(TRAIN, some(TEST, 2)))
    assert duplicates(made).train_test == 1
    assert made.test.openings == []
    assert type(made.test.duplicates_of(TRAIN)) is int


@PROPERTY
@given(st.sets(st.integers(0, 8)), st.sets(st.integers(0, 29)), st.integers(0, 2**31 - 1))
def test_every_planted_image_is_found(tested: set[int], trained: set[int], seed: int) -> None:
    """Whatever is planted, wherever, and in whatever order: as many are found."""
    order = np.random.default_rng(seed).permutation(30 + len(tested))
    train = joined(TRAIN, some(TEST, *tested)).take(order)
    validation = joined(VALIDATION, some(TRAIN, *trained))
    assert duplicates(dataset(train, validation)) == Duplicates(len(tested), 0, len(trained))
