"""Images as people have them, read as grey pages: any size, mode and number of pages; what is no image is one clear line."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from digitsweep.errors import InputError
from digitsweep.reading.grey import MOST_SIDE, Grey, grey, levels, reduced

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")
"""None of these starts another program, as Pillow does for PostScript."""
SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm"))
"""What is read of a folder."""

MOST_BYTES = 256 * 2**20
MOST_PIXELS = 100_000_000
"""Of one page: an A3 sheet at 600 dots an inch has 70 million."""
MOST_PAGES = 2000


@dataclass(frozen=True, eq=False)
class Page:
    """One image: that of a file, or one page of a scan."""

    source: str
    page: int
    """From 1."""
    pixels: Grey


@dataclass(frozen=True)
class Unreadable:
    """A file, or a page of one, that gives no image."""

    source: str
    page: int
    """From 1."""
    reason: str
    """The rule that it breaks, and what to do."""

    def __str__(self) -> str:
        return f"{self.source}{f' (page {self.page})' if self.page > 1 else ''}: {self.reason}"


def files_of(path: Path) -> list[Path]:
    """The file itself, or a folder's images by name; hidden files, other files and folders in it are left out.

    Raises InputError, without the path, where a folder holds none or cannot be read."""
    try:
        if not is_folder(path):
            return [path]
        found = [each for each in path.iterdir() if each.suffix.lower() in SUFFIXES and not each.name.startswith(".")]
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {_reason(error)}") from None
    if not found:
        raise InputError(f"a folder must hold images ({', '.join(sorted(SUFFIXES))}), and this one holds none")
    return sorted(found)


def is_folder(path: Path) -> bool:
    """Whether that is a folder which can be seen; a path that nothing can have is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def read_pages(path: Path) -> Iterator[Page | Unreadable]:
    """The pages of a file, each read when it is asked for: those of a TIFF; of what moves, the first frame is the image.

    What cannot be read is an Unreadable in its place."""
    source = str(path).encode(errors="replace").decode()  # the name of a file need not be text
    try:
        with _quiet():
            image = _opened(path)
    except InputError as error:
        yield Unreadable(source, 1, str(error))
        return
    with image:
        for number in count(1):
            try:
                with _quiet():
                    image.seek(number - 1)
            except EOFError:
                return
            except Exception as error:  # Pillow's readers raise whatever they meet in damaged bytes
                yield Unreadable(source, number, f"{_damaged(error)}; pages after it cannot be found either")
                return
            if number > MOST_PAGES:
                yield Unreadable(source, number, f"a file may have {MOST_PAGES:,} pages, and this one has more; split it")
                return
            yield _read_page(image, source, number)
            if image.format != "TIFF":
                return


def _read_page(image: Image.Image, source: str, number: int) -> Page | Unreadable:
    try:
        with _quiet():
            # Before a single pixel is decoded: a small file can claim to hold more of them than fit into memory.
            _check_size(*image.size)
            return Page(source, number, _loaded(image))
    except InputError as error:
        return Unreadable(source, number, str(error))
    except Exception as error:  # as above
        return Unreadable(source, number, _damaged(error))


def pages_of(array: NDArray[np.generic], source: str) -> list[Page]:
    """The pages of an array: one image (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), or a stack of such.

    Integers are grey levels of 8 or 16 bits, floats lie between 0 and 1 or between 0 and 255.
    Raises InputError where it is something else."""
    if array.ndim not in (2, 3, 4) or not array.size or array.dtype.kind not in "buif":
        raise InputError(
            f"{source}: an image is an array of numbers (h, w) or (h, w, channels), not {array.dtype} {array.shape}"
        )
    if array.ndim == 3 and array.shape[-1] == 2:
        raise InputError(f"{source}: an image has 1, 3 or 4 channels, not 2")
    stack = array.ndim == 4 or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4))
    found = []
    for number, each in enumerate(array if stack else [array], start=1):
        if each.ndim == 3 and each.shape[-1] not in (1, 3, 4):
            raise InputError(f"{source}: an image has 1, 3 or 4 channels, not {each.shape[-1]}")
        scaled = levels(np.asarray(each, np.float32), floating=each.dtype.kind in "fb")
        if each.ndim == 3 and each.shape[-1] > 1:
            pixels = grey(Image.fromarray(scaled.round().astype(np.uint8)))
        else:
            pixels = np.asarray(reduced(Image.fromarray(scaled.reshape(each.shape[:2]))), np.float32)
        found.append(Page(source, number, pixels))
    return found


def _opened(path: Path) -> Image.Image:
    """Raises InputError, without the path, where that is no image that can be opened."""
    try:
        if not path.exists():
            raise InputError("there is no such file or folder")
        if not path.is_file():
            raise InputError("an image must be a file, and this is none")
        size = path.stat().st_size
        if not size:
            raise InputError("an image must have contents, and this file is empty (0 bytes); save it again")
        if size > MOST_BYTES:
            raise InputError(
                f"an image file may have {MOST_BYTES // 2**20} MiB at most, and this one has {size // 2**20}; "
                "save it smaller, or split it"
            )
        return Image.open(path, formats=FORMATS)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(
            "an image must be PNG, JPEG, TIFF, BMP, GIF, WebP or PPM, and this is none of them, or its first bytes "
            "are damaged; save it as PNG"
        ) from None
    except Image.DecompressionBombError:
        raise InputError(
            f"an image may have {MOST_PIXELS:,} pixels at most, and this one has more; make it smaller"
        ) from None
    except Exception as error:  # as above
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"an image must be readable, and this file is not: {_reason(error)}") from None
        raise InputError(_damaged(error)) from None


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise InputError(
            f"an image may have {MOST_PIXELS:,} pixels at most, and this one has {width:,} x {height:,}; make it smaller"
        )


def _loaded(image: Image.Image) -> Grey:
    image.draft("L", (MOST_SIDE, MOST_SIDE))  # of a large JPEG only as much is decoded as is needed; others ignore it
    image.load()
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception:  # a rotation that is written wrongly is none
        upright = image
    return grey(upright)


def _damaged(error: Exception) -> str:
    return f"an image must be whole, and this one is damaged or cut short ({_reason(error)}); save it again"


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
