"""Brings a person's images into the forms that models take, one at a time: a long scan is never in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digitsweep.errors import InputError
from digitsweep.prediction.images import Unreadable, files_of, levels_of, pages_of, read_pages, shown
from digitsweep.prediction.preparing import Prepared, prepare
from digitsweep.prediction.whole import whole_array, whole_file
from digitsweep.registry.recipe import Recipe

Given = str | Path | NDArray[Any]
"""A file, a folder of images, or an array."""
Form = tuple[str, int, Mapping[Recipe, Prepared]]
"""Source and page of an image, and its prepared form by the recipe."""
FIRST_ONLY = "not read: this model reads only the first page of a file"


def forms_of(given: Iterable[Given], unreadable: Mapping[Recipe, list[Unreadable]]) -> Iterator[Form]:
    """The forms of all images for the recipes in `unreadable`, whose lists get the files and pages that cannot be read.

    Raises InputError for an array that is no image."""
    for number, each in enumerate(given):
        for source, image in _images(each, number):
            streams = [_prepared(source, image, recipe) for recipe in unreadable]
            for page, found in enumerate(zip_longest(*streams), start=1):
                prepared = {}
                for recipe, one in zip(unreadable, found, strict=True):
                    if isinstance(one, Unreadable):
                        unreadable[recipe].append(one)
                        prepared[recipe] = _blank(recipe, f"unreadable: {one.reason}")
                    else:
                        prepared[recipe] = one or _blank(recipe, FIRST_ONLY)
                yield source, page, prepared


def _images(given: Given, number: int) -> Iterator[tuple[str, Path | NDArray[Any] | Unreadable]]:
    """Each array and file, by its source."""
    if isinstance(given, np.ndarray):
        yield f"array {number}", given
        return
    try:
        files = files_of(Path(given))
    except InputError as error:
        yield str(given), Unreadable(str(given), 1, str(error))
    else:
        for path in files:
            yield shown(path), path


def _prepared(source: str, image: Path | NDArray[Any] | Unreadable, recipe: Recipe) -> Iterator[Prepared | Unreadable]:
    """The pages of a file, or the images in an array. Of a whole image, only the first page."""
    if isinstance(image, Unreadable):
        yield image
    elif recipe.kind == "digits":
        pages = pages_of(image, source) if isinstance(image, np.ndarray) else read_pages(image)
        for page in pages:
            yield page if isinstance(page, Unreadable) else prepare(page.pixels, recipe.size)
    elif isinstance(image, np.ndarray):
        for levels in levels_of(image, source):
            yield Prepared(whole_array(levels, recipe))
    else:
        try:
            yield Prepared(whole_file(image, recipe))
        except InputError as error:
            yield Unreadable(source, 1, str(error))


def _blank(recipe: Recipe, note: str) -> Prepared:
    return Prepared(np.zeros(recipe.shape, np.uint8), note)
