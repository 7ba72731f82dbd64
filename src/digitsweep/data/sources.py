"""Data sources: a folder, an npz file, scikit-learn's digits, or MNIST from the cache or the network."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digitsweep.config.experiment import SOURCES
from digitsweep.data import mnist
from digitsweep.data.readers import read_idx, read_npz
from digitsweep.data.splits import MOST_CLASSES, Dataset, Split, make_dataset, stratified
from digitsweep.errors import InputError

VARIABLE = "DIGITSWEEP_DATA"
"""The environment variable that names MNIST's folder."""

_FILES = {
    "training images": (("train-images", "train_images"), 3),
    "training labels": (("train-labels", "train_labels"), 1),
    "test images": (("t10k-images", "test-images", "test_images"), 3),
    "test labels": (("t10k-labels", "test-labels", "test_labels"), 1),
}
"""What each IDX file holds: how its name may begin, and its number of dimensions."""


def load_dataset(source: str | Path, *, validation: int | float | None, seed: int = 0) -> Dataset:
    """The dataset `mnist` or `digits`, or the one at a path: an npz file, or a folder with one or with IDX files.

    MNIST comes from the folder in DIGITSWEEP_DATA if that is set, else from the cache, else from the network. If
    `validation` is None, the training images are not split.
    Raises InputError if a file is invalid, DataUnavailableError if MNIST cannot be downloaded."""
    if source == "digits":
        return _digits(validation, seed)
    if source == "mnist":
        source = os.environ.get(VARIABLE) or mnist.fetch()
    path = _expanded(source)
    train, test = read_folder(path)
    return make_dataset(_name(path, train, test), str(path.resolve()), train, test, validation=validation, seed=seed)


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


def read_folder(path: Path) -> tuple[Split, Split]:
    """Checked training and test images, from a folder or an npz file.

    Raises InputError with one line that names the file."""
    try:
        file = path if path.is_file() else _npz_or_none(path)
        train, train_labels, test, test_labels = read_npz(file) if file else _read_idx_files(path)
    except OSError as error:
        raise InputError(f"{path.absolute()}: cannot be read: {error.strerror or error}") from None
    checked = _split(file or path, "training", train, train_labels), _split(file or path, "test", test, test_labels)
    here, there = (each.images.shape[1] for each in checked)
    if here != there:
        raise InputError(
            f"{file or path}: training and test images must be of the same size, but are {here} and {there} pixels wide"
        )
    return checked


def _npz_or_none(folder: Path) -> Path | None:
    """A folder's npz file; None if it has IDX files instead."""
    if not folder.exists():
        raise InputError(f"{folder.absolute()}: no such folder or file of images")
    if any(_find(folder, stems) for stems, _ in _FILES.values()):
        return None
    archives = sorted(folder.glob("*.npz"))
    preferred = [each for each in archives if each.name == "mnist.npz"] or archives
    if len(preferred) == 1:
        return preferred[0]
    found = f"has {len(archives)} npz files; name one of them" if archives else "has neither"
    raise InputError(
        f"{folder.absolute()}: a folder of images contains train-images-idx3-ubyte, train-labels-idx1-ubyte, "
        f"t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (or .gz), or one npz file, but this one {found}"
    )


def _read_idx_files(folder: Path) -> list[NDArray[Any]]:
    arrays = []
    for what, (stems, dimensions) in _FILES.items():
        file = _find(folder, stems)
        if file is None:
            raise InputError(f"{folder.absolute() / stems[0]}-idx{dimensions}-ubyte: the file of {what} is missing")
        arrays.append(read_idx(file, dimensions))
    return arrays


def _find(folder: Path, stems: tuple[str, ...]) -> Path | None:
    pattern = re.compile(rf"({'|'.join(stems)})([-._]idx\d-ubyte)?(\.gz)?", re.IGNORECASE)
    found = sorted(each for each in folder.iterdir() if each.is_file() and pattern.fullmatch(each.name))
    return found[0] if found else None  # uncompressed before compressed


def _split(path: Path, what: str, images: NDArray[Any], labels: NDArray[Any]) -> Split:
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.ndim != 3 or images.shape[1] != images.shape[2] or not images.size:
        raise InputError(
            f"{path}: {what} images must be square and greyscale, (n, side, side), but have shape {images.shape}"
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
    return Split(np.ascontiguousarray(images)[..., np.newaxis], labels.astype(np.uint8))


def _name(source: Path, train: Split, test: Split) -> str:
    """`mnist` for MNIST's own images in any place; otherwise the file's or folder's name, with the digest of the test images
    if the name alone would be ambiguous."""
    if mnist.is_mnist(train, test):
        return "mnist"
    stem = source.resolve().stem if source.is_file() else source.resolve().name
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")
    return f"{name or 'data'}-{test.digest()[:8]}" if name in ("", *SOURCES) else name


def _digits(validation: int | float | None, seed: int) -> Dataset:
    """scikit-learn's 1,797 images of 8x8, scaled from 0..16 to 0..255; a fixed 20 % of them is the test set."""
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
