"""The three splits: training fits, validation selects, and the test set judges once, sealed until then."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from digitsweep.errors import InputError

Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]

MOST_CLASSES = 256
"""Labels are stored as uint8."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images, uint8 (n, height, width, channels), and their labels, uint8 (n,), counted from 0."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> str:
        """SHA-256 of the shape and every byte of images and labels."""
        hasher = hashlib.sha256(repr(self.images.shape).encode())
        hasher.update(np.ascontiguousarray(self.images).data)
        hasher.update(np.ascontiguousarray(self.labels).data)
        return hasher.hexdigest()

    def take(self, indices: NDArray[np.intp]) -> Split:
        return Split(self.images[indices], self.labels[indices])

    def duplicates_of(self, other: Split) -> int:
        """How many of these images the other split has too, pixel by pixel, whatever their labels."""
        if self.images.shape[1:] != other.images.shape[1:]:
            return 0
        theirs = set(other._image_digests())
        return sum(each in theirs for each in self._image_digests())

    def _image_digests(self) -> Iterator[bytes]:
        for image in np.ascontiguousarray(self.images):
            yield hashlib.blake2b(image.data, digest_size=16).digest()


class SealedSplit:
    """The test set. Only `open` returns it, and it cannot be pickled, so it cannot reach a worker."""

    def __init__(self, split: Split) -> None:
        self.__split = split
        self.digest = split.digest()
        self.openings: list[str] = []
        """What opened it, in order of time."""

    def __len__(self) -> int:
        return len(self.__split)

    def open(self, by: str) -> Split:
        """The images and labels; `by` is recorded in `openings`. Only for models that are final."""
        self.openings.append(by)
        return self.__split

    def duplicates_of(self, split: Split) -> int:
        """How many test images a split has too.

        This does not count as an opening: the caller learns a number, no pixels or labels, and no model is judged by it."""
        return self.__split.duplicates_of(split)

    def __reduce__(self) -> NoReturn:
        raise TypeError("the sealed test set cannot leave the coordinator")


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Everything that training and selection may see."""

    train: Split
    validation: Split
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height and width of an image, which are equal, in pixels, and its channels."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    @property
    def side(self) -> int:
        """Width and height of an image, in pixels."""
        return self.shape[0]

    def joined(self) -> TrainingData:
        """Training and validation images together as training images, with none left for validation."""
        both = [self.train, self.validation]
        joined = Split(np.concatenate([each.images for each in both]), np.concatenate([each.labels for each in both]))
        return TrainingData(joined, self.validation.take(np.arange(0)), self.classes)

    def save(self, folder: Path) -> None:
        """Writes the arrays for the workers, which map them into memory and so share one copy."""
        for name, split in (("train", self.train), ("validation", self.validation)):
            np.save(folder / f"{name}_images.npy", split.images)
            np.save(folder / f"{name}_labels.npy", split.labels)

    @classmethod
    def load(cls, folder: Path, classes: int) -> TrainingData:
        """The arrays that `save` wrote, mapped read-only."""

        def mapped(name: str) -> Split:
            return Split(
                np.load(folder / f"{name}_images.npy", mmap_mode="r"),
                np.load(folder / f"{name}_labels.npy", mmap_mode="r"),
            )

        return cls(mapped("train"), mapped("validation"), classes)


@dataclass(frozen=True)
class Duplicates:
    """How many images are in two splits, pixel by pixel, whatever their labels.

    Each image counts once, however many copies the other split has."""

    train_test: int
    """Test images that are also training images. Testing on them proves nothing."""
    validation_test: int | None
    """Test images that are also validation images; None without a split, when these count as training images."""
    train_validation: int | None
    """Validation images that are also training images; None without a split."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named dataset: the training data, and the sealed test set."""

    name: str
    source: str
    """Where the images come from: a folder, a file or a package."""
    training: TrainingData
    test: SealedSplit

    def digests(self) -> dict[str, str]:
        """SHA-256 of each split."""
        return dict(self._digests)

    @functools.cached_property
    def _digests(self) -> dict[str, str]:
        return {
            "train": self.training.train.digest(),
            "validation": self.training.validation.digest(),
            "test": self.test.digest,
        }

    def digest(self) -> str:
        """One SHA-256 of all three."""
        return hashlib.sha256("".join(self.digests().values()).encode()).hexdigest()

    def duplicates(self) -> Duplicates:
        """Counts the images that are in two splits, without opening the test set."""
        train, validation = self.training.train, self.training.validation
        if not len(validation):
            return Duplicates(self.test.duplicates_of(train), None, None)
        return Duplicates(
            self.test.duplicates_of(train), self.test.duplicates_of(validation), validation.duplicates_of(train)
        )


def make_dataset(
    name: str, source: str, train: Split, test: Split, *, validation: int | float | None, seed: int = 0
) -> Dataset:
    """Sets a stratified validation split apart from the training images, by seed, and seals the test set.

    `validation` is a number of images, a share, or None for no split. Raises InputError if a class has too few images, or
    the split would leave one without any."""
    classes = int(train.labels.max()) + 1
    counts = np.bincount(train.labels, minlength=classes)
    if counts.min() < 2:
        raise InputError(
            f"{source}: each label from 0 to {classes - 1} must have at least 2 training images, "
            f"but label {int(counts.argmin())} has {counts.min()}"
        )
    if int(test.labels.max()) >= classes:
        raise InputError(
            f"{source}: test labels must be among the training labels, 0 to {classes - 1}, "
            f"but one is {int(test.labels.max())}"
        )
    if validation is None:
        return Dataset(name, source, TrainingData(train, train.take(np.arange(0)), classes), SealedSplit(test))
    wanted = validation if isinstance(validation, int) else round(validation * len(train))
    if not classes <= wanted <= len(train) - classes:
        raise InputError(
            f"data.validation: must leave an image of each class on both sides, between {classes} and "
            f"{len(train) - classes} of the {len(train):,} training images of {source}, but is {validation}"
        )
    kept, apart = stratified(train.labels, wanted, seed)
    return Dataset(name, source, TrainingData(train.take(kept), train.take(apart), classes), SealedSplit(test))


def stratified(labels: Labels, apart: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Sorted indices of the images that stay and of those set apart, `apart` of them, each class in its share.

    Shares are rounded by the largest remainder. scikit-learn's splitters would do, but can leave a rare class out on one
    side, and another split means other digests: earlier sweeps and champions could not be compared any more."""
    generator = np.random.default_rng(seed)
    counts = np.bincount(labels)
    exact = counts * (apart / len(labels))
    quota = np.floor(exact).astype(int)
    quota[np.argsort(quota - exact, kind="stable")[: apart - quota.sum()]] += 1
    _leave_none_empty(quota, counts)
    chosen = np.zeros(len(labels), dtype=bool)
    for label, take in enumerate(quota):
        chosen[generator.permutation(np.flatnonzero(labels == label))[:take]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _leave_none_empty(quota: NDArray[np.intp], counts: NDArray[np.intp]) -> None:
    """Moves places between classes until each class has an image on both sides, if that is possible."""
    if counts.min() < 2 or not len(counts) <= quota.sum() <= counts.sum() - len(counts):
        return
    wanted = np.clip(quota, 1, counts - 1)
    while surplus := int(quota.sum() - wanted.sum()):
        step = 1 if surplus > 0 else -1
        wanted[int(np.argmax(counts - 1 - wanted if step > 0 else wanted - 1))] += step
    quota[:] = wanted
