"""Reads image files and arrays as grey pages: any size, mode, depth and number of pages. A bad file gives one clear line."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from digitsweep.data.image_file import quiet
from digitsweep.errors import InputError

Grey = NDArray[np.float32]
"""(height, width), from 0, black, to 255, white."""

MOST_SIDE = 1024
"""Pixels. Larger images are reduced; a digit needs no more."""
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")
"""Formats that Pillow decodes itself. For others, such as PostScript, it would start another program."""
SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm"))
"""The files that are read in a folder."""

MOST_BYTES = 256 * 2**20
MOST_PIXELS = 100_000_000
"""Of one page. An A3 sheet at 600 dots an inch has 70 million."""
MOST_PAGES = 2000


@dataclass(frozen=True, eq=False)
class Page:
    """One image: a file, or one page of a multi-page scan."""

    source: str
    page: int
    """From 1."""
    pixels: Grey


@dataclass(frozen=True)
class Unreadable:
    """A file, or one of its pages, that cannot be read."""

    source: str
    page: int
    """From 1."""
    reason: str
    """The rule that is broken, and what to do."""

    def __str__(self) -> str:
        return f"{self.source}{f' (page {self.page})' if self.page > 1 else ''}: {self.reason}"


def files_of(path: Path) -> list[Path]:
    """The file itself, or the images in a folder by name, without hidden files and subfolders.

    Raises InputError, without the path, if a folder holds no images or cannot be read."""
    try:
        if not is_folder(path):
            return [path]
        found = [each for each in path.iterdir() if each.suffix.lower() in SUFFIXES and not each.name.startswith(".")]
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error.args[-1]}") from None
    if not found:
        raise InputError(f"a folder must hold images ({', '.join(sorted(SUFFIXES))}), but this one has none")
    return sorted(found)


def is_folder(path: Path) -> bool:
    """Whether this is a folder that can be read. A malformed path is not."""
    return os.path.isdir(path)  # noqa: PTH112  Path.is_dir raises an error for a malformed path


def shown(path: Path) -> str:
    """A file's name as text, which it need not be."""
    return str(path).encode(errors="replace").decode()


def read_pages(path: Path) -> Iterator[Page | Unreadable]:
    """The pages of a file, read one at a time: all pages of a TIFF, and the first frame of an animation.

    A page that cannot be read is an Unreadable in its place."""
    source = shown(path)
    try:
        with quiet():
            image = _opened(path)
    except Exception as error:  # Pillow's readers raise whatever they meet in damaged bytes
        yield Unreadable(source, 1, rule_of(error))
        return
    with image:
        for number in count(1):
            try:
                with quiet():
                    image.seek(number - 1)
            except EOFError:
                return
            except Exception as error:
                yield Unreadable(source, number, f"{rule_of(error)}; the pages after it are lost too")
                return
            if number > MOST_PAGES:
                rule = f"a file may have at most {MOST_PAGES:,} pages, but this one has more; split it"
                yield Unreadable(source, number, rule)
                return
            try:
                with quiet():
                    page: Page | Unreadable = Page(source, number, _loaded(image))
            except Exception as error:
                page = Unreadable(source, number, rule_of(error))
            yield page
            if image.format != "TIFF":
                return


def pages_of(array: NDArray[np.generic], source: str) -> list[Page]:
    """The images of an array as grey pages. Raises InputError if it is none; see `levels_of`."""
    found = []
    for number, each in enumerate(levels_of(array, source), start=1):
        if each.shape[2] > 1:
            pixels = grey(Image.fromarray(each.round().astype(np.uint8)))
        else:
            pixels = np.asarray(reduced(Image.fromarray(each[..., 0])), np.float32)
        found.append(Page(source, number, pixels))
    return found


def levels_of(array: NDArray[np.generic], source: str) -> list[NDArray[np.float32]]:
    """The images of an array, each (height, width, channels) from 0 to 255: one image (h, w), (h, w, 1), (h, w, 3) or
    (h, w, 4), or a stack of these.

    Integers are levels of 8 or 16 bits; floats are from 0 to 1 or from 0 to 255. Raises InputError for other arrays."""
    if array.ndim not in (2, 3, 4) or not array.size or array.dtype.kind not in "buif":
        raise InputError(
            f"{source}: an image is an array of numbers (h, w) or (h, w, channels), not {array.dtype} {array.shape}"
        )
    if array.ndim == 3 and array.shape[-1] == 2:
        raise InputError(f"{source}: an image has 1, 3 or 4 channels, not 2")
    stack = array.ndim == 4 or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4))
    found = []
    for each in array if stack else [array]:
        if each.ndim == 3 and each.shape[-1] not in (1, 3, 4):
            raise InputError(f"{source}: an image has 1, 3 or 4 channels, not {each.shape[-1]}")
        scaled = levels(np.asarray(each, np.float32), floating=each.dtype.kind in "fb")
        found.append(scaled if each.ndim == 3 else scaled[..., np.newaxis])
    return found


def check_file(path: Path) -> None:
    """Raises InputError, without the path, unless this is a file that may hold an image."""
    if not path.exists():
        raise InputError("there is no such file or folder")
    if not path.is_file():
        raise InputError("an image must be a regular file, but this is not")
    size = path.stat().st_size
    if not size:
        raise InputError("an image must have contents, but this file is empty (0 bytes); save it again")
    if size > MOST_BYTES:
        raise InputError(
            f"an image file may have at most {MOST_BYTES // 2**20} MiB, but this one has {size // 2**20}; "
            "save it smaller, or split it"
        )


def _opened(path: Path) -> Image.Image:
    check_file(path)
    return Image.open(path, formats=FORMATS)


def _loaded(image: Image.Image) -> Grey:
    width, height = image.size
    if width * height > MOST_PIXELS:  # before decoding: a small file can claim more pixels than fit into memory
        raise InputError(
            f"an image may have at most {MOST_PIXELS:,} pixels, but this one has {width:,} x {height:,}; make it smaller"
        )
    image.draft("L", (MOST_SIDE, MOST_SIDE))  # decodes large JPEGs at a lower resolution; other formats ignore it
    image.load()
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception:  # a malformed orientation tag is ignored
        upright = image
    return grey(upright)


def rule_of(error: Exception) -> str:
    """The rule that a file breaks, and what to do."""
    match error:
        case InputError():
            return str(error)
        case UnidentifiedImageError():
            formats = "PNG, JPEG, TIFF, BMP, GIF, WebP or PPM"
            return f"an image must be {formats}, but this file is another format or damaged; save it as PNG"
        case Image.DecompressionBombError():
            return f"an image may have at most {MOST_PIXELS:,} pixels, but this one has more; make it smaller"
        case OSError() if error.errno is not None:
            return f"an image must be readable, but this file is not: {error.strerror or error}"
        case _:
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            return f"an image must be complete, but this one is damaged or cut short ({reason}); save it again"


def grey(image: Image.Image) -> Grey:
    """Grey levels of an image in any mode. Transparent pixels get the paper that suits the ink."""
    if image.mode.startswith(("I", "F")):
        wide = image if image.mode in ("I", "F") else image.convert("I")
        return levels(np.asarray(reduced(wide), np.float32), floating=image.mode == "F")
    if image.has_transparency_data:
        both = reduced(image.convert("RGBA")).convert("LA")
        ink, alpha = (np.asarray(each, np.float32) for each in both.split())
        return _on_paper(ink, alpha / np.float32(255))
    try:
        plain = image.convert("L")
    except ValueError:  # LAB, which Pillow does not convert: its first channel is the lightness
        plain = image.getchannel(0)
    return np.asarray(reduced(plain), np.float32)


def levels(values: NDArray[np.float32], *, floating: bool) -> Grey:
    """Scales values of any bit depth to 0 to 255. A 12-bit camera uses only 12 of 16 bits."""
    values = np.nan_to_num(values)
    values = values - min(0.0, float(values.min()))
    top = float(values.max())
    # The bit depth is that of the brightest pixel, but at least eight.
    full = 1.0 if floating and top <= 1 else 2.0 ** max(8, math.ceil(math.log2(top + 1))) - 1
    return (values * np.float32(255 / full)).clip(0, 255).astype(np.float32)


def reduced(image: Image.Image) -> Image.Image:
    """The image, reduced if a side has more than MOST_SIDE pixels."""
    factor = math.ceil(max(image.size) / MOST_SIDE)
    return image.reduce((min(factor, image.width), min(factor, image.height))) if factor > 1 else image


def _on_paper(grey: Grey, alpha: Grey) -> Grey:
    """Puts dark ink on transparent ground on white, light ink on black; an opaque page keeps its own paper."""
    if not alpha.any():
        return np.full_like(grey, 255)
    edge = np.ones(grey.shape, bool)
    edge[1:-1, 1:-1] = False
    if alpha[edge].mean() < 0.5:
        paper = 255.0 if np.average(grey, weights=alpha) < 128 else 0.0
    else:
        paper = float(np.median(grey[edge & (alpha > 0.5)]))
    return (grey * alpha + paper * (1 - alpha)).astype(np.float32)
