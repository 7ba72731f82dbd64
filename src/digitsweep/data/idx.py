"""The IDX format of the original MNIST files, gzip-compressed or not.

Big-endian: two zero bytes, the type (8 is unsigned byte), the number of dimensions, each dimension as uint32, the values.
Source: http://yann.lecun.com/exdb/mnist/ (LeCun, Cortes and Burges), "the IDX file format".
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from digitsweep.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"
UNSIGNED_BYTE = 8
MOST_BYTES = 2**32
MOST_PACKED = 1032
"""Bytes that one byte of a gzip stream can stand for, at most."""


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array in an IDX file: 3 dimensions for images (n, height, width), 1 for labels (n,).

    Raises InputError with one line that names the file: missing, no IDX, truncated, too long, of another shape."""
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == GZIP_MAGIC
            file.seek(0)
            stream = gzip.GzipFile(fileobj=file) if zipped else file
            header = stream.read(4 + 4 * dimensions)
            shape = _shape(path, header, dimensions)
            size = math.prod(shape)
            there = os.fstat(file.fileno()).st_size
            most = there * MOST_PACKED if zipped else there - len(header)
            # A header that promises more than there can be is found out before there is room made for it.
            values = stream.read(size + 1) if size <= most else b""
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except EOFError:
        raise InputError(f"{path}: the gzip stream is truncated; get the file again") from None
    except (gzip.BadGzipFile, zlib.error):
        raise InputError(f"{path}: the gzip stream is damaged; get the file again") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise InputError(f"{path}: its header promises {size:,} bytes of values, more than fit into memory") from None
    if len(values) != size:
        what = "is truncated" if len(values) < size else "goes on after its last value"
        raise InputError(f"{path}: {what}: its header promises {size:,} bytes of values; get the file again")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _shape(path: Path, header: bytes, dimensions: int) -> tuple[int, ...]:
    expected = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if header[:4] != expected[: len(header[:4])] or not header:
        raise InputError(
            f"{path}: an IDX file of {'images' if dimensions == 3 else 'labels'} begins with the bytes "
            f"{expected.hex(' ')}, but this one with {header[:4].hex(' ') or 'nothing'}"
        )
    if len(header) < 4 + 4 * dimensions:
        raise InputError(f"{path}: is truncated within its header; get the file again")
    shape: tuple[int, ...] = struct.unpack(f">{dimensions}I", header[4:])
    if 0 in shape or math.prod(shape) > MOST_BYTES:
        raise InputError(f"{path}: dimensions must be above 0 and hold at most {MOST_BYTES:,} bytes, but are {shape}")
    return shape
