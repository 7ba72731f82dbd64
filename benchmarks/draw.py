"""How soon the page to draw on answers: from a movement of the mouse to the bars on the screen, in Chromium."""
# ruff: noqa: E402  # what TensorFlow reads at its import is set before it

from __future__ import annotations

import os

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

from digitsweep.training.startup import import_tensorflow_quietly

import_tensorflow_quietly()  # it reads the variables above when it is imported

import math
import shutil
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from common import folder, report
from playwright.sync_api import Page, sync_playwright

from digitsweep.families import parse_params
from digitsweep.families.build import network
from digitsweep.prediction.browser import network_of, page_of
from digitsweep.registry.recipe import Recipe

NETWORKS: dict[str, dict[str, dict[str, Any]]] = {
    "the first of mnist.yaml": {
        "ann": {"hidden_layers": 2, "units": [832, 640], "normalization": "layer"},
        "cnn": {"blocks": 3, "filters": [32, 40, 32], "pooling": "stride", "normalization": "batch", "padding": "same",
                "dense_units": 256},
    },
    "the largest that its spaces draw": {
        "ann": {"hidden_layers": 4, "units": 1024, "activation": "gelu", "normalization": "layer"},
        "cnn": {"blocks": 3, "convolutions": 2, "filters": 96, "kernel_size": 5, "normalization": "batch", "padding": "same",
                "dense_units": 256},
    },
}  # fmt: skip
STROKES, MOVES = 5, 40

WATCH = """() => {
    // Of each frame, from the first movement in it until the bars are painted, in milliseconds.
    window.waits = [];
    let begun = 0;
    const begin = (event) => { begun ||= event.timeStamp; };
    for (const kind of ["pointerdown", "pointermove"]) addEventListener(kind, begin, true);
    const painted = new MessageChannel();
    painted.port1.onmessage = ({ data }) => waits.push(performance.now() - data);
    new MutationObserver(() => {
        if (begun) painted.port2.postMessage(begun); // a task after the frame
        begun = 0;
    }).observe(document.getElementById("cards"), { subtree: true, attributes: true, attributeFilter: ["style"] });
}"""
PARTS = """() => {
    const times = (work) => Array.from({ length: 9 }, () => {
        const begun = performance.now();
        work();
        return performance.now() - begun;
    }).sort((one, two) => one - two)[4];
    const images = imagesOf(sheet());
    return [imagesOf, ...networks.map((each) => () => classify(each, images[each.shape].image))]
        .map((work) => times(() => work(sheet())));
}"""


def drawn(page: Page) -> list[float]:
    """Milliseconds of each frame while somebody draws rings, one inside the other."""
    page.evaluate(WATCH)
    box = page.locator("#paper").bounding_box()
    assert box is not None
    for stroke in range(STROKES):
        size = 0.35 - 0.05 * stroke
        for move in range(MOVES):
            turn = 2 * math.pi * move / MOVES
            page.mouse.move(
                box["x"] + box["width"] * (0.5 + size * math.cos(turn)),
                box["y"] + box["height"] * (0.5 + size * math.sin(turn)),
            )
            if not move:
                page.mouse.down()
        page.mouse.up()
    return list(page.evaluate("() => waits"))


def row(name: str, path: Path, browser: Any) -> tuple[list[str], float]:
    """What is shown of one page, and the median of its frames."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    begun = time.perf_counter()
    page.goto(path.as_uri())
    opened = time.perf_counter() - begun
    waits = sorted(drawn(page))
    preparing, *reading = page.evaluate(PARTS)
    page.close()
    typical, slowest = median(waits), waits[int(0.95 * len(waits))]
    shown = (
        f"{path.stat().st_size / 1e6:.1f}",
        f"{opened:.1f}",
        f"{preparing:.1f}",
        " and ".join(f"{each:.1f}" for each in reading),
    )
    return [name, *shown, f"{typical:.0f}", f"{slowest:.0f}"], typical


def main() -> None:
    """Pages that are named, else those of NETWORKS, with random weights."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("there is no Chromium; install it with: apt-get install chromium")
    with folder() as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        pages = {each: Path(each).resolve() for each in sys.argv[1:]}
        for name, networks in ({} if pages else NETWORKS).items():
            found = [
                network_of(network(parse_params(family, params), (28, 28, 1), 10), family)
                for family, params in networks.items()
            ]
            pages[name] = place / f"{len(pages)}.html"
            pages[name].write_bytes(page_of(found, tuple("0123456789"), Recipe("digits", 28), "mnist"))
        rows = [row(name, path, browser) for name, path in pages.items()]
        browser.close()
    header = [
        "page of an ANN and a CNN",
        "MB",
        "s to open",
        "ms to prepare",
        "ms to read",
        "ms to the bars, median",
        "95 of 100",
    ]
    headline = f"draw: {rows[0][1]:.0f} ms from a movement of the mouse to the bars, in the median"
    report("draw", headline, header, [each for each, _ in rows])


if __name__ == "__main__":
    main()
