"""Images as people have them, read as grey pages: any size, mode and number of pages; what is no image is one clear line."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from digitsweep.errors import InputError

Grey = NDArray[np.float32]
"""(height, width), from 0, black, to 255, white."""

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")
"""None of these starts another program, as Pillow does for PostScript."""
SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm"))
"""What is read of a folder."""

MOST_BYTES = 256 * 2**20
MOST_PIXELS = 100_000_000
"""Of one page: an A3 sheet at 600 dots an inch has 70 million."""
MOST_PAGES = 2000
MOST_SIDE = 1024
"""Larger pages are made smaller while they are read: a digit needs no more."""


@dataclass(frozen=True, eq=False)
class Page:
    """One image: that of a file, or one page of a scan."""

    source: str
    page: int
    """From 1."""
    pixels: Grey


def files_of(path: Path) -> list[Path]:
    """The file itself, or a folder's images by name; hidden files, other files and folders in it are left out.

    Raises InputError where there is none."""
    try:
        if not path.is_dir():
            return [path]
        found = [each for each in path.iterdir() if each.suffix.lower() in SUFFIXES and not each.name.startswith(".")]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {_reason(error)}") from None
    if not found:
        raise InputError(f"{path}: a folder must hold images ({', '.join(sorted(SUFFIXES))}), and this one holds none")
    return sorted(found)


def read_pages(path: Path) -> Iterator[Page | InputError]:
    """The pages of one file, each read when it is asked for; one that cannot be read is an error in its place."""
    try:
        with _quiet():
            image = _opened(path)
            count, cut = _count(image)
    except InputError as error:
        yield error
        return
    with image:
        for number in range(1, min(count, MOST_PAGES) + 1):
            page = _read_page(image, path, number)
            yield page
            # A frame that moves is drawn upon the one before; only the pages of a scan stand for themselves.
            if isinstance(page, InputError) and image.format != "TIFF":
                return
    if count > MOST_PAGES:
        yield InputError(f"{path}: {MOST_PAGES:,} pages of a file are read at most, and this one has {count:,}; split it")
    if cut:
        yield _damaged(path, count + 1, cut)


def _read_page(image: Image.Image, path: Path, number: int) -> Page | InputError:
    try:
        with _quiet():
            if number > 1:
                image.seek(number - 1)
            # Before a single pixel is decoded: a small file can claim to hold more of them than fit into memory.
            _check_size(_named(path, number), *image.size)
            return Page(str(path), number, _loaded(image))
    except InputError as error:
        return error
    except Exception as error:  # Pillow's decoders raise whatever they meet in damaged bytes
        return _damaged(path, number, _reason(error))


def _count(image: Image.Image) -> tuple[int, str]:
    """How many pages there are, and why there may be more, where the file is too damaged to tell."""
    if image.format == "MPO":  # a phone's JPEG; its second picture is the same one again, for a preview or for depth
        return 1, ""
    try:
        return int(getattr(image, "n_frames", 1)), ""
    except Exception as error:  # as above
        return 1, _reason(error)


def pages_of(array: NDArray[np.generic], source: str) -> list[Page]:
    """The pages of an array: one image (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), or a stack of such.

    Integers are grey levels of 8 or 16 bits, floats lie between 0 and 1 or between 0 and 255.
    Raises InputError where it is something else."""
    if array.ndim not in (2, 3, 4) or not array.size or array.dtype.kind not in "buif":
        raise InputError(
            f"{source}: an image is an array of numbers (h, w) or (h, w, channels), not {array.dtype} {array.shape}"
        )
    stack = array.ndim == 4 or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4))
    found = []
    for number, each in enumerate(array if stack else [array], start=1):
        if each.ndim == 3 and each.shape[-1] not in (1, 3, 4):
            raise InputError(f"{source}: an image has 1, 3 or 4 channels, not {each.shape[-1]}")
        _check_size(source, each.shape[1], each.shape[0])
        if each.ndim == 3 and each.shape[-1] > 1:
            levels = _levels(np.asarray(each, np.float32), floating=each.dtype.kind in "fb").round().astype(np.uint8)
            pixels = _grey(Image.fromarray(levels))
        else:
            plain = each.reshape(each.shape[:2])
            pixels = _smaller(_levels(np.asarray(plain, np.float32), floating=each.dtype.kind in "fb"))
        found.append(Page(source, number, pixels))
    return found


def _opened(path: Path) -> Image.Image:
    try:
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder")
        if not path.is_file():
            raise InputError(f"{path}: an image must be a file, and this is none")
        size = path.stat().st_size
        if not size:
            raise InputError(f"{path}: an image must have contents, and this file is empty (0 bytes); save it again")
        if size > MOST_BYTES:
            raise InputError(
                f"{path}: an image file may have {MOST_BYTES // 2**20} MiB at most, and this one has {size // 2**20}; "
                "save it smaller, or split it"
            )
        return Image.open(path, formats=FORMATS)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(
            f"{path}: an image must be PNG, JPEG, TIFF, BMP, GIF, WebP or PPM, and this is none of them, or its first bytes "
            "are damaged; save it as PNG"
        ) from None
    except Image.DecompressionBombError:
        raise InputError(
            f"{path}: an image may have {MOST_PIXELS:,} pixels at most, and this one has more; make it smaller"
        ) from None
    except Exception as error:  # Pillow's readers raise whatever they meet in damaged bytes
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"{path}: an image must be readable, and this file is not: {_reason(error)}") from None
        raise _damaged(path, 1, _reason(error)) from None


def _check_size(name: str, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise InputError(
            f"{name}: an image may have {MOST_PIXELS:,} pixels at most, and this one has {width:,} x {height:,}; "
            "make it smaller"
        )


def _loaded(image: Image.Image) -> Grey:
    image.load()
    with suppress(Exception):  # a rotation that is written wrongly is none
        return _grey(ImageOps.exif_transpose(image))
    return _grey(image)


def _grey(image: Image.Image) -> Grey:
    """Any mode as grey levels; what is transparent shows the paper that belongs to it."""
    if image.mode.startswith(("I", "F")):
        return _smaller(_levels(np.asarray(image, np.float32), floating=image.mode == "F"))
    if image.has_transparency_data:
        both = _reduced(image.convert("RGBA")).convert("LA")
        grey, alpha = (np.asarray(each, np.float32) for each in both.split())
        return _on_paper(grey, alpha / np.float32(255))
    try:
        plain = image.convert("L")
    except ValueError:  # a mode that Pillow does not convert, LAB: its first channel is the lightness
        plain = image.getchannel(0)
    return np.asarray(_reduced(plain), np.float32)


def _levels(values: NDArray[np.float32], *, floating: bool) -> Grey:
    """Numbers of any depth on the scale from 0 to 255; a 12-bit camera fills 12 of 16 bits."""
    values = np.nan_to_num(values)
    values = values - min(0.0, float(values.min()))
    top = float(values.max())
    # As many bits as the brightest needs, but for eight at least.
    full = 1.0 if floating and top <= 1 else 2.0 ** max(8, math.ceil(math.log2(top + 1))) - 1
    return (values * np.float32(255 / full)).clip(0, 255).astype(np.float32)


def _on_paper(grey: Grey, alpha: Grey) -> Grey:
    """Ink on transparent ground lies on white where it is dark, on black where it is light; a page keeps its paper."""
    if not alpha.any():
        return np.full_like(grey, 255)
    edge = np.ones(grey.shape, bool)
    edge[1:-1, 1:-1] = False
    if alpha[edge].mean() < 0.5:
        paper = 255.0 if np.average(grey, weights=alpha) < 128 else 0.0
    else:
        paper = float(np.median(grey[edge & (alpha > 0.5)]))
    return (grey * alpha + paper * (1 - alpha)).astype(np.float32)


def _reduced(image: Image.Image) -> Image.Image:
    factor = math.ceil(max(image.size) / MOST_SIDE)
    return image.reduce((min(factor, image.width), min(factor, image.height))) if factor > 1 else image


def _smaller(values: Grey) -> Grey:
    return np.asarray(_reduced(Image.fromarray(values)), np.float32) if max(values.shape) > MOST_SIDE else values


def _damaged(path: Path, number: int, reason: str) -> InputError:
    name = _named(path, number)
    return InputError(f"{name}: an image must be whole, and this one is damaged or cut short ({reason}); save it again")


def _named(path: Path, number: int) -> str:
    return f"{path} (page {number})" if number > 1 else str(path)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(iter(str(error).splitlines()), "") or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns and logs of whatever is odd in a file; that it can be read, or not, is all that is said here."""
    logger = logging.getLogger("PIL")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
