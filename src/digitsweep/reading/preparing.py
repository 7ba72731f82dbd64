"""An image of a digit, brought to the form that MNIST's images have, as they were made.

LeCun, Bottou, Bengio and Haffner (1998, Gradient-based learning applied to document recognition, III.A) took bilevel images
of white ink on black, scaled each to fit into 20x20 pixels with its aspect kept, which left grey levels from the
antialiasing, and moved it in a field of 28x28 so that its centre of mass lies in the middle. What people have is a photo or
a scan of dark ink on uneven paper, so the ink is found first (ink.py). One thing is added: a thin pen on a large sheet would
all but vanish in 20x20, so that strokes thinner than those of MNIST's writers are thickened before they are scaled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from digitsweep.reading.grey import Grey
from digitsweep.reading.ink import find_ink

SIDE, BOX = 28, 20
"""Of MNIST's field, and of the square in it that the ink fits into."""
FULL_SIDE = 8
"""scikit-learn's digits have this side, and their ink fills it, in the middle by its extent: it was scaled to 32x32, and 4x4
pixels became one."""
THINNEST = 1.5
"""Pixels of BOX: one in twenty of MNIST's images has thinner strokes (the first 400 test images, enlarged eight times,
measured as `_thickened` does). Of 300 test images drawn anew with a line of a third of a pixel, the CNN of mnist.yaml
labels 293 rightly without thickening and is unsure of 27; with it 296 and 8. Thicker ones, 2.0 and 2.5, do not help more."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image as a model takes it."""

    image: NDArray[np.uint8]
    """(side, side, 1): white ink on black; all black where there is none."""
    note: str = ""
    """Why this is not one digit, where it is not."""


def prepare(pixels: Grey, side: int = SIDE) -> Prepared:
    """Brings grey levels (height, width) from 0 to 255, of either polarity, into a model's form."""
    found = find_ink(pixels)
    if found.ink is None:
        return nothing(side, found.note)
    box = side if side <= FULL_SIDE else max(1, round(side * BOX / SIDE))
    scaled = _scaled(_thickened(found.ink, box), box)
    return Prepared(_centred(scaled, side)[..., None], found.note)


def nothing(side: int, note: str) -> Prepared:
    """The form of an image on which no digit is."""
    return Prepared(np.zeros((side, side, 1), np.uint8), note)


def _thickened(ink: NDArray[np.float32], box: int) -> NDArray[np.float32]:
    """Strokes of at least THINNEST once they are scaled; the ink with room for that around it."""
    mask = ink >= 0.5
    if not mask.any():
        return ink
    # In a stroke of width w pixels lie w / 4 + 0.5 from the nearest one beside it, in the mean.
    width = 4 * float(ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1][mask].mean()) - 2
    wanted = THINNEST * max(ink.shape) / box
    radius = (wanted - width) / 2
    if radius <= 0:
        return ink
    room = math.ceil(radius)
    padded = np.pad(ink, room)
    distance = ndimage.distance_transform_edt(np.pad(~mask, room, constant_values=True))
    return np.asarray(np.maximum(padded, np.clip(radius + 1 - distance, 0, 1)), np.float32)


def _scaled(ink: NDArray[np.float32], box: int) -> NDArray[np.float32]:
    """The ink, antialiased, its longer side that of the box; its strongest pixel is white."""
    height, width = ink.shape
    factor = box / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    scaled = np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.BILINEAR), np.float32)
    return np.asarray(np.clip(scaled / max(float(scaled.max()), 1e-6), 0, 1), np.float32)


def _centred(ink: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    """The ink in its field, the centre of mass in the middle, as far as it stays whole."""
    image = np.zeros((side, side), np.uint8)
    places = []
    for axis, length in enumerate(ink.shape):
        mass = ink.sum(axis=1 - axis) if side > FULL_SIDE else np.ones(length)
        centre = float((mass * (np.arange(length) + 0.5)).sum() / mass.sum())
        # Rounded up: the centres of MNIST's test images lie between 14.0 and 15.0, where 14 is the middle of the field.
        places.append(min(max(math.ceil(side / 2 - centre), 0), side - length))
    (top, left), (height, width) = places, ink.shape
    image[top : top + height, left : left + width] = np.round(255 * ink)
    return image
