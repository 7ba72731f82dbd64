"""MNIST's form, from any image: what holds whatever the paper, the pen, the place and the size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from support import PROPERTY

from digitsweep.reading.ink import NOTHING
from digitsweep.reading.preparing import BOX, SIDE, prepare

Floats = NDArray[np.float32]


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
DIGITS = {"five": FIVE, "four": FOUR, "seven": SEVEN}


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
        # Whole ink comes before centred ink, where its mass lies so far to one side that both cannot be.
        assert abs(centre - side / 2) <= 1 or found[0] == 0 or found[-1] == side - 1
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
        assert "2 separate inks" in prepare(pair).note
    for strokes in DIGITS.values():
        assert prepare(written(strokes, 120, 8)).note == ""


@pytest.mark.parametrize(
    ("points", "expected"),
    [([(0.1, 0.5), (0.9, 0.5)], "a line that lies"), ([(0.5, 0.5), (0.51, 0.51)], "an area that is filled")],
)
def test_what_no_digit_looks_like(points: list[tuple[float, float]], expected: str) -> None:
    """A line that lies and a filled block are no digits; a line that stands is a one."""
    pixels = written([points], 100, 6)
    if expected == "an area that is filled":
        pixels[30:80, 30:80] = 30
    assert expected in prepare(pixels).note
    assert prepare(written([[(0.5, 0.1), (0.5, 0.9)]], 100, 6)).note == ""


def test_a_photos_dark_edge_is_not_ink() -> None:
    """The edge of the table beside the paper is left out."""
    pixels = written(SEVEN, 200, 14)
    pixels[:, :12] = 40
    assert off(prepare(pixels).image, prepare(written(SEVEN, 200, 14)).image) < 0.25
