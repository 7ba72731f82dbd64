"""Prepares a whole image as the image files of training data are prepared: brought to their size and colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digitsweep.data.image_file import FORMATS, MOST_BYTES, MOST_PIXELS, Pixels, Reason, quiet, read_image, squared
from digitsweep.errors import InputError
from digitsweep.prediction.images import check_file, rule_of
from digitsweep.registry.recipe import Recipe

RULES = {
    Reason.DAMAGED: f"an image must be one of {', '.join(FORMATS)}, but this file is damaged or in another format; "
    "save it as PNG",
    Reason.HUGE: f"an image may have at most {MOST_PIXELS:,} pixels and {MOST_BYTES // 2**20} MiB, but this one has more; "
    "make it smaller",
}
"""What a file breaks that passed `check_file`, and what to do."""


def whole_file(path: Path, recipe: Recipe) -> Pixels:
    """The first page or frame of an image file, upright, (size, size, channels).

    Raises InputError, without the path, if it cannot be read."""
    try:
        with quiet():
            check_file(path)
            pixels = read_image(path, recipe.size, recipe.fit)
    except Exception as error:  # of the path: it may be malformed
        raise InputError(rule_of(error)) from None
    if isinstance(pixels, Reason):
        raise InputError(RULES.get(pixels, f"an image must be readable, but this file is {pixels.value}"))
    return _with_channels(pixels, recipe.channels)


def whole_array(levels: NDArray[np.float32], recipe: Recipe) -> Pixels:
    """An image from levels (height, width, channels), 0 to 255; a fourth channel is opacity, on white."""
    if levels.shape[2] == 4:
        opacity = levels[..., 3:] / np.float32(255)
        levels = levels[..., :3] * opacity + np.float32(255) * (1 - opacity)
    eight_bits = levels.round().astype(np.uint8)
    image = Image.fromarray(eight_bits[..., 0] if eight_bits.shape[2] == 1 else eight_bits)
    return _with_channels(squared(image, recipe.size, recipe.fit), recipe.channels)


def _with_channels(pixels: Pixels, channels: int) -> Pixels:
    """Grey as three equal channels, or colour as its luminance."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return np.asarray(Image.fromarray(pixels).convert("L"))[..., np.newaxis]
