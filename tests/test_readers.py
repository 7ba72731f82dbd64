"""Reading IDX and npz files: a valid one gives its arrays, any other one line that names the file; nothing is unpickled."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from support import PROPERTY, idx_bytes, only_line, outcome

from digitsweep.data.readers import NPZ_KEYS, read_idx, read_npz
from digitsweep.errors import InputError

IMAGES = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
LABELS = np.array([7, 2, 1, 0], dtype=np.uint8)
ARRAYS = {
    "x_train": np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4),
    "y_train": np.array([0, 1]),
    "x_test": np.zeros((1, 4, 4), np.uint8),
    "y_test": np.array([1]),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that each example overwrites."""
    return tmp_path_factory.mktemp("readers") / "some-images"


def npy_bytes(values: NDArray[Any]) -> bytes:
    """An array as a member of an npz file holds it."""
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def zip_bytes(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file with these members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def read_arrays(path: Path) -> list[NDArray[Any]]:
    """The arrays in an npz file, in the order of NPZ_KEYS."""
    return [read_npz(path)[key] for key in NPZ_KEYS]


MEMBERS = {f"{key}.npy": npy_bytes(values) for key, values in ARRAYS.items()}
Read = Callable[[Path], Any]
read_images: Read = partial(read_idx, dimensions=3)
WHOLE: dict[str, tuple[Read, bytes, list[NDArray[Any]]]] = {
    "IDX": (lambda path: [read_images(path)], idx_bytes(IMAGES), [IMAGES]),
    "gzip": (lambda path: [read_images(path)], gzip.compress(idx_bytes(IMAGES), mtime=0), [IMAGES]),
    **{
        f"npz {method}": (read_arrays, zip_bytes(MEMBERS, method), list(ARRAYS.values()))
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    },
}
"""Valid files by their kind: how each is read, its bytes, and what it holds."""


def refused(read: Read, path: Path, content: bytes, *parts: object) -> None:
    """Asserts that a file with this content is refused with one line."""
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read(path)
    only_line(error, path, *parts)


@PROPERTY
@given(
    values=st.sampled_from([1, 3]).flatmap(lambda n: arrays(np.uint8, array_shapes(min_dims=n, max_dims=n, max_side=6))),
    zipped=st.booleans(),
)
def test_idx_round_trip(path: Path, values: NDArray[np.uint8], zipped: bool) -> None:
    """Reading returns what was written, compressed or not."""
    path.write_bytes(gzip.compress(idx_bytes(values)) if zipped else idx_bytes(values))
    np.testing.assert_array_equal(read_idx(path, values.ndim), values, strict=True)


ANY_ARRAY = st.sampled_from([np.uint8, np.int64, np.float32]).flatmap(
    lambda kind: arrays(kind, array_shapes(max_dims=4, max_side=4))
)


@PROPERTY
@given(values=st.tuples(ANY_ARRAY, ANY_ARRAY, ANY_ARRAY, ANY_ARRAY), save=st.sampled_from([np.savez, np.savez_compressed]))
def test_npz_round_trip(path: Path, values: tuple[NDArray[Any], ...], save: Callable[..., None]) -> None:
    """Reading returns what was written, compressed or not, in the order of NPZ_KEYS."""
    with path.open("wb") as file:
        save(file, **dict(zip(NPZ_KEYS, values, strict=True)))
    for read, written in zip(read_arrays(path), values, strict=True):
        np.testing.assert_array_equal(read, written, strict=True)


@pytest.mark.parametrize("kind", WHOLE)
def test_every_truncation_is_refused(path: Path, kind: str) -> None:
    """A file that ends early, at whichever byte, is refused."""
    read, whole, _ = WHOLE[kind]
    for length in range(0, len(whole), 1 if len(whole) < 100 else 5):
        refused(read, path, whole[:length])


@pytest.mark.parametrize("kind", [each for each in WHOLE if each != "IDX"])
def test_damage_is_refused(path: Path, kind: str) -> None:
    """A flipped bit is refused, unless it changes no value (a time stamp, a padding bit)."""
    read, whole, values = WHOLE[kind]
    refusals = 0
    for at in range(0, len(whole), 1 if len(whole) < 100 else 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        found = outcome(lambda: read(path))
        if isinstance(found, str):
            assert str(path) in found
            assert len(found.splitlines()) == 1
            refusals += 1
            continue
        for each, expected in zip(found, values, strict=True):
            np.testing.assert_array_equal(each, expected)
    assert refusals > len(whole) / 12


@pytest.mark.parametrize("zipped", [False, True])
def test_trailing_bytes_are_refused(path: Path, zipped: bool) -> None:
    """A file that continues after its last value, or after its compressed stream, is refused."""
    content = idx_bytes(LABELS) + b"x"
    read_labels = partial(read_idx, dimensions=1)
    refused(read_labels, path, gzip.compress(content) if zipped else content, "continues after its last value")
    refused(read_labels, path, gzip.compress(idx_bytes(LABELS)) + b"more", "damaged")


@pytest.mark.parametrize(("values", "dimensions"), [(IMAGES, 1), (LABELS, 3)], ids=["images", "labels"])
def test_wrong_dimension_count_is_refused(path: Path, values: NDArray[np.uint8], dimensions: int) -> None:
    """Images in place of labels, and labels in place of images, are refused with the expected bytes."""
    expected, found = (bytes([0, 0, 8, each]).hex(" ") for each in (dimensions, values.ndim))
    refused(partial(read_idx, dimensions=dimensions), path, idx_bytes(values), expected, found)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        *((shape, str(shape)) for shape in [(0, 3, 3), (2, 0, 3), (2, 3, 0), (2**32 - 1,) * 3, (2**16, 2**16, 2)]),
        ((2**16, 2**8, 2**8), "4,294,967,296 bytes"),  # within the limit, but not in this file
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_impossible_dimensions_are_refused(path: Path, shape: tuple[int, ...], said: str, zipped: bool) -> None:
    """No dimension may be 0, and a small file cannot make the reader allocate gigabytes."""
    content = b"\0\0\x08\x03" + struct.pack(">3I", *shape) + b"few"
    refused(read_images, path, gzip.compress(content) if zipped else content, said)


@pytest.mark.parametrize("read", [read_images, read_npz])
def test_a_missing_file_and_a_folder_are_refused(read: Read, tmp_path: Path) -> None:
    """A missing file, and a folder in place of a file, are named."""
    for path, said in ((tmp_path / "nothing", "no such file"), (tmp_path, "cannot be read")):
        with pytest.raises(InputError) as error:
            read(path)
        only_line(error, path, said)


@pytest.mark.parametrize("key", NPZ_KEYS)
def test_missing_key_is_named(path: Path, key: str) -> None:
    """A file without one of the four arrays is refused; the error names it and the arrays that are there."""
    others = {name: content for name, content in MEMBERS.items() if name != f"{key}.npy"}
    content = zip_bytes({**others, "extra\nline.npy": npy_bytes(ARRAYS["y_test"])})
    refused(read_npz, path, content, f"{key} is missing", "extra")


class Opener:
    """Creates a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.trace,)


def test_pickles_are_refused(path: Path, tmp_path: Path) -> None:
    """An object array, or a pickle in place of a zip file, is refused, and nothing in it is executed."""
    trace = tmp_path / "unpickled"
    objects = npy_bytes(np.array([Opener(trace)], dtype=object))
    for key in NPZ_KEYS:
        refused(read_npz, path, zip_bytes({**MEMBERS, f"{key}.npy": objects}), "pickled objects")
    refused(read_npz, path, pickle.dumps(Opener(trace)), "not an npz file")
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"some text\n", MEMBERS["x_train.npy"], bytes(100)])
def test_no_zip_is_refused(path: Path, content: bytes) -> None:
    """A file that is not a zip file is refused."""
    refused(read_npz, path, content, "not an npz file")


@pytest.mark.parametrize(
    "header",
    [
        "(",
        "{'descr': '|u1'",
        "{[]: 1}",
        "{1: 2, 'a': 3}",
        *(
            f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({length},), }}"
            for kind, length in (("|O", 1), ("|u1", -1), ("|u1", 15), ("|u1", 17), ("|u1", 2**40), ("|u1", 10**30))
        ),
    ],
)
def test_wrong_array_header_is_refused(path: Path, header: str) -> None:
    """An array whose header is invalid, or does not fit its values, is refused, although its checksum is right."""
    text = header.encode("latin1").ljust(117) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(16)
    refused(read_npz, path, zip_bytes({**MEMBERS, "x_train.npy": array}))


def test_too_large_is_refused(path: Path) -> None:
    """A small file that declares more than the limit is refused before it is unpacked."""
    whole = zip_bytes(MEMBERS)
    size = whole.index(b"PK\x01\x02") + 24
    refused(read_npz, path, whole[:size] + (2**32 - 2).to_bytes(4, "little") + whole[size + 4 :], "at most 4,294,967,296")
