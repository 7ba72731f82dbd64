"""The three splits: what goes where, what tells them apart, what they share, and how the test set stays sealed."""

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

from digitsweep.data import Dataset, Duplicates, SealedSplit, Split, TrainingData, make_dataset
from digitsweep.data.splits import stratified
from digitsweep.errors import InputError

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=80).map(lambda labels: np.array(labels, np.uint8))


@PROPERTY
@given(labels=LABELS, share=st.floats(0, 1), seed=st.integers(0, 2**31 - 1))
def test_stratified_takes_each_class_in_its_share(labels: NDArray[np.uint8], share: float, seed: int) -> None:
    """Every index is on one side, as many as requested are set apart, and each class is within one image of its share."""
    apart = round(share * len(labels))
    kept, chosen = stratified(labels, apart, seed)
    assert sorted([*kept, *chosen]) == list(range(len(labels)))
    assert len(chosen) == apart
    exact = np.bincount(labels, minlength=6) * apart / len(labels)
    assert np.all(np.abs(np.bincount(labels[chosen], minlength=6) - exact) < 1)


@PROPERTY
@given(labels=LABELS, seed=st.integers(0, 2**31 - 1))
def test_one_seed_one_split(labels: NDArray[np.uint8], seed: int) -> None:
    """The same seed sets the same images apart, in their original order."""
    first, second = (stratified(labels, len(labels) // 2, seed) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.all(np.diff(one) > 0)


def test_another_seed_another_split() -> None:
    """Twenty seeds give twenty different halves of a hundred images."""
    labels = made_split(100).labels
    assert len({tuple(stratified(labels, 50, seed)[1]) for seed in range(20)}) == 20


def dataset(train: Split | None = None, test: Split | None = None, validation: int | float = 6) -> Dataset:
    """A small dataset."""
    train, test = train or made_split(30, seed=1), test or made_split(9, seed=2)
    return make_dataset("small", "somewhere", train, test, validation=validation, seed=0)


def test_a_share_and_a_count_mean_the_same() -> None:
    """A fifth of 30 training images is 6 of them."""
    assert dataset(validation=0.2).digests() == dataset(validation=6).digests()
    assert len(dataset(validation=6).training.validation) == 6


def test_no_validation_split() -> None:
    """With `validation=None` all training images stay together, in their order, however few they are."""
    train, test = made_split(6, seed=1), made_split(9, seed=2)
    found = make_dataset("small", "somewhere", train, test, validation=None)
    assert found.training.train.digest() == train.digest()
    assert (len(found.training.validation), found.training.classes, found.test.digest) == (0, 3, test.digest())


@pytest.mark.parametrize("validation", [0, 1, 2, 28, 30, 10_000, 0.01, 0.99])
def test_both_sides_need_images_of_each_class(validation: int | float) -> None:
    """A validation split with fewer images than classes, or one that leaves fewer, is refused."""
    with pytest.raises(InputError) as error:
        dataset(validation=validation)
    only_line(error, "data.validation", "somewhere", f"but is {validation}", "between 3 and 27")


@pytest.mark.parametrize(
    ("labels", "said"),
    [([0, 0, 0, 2, 2, 2, 2, 2], "label 1 has 0"), ([0, 0, 0, 0, 1, 2, 2, 2], "label 1 has 1")],
)
def test_every_class_needs_two_training_images(labels: list[int], said: str) -> None:
    """A class with no training image, or only one, is named."""
    images = made_split(8).images
    with pytest.raises(InputError) as error:
        dataset(Split(images, np.array(labels, np.uint8)))
    only_line(error, "somewhere", said)


def test_a_class_only_in_the_test_set_is_refused() -> None:
    """A test label that no training image has is named."""
    with pytest.raises(InputError) as error:
        dataset(test=made_split(9, classes=5))
    only_line(error, "somewhere", "one is 4")


def test_the_test_set_cannot_be_pickled() -> None:
    """The sealed test set can be neither pickled nor copied, nor can the dataset that holds it."""
    sealed = SealedSplit(made_split(9))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="sealed"):
            pickle.dumps(sealed, protocol)
    with pytest.raises(TypeError, match="sealed"):
        copy.copy(sealed)
    with pytest.raises(TypeError, match="sealed"):
        pickle.dumps(dataset())


def test_openings_are_kept() -> None:
    """Each opening of the test set is recorded, in order; its size and digest need no opening."""
    test = made_split(9)
    sealed = SealedSplit(test)
    assert (len(sealed), sealed.digest, sealed.openings) == (9, test.digest(), [])
    assert sealed.open("the judge") is test
    sealed.open("a curious person")
    assert sealed.openings == ["the judge", "a curious person"]


def test_training_data_is_saved_and_loaded(tmp_path: Path) -> None:
    """Loaded arrays equal the saved ones, and are read-only."""
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
    """The split with one pixel changed."""
    images = split.images.copy()
    images[position] ^= 1
    return Split(images, split.labels)


@PROPERTY
@given(test=st.booleans(), image=st.integers(0, 8), row=st.integers(0, 3), column=st.integers(0, 3))
def test_every_pixel_counts(test: bool, image: int, row: int, column: int) -> None:
    """Changing one pixel changes the digest of the split that it is in, and the dataset's, and no others."""
    place, before = (image, row, column, 0), dataset()
    if test:
        after = dataset(test=changed_pixel(made_split(9, seed=2), place))
    else:
        after = dataset(train=changed_pixel(made_split(30, seed=1), place))
    (different,) = [name for name, digest in before.digests().items() if after.digests()[name] != digest]
    assert (different == "test") == test
    assert after.digest() != before.digest()


def test_a_label_and_a_shape_count() -> None:
    """The same bytes with other labels, or in another shape, have another digest."""
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


TRAIN, VALIDATION, TEST = made_split(30, seed=1), made_split(12, seed=2), made_split(9, seed=3)


def joined(*splits: Split) -> Split:
    return Split(np.concatenate([each.images for each in splits]), np.concatenate([each.labels for each in splits]))


def counted(train: Split = TRAIN, validation: Split = VALIDATION, test: Split = TEST) -> tuple[int | None, ...]:
    """The duplicates of train and test, validation and test, train and validation."""
    made = Dataset("small", "somewhere", TrainingData(train, validation, 3), SealedSplit(test))
    found = made.duplicates()
    assert made.test.openings == []
    return found.train_test, found.validation_test, found.train_validation


def test_different_images_are_no_duplicates() -> None:
    """Random images have no duplicates, not even when they differ by one pixel only, or have another shape."""
    assert counted() == (0, 0, 0)
    images = TEST.images.copy()
    images[:, 0, 0, 0] ^= 1
    assert counted(train=Split(images, TEST.labels)) == (0, 0, 0)
    assert Split(TEST.images.reshape(9, 2, 8, 1), TEST.labels).duplicates_of(TEST) == 0


@PROPERTY
@given(st.sets(st.integers(0, 8)), st.sets(st.integers(0, 8)), st.sets(st.integers(0, 29)), st.integers(0, 2**31 - 1))
def test_every_planted_image_is_found(trained: set[int], validated: set[int], both: set[int], seed: int) -> None:
    """Test images in train and in validation, and images in both of these, are counted wherever they are, whatever their
    labels, without an opening of the test set."""
    relabelled = Split(TEST.images, (TEST.labels + 1) % 3)
    train = joined(TRAIN, relabelled.take(np.array([*trained], np.intp)))
    train = train.take(np.random.default_rng(seed).permutation(len(train)))
    validation = joined(VALIDATION, TEST.take(np.array([*validated], np.intp)), TRAIN.take(np.array([*both], np.intp)))
    assert counted(train, validation) == (len(trained), len(validated), len(both) + len(trained & validated))


def test_each_duplicate_counts_once() -> None:
    """Three blank test images and five blank training images are three duplicates, not fifteen."""

    def blank(count: int) -> Split:
        return Split(np.zeros((count, 4, 4, 1), np.uint8), np.zeros(count, np.uint8))

    assert counted(train=joined(TRAIN, blank(5)), test=joined(TEST, blank(3))) == (3, 0, 0)
    assert counted(joined(TRAIN, blank(1)), joined(VALIDATION, blank(5)), joined(TEST, blank(3))) == (3, 3, 5)
    assert counted(test=joined(TEST, blank(3))) == (0, 0, 0)  # equal among themselves only


def test_duplicates_without_a_validation_split() -> None:
    """Without a validation split, all images outside the test set count as training images."""
    train = joined(TRAIN, TEST.take(np.array([2, 3, 5])))
    assert make_dataset("small", "somewhere", train, TEST, validation=None).duplicates() == Duplicates(3, None, None)
