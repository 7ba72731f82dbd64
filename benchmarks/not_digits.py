"""What `digitsweep predict` says of 500 images that are not digits, before and after the check by training images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib
import mlflow
import numpy as np
from common import folder, mnist_folder, report
from mlflow import MlflowClient
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from sklearn.datasets import load_sample_images

from digitsweep.data import Split, TrainingData
from digitsweep.data.sources import load_dataset
from digitsweep.families import Params, parse_params
from digitsweep.prediction.predicting import UNSURE, read
from digitsweep.prediction.reference import FILE, reference_of
from digitsweep.registry.versions import log_model, register
from digitsweep.tracking.client import quiet_mlflow
from digitsweep.training.loop import train

Page = NDArray[np.uint8]
"""(h, w) or (h, w, 3)."""
Make = Callable[[np.random.Generator], Page]

RECIPE = {"optimizer": "adamw", "learning_rate": 0.003, "schedule": "one_cycle", "augmentation": "affine"}
CNN = parse_params(
    "cnn", {"blocks": 2, "filters": [16, 32], "padding": "same", "dense_units": 64, "batch_size": 64, **RECIPE}
)
ANN = parse_params("ann", {"hidden_layers": 2, "units": [256, 128], "batch_size": 128, **RECIPE})

FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif")
SANS = FONTS[:2]
"""These have Hebrew and Arabic letters."""
# Without letters that look like a digit in some typeface, as O and l do.
GREEK = "ΓΔΘΛΞΠΣΦΨΩαβγδεζηθκλμνξπρςτυφχψω"
CYRILLIC = "АБВГДЕЖКЛМНПРТУФХЦЧШЩЪЫЬЭЮЯавгдежклмнпртуфхцшщъыьэюя"
HEBREW = "אבגדהזחטיכלמנפצקרשתךםףץ"
ARABIC = "بتثجحخدذرزسشصضطظعغفقكلمني"
LATIN = "ABCDEFGHJKLMNPQRTUVWXYacdefhijkmnprtuvwxy"
SYMBOLS = "☀☂☃☎☘☠☢☮☯☸☺♀♂♔♕♖♘♙♠♣♥♦♪♫⚑⚒⚓⚔⚖⚙✂✈✉✌✏✒✚✦✪✿❀❄❖❤➤∑∏∫√∞≈≠≡∀∃∈∩∪⊂⊕⊗@&%#$€£¥§¶"


def on_paper(covered: NDArray[np.float64], random: np.random.Generator) -> Page:
    """Ink, 1 where it covers the paper, somewhere on a sheet of 100 to 600 pixels with a shadow and noise."""
    side = int(random.integers(100, 601))
    factor = side * random.uniform(0.4, 0.95) / max(covered.shape)
    height, width = (max(1, round(length * factor)) for length in covered.shape)
    ink = np.asarray(Image.fromarray(covered.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC))
    sheet = np.zeros((side, side))
    top, left = random.integers(0, side - height + 1), random.integers(0, side - width + 1)
    sheet[top : top + height, left : left + width] = ink.clip(0, 1)
    angle = random.uniform(0, 2 * np.pi)
    down, right = np.mgrid[0:side, 0:side] / side
    paper = random.uniform(190, 245) - 40 * (np.cos(angle) * right + np.sin(angle) * down)
    page = paper * (1 - sheet) + random.uniform(20, 80) * sheet + random.normal(0, 12, (side, side))
    return np.asarray(page.clip(0, 255), np.uint8)


def glyphs(letters: str, fonts: Sequence[str]) -> Make:
    """Makes pages with one letter, in one of Matplotlib's own typefaces."""

    def page(random: np.random.Generator) -> Page:
        folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
        font = ImageFont.truetype(str(folder / f"{random.choice(fonts)}.ttf"), 120)
        letter = str(random.choice(list(letters)))
        box = font.getbbox(letter)
        image = Image.new("L", (round(box[2] - box[0]) + 2, round(box[3] - box[1]) + 2))
        ImageDraw.Draw(image).text((1 - box[0], 1 - box[1]), letter, 255, font)
        return on_paper(np.asarray(image) / 255, random)

    return page


def smooth(random: np.random.Generator, side: int, radius: float) -> NDArray[np.float64]:
    """A random surface from 0 to 1 whose hills have this radius, in pixels."""
    found = ndimage.gaussian_filter(random.normal(size=(side, side)), radius, mode="wrap")
    return np.asarray((found - found.min()) / (np.ptp(found) or 1), np.float64)


def noise(random: np.random.Generator) -> Page:
    """White noise, smooth noise, or smooth noise cut into black and white."""
    side = int(random.integers(28, 300))
    values = smooth(random, side, float(random.choice([0, 1, 3, side / 16, side / 6])))
    return np.asarray(255 * (values > random.uniform(0.4, 0.7) if random.random() < 0.5 else values), np.uint8)


def texture(random: np.random.Generator) -> Page:
    """Stripes, checks, dots, rings or a grid, turned by any angle."""
    side = int(random.integers(60, 300))
    angle, period = random.uniform(0, np.pi), side / random.uniform(2, 14)
    y, x = np.mgrid[0:side, 0:side] - side / 2
    u, v = (np.cos(angle) * x + np.sin(angle) * y) / period, (np.cos(angle) * y - np.sin(angle) * x) / period
    waves = [
        np.sin(2 * np.pi * u),
        np.sign(np.sin(2 * np.pi * u) * np.sin(2 * np.pi * v)),
        np.where(np.hypot(u % 1 - 0.5, v % 1 - 0.5) < 0.3, 1, -1),
        np.sin(2 * np.pi * np.hypot(u, v)),
        np.where(np.minimum(u % 1, v % 1) < 0.2, 1, -1),
    ]
    return np.asarray(128 + 100 * waves[random.integers(len(waves))] + random.normal(0, 4, (side, side)), np.uint8)


def strokes(random: np.random.Generator) -> Page:
    """A scribble: three to five smooth strokes of a pen through random points, crossing each other."""
    image = Image.new("L", (200, 200))
    draw = ImageDraw.Draw(image)
    for _ in range(random.integers(3, 6)):
        corners = random.uniform(15, 185, (random.integers(3, 7), 2))
        path = ndimage.zoom(corners, (12, 1), order=3, mode="nearest").clip(5, 195)
        draw.line([(float(a), float(b)) for a, b in path], 255, int(random.integers(7, 18)), joint="curve")
    return on_paper(np.asarray(image) / 255, random)


def shape(random: np.random.Generator) -> Page:
    """A star, a polygon, or the outline of one with its diagonals."""
    image = Image.new("L", (200, 200))
    draw = ImageDraw.Draw(image)
    corners, turn = int(random.integers(3, 8)), random.uniform(0, 2 * np.pi)
    angles = turn + np.arange(2 * corners) * np.pi / corners
    radii = np.where(np.arange(2 * corners) % 2, random.choice([95, 40]), 95)
    points = [(100 + r * np.cos(a), 100 + r * np.sin(a)) for a, r in zip(angles, radii, strict=True)]
    if random.random() < 0.5:
        draw.polygon(points, 255)
    else:
        draw.line([*points, points[0]], 255, 12, joint="curve")
        draw.line([points[0], points[corners]], 255, 12)
        draw.line([points[1], points[(corners + 1) % len(points)]], 255, 12)
    return on_paper(np.asarray(image) / 255, random)


def photographs(images: Sequence[Image.Image]) -> Make:
    """Makes crops of photographs, of 60 pixels and more, in colour or grey."""

    def page(random: np.random.Generator) -> Page:
        image = images[int(random.integers(len(images)))]
        side = int(random.integers(60, min(image.size) + 1))
        left, top = (int(random.integers(0, length - side + 1)) for length in image.size)
        crop = image.crop((left, top, left + side, top + side))
        return np.asarray(crop if random.random() < 0.5 else crop.convert("L"))

    return page


TEMPLE, FLOWER = (Image.fromarray(each) for each in load_sample_images().images)
PORTRAIT = Image.open(Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")).convert("RGB")


def digit(random: np.random.Generator) -> Page:
    """A printed digit, in one of ten typefaces."""
    return glyphs("0123456789", (*FONTS, "cmr10", "cmss10", "STIXGeneral", "STIXGeneralBol", "DejaVuSerif-Bold"))(random)


TUNED_ON: dict[str, tuple[int, Make]] = {
    "noise": (100, noise),
    "textures": (100, texture),
    "Greek letters": (100, glyphs(GREEK, FONTS)),
    "photographs": (100, photographs([TEMPLE])),
}
"""Kinds, and how many of each, that the check was designed with. The measurement has other images of these kinds, other
photographs among them."""
MEASURED: dict[str, tuple[int, Make]] = {
    "noise": (50, noise),
    "textures": (50, texture),
    "Greek letters": (50, glyphs(GREEK, FONTS)),
    "photographs": (100, photographs([FLOWER, PORTRAIT])),
    "Cyrillic letters": (50, glyphs(CYRILLIC, FONTS)),
    "Hebrew and Arabic letters": (50, glyphs(HEBREW + ARABIC, SANS)),
    "Latin letters": (25, glyphs(LATIN, FONTS)),
    "symbols": (50, glyphs(SYMBOLS, SANS[:1])),
    "scribbles": (50, strokes),
    "shapes": (25, shape),
}


def made(kinds: Mapping[str, tuple[int, Make]], seed: int) -> dict[str, list[Page]]:
    """The pages of each kind."""
    random = np.random.default_rng(seed)
    return {kind: [make(random) for _ in range(count)] for kind, (count, make) in kinds.items()}


def real(mnist: Split, small: Split) -> dict[str, list[Page]]:
    """Pages with one digit each."""
    random = np.random.default_rng(3)
    return {
        "MNIST's test images": [each[..., 0] for each in mnist.images[:2000]],
        "MNIST on paper": [on_paper(each[..., 0] / 255, random) for each in mnist.images[2000:2500]],
        "printed digits": [digit(random) for _ in range(100)],
        "scikit-learn's digits on paper": [on_paper(each[..., 0] / 255, random) for each in small.images[:300]],
    }


def register_trained(name: str, params: Params, data: TrainingData, epochs: int) -> str:
    """Trains a network and registers it as a sweep would."""
    training = train(params, data, seed=0, epochs=epochs)
    while True:
        try:
            next(training)
        except StopIteration as end:
            weights = end.value.weights
            break
    reference = reference_of(data)
    assert reference is not None
    client = MlflowClient()
    run_id = client.create_run("0").info.run_id
    uri, model_id = log_model(
        name, params, weights, shape=data.shape, classes=10, run_id=run_id, tags={}, files={FILE: reference.png()}
    )
    return register(name, uri, model_id, run_id=run_id, tags={}, description="").uri


def row(name: str, pages: Sequence[Page], models: Sequence[str]) -> list[int | str]:
    """How many pages get a digit without a note, for each model: without and with its reference."""
    found: list[int | str] = [name, len(pages)]
    for model in models:
        readings = read(pages, model).readings
        found.append(sum(each.label is not None and each.confidence >= UNSURE for each in readings))
        found.append(sum(not each.note for each in readings))
    return found


def main() -> None:
    mnist = load_dataset(mnist_folder(), validation=10_000)
    small = load_dataset("digits", validation=0.25, seed=0)
    with folder() as place:
        quiet_mlflow()
        mlflow.set_tracking_uri(f"sqlite:///{place}/mlflow.db")
        models = [
            register_trained("cnn", CNN, mnist.training, epochs=4),
            register_trained("ann", ANN, mnist.training, epochs=6),
            register_trained("digits-cnn", CNN, small.training, epochs=30),
        ]
        rows = [row(kind, pages, models) for kind, pages in made(MEASURED, seed=4).items()]
        total: list[int | str] = ["not digits", *(sum(int(each[column]) for each in rows) for column in range(1, 8))]
        kinds = real(mnist.test.open("bench-not-digits"), small.test.open("bench-not-digits"))
        digits = [row(kind, pages, models) for kind, pages in kinds.items()]
    paper = next(each for each in digits if each[0] == "MNIST on paper")
    header = ["a digit without a note", "images"]
    header += [f"{name}, {when}" for name in ("MNIST CNN", "MNIST ANN", "digits CNN") for when in ("before", "after")]
    headline = (
        f"not digits: of {total[1]} images the CNN gives {total[3]} a digit without a note (before: {total[2]}); of "
        f"{paper[1]} of MNIST's digits on paper {paper[3]} (before: {paper[2]})"
    )
    report("not-digits", headline, header, [*rows, total, *digits])


if __name__ == "__main__":
    main()
