"""Classifying a person's images by name, as the folder of image files was prepared that the model was trained on."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from browser import opened
from click.testing import CliRunner, Result
from mlflow import MlflowClient
from PIL import Image, ImageDraw
from running import Sweep, run_digitsweep
from support import made_split, only_line, write_idx_folder

from digitsweep.cli import main
from digitsweep.data.sources import Wanted, load_dataset
from digitsweep.errors import InputError
from digitsweep.prediction.forms import FIRST_ONLY, forms_of
from digitsweep.prediction.images import Unreadable
from digitsweep.prediction.predicting import Disagreement, Reading, predict
from digitsweep.prediction.preparing import prepare
from digitsweep.prediction.reference import FILE
from digitsweep.prediction.whole import whole_file
from digitsweep.registry.compare import dataset_of
from digitsweep.registry.models import find
from digitsweep.registry.recipe import CLASSES, PREPARATION, Recipe, recipe_of, wanted_by

pytestmark = pytest.mark.slow
MODEL = "shapes-ann@challenger"
SHAPES = {"blue square": (40, 60, 220), "green ring": (30, 160, 60), "red disc": (210, 40, 40)}
EXPERIMENT = """\
name: shapes
question: Which shape is it?
seed: 0
data: {source: shapes, validation: 0.2, size: 12}
budget: {trials: 1, epochs: 40, seconds: 60}
finalists: {top: 1, seeds: 0, confirm: 0}
families:
  ann: {space: {hidden_layers: 0, units: 16, batch_size: 16, learning_rate: {type: float, low: 0.01, high: 0.02}}}
"""
COLOUR, GREY = Recipe("images", 12, "letterbox", 3), Recipe("images", 12, "letterbox", 1)


def drawn(shape: str, random: np.random.Generator) -> Image.Image:
    """A shape in its colour on a light ground, both varied; taller than wide, or the other way round."""
    width, height = (int(each) for each in random.integers(24, 60, 2))
    colour = tuple(int(each) for each in np.clip(np.array(SHAPES[shape]) + random.integers(-25, 25, 3), 0, 255))
    image = Image.new("RGB", (width, height), tuple(int(each) for each in random.integers(215, 256, 3)))
    side = min(width, height) - 8
    left, top = int(random.integers(2, width - side - 1)), int(random.integers(2, height - side - 1))
    box = (left, top, left + side, top + side)
    draw = ImageDraw.Draw(image)
    if shape == "blue square":
        draw.rectangle(box, colour)
    else:
        draw.ellipse(box, colour if shape == "red disc" else None, colour, 6)
    return image


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A finished sweep of a folder of colour images, run as a person runs it."""
    folder, random = tmp_path_factory.mktemp("shapes"), np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 8)):
        for shape in SHAPES:
            place = folder / "shapes" / split / shape
            place.mkdir(parents=True)
            for number in range(count):
                drawn(shape, random).save(place / f"{number:02}.{('png', 'jpg', 'webp')[number % 3]}")
    (folder / "shapes.yaml").write_text(EXPERIMENT)
    uri = f"sqlite:///{folder}/mlflow.db"
    variables = {"MLFLOW_TRACKING_URI": uri, "DIGITSWEEP_CACHE": str(folder / "cache")}
    finished = run_digitsweep("sweep", "shapes.yaml", "--workers", "1", cwd=folder, seconds=600, **variables)
    assert finished.returncode == 0, finished.stderr
    return Sweep(folder, uri, finished.stdout)


@pytest.fixture
def here(shapes: Sweep, store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a copy of the sweep's store as MLflow's own."""
    shutil.copy(shapes.folder / "mlflow.db", store)
    monkeypatch.setenv("DIGITSWEEP_CACHE", str(shapes.folder / "cache"))
    return store


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--model", MODEL])


def files_of(shapes: Sweep, split: str) -> list[Path]:
    return sorted((shapes.folder / "shapes" / split).glob("*/*"))


@pytest.mark.usefixtures("here")
def test_images_are_named_by_their_class(shapes: Sweep) -> None:
    """`predict` prints a row for each image, with the name of its class and the probability."""
    files = files_of(shapes, "test")
    values = json.loads(invoke("predict", *map(str, files), "--json").stdout)
    assert list(values[0]) == ["source", "page", "label", "class", "confidence", "probabilities", "note"]
    hits = [value["class"] == path.parent.name for value, path in zip(values, files, strict=True)]
    assert sum(hits) >= 0.8 * len(files)
    for each in values:
        assert each["class"] == list(SHAPES)[each["label"]]
        assert each["confidence"] == max(each["probabilities"])
        unsure = each["note"].startswith(f"unsure: {each['class']} (")
        assert unsure == (each["confidence"] < 0.8)
        assert unsure or not each["note"]
    table = CliRunner().invoke(main, ["predict", str(files[0]), "--model", MODEL], env={"COLUMNS": "300"})
    assert table.exit_code == 0, table.output
    assert f"{values[0]['class']} ({100 * values[0]['confidence']:.0f} %)" in table.stdout.replace(">99", "100")


def test_a_folder_gives_csv_with_names(shapes: Sweep, here: Path) -> None:
    """A folder gives a row for each image: the class beside the label, and a column of probabilities for each class."""
    shutil.copytree(shapes.folder / "shapes" / "test" / "red disc", here / "mine")
    (here / "mine" / "broken.png").write_bytes(b"no image")
    found = invoke("predict", "mine")
    assert found.exit_code == 2
    (line,) = found.stderr.splitlines()
    assert line.startswith("digitsweep: mine/broken.png: an image must be one of PNG, ")
    *good, bad = sorted(csv.DictReader(io.StringIO(found.stdout)), key=lambda row: row["source"])
    assert list(bad) == ["source", "page", "label", "class", "confidence", *(f"p_{each}" for each in SHAPES), "note"]
    assert [bad[name] for name in ("label", "class", "confidence", "p_red disc")] == [""] * 4
    assert all(row[f"p_{row['class']}"] == row["confidence"] for row in good)


def test_an_image_is_prepared_as_in_training(shapes: Sweep, here: Path) -> None:
    """Every file of the training data becomes, pixel by pixel, one of the images that the model was trained on."""
    recipe = Recipe("images", 12, "letterbox", 3)
    data = load_dataset(shapes.folder / "shapes", validation=None, wanted=Wanted(12))
    assert recipe_of(data) == recipe
    trained = {image.tobytes() for image in data.training.train.images}
    assert {whole_file(path, recipe).tobytes() for path in files_of(shapes, "train")} == trained
    assert wanted_by(find(MODEL)) == Wanted(12, "letterbox", tuple(SHAPES))
    assert dataset_of([find(MODEL)], None).test.digest == data.test.digest


@pytest.mark.usefixtures("here")
def test_arrays_are_read_as_files_are(shapes: Sweep) -> None:
    """An array in colour, with opacity, or as floats, is classified as the same pixels in a file are."""
    path = next(each for each in files_of(shapes, "test") if each.suffix == ".png")
    pixels = np.asarray(Image.open(path))
    opaque = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    for array in (pixels, opaque, pixels / 255.0):
        from_file, from_array = predict([path, array], MODEL)
        assert from_array.class_name == from_file.class_name == path.parent.name
        assert from_array.probabilities == pytest.approx(from_file.probabilities, abs=1e-4)


def test_a_registered_model_says_how_images_are_prepared(shapes: Sweep, here: Path) -> None:
    """Preparation and class names are in the version's tags, and in the metadata of the model's files for those who serve
    it; no training images come with it, since nothing is checked against them."""
    version = shapes.client.get_model_version_by_alias("shapes-ann", "challenger")
    preparation = {"kind": "images", "size": 12, "fit": "letterbox", "channels": 3}
    assert json.loads(version.tags[PREPARATION]) == preparation
    assert json.loads(version.tags[CLASSES]) == list(SHAPES)
    assert mlflow.models.get_model_info(find(MODEL).uri).metadata == {
        "classes": list(SHAPES), "preparation": preparation
    }  # fmt: skip
    assert not (Path(mlflow.artifacts.download_artifacts(find(MODEL).uri, dst_path=str(here))) / FILE).exists()


@pytest.mark.parametrize(
    ("tag", "value", "said"),
    [
        (PREPARATION, "{", "JSON such as"),
        (PREPARATION, "null", "JSON such as"),
        (PREPARATION, '{"kind": "letters", "size": 12, "fit": "crop", "channels": 3}', '\'{"kind": "letters"'),
        (PREPARATION, '{"kind": "images", "size": "12", "fit": "crop", "channels": 3}', "JSON such as"),
        (PREPARATION, '{"kind": "images", "size": 12, "fit": "crop", "channels": 4}', "JSON such as"),
        (PREPARATION, '{"kind": "images", "size": 16, "fit": "crop", "channels": 3}', "(16, 16, 3), but this one takes (12"),
        (PREPARATION, '{"kind": "images", "size": 12, "fit": "crop", "channels": 1}', "(12, 12, 1), but this one takes (12"),
        (PREPARATION, '{"kind": "digits", "size": 12}', "(12, 12, 1), but this one takes (12"),
        (CLASSES, '["cat", "dog"]', "each of its 3 classes, but its tag digitsweep.classes has 2"),
        (CLASSES, "[]", "each of its 3 classes, but its tag digitsweep.classes has 0"),
        (CLASSES, "[1, 2, 3]", "array of names"),
        (CLASSES, "cat\x1b[2J, dog, cow", "'cat\\x1b[2J, dog, cow'"),
    ],
)
def test_wrong_tags_are_one_line(tag: str, value: str, said: str, here: Path) -> None:
    """A model whose tags are damaged, or do not fit its network, is refused with one line."""
    client = MlflowClient(f"sqlite:///{here}/mlflow.db")
    version = client.get_model_version_by_alias("shapes-ann", "challenger").version
    client.set_model_version_tag("shapes-ann", version, tag, value)
    found = invoke("predict", "any.png")
    assert (found.exit_code, found.stdout) == (2, "")
    (line,) = found.stderr.splitlines()
    assert line.startswith("digitsweep: shapes-ann")
    assert said in line
    assert line.endswith(("register the model again", "register it again"))


def test_files_that_cannot_be_read_are_one_line_each(here: Path) -> None:
    """A missing, empty, damaged or foreign file, and a folder without images, are a line each."""
    (here / "empty.png").write_bytes(b"")
    (here / "text.jpg").write_text("no image")
    Image.new("RGB", (40, 40), "red").save(here / "cut.png")
    (here / "cut.png").write_bytes((here / "cut.png").read_bytes()[:60])
    Image.new("L", (40, 40)).save(here / "other.ppm")
    (here / "folder").mkdir()
    names = ["none.png", "empty.png", "text.jpg", "cut.png", "other.ppm", "folder", "a\0b.png"]
    answer = invoke("predict", *names, "--json")
    assert answer.exit_code == 2
    values = json.loads(answer.stdout)
    assert [value["note"].partition(": ")[0] for value in values] == ["unreadable"] * len(names)
    assert [value["class"] for value in values] == [None] * len(names)
    assert len(answer.stderr.splitlines()) == len(names)
    with pytest.raises(InputError) as error:
        predict(here / "none.png", MODEL)
    only_line(error, "none.png: there is no such file or folder")


def test_colour_is_brought_to_what_the_model_takes(tmp_path: Path) -> None:
    """Grey becomes three equal channels, and colour becomes grey by its luminance."""
    ramp = np.linspace(0, 255, 144).round().astype(np.uint8).reshape(12, 12)
    Image.fromarray(ramp).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(whole_file(tmp_path / "grey.png", COLOUR), np.dstack([ramp] * 3))
    np.testing.assert_array_equal(whole_file(tmp_path / "grey.png", GREY), ramp[..., np.newaxis])
    Image.new("RGB", (12, 12), (200, 10, 60)).save(tmp_path / "colour.png")
    assert np.unique(whole_file(tmp_path / "colour.png", GREY)).tolist() == [round(0.299 * 200 + 0.587 * 10 + 0.114 * 60)]


def test_an_image_is_turned_upright_and_fitted(tmp_path: Path) -> None:
    """The orientation that a camera notes is heeded; a letterbox keeps the whole image, a crop its middle."""
    image = Image.new("RGB", (48, 24), "red")
    image.paste("blue", (24, 0, 48, 24))
    turned = Image.Exif()
    turned[0x0112] = 6  # shown after a quarter turn clockwise: red above blue
    image.save(tmp_path / "a.png", exif=turned)
    square = whole_file(tmp_path / "a.png", Recipe("images", 12, "crop", 3))
    assert square[0, 6].tolist() == [255, 0, 0]
    assert square[-1, 6].tolist() == [0, 0, 255]
    image.save(tmp_path / "b.png")
    letterboxed = whole_file(tmp_path / "b.png", COLOUR)
    assert letterboxed[6, 0].tolist() == [255, 0, 0]
    assert letterboxed[6, -1].tolist() == [0, 0, 255]


def test_each_model_gets_its_own_form(tmp_path: Path) -> None:
    """Of the same file, a model of digits gets the ink of each page, another model the whole first page."""
    page = Image.new("RGB", (60, 80), "white")
    ImageDraw.Draw(page).line((30, 10, 30, 70), "blue", 8)
    page.save(tmp_path / "scan.tif", save_all=True, append_images=[page.rotate(180)])
    digits = Recipe("digits", 28)
    unreadable: dict[Recipe, list[Unreadable]] = {digits: [], COLOUR: []}
    first, second, bad = forms_of([tmp_path / "scan.tif", tmp_path / "none.png"], unreadable)
    assert [each[1] for each in (first, second, bad)] == [1, 2, 1]
    ink = np.asarray(page.convert("L"), np.float32)
    np.testing.assert_array_equal(first[2][digits].image, prepare(ink).image)
    np.testing.assert_array_equal(first[2][COLOUR].image, whole_file(tmp_path / "scan.tif", COLOUR))
    assert first[2][COLOUR].image.shape == (12, 12, 3)
    assert (second[2][digits].note, second[2][COLOUR].note) == ("", FIRST_ONLY)
    assert [len(each) for each in unreadable.values()] == [1, 1]


@pytest.mark.usefixtures("here")
def test_the_page_reads_as_predict_does(browser: Any, shapes: Sweep) -> None:
    """`digitsweep draw` writes a page that takes image files: it names the classes of `predict`, with its probabilities."""
    written = CliRunner().invoke(main, ["draw", "--model", MODEL])
    assert (written.exit_code, written.output) == (0, "draw.html\n")
    files = [each for each in files_of(shapes, "test") if each.suffix == ".png"]
    with opened(browser, Path("draw.html").resolve()) as page:
        for number, (path, wanted) in enumerate(zip(files, predict(files, MODEL), strict=True), start=1):
            page.page.set_input_files("#file", path)
            page.page.wait_for_function(f"() => done.length === {number}")
            page.settle()
            assert page.page.inner_text(".read b") == wanted.class_name
            shares = page.run("() => read(imagesOf(sheet()))[0].probabilities")
            assert np.abs(np.subtract(shares, wanted.probabilities)).max() < 0.001


def test_models_agree_on_names_not_on_labels() -> None:
    """Two models that order their classes differently disagree if they name different classes, whatever the labels."""

    def why(first: int, second: int) -> str:
        unsure = Reading("a.png", 1, first, 0.6, (0.6, 0.4), "unsure: ...", ("cat", "dog"))
        return Disagreement({"a": unsure, "b": Reading("a.png", 1, second, 0.9, (0.1, 0.9), "", ("dog", "cat"))}).why

    assert why(0, 0) == why(1, 1) == "they disagree"
    assert why(0, 1) == why(1, 0) == "a is unsure"


def test_which_data_is_of_digits_on_paper(tmp_path: Path) -> None:
    """scikit-learn's digits as they are come from digits on paper; resized, or other grey images, are used as a whole."""
    assert recipe_of(load_dataset("digits", validation=None)) == Recipe("digits", 8)
    assert recipe_of(load_dataset("digits", validation=None, wanted=Wanted(16))) == Recipe("images", 16)
    write_idx_folder(tmp_path / "letters", made_split(30), made_split(9, seed=1))
    assert recipe_of(load_dataset(tmp_path / "letters", validation=None)) == Recipe("images", 4)
