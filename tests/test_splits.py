"""The three splits: what goes where, how it is told apart, and how the test set stays sealed."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import PROPERTY, made_split, only_line

from digitsweep.data import Dataset, SealedSplit, Split, TrainingData, make_dataset
from digitsweep.data.splits import stratified
from digitsweep.errors import InputError

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=80).map(lambda labels: np.array(labels, np.uint8))


@PROPERTY
@given(labels=LABELS, share=st.floats(0, 1), seed=st.integers(0, 2**31 - 1))
def test_stratified_takes_each_class_in_its_share(labels: NDArray[np.uint8], share: float, seed: int) -> None:
    """Every index is on one side, exactly as many as wanted are set apart, and of each class less than one off."""
    apart = round(share * len(labels))
    kept, chosen = stratified(labels, apart, seed)
    assert sorted([*kept, *chosen]) == list(range(len(labels)))
    assert len(chosen) == apart
    exact = np.bincount(labels, minlength=6) * apart / len(labels)
    assert np.all(np.abs(np.bincount(labels[chosen], minlength=6) - exact) < 1)


@PROPERTY
@given(labels=LABELS, seed=st.integers(0, 2**31 - 1))
def test_one_seed_one_split(labels: NDArray[np.uint8], seed: int) -> None:
    """The same seed sets the same images apart, in the order in which they stand."""
    first, second = (stratified(labels, len(labels) // 2, seed) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.all(np.diff(one) > 0)


def test_another_seed_another_split() -> None:
    """Twenty seeds set twenty different halves of a hundred images apart."""
    labels = made_split(100).labels
    assert len({tuple(stratified(labels, 50, seed)[1]) for seed in range(20)}) == 20


def dataset(train: Split | None = None, test: Split | None = None, validation: int | float = 6) -> Dataset:
    """A small data set."""
    train, test = train or made_split(30, seed=1), test or made_split(9, seed=2)
    return make_dataset("small", "somewhere", train, test, validation=validation, seed=0)


def test_a_share_and_a_count_mean_the_same() -> None:
    """A fifth of 30 training images is 6 of them."""
    assert dataset(validation=0.2).digests() == dataset(validation=6).digests()
    assert len(dataset(validation=6).training.validation) == 6


def test_nothing_is_set_apart_where_nobody_trains() -> None:
    """Without a validation split even six training images of three classes are taken, all of them, in their order."""
    train, test = made_split(6, seed=1), made_split(9, seed=2)
    found = make_dataset("small", "somewhere", train, test, validation=None)
    assert found.training.train.digest() == train.digest()
    assert (len(found.training.validation), found.training.classes, found.test.digest) == (0, 3, test.digest())


@pytest.mark.parametrize("validation", [0, 1, 2, 28, 30, 10_000, 0.01, 0.99])
def test_both_sides_need_images_of_each_class(validation: int | float) -> None:
    """A validation split with fewer images than classes, or one that leaves fewer, is refused with its source."""
    with pytest.raises(InputError) as error:
        dataset(validation=validation)
    only_line(error, "data.validation", "somewhere", f"but is {validation}", "between 3 and 27")


@pytest.mark.parametrize(
    ("labels", "said"),
    [([0, 0, 0, 2, 2, 2, 2, 2], "label 1 has 0"), ([0, 0, 0, 0, 1, 2, 2, 2], "label 1 has 1")],
)
def test_every_class_needs_two_training_images(labels: list[int], said: str) -> None:
    """A class without training images, or with a single one, is named."""
    images = made_split(8).images
    with pytest.raises(InputError) as error:
        dataset(Split(images, np.array(labels, np.uint8)))
    only_line(error, "somewhere", said)


def test_a_class_only_in_the_test_set_is_refused() -> None:
    """A test label that no training image has is named."""
    with pytest.raises(InputError) as error:
        dataset(test=made_split(9, classes=5))
    only_line(error, "somewhere", "there is a 4")


def test_the_test_set_does_not_travel() -> None:
    """The sealed test set can be neither pickled nor copied, and no more can the data set that holds it."""
    sealed = SealedSplit(made_split(9))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="sealed"):
            pickle.dumps(sealed, protocol)
    with pytest.raises(TypeError, match="sealed"):
        copy.copy(sealed)
    with pytest.raises(TypeError, match="sealed"):
        pickle.dumps(dataset())


def test_openings_are_kept() -> None:
    """Whoever opens the test set is on record, in order; its size and digest can be had without."""
    test = made_split(9)
    sealed = SealedSplit(test)
    assert (len(sealed), sealed.digest, sealed.openings) == (9, test.digest(), [])
    assert sealed.open("the judge") is test
    sealed.open("a curious person")
    assert sealed.openings == ["the judge", "a curious person"]


def test_training_data_travels_by_folder(tmp_path: Path) -> None:
    """What was saved is what is loaded, and it cannot be written to."""
    saved = dataset().training
    saved.save(tmp_path)
    loaded = TrainingData.load(tmp_path, saved.classes)
    assert (loaded.classes, loaded.side) == (3, 4)
    for before, after in ((saved.train, loaded.train), (saved.validation, loaded.validation)):
        np.testing.assert_array_equal(after.images, before.images, strict=True)
        np.testing.assert_array_equal(after.labels, before.labels, strict=True)
        assert after.digest() == before.digest()
        with pytest.raises(ValueError, match="read-only"):
            after.images[0, 0, 0, 0] = 0


def changed_pixel(split: Split, position: tuple[int, ...]) -> Split:
    """The same split but for one pixel."""
    images = split.images.copy()
    images[position] ^= 1
    return Split(images, split.labels)


@PROPERTY
@given(image=st.integers(0, 29), row=st.integers(0, 3), column=st.integers(0, 3))
def test_every_training_pixel_counts(image: int, row: int, column: int) -> None:
    """One other pixel among the training images changes the digest of the split it is in, and the data set's."""
    before = dataset()
    after = dataset(train=changed_pixel(made_split(30, seed=1), (image, row, column, 0)))
    different = [name for name, digest in before.digests().items() if after.digests()[name] != digest]
    assert len(different) == 1
    assert different[0] in ("train", "validation")
    assert after.digest() != before.digest()


@PROPERTY
@given(image=st.integers(0, 8), row=st.integers(0, 3), column=st.integers(0, 3))
def test_every_test_pixel_counts(image: int, row: int, column: int) -> None:
    """One other pixel among the test images changes the digests of the test split and the data set, no others."""
    before = dataset()
    after = dataset(test=changed_pixel(made_split(9, seed=2), (image, row, column, 0)))
    assert [name for name, digest in before.digests().items() if after.digests()[name] != digest] == ["test"]
    assert after.digest() != before.digest()


def test_a_label_and_a_shape_count() -> None:
    """The same bytes with another label, or in another shape, have another digest."""
    split = made_split(4)
    relabelled = Split(split.images, split.labels[::-1].copy())
    reshaped = Split(split.images.reshape(1, 8, 8, 1), split.labels)
    assert len({split.digest(), relabelled.digest(), reshaped.digest()}) == 3


@pytest.mark.parametrize(("counts", "apart"), [((1000, 2), 1000), ((1000, 2), 2), ((2, 2, 2), 3), ((5, 300, 2), 290)])
def test_a_rare_class_is_on_both_sides(counts: tuple[int, ...], apart: int) -> None:
    """A class of two images has one on each side, whatever its share would be."""
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.uint8)
    kept, taken = stratified(labels, apart, seed=0)
    assert len(taken) == apart
    for side in (kept, taken):
        assert set(labels[side].tolist()) == set(range(len(counts)))
