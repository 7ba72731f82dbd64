"""Reading digits with registered models: from Python and from the command line."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from mlflow import MlflowClient
from numpy.typing import NDArray
from PIL import Image
from running import Sweep, run_digitsweep
from sklearn.datasets import load_sample_images
from support import only_line

from digitsweep.cli import main
from digitsweep.data import Split
from digitsweep.data.sources import load_dataset
from digitsweep.errors import InputError
from digitsweep.prediction.ink import NOTHING
from digitsweep.prediction.predicting import ACCURACY, UNFAMILIAR, UNSURE, best_champion, predict, read
from digitsweep.prediction.reference import FILE
from digitsweep.registry.models import find, load
from digitsweep.training.loop import probabilities

ANN, CNN = "digits-ann@challenger", "digits-cnn@challenger"
COUNT = 40


@pytest.fixture(scope="module")
def digits() -> Split:
    """Small digits that no model was trained on."""
    return load_dataset("digits", validation=0.25, seed=0).test.open("test_predicting").take(np.arange(COUNT))


@pytest.fixture
def reading(smoke: Sweep, store: Path) -> Path:
    """The current folder, with the store of the finished sweep as MLflow's own, and no champion in it yet."""
    shutil.copy(smoke.folder / "mlflow.db", store)
    return store


def save_page(digit: NDArray[np.uint8], path: Path) -> str:
    """A small digit as dark ink in the middle of a white page."""
    page = Image.new("L", (120, 120), 245)
    ink = Image.fromarray(digit[..., 0]).resize((80, 80), Image.Resampling.BICUBIC)
    page.paste(30, (20, 20), ink)
    page.save(path)
    return path.name


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.usefixtures("reading")
def test_small_digits_are_read(digits: Split) -> None:
    """Images of 8x8 pixels, enlarged, on paper, inverted: nearly as many are right as where the model gets them directly."""
    large = [Image.fromarray(each[..., 0]).resize((80, 80), Image.Resampling.BICUBIC) for each in digits.images]
    readings = predict(np.stack([255 - np.pad(np.asarray(each), 20) for each in large]), CNN)
    assert [(each.source, each.page) for each in readings] == [("array 0", number + 1) for number in range(COUNT)]
    hits = sum(each.label == label for each, label in zip(readings, digits.labels, strict=True))
    direct = probabilities(load(find(CNN).uri), digits.images).argmax(axis=1)
    assert hits >= 0.8 * (direct == digits.labels).sum()
    for each in readings:
        assert each.label is not None
        assert each.confidence == max(each.probabilities) == each.probabilities[each.label]
        assert sum(each.probabilities) == pytest.approx(1, abs=1e-5)
        unsure = each.note.startswith(f"unsure: {each.label} (")
        assert each.note in ("", UNFAMILIAR) or unsure
        assert unsure == (each.confidence < UNSURE and each.note != UNFAMILIAR)


def test_what_is_no_digit_has_no_label(reading: Path, digits: Split) -> None:
    """A blank page and two digits on one get no label but a reason; beside them the others are read."""
    save_page(digits.images[0], reading / "one.png")
    one = np.asarray(Image.open(reading / "one.png"))
    blank, two, single = predict([np.full((50, 50), 240, np.uint8), np.hstack([one, one]), reading / "one.png"], CNN)
    assert (blank.label, blank.confidence, blank.probabilities, blank.note) == (None, 0.0, (), NOTHING)
    assert two.label is None
    assert "2 separate parts" in two.note
    assert single.label is not None


def crops() -> list[NDArray[np.uint8]]:
    """Parts of a photograph, none of which shows a digit."""
    _, flower = load_sample_images().images
    return [flower[y : y + 160, x : x + 160] for y in (0, 130, 260) for x in (0, 160, 320, 480)]


@pytest.mark.usefixtures("reading")
def test_a_photograph_does_not_become_a_digit_without_a_word() -> None:
    """Parts of a photograph are no digits, or unlike the training images; some keep a digit, with that note."""
    readings = predict(crops(), CNN)
    assert all(each.note for each in readings)
    unfamiliar = [each for each in readings if each.note == UNFAMILIAR]
    assert unfamiliar
    assert all(each.label is not None and len(each.probabilities) == 10 for each in unfamiliar)


def copied_model(reading: Path, content: bytes | None) -> str:
    """A copy of the CNN whose sample of training images is other bytes, or is missing."""
    client = MlflowClient(f"sqlite:///{reading}/mlflow.db")
    folder = Path(mlflow.artifacts.download_artifacts(find(CNN).uri, dst_path=str(reading / "files")))
    (folder / FILE).unlink()
    if content is not None:
        (folder / FILE).write_bytes(content)
    logged = client.create_logged_model("0", name="copy")
    about = yaml.safe_load((folder / "MLmodel").read_text())
    about |= {"model_id": logged.model_id, "artifact_path": logged.artifact_location}
    (folder / "MLmodel").write_text(yaml.safe_dump(about))
    client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    return f"models:/{logged.model_id}"


def test_a_model_without_a_reference_is_read_as_before(reading: Path) -> None:
    """A model that was registered without a sample of its training images gives the same label to a sign on plain paper that
    is no digit, but does not say that it is unfamiliar."""
    sign = np.full((120, 120), 245, np.uint8)
    for start in (35, 75):
        sign[start : start + 10, 20:100] = sign[20:100, start : start + 10] = 30
    (old,), (new,) = predict(sign, copied_model(reading, None)), predict(sign, CNN)
    assert old.probabilities == pytest.approx(new.probabilities)
    assert new.note == UNFAMILIAR
    assert old.note != UNFAMILIAR


def test_a_damaged_reference_is_one_line(reading: Path) -> None:
    """A model whose sample of training images is damaged is refused, with its name."""
    uri = copied_model(reading, b"no image")
    with pytest.raises(InputError) as error:
        predict(np.zeros((9, 9)), uri)
    only_line(error, uri, FILE, "register the model again")


def test_a_bad_file_is_an_error_and_the_others_are_read(reading: Path, digits: Split) -> None:
    """`predict` refuses as a whole, with a line for each bad file; `read` gives the readings and the lines."""
    good = reading / save_page(digits.images[0], reading / "good.png")
    (reading / "bad.png").write_bytes(b"no image")
    (reading / "empty.png").write_bytes(b"")
    given = [reading / "bad.png", good, reading / "empty.png", reading / "none.png"]
    with pytest.raises(InputError) as error:
        predict(given, CNN)
    answer = read(given, CNN)
    assert str(error.value).splitlines() == [str(each) for each in answer.unreadable]
    assert [each.source for each in answer.readings] == [str(each) for each in given]
    assert [each.note.startswith("unreadable: ") for each in answer.readings] == [True, False, True, True]
    assert [each.label is None for each in answer.readings] == [True, False, True, True]


@pytest.mark.parametrize(
    ("named", "parts"),
    [
        (
            "digits-cnn@champion",
            ["digits-cnn@champion: no such model", CNN, "digitsweep promote digits-cnn"],
        ),
        ("mnist-cnn@champion", ["mnist-cnn", f"there are {ANN}, {CNN}"]),
        ("digits-cnn/99", ["digits-cnn/99: no such model", CNN]),
    ],
)
@pytest.mark.usefixtures("reading")
def test_a_model_that_is_not_there(named: str, parts: list[str]) -> None:
    """A model that does not exist gives one line, which says how to get one."""
    with pytest.raises(InputError) as error:
        predict(np.zeros((9, 9)), named)
    only_line(error, *parts)


def test_an_empty_store_says_what_registers_models(store: Path) -> None:
    """Where nothing is registered, the line names `digitsweep sweep`."""
    found = invoke("predict", str(store / "any.png"))
    assert found.exit_code == 2
    (line,) = found.stderr.splitlines()
    assert "`digitsweep sweep` registers one for each family" in line


def test_a_table_for_a_person(reading: Path, digits: Split) -> None:
    """`predict IMAGE...` prints a row for each image, and a line on standard error, with exit code 2, for a bad one."""
    names = [save_page(each, reading / f"{number}.png") for number, each in enumerate(digits.images[:3])]
    found = invoke("predict", *names, "--model", CNN)
    assert found.exit_code == 0, found.output
    readings = predict([Path(each) for each in names], CNN)
    for each in readings:
        (row,) = (line for line in found.stdout.splitlines() if line.strip().startswith(each.source))
        assert row.split()[1:3] == ["1", str(each.label)]
    (reading / "bad.png").write_bytes(b"no image")
    found = invoke("predict", "bad.png", *names, "--model", CNN)
    assert found.exit_code == 2
    assert len(found.stderr.splitlines()) == 1
    assert found.stderr.startswith("digitsweep: bad.png: ")
    assert all(each in found.stdout for each in ["bad.png", "unreadable: an image must be", *names])


def test_json_holds_all_of_a_reading(reading: Path, digits: Split) -> None:
    """`--json` prints an array of objects with the fields of a Reading, also where there is no label."""
    save_page(digits.images[0], reading / "a.png")
    Image.new("L", (40, 40), 255).save(reading / "blank.png")
    found = invoke("predict", "a.png", "blank.png", "--model", CNN, "--json")
    first, blank = json.loads(found.stdout)
    assert list(first) == ["source", "page", "label", "confidence", "probabilities", "note"]
    assert (first["source"], first["page"], len(first["probabilities"])) == ("a.png", 1, 10)
    assert blank == {
        "source": "blank.png", "page": 1, "label": None, "confidence": 0.0, "probabilities": [], "note": NOTHING
    }  # fmt: skip


def test_many_images_give_csv(reading: Path, digits: Split) -> None:
    """A folder, or a scan of several pages, gives CSV: on standard output, or as a whole in a file, bad images or not."""
    folder = reading / "scans"
    folder.mkdir()
    pages = [Image.open(reading / save_page(each, reading / "page.png")).copy() for each in digits.images[:3]]
    pages[0].save(folder / "b, scan.tif", save_all=True, append_images=[*pages[1:], Image.new("L", (40, 40), 255)])
    save_page(digits.images[3], folder / "a.png")
    (folder / "c.png").write_bytes(b"no image")
    found = invoke("predict", "scans", "--model", CNN)
    assert found.exit_code == 2
    assert "scans/c.png" in found.stderr
    rows = list(csv.DictReader(io.StringIO(found.stdout)))
    assert list(rows[0]) == ["source", "page", "label", "confidence", *(f"p{label}" for label in range(10)), "note"]
    places = [(row["source"], row["page"]) for row in rows]
    scanned = [("scans/b, scan.tif", f"{page}") for page in (1, 2, 3, 4)]
    assert places == [("scans/a.png", "1"), *scanned, ("scans/c.png", "1")]
    *_, blank, bad = rows
    assert (blank["label"], blank["p0"], blank["note"]) == ("", "", NOTHING)
    assert (bad["label"], bad["note"].partition(": ")[0]) == ("", "unreadable")
    written = invoke("predict", "scans", "--model", CNN, "--csv", "out.csv")
    assert (written.exit_code, written.stdout) == (2, "")
    assert (reading / "out.csv").read_bytes() == found.stdout_bytes
    scan = invoke("predict", "scans/b, scan.tif", "--model", CNN)
    assert scan.exit_code == 0
    assert scan.stdout.splitlines()[1:] == found.stdout.splitlines()[2:-1]
    assert not list(reading.glob(".out*"))


def test_a_csv_that_cannot_be_written(reading: Path) -> None:
    """Where no file can be, that is one line before anything is read."""
    for path in ("none/out.csv", str(reading)):
        found = invoke("predict", "any.png", "--model", CNN, "--csv", path)
        assert found.exit_code == 2
        (line,) = found.stderr.splitlines()
        assert line.startswith(f"digitsweep: --csv {path}: must be a file")


def test_agree_shows_where_a_person_should_look(reading: Path, digits: Split) -> None:
    """`agree` shows exactly the images that the two models label differently, or that one is unsure of, and no other."""
    folder = reading / "scans"
    folder.mkdir()
    for number, each in enumerate(digits.images):
        save_page(each, folder / f"{number:02}.png")
    both = [predict(folder, each) for each in (ANN, CNN)]
    expected = [a.source for a, b in zip(*both, strict=True) if a.label != b.label or a.note or b.note]
    assert expected, "these networks are weak: there is much to look at"
    shown = invoke("agree", str(folder), "--model", ANN, "--model", CNN, "--json")
    assert shown.exit_code == 0, shown.output
    values = json.loads(shown.stdout)
    assert [each["source"] for each in values] == expected
    for each in values:
        assert list(each["readings"]) == [ANN, CNN]
        disagree = each["readings"][ANN]["label"] != each["readings"][CNN]["label"]
        assert (each["why"] == "they disagree") == disagree
        assert disagree or "unsure" in each["why"] or each["why"] == UNFAMILIAR
    table = invoke("agree", str(folder), "--model", ANN, "--model", CNN)
    assert f"{len(expected)} of {COUNT} images need a look." in table.stdout


def test_agree_takes_any_number_of_models(reading: Path, digits: Split) -> None:
    """Of three models each has its reading, by its name; the table has a column for each, and no name is cut off."""
    save_page(digits.images[0], reading / "a.png")
    Image.new("L", (40, 40), 255).save(reading / "blank.png")
    named = [ANN, CNN, "digits-cnn/1"]
    options = [part for each in named for part in ("--model", each)]
    (*_, value) = json.loads(invoke("agree", "a.png", "blank.png", *options, "--json").stdout)
    assert (value["source"], value["page"], value["why"]) == ("blank.png", 1, NOTHING)
    assert {name: each["label"] for name, each in value["readings"].items()} == dict.fromkeys(named)
    table = invoke("agree", "a.png", "blank.png", *options).stdout
    assert all(each in table for each in named)


@pytest.mark.parametrize("named", [[CNN], [CNN, CNN]])
@pytest.mark.usefixtures("reading")
def test_agree_takes_two_models_or_more(named: list[str]) -> None:
    """One model, or one twice, has nothing to differ from."""
    found = invoke("agree", "a.png", *(part for each in named for part in ("--model", each)))
    assert found.exit_code == 2
    (line,) = found.stderr.splitlines()
    assert "two different models or more" in line


def make_champions(reading: Path) -> dict[str, float]:
    """Makes the challengers champions: their accuracies over confirmation seeds, by name."""
    client, found = MlflowClient(f"sqlite:///{reading}/mlflow.db"), dict[str, float]()
    for name in ("digits-ann", "digits-cnn"):
        version = client.get_model_version_by_alias(name, "challenger")
        client.set_registered_model_alias(name, "champion", version.version)
        found[f"{name}@champion"] = float(version.tags[ACCURACY])
    return found


def test_the_champions_are_asked_by_default(reading: Path, digits: Split) -> None:
    """Once there are champions, nobody needs to name one: the best by validation reads, which is said on standard error, so
    that nothing but the answer is on standard output; and `agree` asks all of them."""
    accuracies = make_champions(reading)
    best = max(accuracies, key=accuracies.__getitem__)
    save_page(digits.images[0], reading / "a.png")
    Image.new("L", (40, 40), 255).save(reading / "blank.png")
    finished = run_digitsweep("predict", "a.png", "--json", cwd=reading)
    assert finished.returncode == 0
    (line,) = finished.stderr.splitlines()
    assert line.startswith(f"{best} reads: of 2 champions")
    (value,) = json.loads(finished.stdout)
    assert [value["label"]] == [each.label for each in predict(reading / "a.png", best)]
    assert [value["label"]] == [each.label for each in predict(reading / "a.png")]
    named = run_digitsweep("predict", "a.png", "--json", "--model", best, cwd=reading)
    assert (named.returncode, named.stderr, named.stdout) == (0, "", finished.stdout)
    (*_, value) = json.loads(invoke("agree", "a.png", "blank.png", "--json").stdout)
    assert list(value["readings"]) == list(accuracies)


def test_the_choice_among_champions(reading: Path) -> None:
    """The recorded validation accuracy decides, whatever the test accuracy is. Without one there is no choice, but for a
    champion that is alone."""
    make_champions(reading)
    client = MlflowClient(f"sqlite:///{reading}/mlflow.db")
    for name, validation, test in (("digits-ann", "0.9", "0.1"), ("digits-cnn", "0.8", "0.99")):
        client.set_model_version_tag(name, "1", ACCURACY, validation)
        client.set_model_version_tag(name, "1", "test_accuracy", test)
    assert best_champion()[0] == "digits-ann@champion"
    for name in ("digits-ann", "digits-cnn"):
        client.delete_model_version_tag(name, "1", ACCURACY)
    with pytest.raises(InputError) as error:
        best_champion()
    only_line(error, "digits-ann@champion, digits-cnn@champion", ACCURACY, "--model")
    client.delete_registered_model_alias("digits-cnn", "champion")
    assert best_champion()[0] == "digits-ann@champion"


def test_champions_of_several_data_sets(reading: Path) -> None:
    """If the champions are of several data sets, those of the default experiment's are meant; without them, one line asks
    for a name."""
    make_champions(reading)
    client = MlflowClient(f"sqlite:///{reading}/mlflow.db")
    client.set_model_version_tag("digits-cnn", "1", "digitsweep.data", "letters")
    with pytest.raises(InputError) as error:
        best_champion()
    only_line(error, "several data sets", "digits-ann@champion, digits-cnn@champion", "--model")
    client.set_model_version_tag("digits-cnn", "1", "digitsweep.data", "mnist")
    assert best_champion()[0] == "digits-cnn@champion"


@pytest.mark.usefixtures("reading")
def test_no_champion() -> None:
    """Without a champion, one line names the models that there are, and how to get one."""
    for command in ("predict", "agree"):
        found = invoke(command, "a.png")
        assert found.exit_code == 2
        (line,) = found.stderr.splitlines()
        assert all(part in line for part in ("no champion", "--model", "promote", ANN, CNN))
