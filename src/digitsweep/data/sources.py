"""Data sources: a folder or an npz file, scikit-learn's digits, or MNIST from the cache or the network."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digitsweep.config.experiment import SOURCES
from digitsweep.data import mnist
from digitsweep.data.folder import Progress, is_image_folder, read_image_folder
from digitsweep.data.image_file import chosen_size, squared
from digitsweep.data.preparation import FilesRead, Preparation
from digitsweep.data.readers import MEDMNIST_KEYS, NAMES_KEY, NPZ_KEYS, read_idx, read_npz
from digitsweep.data.splits import MOST_CLASSES, Dataset, Split, make_dataset, stratified
from digitsweep.errors import InputError, printable

VARIABLE = "DIGITSWEEP_DATA"
"""The environment variable that names MNIST's folder."""

_FILES = {
    "training images": (("train-images", "train_images"), 3),
    "training labels": (("train-labels", "train_labels"), 1),
    "test images": (("t10k-images", "test-images", "test_images"), 3),
    "test labels": (("t10k-labels", "test-labels", "test_labels"), 1),
}
"""What each IDX file holds: how its name may begin, and its number of dimensions."""


@dataclass(frozen=True)
class Wanted:
    """How a person wants images to be prepared: the fields of DataSpec with these names."""

    size: int | None = None
    fit: str = "letterbox"
    classes: tuple[str, ...] = ()
    strict: bool = False


def load_dataset(
    source: str | Path,
    *,
    validation: int | float | None,
    seed: int = 0,
    wanted: Wanted = Wanted(),
    progress: Progress = lambda done, total: None,
) -> Dataset:
    """The dataset `mnist` or `digits`, or the one at a path: an npz file, or a folder with one, with IDX files, or with a
    folder of image files for each class.

    MNIST comes from the folder in DIGITSWEEP_DATA if that is set, else from the cache, else from the network. If
    `validation` is None, the training images are not split; data with a validation split of its own keeps that. `progress`
    is told how many of how many image files have been read.
    Raises InputError if a file is invalid, DataUnavailableError if MNIST cannot be downloaded."""
    if source == "digits":
        return _digits(validation, seed, wanted)
    if source == "mnist":
        source = os.environ.get(VARIABLE) or mnist.fetch()
    path = _expanded(source)
    read = read_data(path, wanted, progress)
    return make_dataset(
        _name(path, read.train, read.test),
        str(path.resolve()),
        read.train,
        read.test,
        validation=validation if read.validation is None else read.validation,
        seed=seed,
        class_names=read.class_names,
        preparation=read.preparation,
        files=read.files,
    )


def whereabouts() -> list[str]:
    """The places where MNIST is searched for, in order, and what each holds; one line each."""
    given = os.environ.get(VARIABLE)
    lines = [f"{VARIABLE}: {_expanded(given).resolve() if given else 'not set'}"]
    if given:
        try:
            train, test = read_folder(_expanded(given))
            lines.append(f"  holds {_name(Path(given), train, test)}: {len(train):,} training, {len(test):,} test images")
        except InputError as error:
            lines.append(f"  {error}")
    cached = mnist.cached()
    lines.append(f"cache: {mnist.cache_folder()}")
    lines += [f"  {name}: {'present' if intact else 'missing'}" for name, intact in cached.items()]
    if not all(cached.values()):
        lines.append("`digitsweep data fetch` downloads what is missing.")
    return lines


def _expanded(path: str | Path) -> Path:
    """The path with ~ replaced by the home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: this user has no home folder here; write out the full path") from None


@dataclass(frozen=True, eq=False)
class Read:
    """What a folder or file holds, checked."""

    train: Split
    test: Split
    validation: Split | None = None
    """None if the data has no validation split of its own."""
    class_names: tuple[str, ...] = ()
    """Empty if the data has none."""
    preparation: Preparation | None = None
    files: FilesRead | None = None


def read_folder(path: Path) -> tuple[Split, Split]:
    """Checked training and test images, from a folder or an npz file.

    Raises InputError with one line that names the file."""
    read = read_data(path, Wanted())
    return read.train, read.test


def read_data(path: Path, wanted: Wanted, progress: Progress = lambda done, total: None) -> Read:
    """All that is known of the images in a folder or an npz file.

    Raises InputError with one line that names the file."""
    try:
        file = path if path.is_file() else _npz_or_none(path)
        if file is None and not _has_idx_files(path):
            found = read_image_folder(path.absolute(), **asdict(wanted), progress=progress)
            return Read(
                found.splits["train"],
                found.splits["test"],
                found.splits.get("validation"),
                found.class_names,
                found.preparation,
                found.files,
            )
        arrays = read_npz(file) if file else _read_idx_files(path)
    except OSError as error:
        raise InputError(f"{path.absolute()}: cannot be read: {error.strerror or error}") from None
    return _checked(file or path, arrays, wanted)


def _checked(path: Path, arrays: Mapping[str, NDArray[Any]], wanted: Wanted) -> Read:
    """Arrays by the keys of `read_npz`, checked and brought to the size that is wanted."""
    is_medmnist = MEDMNIST_KEYS[0] in arrays
    keys = MEDMNIST_KEYS if is_medmnist else NPZ_KEYS
    pairs = [(keys[place], keys[place + 1]) for place in range(0, len(keys), 2)]
    checked = [
        _split(path, what, arrays[images], arrays[labels])
        for what, (images, labels) in zip(("training", "test", "validation"), pairs, strict=False)
    ]
    shapes = [each.images.shape[1:] for each in checked]
    for what, shape in zip(("test", "validation"), shapes[1:], strict=False):
        if shape != shapes[0]:
            raise InputError(
                f"{path}: training and {what} images must be of the same size and colour, but are {_dimensions(shapes[0])} "
                f"and {_dimensions(shape)}"
            )
    height, width, channels = shapes[0]
    size = wanted.size or (height if height == width else chosen_size([(width, height)]))
    is_fitted = (height, width) != (size, size)
    if is_fitted:
        checked = [_fitted(each, size, wanted.fit) for each in checked]
    names = _names_of(path, checked[0], arrays, wanted)
    preparation = Preparation(size, wanted.fit, channels) if is_fitted or is_medmnist or channels > 1 else None
    return Read(checked[0], checked[1], checked[2] if len(checked) > 2 else None, names, preparation)


def _dimensions(shape: Sequence[int]) -> str:
    """`28x28 pixels with 3 channels`."""
    return f"{shape[1]}x{shape[0]} pixels with {shape[2]} channel{'s' * (shape[2] > 1)}"


def _fitted(split: Split, size: int, fit: str) -> Split:
    images = np.empty((len(split), size, size, split.images.shape[3]), np.uint8)
    for place, each in enumerate(split.images):
        images[place] = squared(Image.fromarray(each[..., 0] if each.shape[2] == 1 else each), size, fit)
    return Split(images, split.labels)


def _names_of(path: Path, train: Split, arrays: Mapping[str, NDArray[Any]], wanted: Wanted) -> tuple[str, ...]:
    """The names of the classes: those that are wanted, or the file's own; empty if there are neither."""
    own = arrays.get(NAMES_KEY)
    if own is not None and (own.ndim != 1 or own.dtype.kind != "U" or len(set(own.tolist())) != len(own)):
        raise InputError(f"{path}: {NAMES_KEY} must be different texts, (n,), but is {own.dtype} {own.shape}")
    key, names = f"{path}: {NAMES_KEY}", tuple(map(printable, own.tolist())) if own is not None else ()
    if wanted.classes:
        key, names = "data.classes", wanted.classes
    classes = int(train.labels.max()) + 1
    if names and len(names) != classes:
        raise InputError(f"{key}: must name each of the {classes} classes of {path}, but has {len(names)} names")
    return names


def _has_idx_files(folder: Path) -> bool:
    return any(_find(folder, stems) for stems, _ in _FILES.values())


def _npz_or_none(folder: Path) -> Path | None:
    """A folder's npz file; None if it has IDX files or image files instead."""
    if not folder.exists():
        raise InputError(f"{folder.absolute()}: no such folder or file of images")
    if _has_idx_files(folder):
        return None
    archives = sorted(folder.glob("*.npz"))
    preferred = [each for each in archives if each.name == "mnist.npz"] or archives
    if len(preferred) == 1:
        return preferred[0]
    if not archives and is_image_folder(folder):
        return None
    found = f"has {len(archives)} npz files; name one of them" if archives else "has none of these"
    raise InputError(
        f"{folder.absolute()}: a folder of images contains image files as in train/CLASS/1.png and test/CLASS/2.png; "
        "or train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (or .gz); "
        f"or one npz file, but this one {found}"
    )


def _read_idx_files(folder: Path) -> dict[str, NDArray[Any]]:
    """The arrays by NPZ_KEYS."""
    arrays = {}
    for key, (what, (stems, dimensions)) in zip(NPZ_KEYS, _FILES.items(), strict=True):
        file = _find(folder, stems)
        if file is None:
            raise InputError(f"{folder.absolute() / stems[0]}-idx{dimensions}-ubyte: the file of {what} is missing")
        arrays[key] = read_idx(file, dimensions)
    return arrays


def _find(folder: Path, stems: tuple[str, ...]) -> Path | None:
    pattern = re.compile(rf"({'|'.join(stems)})([-._]idx\d-ubyte)?(\.gz)?", re.IGNORECASE)
    found = sorted(each for each in folder.iterdir() if each.is_file() and pattern.fullmatch(each.name))
    return found[0] if found else None  # uncompressed before compressed


def _split(path: Path, what: str, images: NDArray[Any], labels: NDArray[Any]) -> Split:
    images = images[..., np.newaxis] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size:
        raise InputError(
            f"{path}: {what} images must be grey, (n, height, width), or in colour, (n, height, width, 3), but have shape "
            f"{images.shape}"
        )
    if images.dtype != np.uint8:
        raise InputError(f"{path}: {what} images must be uint8, 0 to 255, but are {images.dtype}")
    if labels.ndim == 2 and 1 in labels.shape:
        labels = labels.ravel()
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{path}: {what} labels must be integers, (n,), but are {labels.dtype} {labels.shape}")
    if len(images) != len(labels):
        raise InputError(f"{path}: each {what} image needs a label, but there are {len(images):,} and {len(labels):,}")
    if labels.min() < 0 or labels.max() >= MOST_CLASSES:
        raise InputError(
            f"{path}: {what} labels must be 0 to {MOST_CLASSES - 1}, but go from {labels.min()} to {labels.max()}"
        )
    return Split(np.ascontiguousarray(images), labels.astype(np.uint8))


def _name(source: Path, train: Split, test: Split) -> str:
    """`mnist` for MNIST's own images in any place; otherwise the file's or folder's name, with the digest of the test images
    if the name alone would be ambiguous."""
    if mnist.is_mnist(train, test):
        return "mnist"
    stem = source.resolve().stem if source.is_file() else source.resolve().name
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")
    return f"{name or 'data'}-{test.digest()[:8]}" if name in ("", *SOURCES) else name


def _digits(validation: int | float | None, seed: int, wanted: Wanted) -> Dataset:
    """scikit-learn's 1,797 images of 8x8, scaled from 0..16 to 0..255; a fixed 20 % of them is the test set."""
    import sklearn
    from sklearn.datasets import load_digits

    bunch = load_digits()
    everything = Split(np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., np.newaxis], bunch.target.astype(np.uint8))
    kept, apart = stratified(everything.labels, round(len(everything) * 0.2), seed=0)
    train, test = everything.take(kept), everything.take(apart)
    source = f"scikit-learn {sklearn.__version__}"
    arrays = dict(zip(NPZ_KEYS, (train.images, train.labels, test.images, test.labels), strict=True))
    read = _checked(Path(source), arrays, wanted)
    return make_dataset(
        "digits",
        source,
        read.train,
        read.test,
        validation=validation,
        seed=seed,
        class_names=read.class_names,
        preparation=read.preparation,
    )
