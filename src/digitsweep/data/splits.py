"""The three splits: training fits, validation selects, and the test set judges once, sealed until then."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from digitsweep.data.cache import cache_root, writing
from digitsweep.data.preparation import FilesRead, Preparation, told
from digitsweep.errors import InputError

Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]

MOST_CLASSES = 256
"""Labels are stored as uint8."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images, uint8 (n, height, width, channels), square, with 1 or 3 channels, and their labels, uint8 (n,), from 0."""

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
    """The test set. Only `open` returns its labels, and it cannot be pickled, so it cannot reach a worker."""

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

    def unlabelled(self) -> Images:
        """The images without their labels, for two forms of one network to be compared on.

        This does not count as an opening: without labels no model can be judged by them."""
        return self.__split.images

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
    class_names: tuple[str, ...] = ()
    """In the order of the labels; `0`, `1` and so on if none are given."""
    preparation: Preparation | None = None
    """How an image is prepared to be like these; None for arrays that were left as they are."""
    files: FilesRead | None = None
    """The image files that were read; None if the images come from arrays."""
    has_own_validation: bool = False
    """Whether the validation split is the data's own, and not set apart by digitsweep."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", self.class_names or default_names(self.training.classes))

    def about(self) -> dict[str, Any]:
        """What is to be recorded of the images besides their number, as JSON values: the names of the classes, how files
        were prepared and which were left out. Empty for arrays that were left as they are and have no names."""
        found: dict[str, Any] = {"classes": list(self.class_names)} if has_names(self.class_names) else {}
        if self.preparation is not None:
            found |= {"preparation": asdict(self.preparation), "prepared": self.prepared()}
        if self.files is not None:
            found["files"] = asdict(self.files)
        return found

    def prepared(self) -> str:
        """How the images were prepared, in sentences; empty for arrays that were left as they are."""
        return told(self.preparation, self.files, has_own_validation=self.has_own_validation)

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


def default_names(classes: int) -> tuple[str, ...]:
    """The names of classes without names: their labels."""
    return tuple(map(str, range(classes)))


def has_names(class_names: Sequence[str]) -> bool:
    """Whether classes are called anything else than their labels."""
    return tuple(class_names) != default_names(len(class_names))


def make_dataset(
    name: str,
    source: str,
    train: Split,
    test: Split,
    *,
    validation: Split | int | float | None,
    seed: int = 0,
    class_names: Sequence[str] = (),
    preparation: Preparation | None = None,
    files: FilesRead | None = None,
) -> Dataset:
    """Sets a stratified validation split apart from the training images, by seed, and seals the test set.

    `validation` is a number of images, a share, None for no split, or a split that the data has of its own. Without
    `class_names`, the labels of the training images say how many classes there are. Raises InputError if a class has too few
    images, or the split would leave one without any."""
    classes = len(class_names) or int(train.labels.max()) + 1
    names = list(class_names) or [f"label {label}" for label in range(classes)]
    counts, least = np.bincount(train.labels, minlength=classes), 1 if isinstance(validation, Split) else 2
    if counts.min() < least:
        each = "class" if class_names else f"label from 0 to {classes - 1}"
        raise InputError(
            f"{source}: each {each} must have at least {least} training image{'s' * (least > 1)}, "
            f"but {names[int(counts.argmin())]} has {counts.min()}"
        )
    for what, split in (("test", test), ("validation", validation)):
        if isinstance(split, Split) and int(split.labels.max()) >= classes:
            raise InputError(
                f"{source}: {what} labels must be among the training labels, 0 to {classes - 1}, "
                f"but one is {int(split.labels.max())}"
            )
    if validation is None:
        parts = train, train.take(np.arange(0))
    elif isinstance(validation, Split):
        parts = train, validation
    else:
        wanted = validation if isinstance(validation, int) else round(validation * len(train))
        if not classes <= wanted <= len(train) - classes:
            raise InputError(
                f"data.validation: must leave an image of each class on both sides, between {classes} and "
                f"{len(train) - classes} of the {len(train):,} training images of {source}, but is {validation}"
            )
        kept, apart = stratified(train.labels, wanted, seed)
        parts = _part(train, kept), _part(train, apart)
    return Dataset(
        name,
        source,
        TrainingData(*parts, classes),
        SealedSplit(test),
        class_names=tuple(class_names),
        preparation=preparation,
        files=files,
        has_own_validation=isinstance(validation, Split),
    )


def _part(split: Split, indices: NDArray[np.intp]) -> Split:
    """Some images of a split. Those of a split that is mapped into memory are mapped as well, from a file without a name, so
    that they need no memory of their own.

    Raises InputError if the disk of the cache is full."""
    if not isinstance(split.images, np.memmap):
        return split.take(indices)
    with writing(cache_root()), tempfile.TemporaryFile(dir=cache_root()) as file:
        for start in range(0, len(indices), 1024):
            file.write(split.images[indices[start : start + 1024]].tobytes())
        file.flush()
        images = np.memmap(file, np.uint8, "r", shape=(len(indices), *split.images.shape[1:]))
    return Split(images, split.labels[indices])


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
