"""Any image as grey levels: colour, transparency, palettes, 1 to 32 bits."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.float32]
"""(height, width), from 0, black, to 255, white."""

MOST_SIDE = 1024
"""Larger images are made smaller: a digit needs no more."""


def grey(image: Image.Image) -> Grey:
    """Any mode as grey levels; what is transparent shows the paper that belongs to it."""
    if image.mode.startswith(("I", "F")):
        wide = image if image.mode in ("I", "F") else image.convert("I")
        return levels(np.asarray(reduced(wide), np.float32), floating=image.mode == "F")
    if image.has_transparency_data:
        both = reduced(image.convert("RGBA")).convert("LA")
        ink, alpha = (np.asarray(each, np.float32) for each in both.split())
        return _on_paper(ink, alpha / np.float32(255))
    try:
        plain = image.convert("L")
    except ValueError:  # a mode that Pillow does not convert, LAB: its first channel is the lightness
        plain = image.getchannel(0)
    return np.asarray(reduced(plain), np.float32)


def levels(values: NDArray[np.float32], *, floating: bool) -> Grey:
    """Numbers of any depth on the scale from 0 to 255; a 12-bit camera fills 12 of 16 bits."""
    values = np.nan_to_num(values)
    values = values - min(0.0, float(values.min()))
    top = float(values.max())
    # As many bits as the brightest needs, but for eight at least.
    full = 1.0 if floating and top <= 1 else 2.0 ** max(8, math.ceil(math.log2(top + 1))) - 1
    return (values * np.float32(255 / full)).clip(0, 255).astype(np.float32)


def reduced(image: Image.Image) -> Image.Image:
    """The image, or a smaller one of at most MOST_SIDE pixels a side."""
    factor = math.ceil(max(image.size) / MOST_SIDE)
    return image.reduce((min(factor, image.width), min(factor, image.height))) if factor > 1 else image


def _on_paper(grey: Grey, alpha: Grey) -> Grey:
    """Ink on transparent ground lies on white where it is dark, on black where it is light; a page keeps its paper."""
    if not alpha.any():
        return np.full_like(grey, 255)
    edge = np.ones(grey.shape, bool)
    edge[1:-1, 1:-1] = False
    if alpha[edge].mean() < 0.5:
        paper = 255.0 if np.average(grey, weights=alpha) < 128 else 0.0
    else:
        paper = float(np.median(grey[edge & (alpha > 0.5)]))
    return (grey * alpha + paper * (1 - alpha)).astype(np.float32)
