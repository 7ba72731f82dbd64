"""An image, in whatever format, size and mode, becomes a square of pixels."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from digitsweep.config.experiment import SMALLEST

Pixels = NDArray[np.uint8]
"""(size, size, channels): 1 channel from 0, black, to 255, white; or 3, red, green and blue."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""Formats that Pillow decodes itself. For others, such as PostScript, it would start another program."""
SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"))
"""How the names of image files end, in small letters."""
MOST_BYTES = 256 * 2**20
MOST_PIXELS = 89_478_485
"""The number from which Pillow warns of a decompression bomb."""
MOST_CHOSEN = 64
"""Pixels: no larger size is chosen by itself."""


class Reason(StrEnum):
    """Why a file is left out."""

    OTHER = "of another kind"
    """By its name."""
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    DAMAGED = "damaged"
    """Or in a format that is not among FORMATS."""
    HUGE = "too large"
    DUPLICATE = "duplicate"
    """Of another image of the same class and split, pixel by pixel."""
    CONFLICT = "in two classes"
    """Equal to an image of another class of the same split, so that one of the labels is wrong."""


def chosen_size(sizes: Sequence[tuple[int, int]]) -> int:
    """The size for images of these widths and heights: their own if all are the same square of at most MOST_CHOSEN pixels.
    Otherwise the median of their shorter sides, rounded to a multiple of 4, from SMALLEST to
    MOST_CHOSEN."""
    width, height = sizes[0]
    if width == height and SMALLEST <= width <= MOST_CHOSEN and len(set(sizes)) == 1:
        return width
    middle = float(np.median([min(each) for each in sizes]))
    return min(max(4 * int(middle / 4 + 0.5), SMALLEST), MOST_CHOSEN)


def read_size(path: Path) -> tuple[int, int] | None:
    """Width and height of an image file as it is stored, from its header; None if that cannot be read."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.size
    except Exception:  # Pillow's readers raise whatever they meet in damaged bytes
        return None


def read_image(path: Path, size: int, fit: str) -> Pixels | Reason:
    """The first frame of an image file, upright and prepared; or why it cannot be used.

    An image without any colour has one channel, however it was stored. Call it within `quiet`."""
    try:
        length = path.stat().st_size
        if not length:
            return Reason.EMPTY
        if length > MOST_BYTES:
            return Reason.HUGE
        with Image.open(path, formats=FORMATS) as image:
            if (
                image.width * image.height > MOST_PIXELS
            ):  # before decoding: a small file can claim more than fits into memory
                return Reason.HUGE
            image.draft(None, (2 * size, 2 * size))  # decodes a large JPEG at a lower resolution, which is still ample
            image.load()
            with suppress(Exception):  # a malformed orientation is ignored
                ImageOps.exif_transpose(image, in_place=True)
            return without_grey_channels(squared(_eight_bits(image), size, fit))
    except Image.DecompressionBombError:
        return Reason.HUGE
    except UnidentifiedImageError:
        return Reason.DAMAGED
    except OSError as error:
        return Reason.UNREADABLE if error.errno is not None else Reason.DAMAGED
    except MemoryError:
        return Reason.HUGE
    except Exception:
        return Reason.DAMAGED


def squared(image: Image.Image, size: int, fit: str) -> Pixels:
    """An image of mode L or RGB as (size, size, channels), resampled bilinearly over the whole area of each pixel."""
    width, height = image.size
    if (width, height) == (size, size):
        return _array(image)
    if fit == "crop" or width == height:
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return _resized(image, (size, size), (left, top, left + side, top + side))
    scale = size / max(width, height)
    inner = _resized(image, (max(round(width * scale), 1), max(round(height * scale), 1)), (0, 0, width, height))
    rows, columns, channels = inner.shape
    border = np.concatenate([inner[0], inner[-1], inner[:, 0], inner[:, -1]])
    square = np.empty((size, size, channels), np.uint8)
    square[:] = np.sort(border, axis=0)[len(border) // 2]  # np.median takes as long as all the rest
    top, left = (size - rows) // 2, (size - columns) // 2
    square[top : top + rows, left : left + columns] = inner
    return square


def without_grey_channels(pixels: Pixels) -> Pixels:
    """One channel instead of three that are equal."""
    is_grey = pixels.shape[2] == 3 and bool((pixels == pixels[..., :1]).all())
    return pixels[..., :1] if is_grey else pixels


@contextmanager
def quiet() -> Iterator[None]:
    """Silences Pillow's warnings and log messages about oddities in files, in all threads."""
    logger = logging.getLogger("PIL")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB: wide grey levels scaled, what is transparent on white."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_scaled(np.asarray(image), image.mode))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def _scaled(levels: NDArray[np.generic], mode: str) -> NDArray[np.uint8]:
    """Grey levels of 16 bits as 8. Those of 32 bits have the range that their brightest pixel needs: 8, 16 or 32 bits, and
    floats also 0 to 1."""
    values = np.nan_to_num(np.asarray(levels, np.float32))
    ranges = [65535.0] if mode.startswith("I;16") else [255.0, 65535.0, 2.0**32 - 1]
    if mode == "F":
        ranges = [1.0, *ranges]
    brightest = float(values.max())
    full = next((each for each in ranges if brightest <= each), math.inf)
    scaled: NDArray[np.uint8] = np.rint((values * np.float32(255 / full)).clip(0, 255)).astype(np.uint8)
    return scaled


def _resized(image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]) -> Pixels:
    return _array(image.resize(size, Image.Resampling.BILINEAR, box, reducing_gap=3.0))


def _array(image: Image.Image) -> Pixels:
    pixels: Pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else np.expand_dims(pixels, 2)
