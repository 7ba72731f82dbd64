"""Reading digits: images in, and for each what a registered model says that it is, or why that is nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from digitsweep.errors import InputError
from digitsweep.lookup import find, load
from digitsweep.reading.images import Page, Unreadable, files_of, is_folder, pages_of, read_pages
from digitsweep.reading.preparing import Prepared, nothing, prepare
from digitsweep.training import probabilities

if TYPE_CHECKING:
    import keras

Given = str | Path | NDArray[Any]
"""A file, a folder of images, or an array."""

MODEL = "mnist-cnn@champion"
UNSURE = 0.8
"""A reading with less confidence says that it is unsure. Of MNIST's 10,000 test images, brought to the form by `prepare` and
asked of the CNN that mnist.yaml found, 207 are, 38 of the 46 misread among them (at 0.7: 115 and 32; at 0.9: 599 and 45). Of
294 printed letters, 42 in seven typefaces, 75 % were (at 0.7: 65 %; at 0.9: 90 %), before forms were centred as
they are now; of the digits in these typefaces 4 %."""
BATCH = 256


@dataclass(frozen=True)
class Reading:
    """What a model says of one image."""

    source: str
    page: int
    """From 1."""
    label: int | None
    """None where the image cannot be read, nothing is written on it, or what is written is not one digit."""
    confidence: float
    """The probability of the label; 0 where there is none."""
    probabilities: tuple[float, ...]
    """Of each label; empty where there is none."""
    note: str = ""
    """Empty where all is well; else it begins with `unsure: `, `no digit: ` or `unreadable: `."""

    @property
    def doubtful(self) -> bool:
        return bool(self.note)


@dataclass(frozen=True)
class Answer:
    """What a model says of all that it was given, in order."""

    readings: tuple[Reading, ...]
    unreadable: tuple[Unreadable, ...]
    """The files and pages that could not be read; among the readings they have no label."""
    many: bool
    """Whether a folder or a file of several pages was given."""

    def check(self) -> None:
        """Raises InputError where something could not be read, with a line for each."""
        if self.unreadable:
            raise InputError("\n".join(map(str, self.unreadable)))


@dataclass(frozen=True)
class Disagreement:
    """An image that two models read differently, or that one of them is not sure of."""

    ann: Reading
    cnn: Reading

    @property
    def why(self) -> str:
        if self.ann.label is None or self.cnn.label is None:
            return self.cnn.note or self.ann.note
        if self.ann.label != self.cnn.label:
            return "they disagree"
        unsure = [name for name, each in (("ANN", self.ann), ("CNN", self.cnn)) if each.doubtful]
        return "both are unsure" if len(unsure) == 2 else f"the {unsure[0]} is unsure"


def predict(given: Given | Sequence[Given], model: str = MODEL) -> list[Reading]:
    """Reads digits: of files, folders (their images by name), scans (a reading for each page) and arrays.

    Images have any size and polarity: arrays are (h, w), (h, w, 1, 3 or 4 channels) or stacks of such, uint8, uint16, or
    float from 0 to 1 or 255. `model` is NAME@ALIAS, NAME/VERSION or a model URI. Raises InputError where there is no such
    model, and where a file cannot be read, with a line for each; `read` gives the others nevertheless."""
    answer = read([given] if isinstance(given, str | Path | np.ndarray) else given, model)
    answer.check()
    return list(answer.readings)


def read(given: Iterable[Given], model: str = MODEL) -> Answer:
    """As `predict`, but what cannot be read is a reading without a label, and the others are answered."""
    (answer,) = _answers(given, [model])
    return answer


def disagreements(given: Iterable[Given], ann: str, cnn: str) -> tuple[list[Disagreement], Answer]:
    """The images that a person should look at, and what the CNN says of all of them."""
    first, second = _answers(given, [ann, cnn])
    pairs = (Disagreement(*each) for each in zip(first.readings, second.readings, strict=True))
    found = [each for each in pairs if each.ann.label != each.cnn.label or each.ann.doubtful or each.cnn.doubtful]
    return found, second


def _answers(given: Iterable[Given], named: Sequence[str]) -> list[Answer]:
    """What each of the models says; every image is read, and brought into the form of each side, once."""
    given = list(given)
    models = [_model(each) for each in named]
    readings: list[list[Reading]] = [[] for _ in models]
    unreadable: list[Unreadable] = []
    forms = _forms(given, {model.input_shape[1] for model in models}, unreadable)
    while batch := list(islice(forms, BATCH)):
        for model, found in zip(models, readings, strict=True):
            images = np.stack([each.prepared[model.input_shape[1]].image for each in batch])
            found += map(_reading, batch, probabilities(model, images))
    many = any(isinstance(each, str | Path) and is_folder(Path(each)) for each in given)
    many = many or any(each.page > 1 for each in readings[0])
    return [Answer(tuple(each), tuple(unreadable), many) for each in readings]


@dataclass(frozen=True, eq=False)
class _Form:
    """A page as models take it: all that is kept of it."""

    source: str
    page: int
    prepared: Mapping[int, Prepared]
    """By side."""


def _forms(given: Iterable[Given], sides: Iterable[int], unreadable: list[Unreadable]) -> Iterator[_Form]:
    """The forms of all pages, one after the other, so that no scan is in memory as a whole."""
    for each in _pages(given):
        if isinstance(each, Unreadable):
            unreadable.append(each)
            prepared = {side: nothing(side, f"unreadable: {each.reason}") for side in sides}
        else:
            prepared = {side: prepare(each.pixels, side) for side in sides}
        yield _Form(each.source, each.page, prepared)


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


def _reading(form: _Form, said: NDArray[np.float32]) -> Reading:
    note = next(each.note for each in form.prepared.values())  # of the page, whatever the side
    if note:
        return Reading(form.source, form.page, None, 0.0, (), note)
    first, second = (int(each) for each in np.argsort(-said, kind="stable")[:2])
    if said[first] < UNSURE:
        note = f"unsure: {first} ({said[first]:.0%}) or {second} ({said[second]:.0%})"
    return Reading(form.source, form.page, first, float(said[first]), tuple(float(each) for each in said), note)


def _model(named: str) -> keras.Model:
    """A registered model that takes square grey images.

    Raises InputError where there is none."""
    model = load(find(named).uri)
    shape = model.input_shape
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 1:
        raise InputError(f"{named}: a model must take square grey images (side, side, 1), but this one takes {shape[1:]}")
    return model
