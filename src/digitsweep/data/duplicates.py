"""Images that lie in two splits: a model that was trained on an image cannot be tested on it."""

from __future__ import annotations

from dataclasses import dataclass

from digitsweep.data.splits import Dataset


@dataclass(frozen=True)
class Duplicates:
    """Images that lie in two splits, pixel by pixel: what was trained on is no test.

    Each image counts once, however many equals the other split has; blank ones count like all others."""

    train_test: int
    """Test images that are training images too."""
    validation_test: int | None
    """Test images that are validation images too; None where no split is known: then these count as training images."""
    train_validation: int | None
    """Validation images that are training images too; None where no split is known."""


def duplicates(dataset: Dataset) -> Duplicates:
    """Counts them, whatever their labels, without opening the test set."""
    train, validation = dataset.training.train, dataset.training.validation
    if not len(validation):
        return Duplicates(dataset.test.duplicates_of(train), None, None)
    return Duplicates(
        train_test=dataset.test.duplicates_of(train),
        validation_test=dataset.test.duplicates_of(validation),
        train_validation=validation.duplicates_of(train),
    )
