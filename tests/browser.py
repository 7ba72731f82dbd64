"""A real Chromium for tests of pages: what a page does, what it asks for, and what it complains about."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 120_000
"""Milliseconds. A busy machine takes its time."""
CHARTS = ("val_accuracy", "test_accuracy", "Parallel Coordinates")
"""Of a sweep's trials in the MLflow UI, by their titles."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A page of ours in a browser."""

    page: Any
    """Playwright's Page: the window."""
    frame: Any
    """Playwright's Frame with our page: all of the window, or a part of the MLflow UI."""
    asked: list[str] = field(default_factory=list)
    """The addresses that it asked for, without those of data inside it."""
    complaints: list[str] = field(default_factory=list)
    """What it wrote to the console, and the errors that nobody caught."""

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a JavaScript function for these arguments."""
        return self.frame.evaluate(f"(all) => ({script})(...all)", list(arguments))

    def settle(self) -> None:
        """Waits until what was done is on the screen."""
        self.frame.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def text(self, selector: str) -> str:
        return " ".join(str(self.frame.inner_text(selector)).split())


@contextmanager
def chromium() -> Iterator[Any]:
    """Playwright's Browser. Skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the extra dev)")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("there is no Chromium; install it with: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, path: Path, *, width: int = 1280, height: int = 800, **context: Any) -> Iterator[Opened]:
    """A file, open in a fresh profile without a network. It asks for nothing but itself and complains about nothing."""
    profile = browser.new_context(viewport={"width": width, "height": height}, offline=True, **context)
    profile.set_default_timeout(PATIENCE)
    page = profile.new_page()
    found = Opened(page, page.main_frame)
    page.on("request", lambda request: found.asked.append(request.url))
    page.on("console", lambda message: found.complaints.append(message.text))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.goto(path.as_uri())
    yield found
    assert found.asked == [path.as_uri()]
    assert found.complaints == []
    profile.close()


@contextmanager
def opened_in_ui(browser: Any, uri: str, run: tuple[str, str], artifact: str, **context: Any) -> Iterator[Opened]:
    """An artifact of a run (the ids of its experiment and its own) in the MLflow UI, whose network is gone once it is shown.
    In the frame of the artifact, nothing is asked for and nothing complained about."""
    profile = browser.new_context(viewport={"width": 1600, "height": 1000}, **context)
    profile.set_default_timeout(PATIENCE)
    page = profile.new_page()
    asked, complaints = list[tuple[Any, str]](), list[str]()
    page.on("request", lambda request: asked.append((request.frame, request.url)))
    page.on("console", lambda message: complaints.append(f"{message.location['url']}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    experiment_id, run_id = run
    page.goto(f"{uri}/#/experiments/{experiment_id}/runs/{run_id}/artifacts/{artifact}?workflowType=machine_learning")
    element = page.wait_for_selector("iframe[sandbox]")
    frame = element.content_frame()
    frame.wait_for_load_state()
    profile.set_offline(True)
    found = Opened(page, frame)
    yield found
    found.asked.extend(url for asking, url in asked if asking == frame and not url.startswith(("blob:", "data:")))
    found.complaints.extend(each for each in complaints if not each.startswith(uri))
    assert found.asked == []
    assert found.complaints == []
    profile.close()


def assert_shows_trials(browser: Any, link: str, picture: Path | None = None, **context: Any) -> None:
    """Opens the link in a fresh profile: the charts have lines, and the trials are listed by family, without a click."""
    profile = browser.new_context(viewport={"width": 1500, "height": 1180}, **context)
    page = profile.new_page()
    page.goto(link)
    for title in CHARTS:
        page.get_by_text(title, exact=True).first.wait_for(timeout=PATIENCE)
    page.wait_for_selector(".js-plotly-plot .scatterlayer path.js-line, .js-plotly-plot canvas", timeout=PATIENCE)
    page.wait_for_selector(".js-plotly-plot .barlayer path", timeout=PATIENCE)
    text = page.inner_text("body")
    for family in ("ann", "cnn"):
        assert re.search(rf"\b{family}-\d+", text), text
    assert "No data" not in text
    if picture is not None:
        page.wait_for_timeout(2_000)  # the last chart is drawn
        page.screenshot(path=picture)
    profile.close()
