"""Reading IDX and npz files from any source.

A file gives arrays or one InputError that names it. Sizes are checked before memory is used, and nothing is unpickled.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digitsweep.config.yaml_file import shown
from digitsweep.errors import InputError

MOST_BYTES = 2**32
"""Of values in one file, unpacked."""
GZIP_MAGIC, GZIP_RATIO = b"\x1f\x8b", 1032
"""How a gzip file begins, and how many bytes one of its bytes can stand for at most."""
NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")
"""The arrays of `mnist.npz`, as Keras publishes it."""
MEDMNIST_KEYS = ("train_images", "train_labels", "test_images", "test_labels", "val_images", "val_labels")
"""The arrays of a file of MedMNIST (Yang et al., 2023, https://medmnist.com)."""
NAMES_KEY = "class_names"
"""The array with the names of the classes, which either may have besides."""


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array in an IDX file, gzip-compressed or not: 3 dimensions for images (n, height, width), 1 for labels (n,).

    The format is that of the original MNIST files (LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/), big-endian:
    two zero bytes, the type (8 is unsigned byte), the number of dimensions, each dimension as uint32, the values.
    Raises InputError."""
    with _clear_errors(path, "IDX"), path.open("rb") as file:
        compressed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        stream = gzip.GzipFile(fileobj=file) if compressed else file
        magic, header = bytes([0, 0, 8, dimensions]), stream.read(4 + 4 * dimensions)
        if header[:4] != magic:
            raise InputError(
                f"{path}: an IDX file of {'images' if dimensions == 3 else 'labels'} begins with the bytes "
                f"{magic.hex(' ')}, but this one with {header[:4].hex(' ') or 'nothing'}"
            )
        if len(header) < 4 + 4 * dimensions:
            raise InputError(f"{path}: is truncated within its header; get the file again")
        shape = np.frombuffer(header, ">u4", offset=4).tolist()
        size = math.prod(shape)
        if not 0 < size <= MOST_BYTES:
            raise InputError(
                f"{path}: dimensions must be above 0 and hold at most {MOST_BYTES:,} bytes, but are {tuple(shape)}"
            )
        possible = os.fstat(file.fileno()).st_size * (GZIP_RATIO if compressed else 1)
        values = stream.read(size + 1) if size <= possible else b""
    if len(values) != size:
        problem = "is truncated" if len(values) < size else "continues after its last value"
        raise InputError(f"{path}: {problem}: its header promises {size:,} bytes of values; get the file again")
    return np.frombuffer(values, np.uint8).reshape(shape)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays in an npz file, by key: those of NPZ_KEYS, or of MEDMNIST_KEYS if it has the first of them, and
    `class_names` if there are any.

    Raises InputError."""
    with _clear_errors(path, "npz"), zipfile.ZipFile(path) as archive:
        unpacked = sum(each.file_size for each in archive.infolist())
        if unpacked > MOST_BYTES:
            raise InputError(f"{path}: unpacks to {unpacked:,} bytes, but may have at most {MOST_BYTES:,}")
        names = {each.removesuffix(".npy") for each in archive.namelist()}
        keys = MEDMNIST_KEYS if MEDMNIST_KEYS[0] in names else NPZ_KEYS
        missing = [key for key in keys if key not in names]
        if missing:
            found = shown(sorted(names)) if names else "nothing"
            raise InputError(f"{path}: must contain {', '.join(keys)}, but {missing[0]} is missing; it contains {found}")
        arrays = {}
        for key in (*keys, *({NAMES_KEY} & names)):
            stream = io.BytesIO(archive.read(f"{key}.npy"))  # all of it, so that its checksum is compared
            arrays[key] = np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
            if stream.read(1):
                raise InputError(f"{path}: {key} continues after its last value; get the file again")
        return arrays


@contextmanager
def _clear_errors(path: Path, kind: str) -> Iterator[None]:
    """Turns any error of a reader into one line."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except MemoryError:
        raise InputError(f"{path}: does not fit into memory") from None
    except Exception as error:  # gzip, zipfile, their decompressors and numpy's header parser raise a dozen types
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        if isinstance(error, ValueError) and "allow_pickle" in str(error):
            raise InputError(f"{path}: contains pickled objects, which are never read") from None
        raise InputError(f"{path}: is truncated, damaged or not an {kind} file; get it again") from None
