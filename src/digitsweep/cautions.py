"""What a reader has to know before the figures of a comparison."""

from __future__ import annotations

from digitsweep.comparison import Comparison


def cautions(comparison: Comparison) -> list[str]:
    """What a reader has to know before the figures."""
    found = []
    if comparison.state == "INTERRUPTED":
        found.append("The sweep was interrupted before its budget was spent: this compares what was finished by then.")
    elif comparison.state != "COMPLETE":
        found.append(f"The sweep is {comparison.state}, not COMPLETE: this compares what there was.")
    again = max((each.number for each in comparison.openings), default=0)
    if again > 1:
        found.append(
            f"The test set was opened {again} times for the same family. Whatever was chosen after the first time may have "
            "been chosen by it, and its test accuracy flatters."
        )
    leaked = comparison.duplicates
    if leaked and leaked.train_test:
        where, how = "training images", "a model may know them by heart"
        if leaked.validation_test is None:
            where, how = "training and validation images", f"{how}, or have been chosen by them"
        found.append(
            f"{_are_also(leaked.train_test)} among the {where}, pixel by pixel: {how}, and its test accuracy flatters."
        )
    if leaked and leaked.validation_test:
        found.append(
            f"{_are_also(leaked.validation_test)} among the validation images, pixel by pixel: the choice of the models "
            "has seen them."
        )
    return found


def _are_also(images: int) -> str:
    return f"{images:,} test {'image is' if images == 1 else 'images are'} also"
