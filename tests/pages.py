"""Pages to draw on, of made networks, as files for a browser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from networks import shuffled

from digitsweep.families import Params
from digitsweep.families.build import network
from digitsweep.prediction.browser import network_of, page_of
from digitsweep.registry.recipe import Recipe
from digitsweep.report.drawing import Examples

DIGITS = tuple("0123456789")


def made(params: Params, shape: tuple[int, int, int] = (28, 28, 1), classes: int = 10, seed: int = 1) -> Any:
    """The network of a configuration, with random weights and what training would have changed."""
    return shuffled(network(params, shape, classes), seed)


def wrote(
    folder: Path,
    models: dict[str, Any],
    names: Sequence[str] = DIGITS,
    examples: Examples | None = None,
    recipe: Recipe | None = None,
) -> Path:
    """The page of some networks, as a file; without a recipe, of digits."""
    path, networks = folder / "draw.html", [network_of(model, name) for name, model in models.items()]
    path.write_bytes(page_of(networks, tuple(names), recipe or Recipe("digits", networks[0].shape[0]), "digits", examples))
    return path
