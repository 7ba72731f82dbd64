"""Prepares an image of a digit the way MNIST's images were prepared.

LeCun, Bottou, Bengio and Haffner (1998, Gradient-based learning applied to document recognition, III.A) scaled bilevel
images to fit into 20x20 pixels with their aspect ratio kept, which left grey levels from antialiasing, and placed each
in a field of 28x28 with its centre of mass in the middle. Photos and scans show dark ink on uneven paper, so the ink is
found first (ink.py). One step is added: strokes much thinner than MNIST's would vanish in 20x20, so they are thickened
before scaling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from digitsweep.prediction.images import Grey
from digitsweep.prediction.ink import find_ink, stroke_width

SIDE, BOX = 28, 20
"""Pixels: MNIST's field, and the square in it that holds the ink."""
FULL_SIDE = 8
"""Pixels. scikit-learn's digits have this side. Their ink fills the field and is centred by its bounding box: it was
scaled to 32x32, then reduced by 4x4."""
THINNEST = 1.5
"""Pixels of BOX. One in twenty of MNIST's images has thinner strokes (the first 400 test images, enlarged eight times).
Of 300 test images redrawn with a line a third of a pixel wide, the best network of mnist.yaml reads 293 correctly without
thickening and is unsure of 27; with it, 296 and 8. Widths of 2.0 and 2.5 are no better."""

TINY = 1e-6
"""Pixels."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image in the form that a model takes."""

    image: NDArray[np.uint8]
    """(side, side, 1): white ink on black; all black if there is no ink."""
    note: str = ""
    """Why this is not one digit; empty if it may be one."""
    plain: bool = True
    """Whether the ink is on plain paper."""


def prepare(pixels: Grey, side: int = SIDE) -> Prepared:
    """Prepares grey levels (height, width) from 0 to 255, dark on light or light on dark, for a model."""
    found = find_ink(pixels)
    if found.ink is None:
        return nothing(side, found.note)
    box = side if side <= FULL_SIDE else max(1, round(side * BOX / SIDE))
    scaled = _scaled(_thickened(found.ink, box), box)
    return Prepared(_centred(scaled, side)[..., None], found.note, found.plain)


def nothing(side: int, note: str) -> Prepared:
    """An image without ink, and the reason."""
    return Prepared(np.zeros((side, side, 1), np.uint8), note)


def _thickened(ink: NDArray[np.float32], box: int) -> NDArray[np.float32]:
    """The ink, with strokes of at least THINNEST after scaling, and with the margin that this needs."""
    mask = ink >= 0.5
    if not mask.any():
        return ink
    width = stroke_width(mask)
    wanted = THINNEST * max(ink.shape) / box
    radius = (wanted - width) / 2
    if radius <= 0:
        return ink
    room = math.ceil(radius)
    padded = np.pad(ink, room)
    distance = ndimage.distance_transform_edt(np.pad(~mask, room, constant_values=True))
    return np.asarray(np.maximum(padded, np.clip(radius + 1 - distance, 0, 1)), np.float32)


def _scaled(ink: NDArray[np.float32], box: int) -> NDArray[np.float32]:
    """The ink scaled so that its longer side fills the box, antialiased; its strongest pixel is white."""
    height, width = ink.shape
    factor = box / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    scaled = np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.BILINEAR), np.float32)
    return np.asarray(np.clip(scaled / max(float(scaled.max()), 1e-6), 0, 1), np.float32)


def _centred(ink: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    """The ink with its centre of mass in the middle of the field, or as near to it as the ink fits."""
    image = np.zeros((side, side), np.uint8)
    places = []
    for axis, length in enumerate(ink.shape):
        mass = ink.sum(axis=1 - axis, dtype=np.float64) if side > FULL_SIDE else np.ones(length)
        centre = float((mass * (np.arange(length) + 0.5)).sum() / mass.sum())
        # Rounded up: the centres of mass of MNIST's test images lie between 14.0 and 15.0; 14 is the middle of the field.
        # Symmetric ink is exactly in the middle, whichever way its sums were rounded.
        places.append(min(max(math.ceil(side / 2 - centre - TINY), 0), side - length))
    (top, left), (height, width) = places, ink.shape
    image[top : top + height, left : left + width] = np.round(255 * ink)
    return image
