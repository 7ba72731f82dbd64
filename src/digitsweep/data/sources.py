"""Where data comes from: a folder or npz file, scikit-learn's digits, the cache, or the network."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digitsweep.data import mnist
from digitsweep.data.idx import read_idx
from digitsweep.data.npz import read_npz
from digitsweep.data.splits import MOST_CLASSES, Dataset, Split, make_dataset, stratified
from digitsweep.errors import InputError

VARIABLE = "DIGITSWEEP_DATA"
"""The environment variable that says where MNIST lies."""

_FILES = {
    "training images": (("train-images", "train_images"), 3),
    "training labels": (("train-labels", "train_labels"), 1),
    "test images": (("t10k-images", "test-images", "test_images"), 3),
    "test labels": (("t10k-labels", "test-labels", "test_labels"), 1),
}


def load_dataset(source: str | Path, *, validation: int | float | None, seed: int = 0) -> Dataset:
    """The dataset `mnist`, `digits`, or that of a path (a folder with IDX files or one npz file, or an npz file).

    MNIST is taken from the folder in DIGITSWEEP_DATA, else from the cache, else from the network. Where `validation` is
    None, the training images are not split.
    Raises InputError where a file is wrong, DataUnavailableError where MNIST cannot be had."""
    if source == "digits":
        return _digits(validation, seed)
    if source == "mnist":
        given = os.environ.get(VARIABLE)
        source = _home(given) if given else mnist.fetch()
    source = _home(source)
    train, test = read_folder(source)
    where = str(source.resolve())
    return make_dataset(_name(source, train, test), where, train, test, validation=validation, seed=seed)


def whereabouts() -> list[str]:
    """Where MNIST is looked for, in order, and what is there; lines for a person."""
    given = os.environ.get(VARIABLE)
    lines = [f"{VARIABLE}: {_home(given).resolve() if given else 'not set'}"]
    if given:
        try:
            train, test = read_folder(_home(given))
            lines.append(f"  holds {_name(Path(given), train, test)}: {len(train):,} training, {len(test):,} test images")
        except InputError as error:
            lines.append(f"  {error}")
    lines.append(f"cache: {mnist.cache_folder()}")
    lines += [f"  {name}: {'there' if whole else 'missing'}" for name, whole in mnist.cached().items()]
    if not all(mnist.cached().values()):
        lines.append("`digitsweep data fetch` downloads what is missing.")
    return lines


def _home(path: str | Path) -> Path:
    """The path with ~ put in full."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: this user has no home folder here; write the path in full") from None


def read_folder(path: Path) -> tuple[Split, Split]:
    """Training and test images of a folder or an npz file, checked.

    Raises InputError with one line that names the file."""
    try:
        return _read_folder(path)
    except OSError as error:
        raise InputError(f"{path.absolute()}: cannot be read: {error.strerror or error}") from None


def _read_folder(path: Path) -> tuple[Split, Split]:
    if not path.exists():
        raise InputError(f"{path.absolute()}: no such folder or file of images")
    if path.is_file():
        return _checked(path, *read_npz(path))
    idx = {what: _find(path, stems) for what, (stems, _) in _FILES.items()}
    if not any(idx.values()):
        archives = sorted(path.glob("*.npz"))
        preferred = [each for each in archives if each.name == "mnist.npz"] or archives
        if len(preferred) == 1:
            return _checked(preferred[0], *read_npz(preferred[0]))
        found = f"has {len(archives)} npz files; name one" if archives else "has neither"
        raise InputError(
            f"{path.absolute()}: a folder of images holds train-images-idx3-ubyte, train-labels-idx1-ubyte, "
            f"t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (or .gz), or one npz file, but this {found}"
        )
    arrays = []
    for what, (stems, dimensions) in _FILES.items():
        file = idx[what]
        if file is None:
            raise InputError(f"{path.absolute() / stems[0]}-idx{dimensions}-ubyte: the file of {what} is missing")
        arrays.append(read_idx(file, dimensions))
    return _checked(path, *arrays)


def _find(folder: Path, stems: tuple[str, ...]) -> Path | None:
    pattern = re.compile(rf"({'|'.join(stems)})([-._]idx\d-ubyte)?(\.gz)?", re.IGNORECASE)
    found = sorted(each for each in folder.iterdir() if each.is_file() and pattern.fullmatch(each.name))
    return found[0] if found else None  # the uncompressed one first


def _checked(
    path: Path,
    train_images: NDArray[Any],
    train_labels: NDArray[Any],
    test_images: NDArray[Any],
    test_labels: NDArray[Any],
) -> tuple[Split, Split]:
    train = _split(path, "training", train_images, train_labels)
    test = _split(path, "test", test_images, test_labels)
    if train.images.shape[1:] != test.images.shape[1:]:
        raise InputError(
            f"{path}: training and test images must be of one size, but are "
            f"{train.images.shape[1]} and {test.images.shape[1]} pixels wide"
        )
    return train, test


def _split(path: Path, what: str, images: NDArray[Any], labels: NDArray[Any]) -> Split:
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.ndim != 3 or images.shape[1] != images.shape[2] or not images.size:
        raise InputError(f"{path}: {what} images must be square and greyscale, (n, side, side), but are {images.shape}")
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
    return Split(np.ascontiguousarray(images)[..., np.newaxis], labels.astype(np.uint8))


def _name(source: Path, train: Split, test: Split) -> str:
    """`mnist` for MNIST's own bytes, wherever they lie; else the folder's name, with the test images' digest where that says
    too little."""
    if mnist.is_mnist(train, test):
        return "mnist"
    stem = source.resolve().stem if source.is_file() else source.resolve().name
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")
    return f"{name or 'data'}-{test.digest()[:8]}" if name in ("", "mnist", "digits") else name


def _digits(validation: int | float | None, seed: int) -> Dataset:
    """scikit-learn's 1,797 images of 8x8 with values 0 to 16, here 0 to 255; 20 % of them, always the same, are the test."""
    import sklearn
    from sklearn.datasets import load_digits

    bunch = load_digits()
    everything = Split(np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., np.newaxis], bunch.target.astype(np.uint8))
    kept, apart = stratified(everything.labels, round(len(everything) * 0.2), seed=0)
    return make_dataset(
        "digits",
        f"scikit-learn {sklearn.__version__}",
        everything.take(kept),
        everything.take(apart),
        validation=validation,
        seed=seed,
    )
