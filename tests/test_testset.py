"""The test images of models that are named: found where they lay, or where they can be had."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support import made_split, only_line, write_idx_folder

from digitsweep.data import mnist
from digitsweep.data.sources import VARIABLE
from digitsweep.errors import DataUnavailableError, InputError
from digitsweep.registry.compare import dataset_of
from digitsweep.registry.models import NamedModel

TRAIN, TEST = made_split(30, seed=1), made_split(9, seed=2)


def model(name: str, source: Path, **tags: str) -> NamedModel:
    """A model of TRAIN and TEST, whatever they are called."""
    told = {"digitsweep.data": name, "digitsweep.data.source": str(source), "digitsweep.data.digest.test": TEST.digest()}
    return NamedModel(f"models:/{name}-cnn/1", f"{name}-cnn 1", {**told, **tags})


@pytest.fixture
def no_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a cache nor a network has it."""

    def fetch() -> Path:
        raise DataUnavailableError("MNIST cannot be had")

    monkeypatch.setattr(mnist, "fetch", fetch)


@pytest.mark.usefixtures("no_mnist")
def test_mnist_lies_where_it_lay(tmp_path: Path) -> None:
    """What a sweep read from a folder is read from there again, without a network."""
    folder = write_idx_folder(tmp_path / "somewhere", TRAIN, TEST)
    assert dataset_of([model("mnist", folder)], None).test.digest == TEST.digest()
    shutil.rmtree(folder)
    with pytest.raises(InputError) as error:
        dataset_of([model("mnist", folder)], None)
    only_line(error, "MNIST cannot be had")


@pytest.mark.parametrize("there", ["nothing", "half", "others"])
def test_mnist_is_found_elsewhere(tmp_path: Path, there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the folder is gone, has lost a file, or holds other images by now, MNIST is looked for as ever."""
    monkeypatch.setenv(VARIABLE, str(write_idx_folder(tmp_path / "elsewhere", TRAIN, TEST)))
    folder = tmp_path / "somewhere"
    if there != "nothing":
        write_idx_folder(folder, TRAIN, made_split(9, seed=5))
    if there == "half":
        next(folder.glob("t10k*")).unlink()
    found = dataset_of([model("mnist", folder)], None)
    assert found.source == str(tmp_path / "elsewhere")
    assert found.test.digest == TEST.digest()


def test_other_images_are_refused(tmp_path: Path) -> None:
    """Images of a folder that are not the models' own are refused by name, whoever named the folder."""
    folder = write_idx_folder(tmp_path / "own", TRAIN, made_split(9, seed=5))
    for data in (None, folder):
        with pytest.raises(InputError) as error:
            dataset_of([model("own", folder)], data)
        only_line(error, folder, "its test images are not those that own-cnn 1 was made for")


def test_small_data_is_found_as_it_was_swept(tmp_path: Path) -> None:
    """Models of seven training images, of which no tenth can be set apart, are asked about their test images; what is not
    for testing stays together."""
    folder = write_idx_folder(tmp_path / "own", made_split(7, seed=1), TEST)
    found = dataset_of([model("own", folder)], None)
    assert found.test.digest == TEST.digest()
    assert (len(found.training.train), len(found.training.validation)) == (7, 0)


@pytest.mark.parametrize("missing", ["digitsweep.data", "digitsweep.data.source"])
def test_a_model_whose_tags_do_not_name_its_data(tmp_path: Path, missing: str) -> None:
    """Where a tag that names the data is missing, one line asks for --data, and with that the model is judged."""
    folder = write_idx_folder(tmp_path / "own", TRAIN, TEST)
    whole = model("own", folder)
    found = NamedModel(whole.uri, whole.label, {key: value for key, value in whole.tags.items() if key != missing})
    with pytest.raises(InputError) as error:
        dataset_of([found], None)
    only_line(error, "own-cnn 1", missing, "--data")
    assert dataset_of([found], folder).test.digest == TEST.digest()
