"""A real Chromium for tests of pages: what a page does, what it asks for, and what it complains about."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True, eq=False)
class Opened:
    """A page in a browser's window."""

    page: Any
    """Playwright's Page."""
    asked: list[str] = field(default_factory=list)
    """The addresses that it asked for, without those of data inside it."""
    complaints: list[str] = field(default_factory=list)
    """What it wrote to the console, and the errors that nobody caught."""

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a JavaScript function for these arguments."""
        return self.page.evaluate(f"(all) => ({script})(...all)", list(arguments))

    def settle(self) -> None:
        """Waits until what was done is on the screen."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def text(self, selector: str) -> str:
        return " ".join(str(self.page.inner_text(selector)).split())


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
    """A file, open in a fresh profile. A page of ours asks for nothing but itself and complains about nothing."""
    profile = browser.new_context(viewport={"width": width, "height": height}, **context)
    found = Opened(profile.new_page())
    found.page.on("request", lambda request: found.asked.append(request.url))
    found.page.on("console", lambda message: found.complaints.append(message.text))
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
    found.page.goto(path.as_uri())
    yield found
    assert [each for each in found.asked if not each.startswith(("data:", "blob:"))] == [path.as_uri()]
    assert found.complaints == []
    profile.close()
