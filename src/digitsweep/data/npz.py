"""An npz file in the layout of `mnist.npz`: x_train, y_train, x_test, y_test. Never unpickles."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digitsweep.errors import InputError

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
        with np.load(path, allow_pickle=False) as arrays:
            missing = [key for key in KEYS if key not in arrays]
            if missing:
                has = " ".join(", ".join(sorted(arrays)).split()) or "nothing"
                raise InputError(f"{path}: must hold {', '.join(KEYS)}, but {missing[0]} is missing; it holds {has}")
            train_images, train_labels, test_images, test_labels = (np.asarray(arrays[key]) for key in KEYS)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except ValueError as error:
        reason = "holds pickled objects, which are not read" if "pickle" in str(error) else f"is damaged: {error}"
        raise InputError(f"{path}: {' '.join(reason.split())}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except InputError:
        raise
    except Exception:  # on damaged bytes zipfile, its decompressors and numpy's header parser raise a dozen types
        raise InputError(f"{path}: is no npz file, or a damaged one; get it again") from None
    return train_images, train_labels, test_images, test_labels
