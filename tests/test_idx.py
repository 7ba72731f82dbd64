"""Reading IDX files: the right ones give their array, all others one line that names the file."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from support import PROPERTY, idx_bytes, only_line, outcome

from digitsweep.data.idx import read_idx
from digitsweep.errors import InputError

IMAGES = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
LABELS = np.array([7, 2, 1, 0], dtype=np.uint8)
ANY_ARRAY = st.sampled_from([1, 3]).flatmap(
    lambda dimensions: arrays(np.uint8, array_shapes(min_dims=dimensions, max_dims=dimensions, max_side=6))
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that each example writes anew."""
    return tmp_path_factory.mktemp("idx") / "some-images"


def refused(path: Path, content: bytes, dimensions: int, *parts: object) -> str:
    """What is said of a file with this content."""
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_idx(path, dimensions)
    return only_line(error, path, *parts)


def right_or_refused(path: Path, content: bytes) -> bool:
    """Whether a file is refused with one line; otherwise it must give IMAGES."""
    path.write_bytes(content)
    values = outcome(lambda: read_idx(path, 3))
    if isinstance(values, str):
        assert str(path) in values
        assert len(values.splitlines()) == 1
        return True
    np.testing.assert_array_equal(values, IMAGES)
    return False


@PROPERTY
@given(values=ANY_ARRAY, zipped=st.booleans())
def test_round_trip(path: Path, values: NDArray[np.uint8], zipped: bool) -> None:
    """What was written is what is read, compressed or not."""
    path.write_bytes(gzip.compress(idx_bytes(values)) if zipped else idx_bytes(values))
    read = read_idx(path, values.ndim)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize("zipped", [False, True])
def test_every_truncation_is_refused(path: Path, zipped: bool) -> None:
    """A file that ends early, at whichever byte, is refused."""
    whole = gzip.compress(idx_bytes(IMAGES)) if zipped else idx_bytes(IMAGES)
    for length in range(len(whole)):
        refused(path, whole[:length], 3)


@PROPERTY
@given(extra=st.binary(min_size=1, max_size=9), zipped=st.booleans())
def test_trailing_bytes_are_refused(path: Path, extra: bytes, zipped: bool) -> None:
    """A file that goes on after its last value is refused."""
    content = idx_bytes(LABELS) + extra
    refused(path, gzip.compress(content) if zipped else content, 1, "goes on after its last value")


def test_bytes_behind_the_gzip_stream_are_refused(path: Path) -> None:
    """Bytes after the compressed stream are no more welcome than bytes in it."""
    refused(path, gzip.compress(idx_bytes(LABELS)) + b"more", 1, "damaged")


@PROPERTY
@given(magic=st.binary(min_size=4, max_size=4).filter(lambda magic: magic != b"\0\0\x08\x03"))
def test_wrong_magic_is_refused(path: Path, magic: bytes) -> None:
    """A file that does not begin as an IDX file of images is refused."""
    refused(path, magic + idx_bytes(IMAGES)[4:], 3)


@pytest.mark.parametrize(("values", "dimensions"), [(IMAGES, 1), (LABELS, 3)], ids=["images", "labels"])
def test_wrong_dimension_count_is_refused(path: Path, values: NDArray[np.uint8], dimensions: int) -> None:
    """Images given as labels are refused, and the other way round, with the bytes that were expected."""
    expected = bytes([0, 0, 8, dimensions]).hex(" ")
    refused(path, idx_bytes(values), dimensions, expected, bytes([0, 0, 8, values.ndim]).hex(" "))


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 3), (2, 3, 0), (2**32 - 1,) * 3, (2**16, 2**16, 2)])
@pytest.mark.parametrize("zipped", [False, True])
def test_impossible_dimensions_are_refused(path: Path, shape: tuple[int, int, int], zipped: bool) -> None:
    """No dimension is 0, and together they hold no more than can be read."""
    content = b"\0\0\x08\x03" + struct.pack(">3I", *shape)
    refused(path, gzip.compress(content) if zipped else content, 3, shape)


@pytest.mark.parametrize("zipped", [False, True])
def test_promising_four_gigabytes_is_refused(path: Path, zipped: bool) -> None:
    """A header of a small file cannot make the reader wait for, or fill, gigabytes."""
    content = b"\0\0\x08\x03" + struct.pack(">3I", 2**16, 2**8, 2**8) + b"few"
    refused(path, gzip.compress(content) if zipped else content, 3, "4,294,967,296 bytes")


def test_damaged_gzip_is_refused(path: Path) -> None:
    """A flipped bit in a gzip file is refused, or it stands where it changes no value (a time, a filling bit)."""
    whole = gzip.compress(idx_bytes(IMAGES), mtime=0)
    flipped = [whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :] for at in range(len(whole)) for bit in range(8)]
    assert sum(right_or_refused(path, content) for content in flipped) > len(flipped) / 2


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(InputError) as error:
        read_idx(tmp_path / "nothing", 3)
    only_line(error, tmp_path / "nothing", "no such file")


def test_folder_is_refused(tmp_path: Path) -> None:
    """A folder in place of a file is named."""
    with pytest.raises(InputError) as error:
        read_idx(tmp_path, 3)
    only_line(error, tmp_path, "cannot be read")


BEGINNINGS = st.sampled_from(
    [b"", b"\x1f\x8b", b"\x1f\x8b\x08\x00", b"\0\0\x08\x01", b"\0\0\x08\x03", b"\0\0\x08\x01\0\0\0"]
)


@PROPERTY
@given(start=BEGINNINGS, rest=st.binary(max_size=60), zipped=st.booleans(), dimensions=st.sampled_from([1, 3]))
def test_any_bytes_give_an_array_or_one_line(path: Path, start: bytes, rest: bytes, zipped: bool, dimensions: int) -> None:
    """Whatever a file holds, it is an array of all its values or one line that names the file."""
    path.write_bytes(gzip.compress(start + rest) if zipped else start + rest)
    values = outcome(lambda: read_idx(path, dimensions))
    if isinstance(values, str):
        assert str(path) in values
        assert len(values.splitlines()) == 1
    else:
        assert idx_bytes(values) == start + rest
