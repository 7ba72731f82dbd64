"""Data from folders and files: what is read, its name, and the errors for invalid files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import IDX_FILES, idx_bytes, made_split, only_line, write_idx_folder, write_npz

from digitsweep.data.image_file import squared
from digitsweep.data.sources import VARIABLE, Wanted, load_dataset, read_folder, whereabouts
from digitsweep.data.splits import Split
from digitsweep.errors import InputError

TRAIN, TEST = made_split(30, seed=1), made_split(9, seed=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A valid folder, for tests to damage."""
    return write_idx_folder(tmp_path / "some-digits", TRAIN, TEST)


def assert_same(read: tuple[Split, Split]) -> None:
    """Asserts that these are TRAIN and TEST."""
    for split, expected in zip(read, (TRAIN, TEST), strict=True):
        np.testing.assert_array_equal(split.images, expected.images, strict=True)
        np.testing.assert_array_equal(split.labels, expected.labels, strict=True)


def refused(path: Path, *parts: object) -> str:
    """The error for a folder or file."""
    with pytest.raises(InputError) as error:
        load_dataset(path, validation=6, seed=0)
    return only_line(error, path, *parts)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_folder_of_idx_files(tmp_path: Path, zipped: bool) -> None:
    """A folder with the four IDX files, compressed or not, gives their images, (n, side, side, 1), and labels."""
    assert_same(read_folder(write_idx_folder(tmp_path, TRAIN, TEST, zipped=zipped)))


def test_an_npz_file_and_a_folder_with_one(tmp_path: Path) -> None:
    """An npz file is found by its own name and by that of its folder."""
    path = write_npz(tmp_path / "images.npz", TRAIN, TEST)
    assert_same(read_folder(path))
    assert_same(read_folder(tmp_path))


def test_mnist_npz_goes_before_others(tmp_path: Path) -> None:
    """If a folder has several npz files, `mnist.npz` is read."""
    write_npz(tmp_path / "a.npz", TEST, TRAIN)
    write_npz(tmp_path / "mnist.npz", TRAIN, TEST)
    assert_same(read_folder(tmp_path))


def test_other_spellings(folder: Path) -> None:
    """The files may also be called train_images and so on."""
    for old, new in zip(IDX_FILES, ("train_images", "train_labels", "Test_Images", "test_labels"), strict=True):
        (folder / old).rename(folder / new)
    assert_same(read_folder(folder))


def test_names_that_only_begin_right(folder: Path) -> None:
    """A copy under another name, such as `.old`, is not mistaken for the file."""
    for name in IDX_FILES:
        (folder / name).rename(folder / f"{name}.old")
    refused(folder, "has none of these")


@pytest.mark.parametrize(
    ("called", "name"),
    [("some-digits", "some-digits"), ("Handwritten (2)", "handwritten-2"), ("___", f"data-{TEST.digest()[:8]}")],
)
def test_a_dataset_is_named_after_its_folder(tmp_path: Path, called: str, name: str) -> None:
    """The folder's name, in lower case, is the dataset's."""
    data = load_dataset(write_idx_folder(tmp_path / called, TRAIN, TEST), validation=6, seed=0)
    assert data.name == name
    assert data.source == str((tmp_path / called).resolve())
    assert (len(data.training.train), len(data.training.validation), len(data.test)) == (24, 6, 9)
    assert data.training.classes == 3
    assert data.training.side == 4


@pytest.mark.parametrize("called", ["mnist", "MNIST", "digits"])
def test_other_bytes_never_pass_for_mnist(tmp_path: Path, called: str) -> None:
    """A folder with the name of a known dataset gets a digest added to it, so that results are kept apart."""
    data = load_dataset(write_idx_folder(tmp_path / called, TRAIN, TEST), validation=6, seed=0)
    assert data.name == f"{called.lower()}-{TEST.digest()[:8]}"


@pytest.mark.parametrize("missing", IDX_FILES)
def test_a_missing_file_is_named(folder: Path, missing: str) -> None:
    """If one of the four files is missing, the error names it."""
    (folder / missing).unlink()
    refused(folder, folder / missing)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """An empty folder is refused, and the error says what belongs there."""
    refused(tmp_path, *IDX_FILES, "has none of these")


def test_two_npz_files_are_refused(tmp_path: Path) -> None:
    """Of two npz files without a preferred name, neither is read."""
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, TRAIN, TEST)
    refused(tmp_path, "2 npz files")


@pytest.mark.parametrize("name", ["nothing", "n" * 300])
def test_a_missing_folder_is_refused(tmp_path: Path, name: str) -> None:
    """A folder that is missing, or whose name is too long for any file system, is named."""
    refused(tmp_path / name)


IMAGES, LABELS = TRAIN.images[..., 0], TRAIN.labels.astype(np.int64)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"x_train": IMAGES[:, :3]}, "4x3 pixels with 1 channel and 4x4 pixels"),
        ({"x_train": np.repeat(TRAIN.images, 3, axis=3)}, "4x4 pixels with 3 channels and 4x4 pixels with 1 channel"),
        ({"x_train": np.repeat(TRAIN.images, 4, axis=3)}, "grey, (n, height, width), or in colour"),
        ({"x_train": IMAGES / 255.0}, "must be uint8, 0 to 255, but are float64"),
        ({"x_train": IMAGES[:0], "y_train": LABELS[:0]}, "training images"),
        ({"y_train": LABELS[:-1]}, "there are 30 and 29"),
        ({"y_train": LABELS + 254}, "go from 254 to 256"),
        ({"y_train": LABELS - 1}, "go from -1 to 1"),
        ({"y_train": LABELS.astype(np.float32)}, "must be integers"),
        ({"y_train": np.eye(3, dtype=np.uint8)[LABELS]}, "must be integers, (n,)"),
        ({"y_train": LABELS * 2}, "label 1 has 0"),
        ({"y_train": np.where(np.arange(30) == 0, 3, LABELS)}, "label 3 has 1"),
        ({"y_test": TEST.labels + 1}, "one is 3"),
        ({"x_test": TEST.images[:, 1:, 1:]}, "4x4 pixels with 1 channel and 3x3"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    """Images that are not square, grey and uint8, and labels that do not fit them, are refused in one line."""
    right = {"x_train": IMAGES, "y_train": LABELS, "x_test": TEST.images, "y_test": TEST.labels}
    np.savez(tmp_path / "wrong.npz", **{**right, **wrong})
    refused(tmp_path / "wrong.npz", said)


def medmnist(path: Path, *, width: int = 28, height: int = 28, **changed: Any) -> Path:
    """A file in the layout of MedMNIST, in colour, with labels (n, 1) and a validation split of its own."""
    numbers = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 30), ("val", 9), ("test", 12)):
        arrays[f"{split}_images"] = numbers.integers(0, 256, (count, height, width, 3), np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 3)[:, np.newaxis].astype(np.uint8)
    np.savez(path, **{**arrays, **changed})
    return path


def test_a_file_of_medmnist(tmp_path: Path) -> None:
    """MedMNIST's files are read by themselves: in colour, with their own validation split, whatever share is asked for."""
    path = medmnist(tmp_path / "bloodmnist.npz")
    data = load_dataset(path, validation=10_000, seed=5)
    assert (data.name, data.training.shape, data.training.classes) == ("bloodmnist", (28, 28, 3), 3)
    assert (len(data.training.train), len(data.training.validation), len(data.test)) == (30, 9, 12)
    assert data.class_names == ("0", "1", "2")
    assert "validation split is the data's own" in data.prepared()
    with np.load(path) as arrays:
        np.testing.assert_array_equal(data.training.validation.images, arrays["val_images"], strict=True)
        assert data.training.validation.labels.tolist() == arrays["val_labels"].ravel().tolist()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"val_images": np.zeros((9, 28, 28), np.uint8)}, "28x28 pixels with 3 channels and 28x28 pixels with 1 channel"),
        ({"val_labels": np.full((9, 1), 3)}, "validation labels must be among the training labels"),
        ({"val_labels": np.zeros((8, 1), np.uint8)}, "there are 9 and 8"),
        ({"val_images": np.zeros((0, 28, 28, 3), np.uint8), "val_labels": np.zeros((0, 1), np.uint8)}, "validation images"),
        ({"train_labels": np.zeros((30, 14), np.uint8)}, "must be integers, (n,)"),
        ({"train_labels": (np.arange(30) % 3 * 2)[:, np.newaxis]}, "label 1 has 0"),
        ({"class_names": np.array([b"a", b"b", b"c"])}, "must be different texts"),
        ({"class_names": np.array(["a", "b", "a"])}, "must be different texts"),
        ({"class_names": np.array(["a", "b"])}, "must name each of the 3 classes"),
    ],
)
def test_a_wrong_file_of_medmnist(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    """Splits that do not fit each other are refused in one line."""
    refused(medmnist(tmp_path / "wrong.npz", **wrong), said)


def test_an_incomplete_file_of_medmnist(tmp_path: Path) -> None:
    """A missing array is named."""
    path = medmnist(tmp_path / "whole.npz")
    with np.load(path) as arrays:
        np.savez(tmp_path / "wrong.npz", **{key: arrays[key] for key in arrays if key != "val_images"})
    refused(tmp_path / "wrong.npz", "val_images is missing")


def test_class_names_of_arrays(tmp_path: Path) -> None:
    """Names come from the experiment, or else from the file, or else are the labels."""
    path = medmnist(tmp_path / "a.npz", class_names=np.array(["red", "white", "blue"]))
    assert load_dataset(path, validation=6).class_names == ("red", "white", "blue")
    named = load_dataset(path, validation=6, wanted=Wanted(classes=("x", "y", "z")))
    assert named.class_names == ("x", "y", "z")
    assert named.digests() == load_dataset(path, validation=6).digests()
    with pytest.raises(InputError) as error:
        load_dataset("digits", validation=0.25, wanted=Wanted(classes=("zero", "one")))
    only_line(error, "data.classes", "each of the 10 classes", "2 names")


def test_arrays_that_are_not_square(tmp_path: Path) -> None:
    """Arrays that are not square, or for which a size is given, are fitted like image files."""
    wide = medmnist(tmp_path / "wide.npz", width=40, height=20)
    data = load_dataset(wide, validation=6)
    assert data.training.shape == (20, 20, 3)
    with np.load(wide) as arrays:
        expected = squared(Image.fromarray(arrays["train_images"][3]), 20, "letterbox")
    np.testing.assert_array_equal(data.training.train.images[3], expected)
    assert load_dataset(wide, validation=6, wanted=Wanted(size=16, fit="crop")).training.shape == (16, 16, 3)
    assert load_dataset("digits", validation=0.25, wanted=Wanted(size=16)).training.shape == (16, 16, 1)


def test_a_wrong_idx_file_is_named(folder: Path) -> None:
    """Of the four files in a folder, the damaged one is named."""
    (folder / IDX_FILES[2]).write_bytes(idx_bytes(TEST.images[..., 0])[:-1])
    refused(folder, folder / IDX_FILES[2], "truncated")


def test_the_bundled_digits() -> None:
    """`digits` has 1,797 images of 8x8: 1,078 for training, 360 for validation and a fixed 359 for the test."""
    first, second = (load_dataset("digits", validation=0.25, seed=seed) for seed in (0, 1))
    assert first.name == "digits"
    assert (len(first.training.train), len(first.training.validation), len(first.test)) == (1078, 360, 359)
    assert first.training.train.images.shape == (1078, 8, 8, 1)
    assert first.training.train.images.max() == 255
    assert first.test.digest == second.test.digest
    assert first.digests()["validation"] != second.digests()["validation"]


def test_the_variable_names_mnists_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mnist` is read from the folder in DIGITSWEEP_DATA; an error there is reported, not worked around."""
    monkeypatch.setenv(VARIABLE, str(folder))
    assert load_dataset("mnist", validation=6, seed=0).source == str(folder.resolve())
    assert any("some-digits: 30 training, 9 test images" in line for line in whereabouts())
    shutil.rmtree(folder)
    with pytest.raises(InputError) as error:
        load_dataset("mnist", validation=6, seed=0)
    only_line(error, folder)
    assert any("no such folder" in line for line in whereabouts())
