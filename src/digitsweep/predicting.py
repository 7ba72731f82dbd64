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
from digitsweep.images import Page, files_of, pages_of, read_pages
from digitsweep.preparing import Prepared, prepare
from digitsweep.registry import CHALLENGER, aliases_of, find, load
from digitsweep.training import probabilities

if TYPE_CHECKING:
    import keras

Given = str | Path | NDArray[Any]
"""A file, a folder of images, or an array."""

MODEL = "mnist-cnn@champion"
UNSURE = 0.8
"""A reading with less confidence says that it is unsure: one in a hundred of MNIST's images, and most of the misread."""
BATCH = 256


@dataclass(frozen=True)
class Reading:
    """What a model says of one image."""

    source: str
    page: int
    """From 1."""
    label: int | None
    """None where nothing is written, or what is written is not one digit."""
    confidence: float
    """The probability of the label; 0 where there is none."""
    probabilities: tuple[float, ...]
    """Of each label; empty where there is none."""
    note: str = ""
    """`unsure: …` below a confidence of UNSURE; why there is no label, where there is none."""

    @property
    def doubtful(self) -> bool:
        return bool(self.note)


@dataclass(frozen=True)
class Answer:
    """What could be read, in order, and a line for each file or page that could not."""

    readings: tuple[Reading, ...]
    errors: tuple[str, ...]
    many: bool
    """Whether a folder or a file of several pages was given."""


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

    Images have any size and polarity: arrays are (h, w), (h, w, 1 to 4 channels) or stacks of such, uint8, uint16, or float
    from 0 to 1 or 255. `model` is NAME@ALIAS, NAME/VERSION or a model URI. Raises InputError where there is no such model,
    and where a file cannot be read, with a line for each; `read` gives the others nevertheless."""
    answer = read([given] if isinstance(given, str | Path | np.ndarray) else given, model)
    if answer.errors:
        raise InputError("\n".join(answer.errors))
    return list(answer.readings)


def read(given: Iterable[Given], model: str = MODEL) -> Answer:
    """As `predict`; what cannot be read is a line among the errors, and the others are answered."""
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
    errors: list[str] = []
    forms = _forms(given, {model.input_shape[1] for model in models}, errors)
    while batch := list(islice(forms, BATCH)):
        for model, found in zip(models, readings, strict=True):
            images = np.stack([each.prepared[model.input_shape[1]].image for each in batch])
            found += map(_reading, batch, probabilities(model, images))
    many = any(isinstance(each, str | Path) and Path(each).is_dir() for each in given)
    many = many or any(each.page > 1 for each in readings[0])
    return [Answer(tuple(each), tuple(errors), many) for each in readings]


@dataclass(frozen=True, eq=False)
class _Form:
    """A page as models take it: all that is kept of it."""

    source: str
    page: int
    prepared: Mapping[int, Prepared]
    """By side."""


def _forms(given: Iterable[Given], sides: Iterable[int], errors: list[str]) -> Iterator[_Form]:
    """The forms of all pages, one after the other, so that no scan is in memory as a whole; errors are collected."""
    for each in _pages(given):
        if isinstance(each, InputError):
            errors.append(str(each))
        else:
            yield _Form(each.source, each.page, {side: prepare(each.pixels, side) for side in sides})


def _pages(given: Iterable[Given]) -> Iterator[Page | InputError]:
    for number, each in enumerate(given):
        try:
            if isinstance(each, np.ndarray):
                yield from pages_of(each, f"array {number}")
            else:
                for path in files_of(Path(each)):
                    yield from read_pages(path)
        except InputError as error:
            yield error


def _reading(form: _Form, said: NDArray[np.float32]) -> Reading:
    note = next(each.note for each in form.prepared.values())  # the ink's, whatever the side
    if note:
        return Reading(form.source, form.page, None, 0.0, (), note)
    first, second = (int(each) for each in np.argsort(-said, kind="stable")[:2])
    if said[first] < UNSURE:
        note = f"unsure: {first} ({said[first]:.0%}) or {second} ({said[second]:.0%})"
    return Reading(form.source, form.page, first, float(said[first]), tuple(float(each) for each in said), note)


def _model(named: str) -> keras.Model:
    """A registered model that takes square grey images.

    Raises InputError where there is none; where it is only the alias that is not there, that says how to get one."""
    name, at, alias = named.removeprefix("models:/").partition("@")
    if at and "/" not in name and ":" not in name:
        known = aliases_of(name)
        if alias not in known:
            there = ", ".join(f"{name}@{each}" for each in sorted(known)) or f"{name}/VERSION"
            promote = f", or promote one with `digitsweep promote {name}`" if CHALLENGER in known else ""
            raise InputError(f"{named}: no version of {name} has the alias {alias} yet; name {there}{promote}")
    model = load(find(named).uri)
    shape = model.input_shape
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 1:
        raise InputError(f"{named}: a model must take square grey images (side, side, 1), but this one takes {shape[1:]}")
    return model
