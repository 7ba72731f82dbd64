"""How images were prepared, from which files, and which files were left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from digitsweep.config.experiment import SOURCES


@dataclass(frozen=True)
class Preparation:
    """How images were prepared. A model that was trained on them takes images that are prepared in the same way."""

    size: int
    """Width and height in pixels."""
    fit: str
    """`letterbox` or `crop`."""
    channels: int
    """1, grey; or 3, red, green and blue."""


def is_ink(name: str, preparation: object) -> bool:
    """Whether a dataset's grey levels are ink, from 0, paper, to 255: only MNIST and scikit-learn's digits, at their
    original size, are known to be made from digits on paper.

    name: the dataset's. preparation: None for arrays that were left as they are."""
    return name in SOURCES and preparation is None


@dataclass(frozen=True)
class LeftOut:
    """Files that were left out for one reason."""

    count: int
    first: tuple[str, ...]
    """The first few, by their paths in the folder."""


@dataclass(frozen=True)
class FilesRead:
    """What was read from a folder of image files."""

    files: int
    """The number of files, without hidden ones."""
    left_out: Mapping[str, LeftOut]
    """By the reason, such as `empty`."""
    size_was_chosen: bool
    """Whether the size was chosen from the training images, because none was given."""
    test_was_split: bool
    """Whether the folder had no test split, so that a fixed part of its images was set aside as one."""

    def told(self) -> str:
        """`12 of 4,000 files are left out: 11 damaged (train/cat/1.png, ...), 1 empty (train/cat/2.png)`; empty if none."""
        total = sum(each.count for each in self.left_out.values())
        parts = [
            f"{each.count:,} {reason} ({', '.join(each.first)}{', ...' if each.count > len(each.first) else ''})"
            for reason, each in self.left_out.items()
        ]
        return (
            f"{total:,} of {self.files:,} files {'is' if total == 1 else 'are'} left out: {', '.join(parts)}"
            if parts
            else ""
        )


def told(preparation: Preparation | None, files: FilesRead | None, *, has_own_validation: bool) -> str:
    """How images were prepared and what was left out, in sentences; empty for arrays that were left as they are.

    has_own_validation: whether the data came with a validation split."""
    if preparation is None:
        return ""
    pixels = f"{preparation.size}x{preparation.size} pixels, {'colour' if preparation.channels > 1 else 'grey'}"
    fitted = "cropped to the middle" if preparation.fit == "crop" else "letterboxed"
    sentences = [f"Images are {pixels}."]
    if files is not None:
        sentences = [f"{files.files:,} files, resized to {pixels}; images that are not square are {fitted}."]
        if files.size_was_chosen:
            sentences.append("The size was chosen from the training images; set data.size to change it.")
        if files.test_was_split:
            sentences.append("There is no test folder, so a fixed fifth of the images of each class is the test set.")
        if files.left_out:
            sentences.append(f"{files.told()}.")
    if has_own_validation:
        sentences.append("The validation split is the data's own.")
    return " ".join(sentences)
