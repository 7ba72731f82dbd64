"""What a registered model's tags say about its images: how they were prepared, and the names of their classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from digitsweep.data import Dataset
from digitsweep.data.preparation import is_ink
from digitsweep.data.sources import Wanted
from digitsweep.data.splits import has_names
from digitsweep.errors import InputError, printable
from digitsweep.registry.models import NamedModel

PREPARATION, CLASSES = "digitsweep.preparation", "digitsweep.classes"
"""Tags of a version and of a logged model: a Recipe, and the names of the classes in the order of the labels, as JSON."""


@dataclass(frozen=True)
class Recipe:
    """How an image is prepared for a model, which is how the model's training images were prepared."""

    kind: Literal["digits", "images"]
    """`digits`: the ink is found on its paper, scaled and centred, as MNIST was made. `images`: all of the image is used."""
    size: int
    """Width and height in pixels."""
    fit: Literal["letterbox", "crop"] = "letterbox"
    """How an image that is not square becomes square, as in an experiment's `data.fit`. Digits are not fitted."""
    channels: Literal[1, 3] = 1
    """1, grey; or 3, red, green and blue."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a prepared image: height, width and channels."""
        return self.size, self.size, self.channels


_RECIPE, _NAMES = TypeAdapter(Recipe), TypeAdapter(tuple[str, ...])


def recipe_of(dataset: Dataset) -> Recipe:
    """How an image is prepared to be like those of a dataset."""
    if dataset.preparation is not None:
        return _RECIPE.validate_python({"kind": "images", **asdict(dataset.preparation)})
    size, _, channels = dataset.training.shape
    kind = "digits" if is_ink(dataset.name, dataset.preparation) else "images"
    return _RECIPE.validate_python({"kind": kind, "size": size, "channels": channels})


def image_tags(dataset: Dataset) -> dict[str, str]:
    """The tags of a model of these images."""
    return {PREPARATION: json.dumps(asdict(recipe_of(dataset))), CLASSES: json.dumps(dataset.class_names)}


def image_metadata(tags: Mapping[str, str]) -> dict[str, Any]:
    """What the metadata of a model's files says, given its tags."""
    return {name.rpartition(".")[2]: json.loads(tags[name]) for name in (CLASSES, PREPARATION) if name in tags}


def tagged_recipe(found: NamedModel) -> Recipe | None:
    """The recipe in a model's tags; None if the model is older than the tag. Raises InputError if the tag is damaged."""
    if PREPARATION not in found.tags:
        return None
    try:
        return _RECIPE.validate_json(found.tags[PREPARATION], strict=True)
    except ValidationError:
        example = json.dumps(asdict(Recipe("images", 32, "letterbox", 3)))
        raise _damaged(found, PREPARATION, f"JSON such as {example}") from None


def tagged_class_names(found: NamedModel) -> tuple[str, ...] | None:
    """The names of a model's classes; None if the model is older than the tag. Raises InputError if the tag is damaged."""
    if CLASSES not in found.tags:
        return None
    try:
        return tuple(map(printable, _NAMES.validate_json(found.tags[CLASSES])))
    except ValidationError:
        raise _damaged(found, CLASSES, "a JSON array of names") from None


def wanted_by(found: NamedModel) -> Wanted:
    """How the images of a model were prepared, and are to be prepared again."""
    recipe, names = tagged_recipe(found), tagged_class_names(found)
    classes = names if names and has_names(names) else ()
    return Wanted(recipe.size, recipe.fit, classes) if recipe is not None else Wanted(classes=classes)


def _damaged(found: NamedModel, tag: str, rule: str) -> InputError:
    value = found.tags[tag]
    return InputError(f"{found.label}: the tag {tag} must be {rule}, but is {value!r:.200}; register the model again")
