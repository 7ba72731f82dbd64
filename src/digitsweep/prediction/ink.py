"""Finds the ink in a grey image: dark on light or light on dark, in uneven light, with noise and specks of dirt.

The paper is estimated twice: as a smooth surface through the image's border, then as the local mean of everything that
is not ink. Ink is what differs from the paper by more than the noise. The thresholds are fractions of the ink's own
strength, with hysteresis (Canny 1986): the faint end of a stroke is kept, an equally faint speck elsewhere is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from digitsweep.prediction.images import Grey

Mask = NDArray[np.bool_]

EIGHT = np.ones((3, 3), np.bool_)
"""Pixels that share an edge or a corner are connected."""

NOTHING = "not a digit: no clear ink"

LEAST_CONTRAST = 12.0
"""Grey levels. Ink differs from the paper by at least this much."""
NOISE = 8.0
"""Standard deviations of the paper's noise that ink differs by, at least. Noise that a camera has clipped at white is
skewed and reaches 7.7 of its own deviations on empty pages. On such pages (100x100, 150x300 and 300x200 pixels; white, grey
and black; deviations of 3 to 30) ink was found on 77 of 360 at a threshold of 5, and on none of 540 at 8."""
GRAIN = 2.0
"""Grey levels. Stronger noise is smoothed down to this deviation."""
STRONG, WEAK = 0.5, 0.3
"""Fractions of the ink's strength: a stroke contains a strong pixel, and extends over all weak pixels connected to it."""
LEAST_EXTENT = 1 / 40
"""Fraction of the image's longer side. Anything smaller is dirt, even if there is nothing else."""
SPECK = 0.04
"""Fraction of the largest part's area. Smaller parts are dirt."""
GAP = 2.5
"""Stroke widths. Parts no farther apart than this may be dashes of one stroke. Of 600 digits broken by one to five cuts, 516
are taken for one digit (423 if no gaps are closed); of 240 pairs of digits 16 (12, all of them in tightly set print)."""
BESIDE, ABOVE = 0.6, 0.4
"""Fractions of the height of all ink. Two parts this tall, side by side or one above the other, are digits, not dashes."""
MARKED = 0.01
"""Fraction of the image. If more than this is neither ink nor paper, that is lighter or darker than the paper by WEAK, the
image is not ink on plain paper. Specks and noise covered at most 0.3 % of all but one of 789 pages with a digit or a letter;
parts of a photograph and of an X-ray image are covered by 4 % and 2 % in the median."""


@dataclass(frozen=True, eq=False)
class Found:
    """The ink of an image."""

    ink: NDArray[np.float32] | None
    """(height, width), cropped to the ink, from 0, paper, to 1, full ink; None if there is no ink."""
    note: str = ""
    """Why this is not one digit; empty if it may be one."""
    plain: bool = True
    """Whether the rest of the image is plain paper."""


def find_ink(pixels: Grey) -> Found:
    """The ink in grey levels (height, width) from 0 to 255, dark on light or light on dark."""
    strength = _strength(pixels)
    if strength is None:
        return Found(None, NOTHING)
    strong = strength >= STRONG
    mask = ndimage.binary_propagation(strong, mask=strength >= WEAK, structure=EIGHT)
    kept, framing, note = _belonging(mask)
    rows, columns = (np.flatnonzero((kept & strong).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return Found(None, NOTHING)
    crop = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    near = ndimage.binary_dilation(kept[crop], EIGHT)
    ink = np.where(near, np.clip(strength[crop], 0, 1), 0).astype(np.float32)
    rest = np.abs(strength[~framing & ~ndimage.binary_dilation(kept, EIGHT, iterations=2)])
    plain = (rest > WEAK).sum() <= MARKED * (~framing).sum()
    return Found(ink, note or _shape_note(ink), bool(plain))


def _strength(pixels: Grey) -> NDArray[np.float32] | None:
    """The strength of the ink in each pixel, about 1 for full ink; None if nothing differs enough from the paper."""
    smoothed = _smoothed(pixels)
    paper = _surface(smoothed)
    difference = smoothed - paper
    # Ink differs from the paper in one direction, noise in both: the skew gives the polarity.
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
    """Smoothed as far as the noise requires, but not so far that strokes of this image's size would blur."""
    steps = np.concatenate([np.abs(np.diff(pixels, axis=axis)).ravel() for axis in (0, 1)])
    grain = 1.4826 * float(np.median(steps)) / math.sqrt(2) if steps.size else 0.0
    # Smoothing white noise of deviation s with a Gaussian of radius r leaves a deviation of s / (2 sqrt(pi) r).
    radius = min(grain / (2 * math.sqrt(math.pi) * GRAIN), min(pixels.shape) / 100)
    return np.asarray(ndimage.gaussian_filter(pixels, radius), np.float32) if radius > 0.25 else pixels


def _border(shape: tuple[int, ...]) -> Mask:
    """The outermost pixels, 1/25 of each side."""
    rows, columns = (max(1, round(length / 25)) for length in shape)
    border = np.ones(shape, np.bool_)
    border[rows : -rows or None, columns : -columns or None] = False
    return border


def _surface(pixels: Grey) -> NDArray[np.float32]:
    """The paper as a quadratic surface, fitted to the border first, then to every pixel close to the last fit."""
    step = max(1, max(pixels.shape) // 128)
    small = pixels[::step, ::step]
    border = _border(small.shape)
    middle = float(np.median(small[border]))
    spread = float(np.median(np.abs(small[border] - middle)))
    # Ink that reaches the border must not bend the surface.
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
    """The mean of the paper around each pixel; where there is only ink around, the surface given."""
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
    """The standard deviation of the paper's noise: the larger of two estimates, from pixels on the side of the paper
    away from the ink, and from the border, because noise that a camera has clipped at white is on one side only."""
    beyond, border = difference[difference <= 0], difference[_border(difference.shape)]
    deviations = [float(np.median(-beyond))] if len(beyond) else []
    deviations.append(float(np.median(np.abs(border - np.median(border)))))
    return 1.4826 * max(deviations)


def _belonging(mask: Mask) -> tuple[Mask, Mask, str]:
    """The ink without frames and specks, the frames, and a note if the ink is more than one digit."""
    labels, count = ndimage.label(mask, EIGHT)
    if count == 0:
        return mask, mask, ""
    boxes = np.array([[[each.start, each.stop] for each in box] for box in ndimage.find_objects(labels)]).swapaxes(1, 2)
    framing = _frames(labels, count)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = 0
    if 0 < framing.sum() < count and areas[~framing].max() >= SPECK * areas.max() / 2:
        areas[framing] = 0
    areas[1:][_lengths(boxes).max(axis=1) < LEAST_EXTENT * max(mask.shape)] = 0
    chosen = np.flatnonzero(areas >= max(1.0, SPECK * areas.max()))
    if not len(chosen):
        return np.zeros_like(mask), framing[labels], ""
    whole = _joint(boxes[chosen - 1])
    # A part too small to count, but between strokes, belongs to them.
    inside = ((boxes[:, 0] >= whole[0]) & (boxes[:, 1] <= whole[1])).all(axis=1)
    between = 1 + np.flatnonzero((areas[1:] > 0.2 * SPECK * areas.max()) & (areas[1:] < SPECK * areas.max()) & inside)
    kept = np.isin(labels, [*chosen, *between])
    (top, left), (bottom, right) = whole
    separate = _digits(_without_gaps(labels[top:bottom, left:right], chosen, boxes[chosen - 1]))
    several = f"not a digit: {separate} separate parts; crop the image to one digit" if separate > 1 else ""
    return kept, framing[labels], several


def _frames(labels: NDArray[np.int32], count: int) -> Mask:
    """Which labels are the dark edge of a photo or scan: those that cover most of one side of the image."""
    framing = np.zeros(count + 1, np.bool_)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        framing |= np.bincount(edge, minlength=count + 1) > 0.5 * len(edge)
    framing[0] = False
    return framing


Box = NDArray[np.intp]
"""(2, 2): the first row and column of a part, and the row and column after its last. (n, 2, 2) for several parts."""


def _joint(boxes: Box) -> Box:
    return np.stack([boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)])


def _lengths(boxes: Box) -> NDArray[np.intp]:
    """Heights and widths: (n, 2)."""
    return np.asarray(boxes[:, 1] - boxes[:, 0])


def _gaps(first: Box, second: Box) -> NDArray[np.intp]:
    """The distances between two parts down and across; negative where they overlap."""
    return np.asarray(np.maximum(first[0], second[0]) - np.minimum(first[1], second[1]))


def stroke_width(mask: Mask) -> float:
    """The mean width of the strokes, in pixels."""
    # In a stroke of width w, the mean distance of its pixels to the nearest pixel outside it is w / 4 + 0.5.
    return 4 * float(ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1][mask].mean()) - 2


def _without_gaps(labels: NDArray[np.int32], chosen: NDArray[np.intp], boxes: Box) -> list[Box]:
    """The boxes of the chosen labels; dashes of one stroke have one box together."""
    if len(chosen) == 1:
        return [*boxes]
    ink = np.isin(labels, chosen)
    # Two parts are linked if their surroundings of half a gap touch.
    near = ndimage.distance_transform_edt(~ink) <= max(1.0, GAP * stroke_width(ink) / 2)
    linked = ndimage.maximum(ndimage.label(near, EIGHT)[0], labels, chosen)
    found: list[Box] = []
    for group in np.unique(linked):
        together = boxes[linked == group]
        dashes = not any(_two_digits(*pair, len(labels)) for pair in combinations(together, 2))
        found += [_joint(together)] if dashes else [*together]
    return found


def _two_digits(first: Box, second: Box, height: int) -> bool:
    """Whether two parts are too tall to be dashes of one digit."""
    least = BESIDE if _gaps(first, second)[0] < 0 else ABOVE
    return bool(_lengths(np.stack([first, second]))[:, 0].min() >= least * height)


def _digits(boxes: list[Box]) -> int:
    """How many groups of parts lie apart as digits do: side by side or one above the other, each of them tall.

    Of MNIST's 10,000 test images, each of a single digit, 2 have two."""
    groups: list[Box] = []
    for box in sorted(boxes, key=lambda each: int(each[0, 1])):
        together = next((index for index, each in enumerate(groups) if not _apart(each, box)), None)
        if together is None:
            groups.append(box)
        else:
            groups[together] = _joint(np.stack([groups[together], box]))
    return len(groups)


def _apart(first: Box, second: Box) -> bool:
    """Whether two boxes hold two digits rather than two strokes of one digit."""
    lengths, gap = _lengths(np.stack([first, second])), _gaps(first, second).max()
    heights = lengths[:, 0]
    similar = heights.min() >= 0.5 * heights.max()
    return bool(gap > 0.6 * lengths.max() or (similar and gap > 0.1 * heights.max()))


def _shape_note(ink: NDArray[np.float32]) -> str:
    """A note if the ink has a shape that no digit has."""
    height, width = ink.shape
    if width > 2.5 * height:
        return "not a digit: horizontal line"
    if float(ink.mean()) > 0.9 and width > 0.6 * height:
        return "not a digit: filled shape"
    return ""
