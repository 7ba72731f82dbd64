"""The page to draw on, in a real Chromium: it reads what is drawn as `predict` does, and does what a person expects."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Opened, chromium, opened
from networks import TRAINED, configurations, fitted, mixer, shuffled
from numpy.typing import NDArray

from digitsweep.data import Split, TrainingData
from digitsweep.data.sources import load_dataset, read_folder
from digitsweep.families import parse_params
from digitsweep.families.build import network
from digitsweep.predict.browser import network_of, page_of
from digitsweep.predict.predicting import UNSURE
from digitsweep.predict.preparing import prepare
from digitsweep.registry.recipe import Recipe
from digitsweep.report.drawing import Examples
from digitsweep.training.loop import probabilities

pytestmark = pytest.mark.slow

DIGITS = tuple("0123456789")
CLOSE = 0.001
"""Of a probability."""

Stroke = list[tuple[float, float]]
"""Points as fractions of the paper's side, from the upper left."""

SKELETONS: dict[str, list[Stroke]] = {
    "0": [[(0.5, 0.15), (0.3, 0.3), (0.28, 0.6), (0.45, 0.85), (0.65, 0.75), (0.72, 0.45), (0.62, 0.2), (0.5, 0.15)]],
    "1": [[(0.35, 0.35), (0.55, 0.15), (0.52, 0.85)]],
    "2": [[(0.3, 0.3), (0.45, 0.15), (0.65, 0.22), (0.66, 0.42), (0.3, 0.82), (0.72, 0.8)]],
    "3": [[(0.3, 0.2), (0.55, 0.15), (0.65, 0.3), (0.45, 0.47), (0.68, 0.62), (0.58, 0.83), (0.3, 0.8)]],
    "4": [[(0.45, 0.15), (0.28, 0.55), (0.72, 0.55)], [(0.6, 0.35), (0.57, 0.87)]],
    "5": [[(0.35, 0.17), (0.33, 0.47), (0.58, 0.45), (0.68, 0.65), (0.52, 0.85), (0.3, 0.78)], [(0.35, 0.17), (0.68, 0.18)]],
    "6": [[(0.62, 0.15), (0.38, 0.4), (0.33, 0.7), (0.5, 0.86), (0.66, 0.7), (0.52, 0.53), (0.36, 0.66)]],
    "7": [[(0.28, 0.2), (0.7, 0.18), (0.45, 0.86)], [(0.4, 0.52), (0.66, 0.5)]],
    "8": [[(0.6, 0.2), (0.4, 0.2), (0.4, 0.4), (0.64, 0.62), (0.5, 0.86), (0.34, 0.68), (0.62, 0.36), (0.6, 0.2)]],
    "9": [[(0.64, 0.3), (0.45, 0.18), (0.36, 0.35), (0.5, 0.5), (0.64, 0.3), (0.6, 0.86)]],
}
ODD: dict[str, list[Stroke]] = {
    "a dot": [[(0.5, 0.5)]],
    "a horizontal line": [[(0.1, 0.5), (0.9, 0.5)]],
    "two digits": [[(0.2, 0.2), (0.2, 0.8)], [(0.7, 0.2), (0.75, 0.8)]],
    "dashes": [[(0.5, 0.1), (0.5, 0.3)], [(0.5, 0.42), (0.5, 0.6)], [(0.5, 0.72), (0.5, 0.9)]],
    "a scribble": [[(0.3 + 0.4 * (i % 2), 0.2 + 0.01 * i) for i in range(60)]],
    "a corner": [[(0.0, 0.0), (0.2, 0.0), (0.2, 0.2)]],
    "a frame": [[(0.01, 0.01), (0.01, 0.99)], [(0.5, 0.3), (0.5, 0.7)]],
    "a digit with a speck": [[(0.3, 0.2), (0.7, 0.2), (0.4, 0.8)], [(0.8, 0.75)]],
}


def drawings(count: int) -> Iterator[list[Stroke]]:
    """Digits as people draw them: turned, sheared, larger or smaller, and a little unsteady."""
    random = np.random.default_rng(7)
    for name in itertools.islice(itertools.cycle(SKELETONS), count):
        turn, shear, size = random.uniform(-0.2, 0.2), random.uniform(-0.2, 0.2), random.uniform(0.5, 1.15)
        by = size * np.array([[np.cos(turn), shear - np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        shift = random.uniform(-0.1, 0.1, 2)
        yield [
            [
                (float(x), float(y))
                for x, y in (np.array(stroke) - 0.5) @ by.T + 0.5 + shift + random.normal(0, 0.012, (len(stroke), 2))
            ]
            for stroke in SKELETONS[name]
        ]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


def wrote(folder: Path, models: dict[str, Any], names: Sequence[str] = DIGITS, examples: Examples | None = None) -> Path:
    """The page of some networks, as a file: of digits in grey, or of other images in colour."""
    path, networks = folder / "draw.html", [network_of(model, name) for name, model in models.items()]
    side, _, channels = networks[0].shape
    recipe = Recipe("digits", side) if channels == 1 else Recipe("images", side, "letterbox", 3)
    path.write_bytes(page_of(networks, tuple(names), recipe, "digits", examples))
    return path


def classified(page: Opened, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What each network on a page makes of images: (networks, n, classes)."""
    script = "(images) => networks.map((network) => images.map((image) => Array.from(classify(network, image))))"
    return np.array(page.run(script, images.reshape(len(images), -1).tolist()))


def check_alike(page: Opened, models: dict[str, Any], images: NDArray[np.uint8]) -> None:
    """The page gives the classes that Keras gives, with the same probabilities."""
    for (name, model), found in zip(models.items(), classified(page, images), strict=True):
        wanted = probabilities(model, images)
        assert np.abs(found - wanted).max() < CLOSE, name
        first, second = np.sort(wanted, axis=1)[:, -1], np.sort(wanted, axis=1)[:, -2]
        clear = first - second > 2 * CLOSE
        assert (found.argmax(1) == wanted.argmax(1))[clear].all(), name


@pytest.mark.parametrize("shape", [(28, 28, 1), (15, 15, 3)], ids=["grey", "colour"])
def test_every_layer_is_computed_as_keras_does(browser: Any, tmp_path: Path, shape: tuple[int, int, int]) -> None:
    """Every pooling, normalisation, activation and padding, in every family: the probabilities of Keras."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (6, *shape), dtype=np.uint8)
    images[3:] *= random.random((3, *shape)) < 0.2  # mostly black, as digits are
    models = {
        name: shuffled(network(params, shape, 10), seed) for seed, (name, params) in enumerate(configurations().items())
    }
    models["mixer"] = shuffled(mixer(shape), 1)
    with opened(browser, wrote(tmp_path, models)) as page:
        check_alike(page, models, images)


@pytest.fixture(scope="module", params=["digits", "mnist"])
def trained(request: pytest.FixtureRequest) -> tuple[dict[str, Any], Split]:
    """A network of each family, trained for some seconds, and the test images."""
    if request.param == "digits":
        dataset = load_dataset("digits", validation=0.25)
        data, test = dataset.training, dataset.test.open("a test of the page")
    else:
        given = os.environ.get("DIGITSWEEP_TEST_MNIST")
        if not given:
            pytest.skip("DIGITSWEEP_TEST_MNIST names no folder with MNIST")
        part, test = read_folder(Path(given))
        data = TrainingData(part.take(np.arange(8000)), part.take(np.arange(8000, 8200)), 10)
    epochs = 8 if request.param == "digits" else 2
    return {name: fitted(params, data, epochs) for name, params in TRAINED.items()}, test


def test_test_images_are_read_as_by_predict(browser: Any, tmp_path: Path, trained: tuple[dict[str, Any], Split]) -> None:
    """200 test images: the digits that the registered networks give, with their probabilities."""
    models, test = trained
    with opened(browser, wrote(tmp_path, models)) as page:
        check_alike(page, models, test.images[:200])


def test_drawings_are_read_as_by_predict(browser: Any, tmp_path: Path, trained: tuple[dict[str, Any], Split]) -> None:
    """50 drawings: the digits that the same networks give for the same paper, prepared by `predict`."""
    models, test = trained
    script = "(strokes, side) => networks.map((each) => Array.from(classify(each, prepare(greyOf(strokes), side).image)))"
    with opened(browser, wrote(tmp_path, models)) as page:
        for strokes in drawings(50):
            wanted = prepare(paper(page, strokes), test.images.shape[1])
            read = page.run(script, strokes, test.images.shape[1])
            for model, found in zip(models.values(), read, strict=True):
                shares = probabilities(model, wanted.image[None])[0]
                lead = np.sort(shares)[-1] - np.sort(shares)[-2]
                assert int(np.argmax(found)) == int(shares.argmax()) or lead < 20 * CLOSE  # a grey level may differ by one


def paper(page: Opened, strokes: list[Stroke]) -> NDArray[np.float32]:
    """What the page draws, in grey levels (height, width)."""
    found = page.run(
        "(strokes) => Array.from(greyOf(strokes).values, (each) => String.fromCharCode(each)).join('')", strokes
    )
    values = np.frombuffer(found.encode("latin-1"), np.uint8).astype(np.float32)
    return values.reshape(round(len(values) ** 0.5), -1)


def test_preparation_is_that_of_predict(browser: Any, tmp_path: Path) -> None:
    """Digits and odd things, at several sizes: the image of `predict`, to two grey levels, and its notes."""
    model = network(parse_params("ann", {"hidden_layers": 0}), (28, 28, 1), 10)
    script = (
        "(strokes, sides) => sides.map((side) => prepare(greyOf(strokes), side)).map((each) => [[...each.image], each.note])"
    )
    sides = (8, 16, 28, 32)
    with opened(browser, wrote(tmp_path, {"ANN": model})) as page:
        for name, strokes in [*ODD.items(), *((f"drawing {number}", each) for number, each in enumerate(drawings(30)))]:
            grey = paper(page, strokes)
            for side, (image, note) in zip(sides, page.run(script, strokes, sides), strict=True):
                wanted = prepare(grey, side)
                assert np.abs(np.array(image) - wanted.image.ravel().astype(int)).max() <= 2, name
                assert wanted.note.partition(";")[0] == note, name


# What a person does


@pytest.fixture
def drawn(browser: Any, tmp_path: Path) -> Path:
    """A page with two networks, untrained, and two examples."""
    models = {
        name: shuffled(network(parse_params(family, minimal), (28, 28, 1), 10), 1)
        for name, family, minimal in (("ANN", "ann", {"hidden_layers": 0}), ("CNN", "cnn", {"blocks": 1, "filters": 4}))
    }
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), dtype=np.uint8)
    return wrote(tmp_path, models, examples=Examples([12, 345], images, np.array([4, 9], np.uint8)))


def bars(page: Opened) -> list[float]:
    """The width of each bar."""
    return [
        float(each)
        for each in page.run("() => Array.from(document.querySelectorAll('.bar i'), (bar) => parseFloat(bar.style.width))")
    ]


def seven(page: Opened) -> None:
    """Draws a seven by mouse, and waits for the bars."""
    box = page.page.locator("#paper").bounding_box()
    for stroke in SKELETONS["7"]:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.page.mouse.move(*places[0])
        page.page.mouse.down()
        for place in places[1:]:
            page.page.mouse.move(*place, steps=5)
        page.page.mouse.up()
    page.settle()


def test_the_bars_follow_the_pen(browser: Any, drawn: Path) -> None:
    """The bars change while one draws, undo takes back a stroke, clear all of them, and undo brings them back."""
    with opened(browser, drawn) as page:
        assert set(bars(page)) == {0.0}
        assert page.page.is_disabled("#undo")
        box = page.page.locator("#paper").bounding_box()
        page.page.mouse.move(box["x"] + 100, box["y"] + 60)
        page.page.mouse.down()
        seen = []
        for step in range(1, 4):
            page.page.mouse.move(box["x"] + 100 + 20 * step, box["y"] + 60 + 80 * step)
            page.settle()
            seen.append(bars(page))
        assert len({tuple(each) for each in seen}) == 3, "they change before the pen is lifted"
        page.page.mouse.up()
        page.page.click("#clear")
        page.settle()
        assert set(bars(page)) == {0.0}
        seven(page)
        both = bars(page)
        assert sum(both[:10]) == pytest.approx(100, abs=0.1)
        page.page.click("#undo")
        page.settle()
        assert bars(page) != both
        page.page.keyboard.press("Control+z")
        page.page.keyboard.press("Control+z")
        page.settle()
        assert bars(page) == seen[-1], "the stroke from before the paper was cleared"


def test_a_finger_draws(browser: Any, drawn: Path) -> None:
    """Touches draw, and the page does not scroll under the finger."""
    with opened(browser, drawn, width=390, height=844, has_touch=True, is_mobile=True) as page:
        box = page.page.locator("#paper").bounding_box()
        session = page.page.context.new_cdp_session(page.page)

        def touch(kind: str, *at: float) -> None:
            points = [{"x": box["x"] + at[0] * box["width"], "y": box["y"] + at[1] * box["height"]}] if at else []
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", 0.3, 0.2)
        for step in range(1, 9):
            touch("touchMove", 0.3 + 0.03 * step, 0.2 + 0.07 * step)
        touch("touchEnd")
        page.settle()
        assert max(bars(page)) > 0
        assert page.run("() => scrollY") == 0
        assert page.run("() => sheet().strokes[0].length") > 4


def test_keys_draw(browser: Any, drawn: Path) -> None:
    """Without a mouse: tab to the paper, put the pen down, move it, lift it; undo and clear."""
    with opened(browser, drawn) as page:
        keyboard = page.page.keyboard
        keyboard.press("Tab")  # the paper is first
        assert page.run("() => document.activeElement.id") == "paper"
        for key in ["ArrowUp"] * 6 + ["Space"] + ["ArrowDown"] * 12 + ["Space"] + ["ArrowLeft"] * 3:
            keyboard.press(key)
        page.settle()
        assert page.run("() => sheet().strokes.map((points) => points.length)") == [13]
        assert max(bars(page)) > 0
        keyboard.press("u")
        page.settle()
        assert set(bars(page)) == {0.0}
        keyboard.press("Space")
        keyboard.press("ArrowDown")
        keyboard.press("Delete")
        page.settle()
        assert set(bars(page)) == {0.0}
        assert page.run("() => pen.isDown") is False


def test_an_example_is_read(browser: Any, drawn: Path) -> None:
    """An example goes to the networks as it is, says what its label is, and makes way for a drawing."""
    with opened(browser, drawn) as page:
        page.page.get_by_role("button", name="Test image 345, labelled 9").click()
        page.settle()
        assert "Test image 345, labelled 9." in page.text("#verdict")
        (found,) = (page.run("() => imagesOf(sheet())['28,28,1'].image.length"),)
        assert found == 784
        example = bars(page)
        seven(page)
        assert "Test image" not in page.text("#verdict")
        assert bars(page) != example


def test_the_verdict_says_who_disagrees_and_who_is_unsure(browser: Any, drawn: Path) -> None:
    """The line above the bars says whether the networks agree, and which of them are unsure."""
    with opened(browser, drawn) as page:

        def told(*shares: float) -> str:
            """For two networks with these probabilities of 4 and of 9."""
            readings = [
                {"name": name, "note": "", "probabilities": [], "order": [4, 9] if four >= 0.5 else [9, 4],
                 "isSure": max(four, 1 - four) >= UNSURE}
                for name, four in zip(("ANN", "CNN"), shares, strict=True)
            ]  # fmt: skip
            return str(page.run("(readings) => verdictOf(readings, {})", readings))

        assert told(0.99, 0.95) == "Both read 4."
        assert told(0.99, 0.02) == "They disagree: ANN reads 4 and CNN reads 9."
        assert told(0.99, 0.55) == "Both read 4. CNN is unsure."
        assert told(0.6, 0.3) == "They disagree: ANN reads 4 and CNN reads 9. Both are unsure."


def test_a_screen_reader_hears_the_result(browser: Any, drawn: Path) -> None:
    """When the pen rests, the live region holds what both networks read; every control has a name."""
    with opened(browser, drawn) as page:
        seven(page)
        page.page.wait_for_function("() => document.querySelector('[role=status]').textContent.includes('CNN:')")
        for role, name in (
            ("button", "Undo"),
            ("button", "Clear"),
            ("application", "Paper to draw on"),
            ("table", "Probabilities of CNN"),
        ):
            assert page.page.get_by_role(role, name=name).count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280, 1600])
def test_it_fits_every_screen(browser: Any, drawn: Path, width: int, scheme: str) -> None:
    """From a phone to a large screen, light and dark: nothing is cut off, and ink differs from paper."""
    with opened(browser, drawn, width=width, height=800, color_scheme=scheme) as page:
        seven(page)
        assert page.run("() => document.documentElement.scrollWidth") <= width
        ink, ground = page.run(
            "() => [getComputedStyle(paper).color, getComputedStyle(paper.parentElement).backgroundColor].map((each) => "
            "Number(each.match(/\\d+/)[0]))"
        )
        assert abs(ink - ground) > 150
        assert (ink > ground) == (scheme == "dark")


def test_a_colour_model_takes_pictures(browser: Any, tmp_path: Path) -> None:
    """For images in colour, one chooses a picture: it is fitted as a whole, on the colour of its border, and read."""
    from PIL import Image

    model = network(parse_params("cnn", {"blocks": 1, "filters": 4}), (16, 16, 3), 3)
    wide = np.zeros((100, 200, 3), np.uint8)
    wide[..., 0] = 200
    wide[30:70, 50:150] = (10, 220, 30)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    with opened(browser, wrote(tmp_path, {"CNN": model}, ["cat", "dog", "horse"])) as page:
        page.page.set_input_files("#file", tmp_path / "wide.png")
        page.page.wait_for_function("() => done.length === 1")
        page.settle()
        image = np.array(page.run("() => Array.from(imagesOf(sheet())['16,16,3'].image)")).reshape(16, 16, 3)
        assert image[0, 0].tolist() == [200, 0, 0], "the ground"
        assert np.abs(image[8, 8] - (10, 220, 30)).max() <= 2
        assert sum(bars(page)) == pytest.approx(100, abs=0.1)
        page.page.set_input_files("#file", tmp_path / "broken.png")
        page.page.wait_for_function("() => document.querySelector('#verdict').textContent.includes('broken.png')")
