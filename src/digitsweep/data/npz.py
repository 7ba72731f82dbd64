"""An npz file in the layout of `mnist.npz`: x_train, y_train, x_test, y_test. Never unpickles."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digitsweep.errors import InputError
from digitsweep.explain import shown

KEYS = ("x_train", "y_train", "x_test", "y_test")
MOST_BYTES = 2**32


def read_npz(path: Path) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Training images, training labels, test images, test labels, as they are in the file.

    Raises InputError with one line that names the file and, where it is one, the key."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(each.file_size for each in archive.infolist())
            if unpacked > MOST_BYTES:
                raise InputError(f"{path}: unpacks to {unpacked:,} bytes; at most {MOST_BYTES:,} are read")
            names = {each.removesuffix(".npy") for each in archive.namelist()}
            missing = [key for key in KEYS if key not in names]
            if missing:
                has = shown(sorted(names)) if names else "nothing"
                raise InputError(f"{path}: must hold {', '.join(KEYS)}, but {missing[0]} is missing; it holds {has}")
            for key in KEYS:  # all headers before the first array: nothing is unpacked of a file that is refused
                _check_header(path, archive, key)
            train_images, train_labels, test_images, test_labels = (_read(archive, key) for key in KEYS)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except ValueError as error:
        raise InputError(f"{path}: is damaged: {' '.join(str(error).split())[:200]}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path}: its arrays are more than fits into memory") from None
    except Exception:  # on damaged bytes zipfile, its decompressors and numpy's header parser raise a dozen types
        raise InputError(f"{path}: is no npz file, or a damaged one; get it again") from None
    return train_images, train_labels, test_images, test_labels


def _check_header(path: Path, archive: zipfile.ZipFile, key: str) -> None:
    """Refuses an array whose header promises another size than the archive does, or objects that would be unpickled."""
    member = archive.getinfo(f"{key}.npy")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"{key} is an array of version {version}")
        shape, _, dtype = _HEADERS[version](stream)
        if dtype.hasobject:
            raise InputError(f"{path}: {key} holds pickled objects, which are not read")
        promised = math.prod(shape) * dtype.itemsize
        there = member.file_size - stream.tell()
    if min(shape, default=0) < 0 or promised != there:
        raise InputError(
            f"{path}: {key} is damaged: its header promises {promised:,} bytes of values, but there are {there:,}"
        )


_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def _read(archive: zipfile.ZipFile, key: str) -> NDArray[Any]:
    with archive.open(f"{key}.npy") as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
