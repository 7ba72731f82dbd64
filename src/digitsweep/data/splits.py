"""The three splits: train fits, validation selects, test judges once and is sealed until then."""

from __future__ import annotations

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
"""Labels are kept as uint8."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images, uint8 (n, side, side, 1), and their labels, uint8 (n,), from 0."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> str:
        """sha256 over the shape and every byte of images and labels."""
        hasher = hashlib.sha256(repr(self.images.shape).encode())
        hasher.update(np.ascontiguousarray(self.images).data)
        hasher.update(np.ascontiguousarray(self.labels).data)
        return hasher.hexdigest()

    def take(self, indices: NDArray[np.intp]) -> Split:
        return Split(self.images[indices], self.labels[indices])

    def duplicates_of(self, other: Split) -> int:
        """How many of these images are among the other's too, pixel by pixel, whatever their labels."""
        if self.images.shape[1:] != other.images.shape[1:]:
            return 0
        theirs = set(other._image_digests())
        return sum(each in theirs for each in self._image_digests())

    def _image_digests(self) -> Iterator[bytes]:
        for image in np.ascontiguousarray(self.images):
            yield hashlib.blake2b(image.data, digest_size=16).digest()


class SealedSplit:
    """The test set. Nothing but `open` gives it out, and it refuses to travel to another process."""

    def __init__(self, split: Split) -> None:
        self.__split = split
        self.digest = split.digest()
        self.openings: list[str] = []
        """Who opened it, in order."""

    def __len__(self) -> int:
        return len(self.__split)

    def open(self, by: str) -> Split:
        """The images and labels, once the winners are frozen; `by` says who asks, and is kept."""
        self.openings.append(by)
        return self.__split

    def duplicates_of(self, split: Split) -> int:
        """How many test images are among the images of a split too.

        That is no opening: it gives away neither pixels, labels nor places, only a number about images that the caller
        holds already, and no model is judged by it."""
        return self.__split.duplicates_of(split)

    def __reduce__(self) -> NoReturn:
        raise TypeError("the sealed test set does not leave the coordinator")


@dataclass(frozen=True, eq=False)
class TrainingData:
    """All that training and selection may see."""

    train: Split
    validation: Split
    classes: int

    @property
    def side(self) -> int:
        """Of an image, in pixels."""
        return int(self.train.images.shape[1])

    def joined(self) -> TrainingData:
        """Training and validation images together to be trained on; none are left to validate."""
        both = [self.train, self.validation]
        joined = Split(np.concatenate([each.images for each in both]), np.concatenate([each.labels for each in both]))
        return TrainingData(joined, self.validation.take(np.arange(0)), self.classes)

    def save(self, folder: Path) -> None:
        """Writes arrays that workers map into memory, so that all of them share one copy."""
        for name, split in (("train", self.train), ("validation", self.validation)):
            np.save(folder / f"{name}_images.npy", split.images)
            np.save(folder / f"{name}_labels.npy", split.labels)

    @classmethod
    def load(cls, folder: Path, classes: int) -> TrainingData:
        """What `save` wrote, mapped read-only."""

        def mapped(name: str) -> Split:
            return Split(
                np.load(folder / f"{name}_images.npy", mmap_mode="r"),
                np.load(folder / f"{name}_labels.npy", mmap_mode="r"),
            )

        return cls(mapped("train"), mapped("validation"), classes)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named dataset: what may be seen, and the sealed test set."""

    name: str
    source: str
    """Where the bytes came from: a folder, an address, a package."""
    training: TrainingData
    test: SealedSplit

    def digests(self) -> dict[str, str]:
        """sha256 of each split."""
        return {
            "train": self.training.train.digest(),
            "validation": self.training.validation.digest(),
            "test": self.test.digest,
        }

    def digest(self) -> str:
        """One sha256 of the three."""
        return hashlib.sha256("".join(self.digests().values()).encode()).hexdigest()


def make_dataset(
    name: str, source: str, train: Split, test: Split, *, validation: int | float | None, seed: int = 0
) -> Dataset:
    """Splits the training images into train and validation, stratified, by seed, and seals the test set.

    Where `validation` is None, the training images stay together. Raises InputError where a class has too few images, or the
    validation would take all."""
    classes = int(train.labels.max()) + 1
    counts = np.bincount(train.labels, minlength=classes)
    if counts.min() < 2:
        raise InputError(
            f"{source}: labels must be 0 to classes-1 with at least 2 training images each, "
            f"but label {int(counts.argmin())} has {counts.min()}"
        )
    if int(test.labels.max()) >= classes:
        raise InputError(
            f"{source}: test labels must occur among the training labels 0 to {classes - 1}, "
            f"but there is a {int(test.labels.max())}"
        )
    if validation is None:
        return Dataset(name, source, TrainingData(train, train.take(np.arange(0)), classes), SealedSplit(test))
    wanted = validation if isinstance(validation, int) else round(validation * len(train))
    if not classes <= wanted <= len(train) - classes:
        raise InputError(
            f"data.validation: must leave at least an image of each class on both sides, between {classes} and "
            f"{len(train) - classes} of {source}'s {len(train):,} training images, but is {validation}"
        )
    kept, apart = stratified(train.labels, wanted, seed)
    return Dataset(name, source, TrainingData(train.take(kept), train.take(apart), classes), SealedSplit(test))


def stratified(labels: Labels, apart: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices that stay and indices set apart, `apart` of them, each class in its share (largest remainder), in order."""
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
    """Moves places between classes, so that each has an image on both sides, where all of them can."""
    if counts.min() < 2 or not len(counts) <= quota.sum() <= counts.sum() - len(counts):
        return
    wanted = np.clip(quota, 1, counts - 1)
    while surplus := int(quota.sum() - wanted.sum()):
        step = 1 if surplus > 0 else -1
        wanted[int(np.argmax(counts - 1 - wanted if step > 0 else wanted - 1))] += step
    quota[:] = wanted
