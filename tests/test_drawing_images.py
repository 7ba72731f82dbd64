"""The page for other images than digits: it takes them as a person gives them, and reads them as `predict` does."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Opened, opened
from pages import made, wrote
from PIL import Image
from strokes import bars

from digitsweep.families import parse_params
from digitsweep.prediction.whole import whole_file
from digitsweep.registry.recipe import Recipe
from digitsweep.training.loop import probabilities

pytestmark = pytest.mark.slow

NAMES = ("cat", "dog", "a horse with a long name")
COLOUR = Recipe("images", 16, "letterbox", 3)
FEW = {"blocks": 1, "filters": 4, "padding": "same"}


@pytest.fixture
def shown(browser: Any, tmp_path: Path) -> Any:
    """A page of a network for colour images with named classes, open in a browser."""
    with opened(
        browser, wrote(tmp_path, {"CNN": made(parse_params("cnn", FEW), (16, 16, 3), 3)}, NAMES, None, COLOUR)
    ) as page:
        yield page


def picture(width: int = 200, height: int = 100) -> Image.Image:
    """A coloured ground and a patch on it."""
    pixels = np.full((height, width, 3), (200, 0, 0), np.uint8)
    pixels[height // 5 : -height // 5, width // 4 : -width // 4] = (10, 220, 30)
    return Image.fromarray(pixels)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def wait_for(page: Opened, count: int) -> None:
    """Until the page has taken so many images, and shows what it reads."""
    page.page.wait_for_function(f"() => done.length === {count}")
    page.settle()


def prepared(page: Opened, recipe: Recipe) -> Any:
    """What the network gets, (size, size, channels)."""
    found = page.run("() => Array.from(imagesOf(sheet())[String(shapes[0])].image)")
    return np.array(found).reshape(recipe.shape)


def check_read(page: Opened) -> None:
    """What the page shows is the picture, whole, on the colour of its border; and it has the names of the classes."""
    image = prepared(page, COLOUR)
    assert image[0, 0].tolist() == [200, 0, 0]
    assert image[8, 8].tolist() == [10, 220, 30]
    assert sum(bars(page)) == pytest.approx(100, abs=0.1)
    assert [each.inner_text() for each in page.page.locator("#cards th").all()] == [*NAMES]
    assert any(page.text("#verdict").startswith(f"CNN reads {name}.") for name in NAMES)
    assert page.page.inner_text(".read b") in NAMES


GIVE = """(kind, name, content) => {
    const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type: "image/png" }));
    if (kind === "drop") {
        paper.dispatchEvent(new DragEvent("dragover", { bubbles: true, cancelable: true, dataTransfer: transfer }));
        paper.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
    } else {
        document.body.dispatchEvent(new ClipboardEvent("paste", { bubbles: true, clipboardData: transfer }));
    }
}"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_an_image_is_dropped_or_pasted(shown: Opened, kind: str) -> None:
    """An image that is dropped or pasted is read; undo and clear take it away, and undo brings it back."""
    shown.run(GIVE, kind, "wide.png", base64.b64encode(png(picture())).decode())
    wait_for(shown, 1)
    check_read(shown)
    assert "dropping" not in str(shown.page.get_attribute(".paper", "class"))
    shown.page.click("#clear")
    shown.settle()
    assert set(bars(shown)) == {0.0}
    shown.page.keyboard.press("Control+z")
    shown.settle()
    check_read(shown)


def test_a_file_is_chosen(shown: Opened, tmp_path: Path) -> None:
    """A file that is chosen, as a phone's camera gives it, is read; what is no image is named, and heard."""
    picture().save(tmp_path / "wide.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert shown.page.get_attribute("#file", "accept") == "image/*", "which a phone's camera gives"
    assert shown.page.get_by_label("Choose an image").count() == 1
    shown.page.set_input_files("#file", tmp_path / "wide.png")
    wait_for(shown, 1)
    check_read(shown)
    shown.page.set_input_files("#file", tmp_path / "broken.png")
    for place in ("#verdict", "[role=status]"):
        shown.page.wait_for_function(f"() => document.querySelector('{place}').textContent.includes('broken.png is not an')")


def test_nothing_is_drawn_on_it(shown: Opened) -> None:
    """There is no pen: the paper takes neither strokes nor keys, and text that is pasted or dropped changes nothing."""
    shown.page.mouse.click(200, 300)
    shown.run("""() => {
        const transfer = new DataTransfer();
        transfer.setData("text/plain", "a text");
        document.body.dispatchEvent(new ClipboardEvent("paste", { bubbles: true, clipboardData: transfer }));
        paper.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
    }""")
    shown.settle()
    assert shown.run("() => done.length") == 0
    assert shown.page.get_by_role("img", name="The image").count() == 1


def test_an_orientation_is_followed(shown: Opened, tmp_path: Path) -> None:
    """A photo that a phone stored lying on its side is read upright."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    pixels = np.zeros((120, 120, 3), np.uint8)
    pixels[:, :60] = (0, 0, 250)  # stored on the left, it is seen above
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    shown.page.set_input_files("#file", tmp_path / "photo.jpg")
    wait_for(shown, 1)
    image = prepared(shown, COLOUR)
    assert image[2, :, 2].min() > 200
    assert image[-2, :, 2].max() < 50


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colours with some texture, as a photo has."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), float)
    return Image.fromarray((smooth + random.normal(0, 12, smooth.shape)).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("fit", ["letterbox", "crop"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_prepared_as_by_predict(browser: Any, tmp_path: Path, fit: Any, channels: Any) -> None:
    """Wide, tall, small, odd and transparent images: `predict`'s but for one grey level, and read as it reads them."""
    recipe = Recipe("images", 16, fit, channels)
    model = made(parse_params("cnn", FEW), recipe.shape, 3)
    transparent = photo(90, 60).convert("RGBA")
    transparent.putalpha(Image.linear_gradient("L").resize((90, 60)))
    images = [
        photo(16, 16),
        photo(200, 117),
        photo(33, 61),
        photo(5, 9),
        photo(640, 479),
        photo(50, 50).convert("L"),
        transparent,
    ]
    with opened(browser, wrote(tmp_path, {"CNN": model}, NAMES, None, recipe)) as page:
        for number, image in enumerate(images, start=1):
            path = tmp_path / f"{number}.png"
            image.save(path)
            page.page.set_input_files("#file", path)
            wait_for(page, number)
            wanted, found = whole_file(path, recipe), prepared(page, recipe)
            apart = np.abs(found - wanted.astype(int))
            shares = page.run("() => read(imagesOf(sheet()))[0].probabilities")
            off = float(np.abs(shares - probabilities(model, found[None].astype(np.uint8))[0]).max())
            print(
                f"{image.size} {image.mode}: {apart.max()} levels, {apart.mean():.3f} in the mean; probabilities {off:.4f}"
            )
            assert apart.max() <= 1
            assert off < 0.001
