"""Drawings as strokes of a pen, and what a person does with them on the page to draw on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from browser import Opened

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
    "a vertical line": [[(0.5, 0.1), (0.5, 0.9)]],
    "a cross": [[(0.2, 0.2), (0.8, 0.8)], [(0.8, 0.2), (0.2, 0.8)]],
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


def seven(page: Opened) -> None:
    """Draws a seven by mouse, and waits for the bars."""
    for stroke in SKELETONS["7"]:
        places = [place(page, *point) for point in stroke]
        page.page.mouse.move(*places[0])
        page.page.mouse.down()
        for each in places[1:]:
            page.page.mouse.move(*each, steps=5)
        page.page.mouse.up()
    page.settle()


def place(page: Opened, x: float, y: float) -> tuple[float, float]:
    """A point of the paper, in pixels of the window."""
    box = page.frame.locator("#paper").bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def bars(page: Opened) -> list[float]:
    """The width of each bar, in percent."""
    script = "() => Array.from(document.querySelectorAll('.bar i'), (bar) => parseFloat(bar.style.width))"
    return [float(each) for each in page.run(script)]


def check_drawing(page: Opened) -> None:
    """One draws on a page of two models of digits, in whatever frame it lies: it reads, undoes, clears, takes keys and shows
    examples."""
    assert set(bars(page)) == {0.0}
    seven(page)
    drawn = bars(page)
    assert sum(drawn[:10]) == pytest.approx(100, abs=0.1)
    assert sum(drawn[10:]) == pytest.approx(100, abs=0.1)
    assert page.text("#verdict")
    page.frame.click("#undo")
    page.settle()
    assert bars(page) != drawn
    page.frame.click("#clear")
    page.settle()
    assert set(bars(page)) == {0.0}
    page.frame.focus("#paper")
    for key in ["Space", *["ArrowDown"] * 8]:
        page.page.keyboard.press(key)
    page.settle()
    assert max(bars(page)) > 0
    page.frame.click("#examples li:first-child button")
    page.settle()
    assert page.text("#verdict").startswith("Test image ")
