"""Preparation gives any image MNIST's form, whatever the paper, the pen, the place and the size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib import get_data_path
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from support import PROPERTY

from digitsweep.prediction.ink import NOTHING
from digitsweep.prediction.preparing import BOX, SIDE, prepare

Floats = NDArray[np.float32]
TYPEFACES = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono", "cmr10", "DejaVuSerif-Bold")


def written(strokes: list[list[tuple[float, float]]], side: int, width: float, *, ink: int = 30, paper: int = 230) -> Floats:
    """Strokes on paper: points from 0 to 1, as a person draws them, antialiased."""
    image = Image.new("L", (4 * side, 4 * side), paper)
    draw = ImageDraw.Draw(image)
    radius = 2 * width
    for stroke in strokes:
        points = [(4 * side * x, 4 * side * y) for x, y in stroke]
        draw.line(points, ink, round(4 * width), joint="curve")
        for x, y in points:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), ink)
    return np.asarray(image.reduce(4), np.float32)


SEVEN = [[(0.3, 0.2), (0.7, 0.2), (0.45, 0.8)]]
FIVE = [[(0.62, 0.22), (0.36, 0.22)], [(0.33, 0.3), (0.33, 0.5), (0.6, 0.5), (0.62, 0.7), (0.5, 0.8), (0.34, 0.76)]]
FOUR = [[(0.4, 0.2), (0.33, 0.55), (0.66, 0.55)], [(0.58, 0.25), (0.58, 0.8)]]
THREE = [[(0.5 - 0.2 * np.cos(t), 0.34 - 0.15 * np.sin(t)) for t in np.linspace(0.4, 4.6, 40)]]
THREE[0] += [(0.5 + 0.2 * np.cos(t), 0.66 + 0.17 * np.sin(t)) for t in np.linspace(-1.5, 2.7, 40)]
ZERO = [[(0.5 + 0.2 * np.cos(t), 0.5 + 0.32 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 80)]]
TWO = [
    [(0.5 - 0.2 * np.cos(t), 0.35 - 0.16 * np.sin(t)) for t in np.linspace(0.2, 3.6, 40)],
    [(0.7, 0.4), (0.3, 0.8), (0.72, 0.8)],
]
DIGITS = {"five": FIVE, "four": FOUR, "seven": SEVEN}
CURVED = {"zero": ZERO, "two": TWO, "three": THREE, **DIGITS}


def dashed(strokes: list[list[tuple[float, float]]], dash: float, gap: float) -> list[list[tuple[float, float]]]:
    """Strokes cut into dashes of a length, with gaps of a length between their middle lines' ends."""
    found = []
    for stroke in strokes:
        points = np.asarray(stroke)
        along = np.concatenate([[0], np.hypot(*np.diff(points, axis=0).T).cumsum()])
        starts = np.arange(0, along[-1], dash + gap)
        for start in starts:
            places = np.linspace(start, min(start + dash, along[-1]), 12)
            found.append(
                [
                    (float(np.interp(each, along, points[:, 0])), float(np.interp(each, along, points[:, 1])))
                    for each in places
                ]
            )
    return found


def printed(text: str, typeface: str) -> Floats:
    """Text in one of Matplotlib's typefaces, dark on light."""
    font = ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", f"{typeface}.ttf")), 100)
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (round(right - left) + 60, round(bottom - top) + 60), 230)
    ImageDraw.Draw(image).text((30 - left, 30 - top), text, 30, font)
    return np.asarray(image, np.float32)


def off(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """How much of the ink of two forms differs: the mean difference as a share of the mean ink, when moved to fit best."""
    shifts = ((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))
    values = image.astype(float)
    return min(float(np.abs(np.roll(values, shift, (0, 1)) - other).sum()) for shift in shifts) / max(
        float(values.sum()), 1.0
    )


def assert_form(image: NDArray[np.uint8], side: int = SIDE) -> None:
    """What MNIST's images have in common: see preparing.py."""
    assert image.shape == (side, side, 1)
    assert image.dtype == np.uint8
    if not image.any():
        return
    ink = image[..., 0]
    assert ink.max() == 255
    box = side if side == 8 else round(side * BOX / SIDE)
    extents = []
    for axis in (0, 1):
        found = np.flatnonzero(ink.any(axis=1 - axis))
        extents.append(found[-1] - found[0] + 1)
        mass = ink.sum(axis=1 - axis, dtype=float)
        centre = float((mass * (np.arange(side) + 0.5)).sum() / mass.sum())
        # Ink whose mass is far to one side is not centred but kept whole. Rounding to grey levels moves the centre a little.
        assert abs(centre - side / 2) <= 1.05 or found[0] == 0 or found[-1] == side - 1
    assert max(extents) <= box


SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=70)


@PROPERTY
@given(arrays.arrays(np.uint8, SHAPES), st.sampled_from([28, 32, 8]))
def test_any_image_gives_the_form(pixels: NDArray[np.uint8], side: int) -> None:
    """Whatever rectangle goes in, the form comes out; where that is empty there is a reason."""
    prepared = prepare(pixels.astype(np.float32), side)
    assert_form(prepared.image, side)
    assert prepared.image.any() or prepared.note == NOTHING


@PROPERTY
@given(
    st.lists(
        st.lists(st.tuples(st.floats(0.15, 0.85), st.floats(0.15, 0.85)), min_size=2, max_size=5), min_size=1, max_size=2
    ),
    st.integers(30, 200),
    st.floats(0.02, 0.12),
)
def test_any_strokes_give_the_form(strokes: list[list[tuple[float, float]]], side: int, width: float) -> None:
    """Whatever is written, the ink fits into the box, is centred by mass and strong; inverted it is the same."""
    pixels = written(strokes, side, max(1.0, width * side))
    prepared = prepare(pixels)
    assert_form(prepared.image)
    assert prepared.image.any()
    inverted = prepare(255 - pixels)
    assert inverted.note == prepared.note
    assert off(inverted.image, prepared.image) < 0.02


@pytest.mark.parametrize("digit", DIGITS)
@pytest.mark.parametrize("side", [60, 140, 400])
def test_size_and_place_have_no_say(digit: str, side: int) -> None:
    """A digit gives about the same form at every size, and wherever it stands on its paper."""
    expected = prepare(written(DIGITS[digit], 200, 14))
    assert expected.note == ""
    small = written(DIGITS[digit], side, 0.07 * side)
    assert off(prepare(small).image, expected.image) < 0.25
    moved = np.full((side + 90, side + 40), 230, np.float32)
    moved[70 : 70 + side, 5 : 5 + side] = small
    prepared = prepare(moved)
    assert prepared.note == ""
    assert off(prepared.image, expected.image) < 0.25


@pytest.mark.parametrize("digit", DIGITS)
@pytest.mark.parametrize("noise", [0, 12, 25])
def test_paper_has_no_say(digit: str, noise: int) -> None:
    """On paper with a shadow, dirt and noise a digit gives about the form that it has on clean paper, in either polarity."""
    random = np.random.default_rng(noise)
    side = 240
    clean = written(DIGITS[digit], side, 16)
    light = np.linspace(0, 60, side)[:, None] * np.linspace(0.3, 1, side)[None]
    dirt = ndimage.binary_dilation(random.random((side, side)) < 2e-4)
    uneven = (clean - light - 90 * dirt + random.normal(0, noise or 1e-3, clean.shape)).clip(0, 255).astype(np.float32)
    expected = prepare(clean).image
    for pixels in (uneven, 255 - uneven):
        prepared = prepare(pixels)
        assert prepared.note == ""
        assert off(prepared.image, expected) < 0.3


def test_the_form_stays_as_it_is() -> None:
    """An image that has the form already comes out as nearly the same."""
    once = prepare(written(FOUR, 200, 14)).image
    again = prepare(once[..., 0].astype(np.float32)).image
    assert off(again, once) < 0.2


def test_a_thin_pen_is_not_lost() -> None:
    """A line of two pixels on a large sheet is as thick as MNIST's thin ones: as if a thicker pen had written it."""
    thin = prepare(written(SEVEN, 600, 2)).image
    thick = prepare(written(SEVEN, 600, 36)).image
    assert thin.sum() > 0.4 * thick.sum()
    assert (thin > 200).sum() > 5


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("noise", [0, 3, 12, 20])
def test_nothing_is_written_there(level: int, noise: int) -> None:
    """A page of one colour is empty, a black one too, and so is one of noise, also of noise cut off at black or white."""
    random = np.random.default_rng(0)
    for shape in ((100, 100), (300, 200)) if noise else ((1, 1), (28, 28), (300, 200)):
        prepared = prepare((level + random.normal(0, noise, shape)).clip(0, 255).astype(np.float32))
        assert prepared.note == NOTHING
        assert not prepared.image.any()


def test_an_empty_page_in_uneven_light() -> None:
    """A shadow is not ink."""
    shadow = np.linspace(230, 120, 300)[:, None] + np.linspace(0, 15, 200)[None]
    assert prepare(shadow.astype(np.float32)).note == NOTHING


def test_two_digits_are_not_one() -> None:
    """Two digits side by side, or one above the other, are said to be two; the strokes of one are not."""
    seven = written(SEVEN, 120, 8)
    for pair in (np.hstack([seven, seven]), np.vstack([seven, seven])):
        assert "2 separate parts" in prepare(pair).note
    for strokes in DIGITS.values():
        assert prepare(written(strokes, 120, 8)).note == ""


@pytest.mark.parametrize("digit", CURVED)
@pytest.mark.parametrize("width", [6, 10, 16])
@pytest.mark.parametrize("dash", [0.5, 1, 2])
def test_dashes_of_one_digit_are_joined(digit: str, width: int, dash: float) -> None:
    """A digit drawn with dots or dashes, whose gaps are as wide as the pen or one and a half times that, is one digit."""
    side = 200
    for gap in (1, 1.5):
        strokes = dashed(CURVED[digit], dash * width / side, (gap + 1) * width / side)
        assert prepare(written(strokes, side, width)).note == "", f"gaps of {gap} widths"


@pytest.mark.parametrize("typeface", TYPEFACES)
@pytest.mark.parametrize("gap", [4, 8])
def test_gaps_in_print_are_joined(typeface: str, gap: int) -> None:
    """A printed digit that a crease or a worn-out type has broken into three is one digit."""
    for digit in "0235689":
        pixels = printed(digit, typeface)
        height = len(pixels)
        for cut in (0.35, 0.6):
            pixels[round(cut * height) : round(cut * height) + gap] = 230
        assert prepare(pixels).note == "", digit


@pytest.mark.parametrize("typeface", TYPEFACES)
def test_printed_numbers_are_not_one_digit(typeface: str) -> None:
    """Two printed digits are two, side by side at the typeface's own spacing and on two lines, however bold."""
    for first, second in ("00", "12", "33", "47", "58", "69"):
        lines = np.vstack([printed(first, typeface)[:-15], printed(first, typeface)[15:]])
        for pixels in (printed(first + second, typeface), lines):
            assert "2 separate parts" in prepare(pixels).note, first + second


@pytest.mark.parametrize(
    ("points", "expected"),
    [([(0.1, 0.5), (0.9, 0.5)], "horizontal line"), ([(0.5, 0.5), (0.51, 0.51)], "filled shape")],
)
def test_what_no_digit_looks_like(points: list[tuple[float, float]], expected: str) -> None:
    """A horizontal line and a filled block are not digits; a vertical line may be a one."""
    pixels = written([points], 100, 6)
    if expected == "filled shape":
        pixels[30:80, 30:80] = 30
    assert expected in prepare(pixels).note
    assert prepare(written([[(0.5, 0.1), (0.5, 0.9)]], 100, 6)).note == ""


def test_what_is_not_on_plain_paper() -> None:
    """A digit on a page that has more on it than specks of dirt is not on plain paper; a photo's dark edge does not
    count."""
    pixels = written(SEVEN, 200, 14)
    assert prepare(pixels).plain
    pixels[:, :12] = 40
    pixels[50, 60] = 30
    assert prepare(pixels).plain
    for shade in (-60, 60):
        marked = pixels.clip(0, 180)
        marked[20:50, 150:180] += shade
        assert not prepare(marked).plain


def test_a_photos_dark_edge_is_not_ink() -> None:
    """The edge of the table beside the paper is left out."""
    pixels = written(SEVEN, 200, 14)
    pixels[:, :12] = 40
    assert off(prepare(pixels).image, prepare(written(SEVEN, 200, 14)).image) < 0.25
