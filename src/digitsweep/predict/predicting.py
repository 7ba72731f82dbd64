"""Reads digits: for each image, the label that a registered model gives it, or the reason why it has none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from digitsweep.errors import InputError
from digitsweep.predict.images import Page, Unreadable, files_of, is_folder, pages_of, read_pages
from digitsweep.predict.preparing import Prepared, nothing, prepare
from digitsweep.predict.reference import FILE, Reference
from digitsweep.registry.models import champions, find, load_with_file
from digitsweep.report.format import listed, percent
from digitsweep.training.loop import probabilities

if TYPE_CHECKING:
    import keras

Given = str | Path | NDArray[Any]
"""A file, a folder of images, or an array."""

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
    """None if the file is unreadable, or the image holds no single digit."""
    confidence: float
    """The probability of the label; 0 without a label."""
    probabilities: tuple[float, ...]
    """Of each label; empty without a label."""
    note: str = ""
    """Why the reading is in doubt: `unsure: …` and `unfamiliar: …` with a label, `not a digit: …` and `unreadable: …`
    without one; empty if there is no doubt."""

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
        if len({each.label for each in found}) > 1:
            return "they disagree"
        if any(each.note == UNFAMILIAR for each in found):
            return UNFAMILIAR
        unsure = [name for name, each in self.readings.items() if each.doubtful]
        if len(unsure) == len(found):
            return "both are unsure" if len(unsure) == 2 else "all are unsure"
        return f"{listed(unsure)} {'is' if len(unsure) == 1 else 'are'} unsure"


def predict(given: Given | Sequence[Given], model: str | None = None) -> list[Reading]:
    """Reads digits in files, folders (all images in them, by name), multi-page scans (one reading a page) and arrays.

    Images have any size, dark on light or light on dark. Arrays are (height, width), (height, width, channels) with 1, 3 or
    4 channels, or stacks of these; uint8, uint16, or float from 0 to 1 or from 0 to 255. `model` is NAME@ALIAS, NAME/VERSION
    or a model URI; without it, `best_champion` decides. Raises InputError if there is no such model, and, with a line for
    each, if files cannot be read; `read` returns the other readings in that case."""
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
    """The images that a person should look at, and the last model's readings of all images.

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
        if len({one.label for one in each.readings.values()}) > 1 or any(one.doubtful for one in each.readings.values())
    ]
    return found, answers[-1]


def _answers(given: Iterable[Given], named: Sequence[str]) -> list[Answer]:
    """The readings of each model. Each image is opened once for all models."""
    given = list(given)
    models = [_Model.load(each) for each in named]
    readings: list[list[Reading]] = [[] for _ in models]
    unreadable: list[Unreadable] = []
    forms = _forms(given, {each.side for each in models}, unreadable)
    while batch := list(islice(forms, BATCH)):
        for model, found in zip(models, readings, strict=True):
            found += model.read(batch)
    many = any(isinstance(each, str | Path) and is_folder(Path(each)) for each in given)
    many = many or any(each.page > 1 for each in readings[0])
    return [Answer(tuple(each), tuple(unreadable), many) for each in readings]


Form = tuple[str, int, Mapping[int, Prepared]]
"""Source and page of an image, and its prepared form by the side in pixels."""


@dataclass(frozen=True, eq=False)
class _Model:
    """A registered model of square grey images."""

    network: keras.Model
    reference: Reference | None
    """None if the model was registered without one."""

    @property
    def side(self) -> int:
        return int(self.network.input_shape[1])

    @classmethod
    def load(cls, named: str) -> _Model:
        """Raises InputError if there is no such model, or if it takes other images."""
        network, sheet = load_with_file(find(named).uri, FILE)
        shape = network.input_shape
        if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 1:
            raise InputError(
                f"{named}: a model must take square grey images (side, side, 1), but this one takes {shape[1:]}"
            )
        try:
            return cls(network, None if sheet is None else Reference.from_png(sheet, shape[1]))
        except InputError as error:
            raise InputError(f"{named}: {error}") from None

    def read(self, forms: Sequence[Form]) -> Iterator[Reading]:
        images = np.stack([prepared[self.side].image for _, _, prepared in forms])
        unlike = self.reference.unlike(images) if self.reference else np.zeros(len(images), np.bool_)
        for form, found, each_unlike in zip(forms, probabilities(self.network, images), unlike, strict=True):
            source, page, prepared = form[0], form[1], form[2][self.side]
            if prepared.note:
                yield Reading(source, page, None, 0.0, (), prepared.note)
                continue
            first, second = (int(each) for each in np.argsort(-found, kind="stable")[:2])
            note = ""
            if each_unlike or not prepared.plain:
                note = UNFAMILIAR
            elif found[first] < UNSURE:
                note = f"unsure: {first} ({found[first]:.0%}) or {second} ({found[second]:.0%})"
            yield Reading(source, page, first, float(found[first]), tuple(float(each) for each in found), note)


def _forms(given: Iterable[Given], sides: Iterable[int], unreadable: list[Unreadable]) -> Iterator[Form]:
    """Prepares one page at a time, so that a long scan is never in memory as a whole."""
    for each in _pages(given):
        if isinstance(each, Unreadable):
            unreadable.append(each)
            prepared = {side: nothing(side, f"unreadable: {each.reason}") for side in sides}
        else:
            prepared = {side: prepare(each.pixels, side) for side in sides}
        yield each.source, each.page, prepared


def _pages(given: Iterable[Given]) -> Iterator[Page | Unreadable]:
    for number, each in enumerate(given):
        if isinstance(each, np.ndarray):
            yield from pages_of(each, f"array {number}")
            continue
        try:
            files = files_of(Path(each))
        except InputError as error:
            yield Unreadable(str(each), 1, str(error))
        else:
            for path in files:
                yield from read_pages(path)
