"""Classifies images: for each, the label that a registered model gives it, or the reason why it has none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from digitsweep.data.splits import default_names, has_names
from digitsweep.errors import InputError
from digitsweep.prediction.forms import Form, Given, forms_of
from digitsweep.prediction.images import Unreadable, is_folder
from digitsweep.prediction.reference import FILE, Reference
from digitsweep.registry.models import champions, find, load_with_file
from digitsweep.registry.recipe import CLASSES, Recipe, tagged_class_names, tagged_recipe
from digitsweep.report.format import listed, percent
from digitsweep.training.loop import probabilities

if TYPE_CHECKING:
    import keras

ACCURACY = "confirmation_val_accuracy"
"""Tag of a version, by which the champion is chosen that reads if nobody names a model."""
UNSURE = 0.8
"""Readings with less confidence are unsure. Of MNIST's 10,000 test images, the best network of mnist.yaml was unsure of
207, and 38 of the 46 images that it misread were among them (at 0.7: 115 and 32; at 0.9: 599 and 45)."""
UNFAMILIAR = "unfamiliar: not like the images this model was trained on"
BATCH = 256


@dataclass(frozen=True)
class Reading:
    """A model's reading of one image."""

    source: str
    page: int
    """From 1."""
    label: int | None
    """None if the file is unreadable, or holds no single digit for a model of digits."""
    confidence: float
    """The probability of the label; 0 without a label."""
    probabilities: tuple[float, ...]
    """Of each label; empty without a label."""
    note: str = ""
    """Why the reading is in doubt: `unsure: …` and `unfamiliar: …` with a label, `not a digit: …`, `not read: …` and
    `unreadable: …` without one; empty if there is no doubt."""
    class_names: tuple[str, ...] = ()
    """Of the model's classes, in the order of the labels; empty for digits, whose names are their labels."""

    @property
    def class_name(self) -> str | None:
        """The name of the label; None without a label."""
        return None if self.label is None else _name(self.label, self.class_names)

    @property
    def doubtful(self) -> bool:
        return bool(self.note)


@dataclass(frozen=True)
class Answer:
    """The readings of all images, in the order given."""

    readings: tuple[Reading, ...]
    unreadable: tuple[Unreadable, ...]
    """The files and pages that could not be read. Their readings have no label."""
    many: bool
    """Whether a folder or a file of several pages was given."""

    def check(self) -> None:
        """Raises InputError, with a line for each, if there are files or pages that could not be read."""
        if self.unreadable:
            raise InputError("\n".join(map(str, self.unreadable)))


@dataclass(frozen=True)
class Disagreement:
    """An image that models read differently, or that at least one of them doubts."""

    readings: Mapping[str, Reading]
    """By the model's name, as it was given."""

    @property
    def place(self) -> tuple[str, int]:
        """Source and page of the image."""
        first = next(iter(self.readings.values()))
        return first.source, first.page

    @property
    def why(self) -> str:
        found = self.readings.values()
        if unread := [each.note for each in found if each.label is None]:
            return unread[0]
        if len({each.class_name for each in found}) > 1:
            return "they disagree"
        if any(each.note == UNFAMILIAR for each in found):
            return UNFAMILIAR
        unsure = [name for name, each in self.readings.items() if each.doubtful]
        if len(unsure) == len(found):
            return "both are unsure" if len(unsure) == 2 else "all are unsure"
        return f"{listed(unsure)} {'is' if len(unsure) == 1 else 'are'} unsure"


def predict(given: Given | Sequence[Given], model: str | None = None) -> list[Reading]:
    """Classifies the images in files, folders (all images in them, by name) and arrays.

    Images have any size. For a model of digits, each has one digit, dark on light or light on dark, and each page of a
    multi-page scan has a reading of its own. For any other model, an image is brought to the size and colour of the training
    images. Arrays are (height, width), (height, width, channels) with 1, 3 or 4 channels, or stacks of these; uint8, uint16,
    or float from 0 to 1 or from 0 to 255. `model` is NAME@ALIAS, NAME/VERSION or a model URI; without it, `best_champion`
    decides. Raises InputError if there is no such model, and, with a line for each, if files cannot be read; `read` returns
    the other readings in that case."""
    answer = read([given] if isinstance(given, str | Path | np.ndarray) else given, model or best_champion()[0])
    answer.check()
    return list(answer.readings)


def best_champion() -> tuple[str, str]:
    """The champion that reads if nobody names a model, as NAME@ALIAS, and a sentence on why: of the champions of one data
    set, the one with the best mean accuracy over its confirmation seeds. The test set plays no part.

    Raises InputError if there is no champion, or none that can be chosen."""
    found = champions()
    if len(found) == 1:
        (alone,) = found
        return alone, f"{alone} reads: it is the only champion."
    accuracies = {named: float(each.tags[ACCURACY]) for named, each in found.items() if ACCURACY in each.tags}
    if not accuracies:
        raise InputError(f"{', '.join(found)}: none has the tag {ACCURACY} to choose by; name one with --model")
    best = max(accuracies, key=accuracies.__getitem__)
    return (
        best,
        f"{best} reads: of {len(found)} champions, it has the best validation accuracy, {percent(accuracies[best])}.",
    )


def read(given: Iterable[Given], model: str) -> Answer:
    """Like `predict`, but a file that cannot be read gives a reading without a label instead of an error."""
    (answer,) = _answers(given, [model])
    return answer


def disagreements(given: Iterable[Given], named: Sequence[str] = ()) -> tuple[list[Disagreement], Answer]:
    """The images that a person should look at, and the last model's readings of all images, with the files that any model
    could not read.

    named: the models; without any, all champions of one data set. Raises InputError if these are not two different ones or
    more, or if there is no such model."""
    named = list(named) or list(champions())
    if len(set(named)) < max(len(named), 2):
        raise InputError(f"{' '.join(named)}: name two different models or more, each with --model")
    answers = _answers(given, named)
    images = zip(*(each.readings for each in answers), strict=True)
    read = (Disagreement(dict(zip(named, readings, strict=True))) for readings in images)
    found = [
        each
        for each in read
        if len({one.class_name for one in each.readings.values()}) > 1 or any(one.doubtful for one in each.readings.values())
    ]
    unreadable = {(each.source, each.page): each for answer in answers for each in answer.unreadable}
    return found, replace(answers[-1], unreadable=tuple(unreadable.values()))


def _answers(given: Iterable[Given], named: Sequence[str]) -> list[Answer]:
    """The readings of each model. Each image is prepared once for all models that take it in the same form."""
    given = list(given)
    models = [RegisteredModel.load(each) for each in named]
    readings: list[list[Reading]] = [[] for _ in models]
    unreadable: dict[Recipe, list[Unreadable]] = {each.recipe: [] for each in models}
    forms = forms_of(given, unreadable)
    while batch := list(islice(forms, BATCH)):
        for model, found in zip(models, readings, strict=True):
            found += model.read(batch)
    many = any(isinstance(each, str | Path) and is_folder(Path(each)) for each in given)
    many = many or any(each.page > 1 for each in readings[0])
    found_by = zip(models, readings, strict=True)
    return [Answer(tuple(found), tuple(unreadable[model.recipe]), many) for model, found in found_by]


@dataclass(frozen=True, eq=False)
class RegisteredModel:
    """A registered model, and what it says about its images."""

    network: keras.Model
    recipe: Recipe
    class_names: tuple[str, ...]
    """Empty for digits that are called by their labels."""
    reference: Reference | None
    """None if the model was registered without one."""

    @classmethod
    def load(cls, named: str) -> RegisteredModel:
        """Raises InputError if there is no such model, or if its network and its tags do not fit each other."""
        found = find(named)
        recipe, names = tagged_recipe(found), tagged_class_names(found)
        network, sheet = load_with_file(found.uri, FILE)
        shape, classes = network.input_shape[1:], network.output_shape[-1]
        if recipe is None:  # registered before there were any but digits
            if len(shape) != 3 or shape[0] != shape[1] or shape[2] != 1:
                raise InputError(
                    f"{named}: a model must take square grey images (side, side, 1), but this one takes {shape}"
                )
            recipe = Recipe("digits", shape[0])
        if shape != recipe.shape:
            raise InputError(
                f"{named}: a model must take images as they were prepared, {recipe.shape}, but this one takes {shape}; "
                "register it again"
            )
        names = default_names(classes) if names is None else names
        if len(names) != classes:
            raise InputError(
                f"{named}: a model must have a name for each of its {classes} classes, but its tag {CLASSES} has "
                f"{len(names)}; register it again"
            )
        is_digits = recipe.kind == "digits"
        try:
            reference = Reference.from_png(sheet, recipe.size) if sheet is not None and is_digits else None
        except InputError as error:
            raise InputError(f"{named}: {error}") from None
        return cls(network, recipe, names if has_names(names) or not is_digits else (), reference)

    def read(self, forms: Sequence[Form]) -> Iterator[Reading]:
        images = np.stack([prepared[self.recipe].image for _, _, prepared in forms])
        unlike = self.reference.unlike(images) if self.reference else np.zeros(len(images), np.bool_)
        for form, found, each_unlike in zip(forms, probabilities(self.network, images), unlike, strict=True):
            source, page, prepared = form[0], form[1], form[2][self.recipe]
            if prepared.note:
                yield Reading(source, page, None, 0.0, (), prepared.note, self.class_names)
                continue
            label, second = (int(each) for each in np.argsort(-found, kind="stable")[:2])
            note = ""
            if each_unlike or not prepared.plain:
                note = UNFAMILIAR
            elif found[label] < UNSURE:
                likely = (f"{_name(each, self.class_names)} ({found[each]:.0%})" for each in (label, second))
                note = f"unsure: {' or '.join(likely)}"
            shares = tuple(float(each) for each in found)
            yield Reading(source, page, label, shares[label], shares, note, self.class_names)


def _name(label: int, class_names: Sequence[str]) -> str:
    return class_names[label] if class_names else str(label)
