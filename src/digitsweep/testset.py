"""The test images that named models were made for, found again; and the models, checked to take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from digitsweep.data import Dataset
from digitsweep.data.sources import load_dataset
from digitsweep.errors import InputError
from digitsweep.lookup import Found, load

if TYPE_CHECKING:
    import keras

TEST_DIGEST, SOURCE, NAME = "digitsweep.data.digest.test", "digitsweep.data.source", "digitsweep.data"


def dataset_of(found: Sequence[Found], data: Path | None) -> Dataset:
    """The data whose test images all of them were made for; its training images are not split, since each model had a split
    of its own.

    Raises InputError where they were made for different ones, or where these cannot be found again."""
    digests = {each.tags[TEST_DIGEST] for each in found if TEST_DIGEST in each.tags}
    if len(digests) > 1:
        made = ", ".join(f"{each.label} for {each.tags.get(NAME, '?')}" for each in found)
        raise InputError(f"these models were made for different test images ({made}); name models of the same data")
    known = next((each.tags for each in found if SOURCE in each.tags), None)
    if data is not None:
        dataset = load_dataset(data, validation=None)
    elif known is not None:
        dataset = _tagged(known)
    else:
        raise InputError("these models do not say which data they were made for; name it with --data")
    if digests and dataset.test.digest not in digests:
        where = dataset.source if data is None else f"--data {data}"
        raise InputError(f"{where}: its test images are not those that {found[0].label} was made for")
    return dataset


def _tagged(tags: Mapping[str, str]) -> Dataset:
    """The data that a model's tags name. MNIST where it lay when the model was made, or else wherever it is found here."""
    name, source = tags[NAME], Path(tags[SOURCE])
    if name == "mnist":
        with suppress(InputError):
            dataset = load_dataset(source, validation=None)
            if dataset.test.digest == tags.get(TEST_DIGEST):
                return dataset
    return load_dataset(name if name in ("mnist", "digits") else source, validation=None)


def load_for(found: Found, dataset: Dataset) -> keras.Model:
    """A model that takes the images of a dataset.

    Raises InputError where it takes others."""
    model, side = load(found.uri), dataset.training.side
    if model.input_shape[1:3] != (side, side):
        raise InputError(f"{found.label}: takes images of {model.input_shape[1:3]} pixels, but {dataset.name} has {side}")
    return model
