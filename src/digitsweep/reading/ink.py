"""Where the ink is in a grey image, whatever the paper: its polarity, its light, its noise and its specks.

The paper is a surface through the border first, then a smooth mean of what is not ink; what differs from it by more than
noise does is ink. Thresholds are shares of the ink's own strength, with hysteresis (Canny 1986): the faint end of a stroke
stays, equally faint dirt elsewhere goes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from digitsweep.reading.grey import Grey

Mask = NDArray[np.bool_]

NOTHING = "no digit: nothing is written there"

LEAST_CONTRAST = 12.0
"""Grey levels: what differs less from its paper is no ink."""
NOISE = 8.0
"""Ink differs by at least as many standard deviations of the paper's noise. Noise that a camera has cut off at white is
lopsided, and reaches 7.7 of its own on empty pages. Of such (100x100, 150x300 and 300x200 pixels; white, grey and black;
deviations of 3 to 30) 77 of 360 had something written on them at 5, none of 540 at 8."""
GRAIN = 2.0
"""Grey levels: what noise is smoothed down to."""
STRONG, WEAK = 0.5, 0.3
"""Shares of the ink's strength from which on a stroke begins, and as far as it goes."""
LEAST_EXTENT = 1 / 40
"""Of the image's longer side: what is smaller is dirt, even where there is nothing else."""
SPECK = 0.04
"""Of the largest ink's area: what is smaller is dirt."""


@dataclass(frozen=True, eq=False)
class Found:
    """The ink of an image."""

    ink: NDArray[np.float32] | None
    """Cropped to it: 0 where there is none, 1 where it is full; None where nothing is written."""
    note: str = ""
    """Why it does not look like one digit."""


def find_ink(pixels: Grey) -> Found:
    """Finds the ink in grey levels (height, width), dark on light or light on dark."""
    strength = _strength(pixels)
    if strength is None:
        return Found(None, NOTHING)
    strong = strength >= STRONG
    mask = ndimage.binary_propagation(strong, mask=strength >= WEAK, structure=np.ones((3, 3)))
    kept, note = _belonging(mask)
    rows, columns = (np.flatnonzero((kept & strong).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return Found(None, NOTHING)
    crop = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    near = ndimage.binary_dilation(kept[crop], np.ones((3, 3)))
    ink = np.where(near, np.clip(strength[crop], 0, 1), 0).astype(np.float32)
    return Found(ink, note or _shape_note(ink))


def _strength(pixels: Grey) -> NDArray[np.float32] | None:
    """How much of each pixel is ink, 1 where it is full; None where nothing stands out from the paper."""
    smoothed = _smoothed(pixels)
    paper = _surface(smoothed)
    difference = smoothed - paper
    # Ink is what differs on one side only, noise does on both.
    spread = float(np.abs(difference).max())
    if spread < LEAST_CONTRAST:
        return None
    sign = 1.0 if float(((difference / spread) ** 3).sum()) > 0 else -1.0
    level = 0.0
    for _ in range(2):
        difference = sign * (smoothed - paper)
        noise = _noise(difference)
        least = max(LEAST_CONTRAST, NOISE * noise)
        candidates = difference >= least
        if candidates.sum() < 2:
            return None
        level = float(np.percentile(difference[candidates], 80))
        inked = ndimage.binary_dilation(difference >= max(least, WEAK * level), iterations=2)
        paper = _local_paper(smoothed, paper, inked)
    difference = sign * (smoothed - paper)
    noise = _noise(difference)
    floor = min(max(2 * noise, 0.1 * level), 0.25 * level)
    return ((difference - floor) / (level - 2 * floor)).astype(np.float32)


def _smoothed(pixels: Grey) -> Grey:
    """Smoothed as far as its grain asks for it, and its size allows it: strokes stay."""
    steps = np.concatenate([np.abs(np.diff(pixels, axis=axis)).ravel() for axis in (0, 1)])
    grain = 1.4826 * float(np.median(steps)) / math.sqrt(2) if steps.size else 0.0
    # White noise of a deviation s has s / (2 sqrt(pi) r) left when it is smoothed over a radius r.
    radius = min(grain / (2 * math.sqrt(math.pi) * GRAIN), min(pixels.shape) / 100)
    return np.asarray(ndimage.gaussian_filter(pixels, radius), np.float32) if radius > 0.25 else pixels


def _border(shape: tuple[int, ...]) -> Mask:
    """The outermost pixels: a twenty-fifth of each side."""
    rows, columns = (max(1, round(length / 25)) for length in shape)
    border = np.ones(shape, np.bool_)
    border[rows : -rows or None, columns : -columns or None] = False
    return border


def _surface(pixels: Grey) -> NDArray[np.float32]:
    """The paper as a surface of second order: through the border first, then through all that lies on it."""
    step = max(1, max(pixels.shape) // 128)
    small = pixels[::step, ::step]
    border = _border(small.shape)
    middle = float(np.median(small[border]))
    spread = float(np.median(np.abs(small[border] - middle)))
    # What is written up to the edge must not bend the paper.
    kept = border & (np.abs(small - middle) <= max(4 * spread, LEAST_CONTRAST))
    terms = np.stack([np.broadcast_to(each, small.shape) for each in _terms(small.shape)], axis=-1)
    factors = np.array([middle, 0, 0, 0, 0, 0])
    for _ in range(4):
        if kept.sum() < 2 * len(factors):
            factors = np.array([middle, 0, 0, 0, 0, 0])
            break
        factors, *_ = np.linalg.lstsq(terms[kept], small[kept], rcond=None)
        away = np.abs(small - terms @ factors)
        kept = away <= max(3 * float(np.median(away[border])), LEAST_CONTRAST / 2)
    fitted = sum(factor * each for factor, each in zip(factors, _terms(pixels.shape), strict=True))
    return np.asarray(np.broadcast_to(fitted, pixels.shape), np.float32)


def _terms(shape: tuple[int, ...]) -> list[NDArray[np.float64]]:
    y, x = np.linspace(-1, 1, shape[0])[:, None], np.linspace(-1, 1, shape[1])[None]
    return [np.ones((1, 1)), y, x, y * x, y * y, x * x]


def _local_paper(pixels: Grey, paper: Grey, inked: Mask) -> Grey:
    """The mean of the paper around each pixel, without the ink; where all around is ink, the surface."""
    step = max(1, max(pixels.shape) // 128)
    free = (~inked).astype(np.float32)
    both = [_shrunk(each, step) for each in (free, (pixels - paper) * free)]
    weight, mean = (ndimage.gaussian_filter(each, max(each.shape) / 16, truncate=2.5) for each in both)
    local = Image.fromarray(mean / np.maximum(weight, 0.05)).resize(pixels.shape[::-1], Image.Resampling.BILINEAR)
    return np.asarray(paper + np.asarray(local, np.float32), np.float32)


def _shrunk(values: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    height, width = values.shape
    return np.asarray(Image.fromarray(values).reduce((min(step, width), min(step, height))), np.float32)


def _noise(difference: NDArray[np.float32]) -> float:
    """The standard deviation of the paper: from the pixels that lie beyond it, where no ink is, and from those of the
    border, since noise that a camera has cut off at white lies on one side only."""
    beyond, border = difference[difference <= 0], difference[_border(difference.shape)]
    deviations = [float(np.median(-beyond))] if len(beyond) else []
    deviations.append(float(np.median(np.abs(border - np.median(border)))))
    return 1.4826 * max(deviations)


def _belonging(mask: Mask) -> tuple[Mask, str]:
    """The ink that is written, without frames and specks, and a note where it is several inks."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    if count == 0:
        return mask, ""
    framing = _frames(labels, count)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = 0
    if 0 < framing.sum() < count and areas[~framing].max() >= SPECK * areas.max() / 2:
        areas[framing] = 0
    boxes = ndimage.find_objects(labels)
    least = LEAST_EXTENT * max(mask.shape)
    areas[1:][[max(_length(each) for each in box) < least for box in boxes]] = 0
    chosen = np.flatnonzero(areas >= max(1.0, SPECK * areas.max()))
    if not len(chosen):
        return np.zeros_like(mask), ""
    kept = np.isin(labels, chosen)
    # What is too small to count but lies between strokes is a piece of them.
    whole = _joint([boxes[each - 1] for each in chosen])
    for each in np.flatnonzero((areas > 0.2 * SPECK * areas.max()) & (areas < SPECK * areas.max())):
        box = boxes[each - 1]
        if all(inner.start >= outer.start and inner.stop <= outer.stop for inner, outer in zip(box, whole, strict=True)):
            kept |= labels == each
    return kept, _several([boxes[each - 1] for each in chosen])


def _frames(labels: NDArray[np.int32], count: int) -> Mask:
    """Which labels are the dark edge of a photo or a scan: they take most of a side of the image."""
    framing = np.zeros(count + 1, np.bool_)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        framing |= np.bincount(edge, minlength=count + 1) > 0.5 * len(edge)
    framing[0] = False
    return framing


Box = tuple[slice, slice]


def _joint(boxes: list[Box]) -> Box:
    rows, columns = ([box[axis] for box in boxes] for axis in (0, 1))
    return (
        slice(min(each.start for each in rows), max(each.stop for each in rows)),
        slice(min(each.start for each in columns), max(each.stop for each in columns)),
    )


def _several(boxes: list[Box]) -> str:
    """A note where inks lie apart as two digits do: side by side or one above the other, each of them tall.

    Of MNIST's 10,000 test images, written with one digit each, 5 get this note, and none another one."""
    groups: list[Box] = []
    for box in sorted(boxes, key=lambda each: each[1].start):
        together = next((index for index, each in enumerate(groups) if not _apart(each, box)), None)
        if together is None:
            groups.append(box)
        else:
            groups[together] = _joint([groups[together], box])
    if len(groups) < 2:
        return ""
    return f"no digit: {len(groups)} separate inks; give each digit an image of its own"


def _apart(first: Box, second: Box) -> bool:
    """Whether two boxes are those of two digits, not of two strokes of one."""
    tall = max(_length(first[0]), _length(second[0]))
    longest = max(_length(each) for box in (first, second) for each in box)
    across, down = (_gap(a, b) for a, b in zip(first[::-1], second[::-1], strict=True))
    if max(across, down) > 0.6 * longest:
        return True
    similar = min(_length(first[0]), _length(second[0])) >= 0.5 * tall
    return similar and (across > 0.1 * tall or down > 0.1 * tall)


def _length(extent: slice) -> int:
    return int(extent.stop - extent.start)


def _gap(first: slice, second: slice) -> int:
    return int(max(first.start, second.start) - min(first.stop, second.stop))


def _shape_note(ink: NDArray[np.float32]) -> str:
    """A note where one ink has a shape that no digit has."""
    height, width = ink.shape
    if width > 2.5 * height:
        return "no digit: a line that lies"
    if float(ink.mean()) > 0.9 and width > 0.6 * height:
        return "no digit: an area that is filled"
    return ""
