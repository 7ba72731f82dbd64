"""Sweeps of images of other kinds: a folder of files made of MNIST's images, and a file in colour like MedMNIST's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from running import Sweep, run_digitsweep

from digitsweep.data.readers import read_idx

MNIST = os.environ.get("DIGITSWEEP_TEST_MNIST")
pytestmark = pytest.mark.slow
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TRAIN, TEST = 4_000, 1_000
BROKEN = {"train/zero/cut.png": 60, "train/seven/nothing.png": 0, "test/four/text.png": None}
"""Files that are no images: cut off after so many bytes, or text."""
EXPERIMENT = """\
name: files
question: Do image files give what arrays give?
data: {source: digits, validation: 1000, size: 28}
budget: {trials: 1, epochs: 4, seconds: 600}
pruner: {type: none}
finalists: {top: 1, seeds: 0, confirm: 1}
families:
  ann:
    space: {hidden_layers: 1, units: 128, batch_size: 64}
  cnn:
    space: {blocks: 2, filters: [16, 32], padding: same, batch_size: 64, learning_rate: 0.002}
"""


def mnist(split: str, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The first images of a split of MNIST, uint8 (count, 28, 28), and their labels."""
    (images,) = Path(str(MNIST)).glob(f"{split}-images*")
    (labels,) = Path(str(MNIST)).glob(f"{split}-labels*")
    return read_idx(images, 3)[:count], read_idx(labels, 1)[:count]


def write_files(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8], seed: int) -> None:
    """A PNG file for each image in the folder of its class, of a random size; each fifth is in orange."""
    random = np.random.default_rng(seed)
    for name in NAMES:
        (folder / name).mkdir(parents=True)
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        side = int(random.integers(28, 85))
        image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
        if number % 5 == 0:
            orange = np.asarray(image, np.float32)[..., None] * np.array([1.0, 0.7, 0.3], np.float32)
            image = Image.fromarray(orange.astype(np.uint8))
        image.save(folder / NAMES[label] / f"{number:05d}.png", compress_level=1)


def swept(folder: Path, data: Path) -> tuple[Sweep, dict[str, Any]]:
    """A sweep of these images, and its comparison."""
    folder.mkdir()
    (folder / "files.yaml").write_text(EXPERIMENT)
    uri = f"sqlite:///{folder}/mlflow.db"
    ran = run_digitsweep(
        "sweep", "files.yaml", "--data", str(data), cwd=folder, seconds=900, MLFLOW_TRACKING_URI=uri,
        DIGITSWEEP_CACHE=str(folder / "cache"),
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    sweep = Sweep(folder, uri, ran.stdout + ran.stderr)
    return sweep, json.loads(sweep.artifact(sweep.parent(), "comparison/comparison.json"))


@pytest.mark.skipif(MNIST is None, reason="DIGITSWEEP_TEST_MNIST does not name a folder with MNIST's files")
def test_files_give_what_arrays_give(tmp_path: Path) -> None:
    """5,000 files of random sizes, a fifth of them in colour, a few broken and two in both splits, give the accuracies of
    their arrays within noise. Each broken file is named, the leaks are counted, and classes have their names everywhere."""
    (train, train_labels), (test, test_labels) = mnist("train", TRAIN), mnist("t10k", TEST)
    files, arrays = tmp_path / "pictures", tmp_path / "arrays.npz"
    write_files(files / "train", train, train_labels, 0)
    write_files(files / "test", test, test_labels, 1)
    whole = sorted((files / "train").rglob("*.png"))
    for name, kept in BROKEN.items():
        (files / name).write_bytes(whole[0].read_bytes()[:kept] if kept is not None else b"no image at all")
    for each in whole[5:7]:
        twin = files / "test" / each.parent.name / f"copy-{each.name}"
        twin.write_bytes(each.read_bytes())
    np.savez(arrays, x_train=train, y_train=train_labels, x_test=test, y_test=test_labels)

    sweep, of_files = swept(tmp_path / "of-files", files)
    _, of_arrays = swept(tmp_path / "of-arrays", arrays)
    for name in BROKEN:
        assert name in sweep.output, name
    assert of_files["duplicates"]["train_test"] + of_files["duplicates"]["validation_test"] == 2
    for one, other in zip(of_files["entries"], of_arrays["entries"], strict=True):
        # Standard error of a difference between two accuracies of 95 % on 1,000 images: 1 point, times three is noise.
        assert abs(one["test"]["accuracy"] - other["test"]["accuracy"]) < 0.03, (one["family"], one["test"], other["test"])
    (best, *_) = sweep.runs("trial")
    assert "seven" in sweep.artifact(best, "classification_report.txt").decode()
    assert "seven" in sweep.artifact(sweep.parent(), "comparison/report.html").decode()
    for family in ("ann", "cnn"):
        (version,) = sweep.client.search_model_versions(f"name = 'pictures-{family}'")
        assert json.loads(version.tags["digitsweep.classes"]) == list(NAMES)


def test_a_file_like_medmnists_needs_nothing_but_data(tmp_path: Path) -> None:
    """28x28x3, labels (n, 1), a validation split of its own: `--data` is enough, and both families learn the colours."""
    random = np.random.default_rng(0)
    splits: dict[str, Any] = {}
    for split, count in (("train", 600), ("val", 120), ("test", 120)):
        labels = random.integers(0, 3, (count, 1), dtype=np.uint8)
        images = random.integers(0, 120, (count, 28, 28, 3), dtype=np.uint8)
        images[np.arange(count), :, :, labels[:, 0]] += 100
        splits |= {f"{split}_images": images, f"{split}_labels": labels}
    np.savez(tmp_path / "bloodmnist.npz", **splits)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    ran = run_digitsweep(
        "sweep", "images", "--data", "bloodmnist.npz", "--minutes", "1", cwd=tmp_path, MLFLOW_TRACKING_URI=uri
    )
    assert ran.returncode == 0, ran.stderr
    sweep = Sweep(tmp_path, uri, ran.stdout)
    comparison = json.loads(sweep.artifact(sweep.parent(), "comparison/comparison.json"))
    best = [each for each in comparison["entries"] if each["role"] == "best"]
    assert [each["family"] for each in best] == ["ann", "cnn"]
    # On a busy machine, a minute is a few epochs: more than chance, which is a third, is all that can be asked.
    assert all(each["test"]["accuracy"] > 0.5 for each in best), best
    assert comparison["data"]["images"] == {"train": 600, "validation": 120, "test": 120}
