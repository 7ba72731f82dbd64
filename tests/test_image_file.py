"""Single images: every format, mode, size and depth becomes a square of pixels; damage becomes a reason."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from support import PROPERTY

from digitsweep.data.image_file import Reason, chosen_size, quiet, read_image, squared

MODES = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "jpeg": ("L", "RGB", "CMYK"),
    "webp": ("RGB", "RGBA"),
    "bmp": ("1", "L", "P", "RGB"),
    "tiff": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"),
    "gif": ("L", "P", "RGB"),
}
GREY = ("1", "L", "LA", "I;16", "I", "F")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that each example overwrites."""
    return tmp_path_factory.mktemp("images") / "image"


def made(mode: str, width: int, height: int, seed: int = 0) -> Image.Image:
    """An image of random pixels."""
    numbers = np.random.default_rng(seed)
    if mode == "I;16":
        return Image.fromarray(numbers.integers(0, 2**16, (height, width), np.uint16))
    if mode in GREY:
        return Image.fromarray(numbers.integers(0, 256, (height, width), np.uint8)).convert(mode)
    return Image.fromarray(numbers.integers(0, 256, (height, width, 3), np.uint8)).convert(mode)


def read(path: Path, size: int = 8, fit: str = "letterbox") -> NDArray[np.uint8]:
    """An image, which must be readable."""
    with quiet():
        found = read_image(path, size, fit)
    assert not isinstance(found, Reason), found
    return found


@PROPERTY
@given(st.data())
def test_any_image_becomes_a_square(path: Path, data: st.DataObject) -> None:
    """Images of any format, mode and size come back in the wanted size, as uint8, grey ones with one channel."""
    kind = data.draw(st.sampled_from(sorted(MODES)))
    mode = data.draw(st.sampled_from(MODES[kind]))
    width, height = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
    size, fit = data.draw(st.integers(8, 40)), data.draw(st.sampled_from(["letterbox", "crop"]))
    made(mode, width, height, data.draw(st.integers(0, 9))).save(path, kind)
    found = read(path, size, fit)
    assert found.shape[:2] == (size, size)
    assert found.dtype == np.uint8
    assert found.shape[2] == 1 if mode in GREY else found.shape[2] in (1, 3)


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "gif", "webp"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pixels_of_the_right_size_are_untouched(path: Path, kind: str, mode: str) -> None:
    """A square image of the wanted size comes back as it was stored, if its format loses nothing."""
    image = made(mode, 9, 9)
    image = image if kind != "gif" else image.quantize(64).convert(mode)
    image.save(path, kind, lossless=True)
    np.testing.assert_array_equal(read(path, 9), np.asarray(image).reshape(9, 9, -1), strict=True)


def halves(width: int, height: int) -> Image.Image:
    """An image whose left half is black and whose right half is white."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[:, width // 2 :] = 255
    return Image.fromarray(pixels)


def test_letterbox_keeps_all_and_fills_with_the_border(path: Path) -> None:
    """A wide image keeps its width, and the rest has the colour of its border."""
    framed = np.full((20, 40), 200, np.uint8)
    framed[5:15, 10:30] = 0
    Image.fromarray(framed).save(path, "png")
    found = read(path, 20)[..., 0]
    assert (found[:5] == 200).all()
    assert (found[15:] == 200).all()
    assert (found[8:12, 6:14] == 0).all()


@pytest.mark.parametrize(("width", "height"), [(40, 20), (20, 40)])
def test_crop_keeps_the_middle(path: Path, width: int, height: int) -> None:
    """The largest square in the middle fills the result."""
    pixels = np.zeros((height, width), np.uint8)
    top, left = (height - 20) // 2, (width - 20) // 2
    pixels[top : top + 20, left : left + 20] = 255
    Image.fromarray(pixels).save(path, "png")
    assert (read(path, 20, "crop") == 255).all()
    assert (read(path, 20, "letterbox") == 0).any()


@pytest.mark.parametrize(
    ("orientation", "rows"),
    [(1, [[0, 1], [2, 3]]), (2, [[1, 0], [3, 2]]), (3, [[3, 2], [1, 0]]), (6, [[2, 0], [3, 1]]), (8, [[1, 3], [0, 2]])],
)
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp"])
def test_orientation_is_heeded(path: Path, kind: str, orientation: int, rows: list[list[int]]) -> None:
    """Images are upright: quarters that a camera stored turned are where a person sees them."""
    quarters = np.kron(np.array([[0, 1], [2, 3]], np.uint8) * 80, np.ones((32, 32), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(quarters).convert("RGB").save(path, kind, exif=exif, lossless=True)
    found = read(path, 64).mean(axis=2)
    seen = [[round(float(found[row, column]) / 80) for column in (16, 48)] for row in (16, 48)]
    assert seen == rows


def test_transparent_pixels_are_white(path: Path) -> None:
    """What is transparent is seen on white paper, in RGBA, in grey with alpha and in a palette."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[2:6, 2:6, 3] = 255
    expected = np.full((8, 8, 1), 255, np.uint8)
    expected[2:6, 2:6] = 0
    for mode in ("RGBA", "LA", "PA"):
        Image.fromarray(pixels).convert("LA" if mode == "PA" else mode).save(path, "png")
        np.testing.assert_array_equal(read(path), expected)
    palette = Image.fromarray((1 - pixels[..., 3] // 255).astype(np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(path, "png", transparency=1)
    np.testing.assert_array_equal(read(path), expected)


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_sixteen_bits_are_scaled(path: Path, kind: str) -> None:
    """Grey levels of 16 bits keep their place between black and white, however bright the brightest is."""
    levels = np.array([0, 257, 25_700, 32_896], np.uint16)
    Image.fromarray(np.resize(levels, (8, 8))).save(path, kind)
    assert read(path)[0, :4, 0].tolist() == [0, 1, 100, 128]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0.0, 0.5, 1.0, np.nan], np.float32), [0, 128, 255, 0]),
        (np.array([-3.0, 0.0, 100.4, 255.0], np.float32), [0, 0, 100, 255]),
        (np.array([-5, 0, 7, 255], np.int32), [0, 0, 7, 255]),
        (np.array([0, 257, 25_700, 65_535], np.int32), [0, 1, 100, 255]),
    ],
)
def test_wide_levels_are_scaled_by_their_range(path: Path, values: NDArray[np.generic], expected: list[int]) -> None:
    """32-bit levels and floats go from black to white over the range that they need."""
    Image.fromarray(np.resize(values, (8, 8))).save(path, "tiff")
    assert read(path)[0, :4, 0].tolist() == expected


def test_the_first_frame_counts(path: Path) -> None:
    """Of an animation, the first frame is read."""
    frames = [Image.new("L", (8, 8), level) for level in (10, 200)]
    frames[0].save(path, "gif", save_all=True, append_images=frames[1:])
    assert (read(path) == 10).all()


def test_a_large_photograph(path: Path) -> None:
    """A large JPEG, which is decoded at a lower resolution, looks as if it had been decoded whole."""
    smooth = np.add.outer(np.arange(800), np.arange(1200)) * (255 / 2000)
    Image.fromarray(smooth.astype(np.uint8)).save(path, "jpeg", quality=95)
    expected = squared(Image.fromarray(smooth.astype(np.uint8)), 32, "letterbox")
    assert np.abs(read(path, 32).astype(int) - expected).max() <= 2


@PROPERTY
@given(kind=st.sampled_from(sorted(MODES)), seed=st.integers(0, 2**16), data=st.data())
def test_damage_gives_an_image_or_a_reason(path: Path, kind: str, seed: int, data: st.DataObject) -> None:
    """Whatever happens to its bytes, a file gives an image of the right shape or a reason, never an error."""
    stream = io.BytesIO()
    made(data.draw(st.sampled_from(MODES[kind])), 20, 14, seed).save(stream, kind)
    content = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with quiet():
        found = read_image(path, 8, "letterbox")
    assert isinstance(found, Reason) or found.shape in ((8, 8, 1), (8, 8, 3))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"GIF89a", Reason.DAMAGED),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", Reason.DAMAGED),
        (None, Reason.UNREADABLE),
    ],
)
def test_why_a_file_cannot_be_used(path: Path, content: bytes | None, reason: Reason) -> None:
    """Empty, damaged, foreign and missing files have their reasons."""
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    assert read_image(path, 8, "letterbox") == reason


@pytest.mark.parametrize(
    ("sizes", "size"),
    [
        ([(28, 28)] * 3, 28),
        ([(30, 30)] * 3, 30),
        ([(30, 31)] * 3, 32),
        ([(30, 90), (90, 34), (500, 400)], 36),
        ([(640, 480)] * 3, 64),
        ([(3, 5)] * 3, 8),
        ([(65, 65)] * 3, 64),
    ],
)
def test_the_chosen_size(sizes: list[tuple[int, int]], size: int) -> None:
    """The common square of up to 64 pixels, or the median of the shorter sides as a multiple of 4 from 8 to 64."""
    assert chosen_size(sizes) == size
