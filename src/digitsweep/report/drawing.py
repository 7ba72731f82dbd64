"""A page to draw on: networks read what is drawn, in the browser, without a server."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digitsweep.families import Shape
from digitsweep.report.page import environment, script_digest
from digitsweep.report.plots.style import COLORS

DRAWING = "draw.html"
SCRIPTS = ("network.js", "ink.js", "draw.js")
LARGEST = 32767
"""The largest integer of 16 bits."""


@dataclass(frozen=True, eq=False)
class Step:
    """One layer, as `templates/network.js` computes it."""

    operation: str
    """A function of OPERATIONS in `network.js`."""
    inputs: tuple[int, ...]
    """The values that it works on: 0 is the image, 1 what the first step gives, and so on."""
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Numbers and words."""
    weights: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Network:
    """A network from an image, 0 to 255, to the probabilities of its classes."""

    name: str
    """What people read."""
    shape: Shape
    """Of an image."""
    steps: Sequence[Step]

    @property
    def classes(self) -> int:
        return int(self.steps[-1].output_shape[-1])


@dataclass(frozen=True, eq=False)
class Examples:
    """Test images that all networks get wrong."""

    indices: Sequence[int]
    """In the test set, from 0."""
    images: NDArray[np.uint8]
    """(n, height, width, channels)"""
    labels: NDArray[np.uint8]
    """The true ones, (n,)."""


def drawing_page(
    networks: Sequence[Network],
    class_names: Sequence[str],
    *,
    data: str,
    unsure: float,
    fit: str = "",
    examples: Examples | None = None,
) -> bytes:
    """The page, which needs nothing else: it carries the networks and what computes them.

    class_names: in the order of the labels. data: its name. unsure: readings with less confidence are. fit: how an image
    becomes square, `letterbox` or `crop`; empty if images are drawn, and prepared as `predict` prepares digits."""
    weights = bytearray()
    described = {
        "networks": [
            {"name": each.name, "shape": each.shape, "steps": [_described(step, weights) for step in each.steps]}
            for each in networks
        ],
        "names": list(class_names),
        "unsure": unsure,
        "fit": fit,
        "examples": [
            {"index": int(index), "label": int(label), "shape": image.shape, "pixels": _base64(image.tobytes())}
            for index, label, image in zip(examples.indices, examples.labels, examples.images, strict=True)
        ]
        if examples is not None
        else [],
    }
    found = environment()
    script = "\n".join(found.get_template(each).render() for each in SCRIPTS)
    values = {
        "data": data,
        "described": described,
        "tones": list(COLORS),
        "weights": _base64(weights),
        "script": script,
        "script_digest": script_digest(script),
    }
    return found.get_template(f"{DRAWING}.jinja").render(values).encode()


def _described(step: Step, weights: bytearray) -> dict[str, Any]:
    """A step without its weights, which are added to `weights`. Of each it keeps where they begin there, how many scales
    come first, and how many numbers follow: integers of 16 bits if there are scales, else floats of 32 bits."""
    places = {}
    for name, values in step.weights.items():
        scales, numbers = _packed(values)
        places[name] = (len(weights), scales.size, numbers.size)
        weights += scales.tobytes() + numbers.tobytes()
        weights += bytes(-len(weights) % 4)  # a browser reads 32 bits from multiples of 4 only
    return {
        "op": step.operation,
        "from": step.inputs,
        "input": step.input_shape,
        "output": step.output_shape,
        **step.settings,
        "weights": places,
    }


def _packed(values: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32] | NDArray[np.int16]]:
    """The scales and the numbers whose products are the weights. A kernel has a scale for each unit or filter, which makes
    integers of 16 bits about five times as exact as floats of 16 bits. Biases and the like have no scale."""
    if values.ndim == 1:
        return np.empty(0, "<f4"), values.astype("<f4")
    largest = np.abs(values).max(axis=tuple(range(values.ndim - 1)))
    scales = np.maximum(largest / LARGEST, np.finfo(np.float32).tiny).astype("<f4")  # not 0, which divides
    return scales, np.rint(values / scales).astype("<i2")


def _base64(content: bytes | bytearray) -> str:
    return base64.b64encode(content).decode()
