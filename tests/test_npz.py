"""Reading npz files: the right ones give their arrays, all others one line; nothing is ever unpickled."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from support import PROPERTY, only_line, outcome

from digitsweep.data.npz import KEYS, read_npz
from digitsweep.errors import InputError

ARRAYS = {
    "x_train": np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4),
    "y_train": np.array([0, 1]),
    "x_test": np.zeros((1, 4, 4), np.uint8),
    "y_test": np.array([1]),
}
ANY_ARRAY = st.sampled_from([np.uint8, np.int64, np.float32]).flatmap(
    lambda kind: arrays(kind, array_shapes(max_dims=4, max_side=4))
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that each example writes anew."""
    return tmp_path_factory.mktemp("npz") / "some.npz"


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


MEMBERS = {f"{key}.npy": npy_bytes(values) for key, values in ARRAYS.items()}


def refused(path: Path, content: bytes, *parts: object) -> str:
    """What is said of a file with this content."""
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_npz(path)
    return only_line(error, path, *parts)


def right_or_refused(path: Path, content: bytes) -> bool:
    """Whether a file is refused with one line; otherwise it must give the arrays of ARRAYS."""
    path.write_bytes(content)
    read = outcome(lambda: read_npz(path))
    if isinstance(read, str):
        assert str(path) in read
        assert len(read.splitlines()) == 1
        return True
    for values, key in zip(read, KEYS, strict=True):
        np.testing.assert_array_equal(values, ARRAYS[key], strict=True)
    return False


@PROPERTY
@given(values=st.tuples(ANY_ARRAY, ANY_ARRAY, ANY_ARRAY, ANY_ARRAY), compressed=st.booleans())
def test_round_trip(path: Path, values: tuple[NDArray[Any], ...], compressed: bool) -> None:
    """What was written is what is read, compressed or not, in the order of KEYS."""
    named: dict[str, Any] = dict(zip(KEYS, values, strict=True))
    if compressed:
        np.savez_compressed(path, **named)
    else:
        np.savez(path, **named)
    for read, written in zip(read_npz(path), values, strict=True):
        np.testing.assert_array_equal(read, written, strict=True)


@pytest.mark.parametrize("key", KEYS)
def test_missing_key_is_named(path: Path, key: str) -> None:
    """A file without one of the four arrays is refused with that one's name and the names that it has."""
    others = {name: content for name, content in MEMBERS.items() if name != f"{key}.npy"}
    refused(path, zip_bytes({**others, "extra\nline.npy": npy_bytes(ARRAYS["y_test"])}), f"{key} is missing", "extra")


class Opener:
    """Creates a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("key", KEYS)
def test_pickled_objects_are_refused(path: Path, tmp_path: Path, key: str) -> None:
    """An object array is refused, and nothing in it is run."""
    trace = tmp_path / "unpickled"
    objects = np.array([Opener(trace)], dtype=object)
    refused(path, zip_bytes({**MEMBERS, f"{key}.npy": npy_bytes(objects)}), "pickled objects")
    assert not trace.exists()


def test_a_pickle_is_refused(path: Path, tmp_path: Path) -> None:
    """A file that is a pickle and no zip is refused, and nothing in it is run."""
    trace = tmp_path / "unpickled"
    refused(path, pickle.dumps(Opener(trace)), "no npz file")
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"some text\n", MEMBERS["x_train.npy"], bytes(100)])
def test_no_zip_is_refused(path: Path, content: bytes) -> None:
    """A file that is no zip file is refused."""
    refused(path, content, "no npz file")


def test_every_truncation_is_refused(path: Path) -> None:
    """A file that ends early is refused, wherever it ends."""
    whole = zip_bytes(MEMBERS)
    for length in range(0, len(whole), 5):
        refused(path, whole[:length])


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("method", METHODS)
def test_damage_is_refused(path: Path, method: int) -> None:
    """A changed byte is refused, or it stands where it changes no array; whatever the compression."""
    whole = zip_bytes(MEMBERS, method)
    positions = range(0, len(whole), 3)
    damaged = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in positions]
    assert sum(right_or_refused(path, content) for content in damaged) > len(damaged) / 3


HEADERS = [
    "(",
    "{'descr': '|u1'",
    "{[]: 1}",
    "{1: 2, 'a': 3}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (-1,), }",
    f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({10**30},), }}",
]


@pytest.mark.parametrize("header", HEADERS)
def test_wrong_array_header_is_refused(path: Path, header: str) -> None:
    """An array whose header is no header is refused, though its check sum is right."""
    text = header.encode("latin1").ljust(117) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(16)
    refused(path, zip_bytes({**MEMBERS, "x_train.npy": array}))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(InputError) as error:
        read_npz(tmp_path / "nothing.npz")
    only_line(error, tmp_path / "nothing.npz", "no such file")


def test_too_large_is_refused(path: Path) -> None:
    """A small file that says it unpacks to more than can be read is refused before it is unpacked."""
    whole = zip_bytes(MEMBERS)
    directory = whole.index(b"PK\x01\x02")
    promised = whole[: directory + 24] + (2**32 - 2).to_bytes(4, "little") + whole[directory + 28 :]
    refused(path, promised, "at most 4,294,967,296")


@PROPERTY
@given(start=st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(16), b"\x93NUMPY"]), rest=st.binary(max_size=80))
def test_any_bytes_give_one_line(path: Path, start: bytes, rest: bytes) -> None:
    """Bytes that no zip program wrote are refused with one line that names the file."""
    refused(path, start + rest)
