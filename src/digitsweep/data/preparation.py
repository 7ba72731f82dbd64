"""What is known about images that were prepared: how, from which files, and which of them were left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Preparation:
    """How images were prepared, which is how an image must be prepared for a model that was trained on them."""

    size: int
    """Width and height in pixels."""
    fit: str
    """`letterbox` or `crop`."""
    channels: int
    """1, grey; or 3, red, green and blue."""


@dataclass(frozen=True)
class LeftOut:
    """Files that were left out for one reason."""

    count: int
    first: tuple[str, ...]
    """The first few, by their paths in the folder."""


@dataclass(frozen=True)
class FilesRead:
    """What a folder of image files held."""

    files: int
    """All of them, without hidden ones."""
    left_out: Mapping[str, LeftOut]
    """By the reason, such as `empty`."""
    size_was_chosen: bool
    """Whether nobody gave the size."""
    test_was_split: bool
    """Whether the folder had no test split, so that a fixed part of the images became one."""

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
    fitted = "cropped to their middle" if preparation.fit == "crop" else "letterboxed"
    sentences = [f"Images are {pixels}."]
    if files is not None:
        sentences = [f"{files.files:,} image files, brought to {pixels}; those that are not square are {fitted}."]
        if files.size_was_chosen:
            sentences.append("The size was chosen from the training images; data.size sets another.")
        if files.test_was_split:
            sentences.append("There is no test folder: a fixed fifth of the images of each class is the test set.")
        if files.left_out:
            sentences.append(f"{files.told()}.")
    if has_own_validation:
        sentences.append("The validation split is the data's own.")
    return " ".join(sentences)
