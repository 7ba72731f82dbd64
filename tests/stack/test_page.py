"""What somebody sees of a sweep in the stack's MLflow UI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser import assert_shows_trials, opened_in_ui
from running import run_digitsweep
from stacked import Stack
from strokes import check_drawing

pytestmark = pytest.mark.stack


def signed_in(stack: Stack) -> dict[str, str]:
    return {"username": "admin", "password": stack.secret("ADMIN_PASSWORD")}


def test_the_page_works_in_the_stacks_ui(browser: Any, stack: Stack, swept: str) -> None:
    """Somebody who signs in opens comparison/draw.html of a sweep in the stack's UI, and draws in it."""
    run = stack.run(swept)["info"]["experiment_id"], swept
    with opened_in_ui(browser, stack.uri, run, "comparison/draw.html", http_credentials=signed_in(stack)) as page:
        check_drawing(page)


def test_a_sweeps_link_shows_its_trials_in_charts(browser: Any, stack: Stack, swept: str, tmp_path: Path) -> None:
    """The printed link, opened in a fresh browser by somebody who signs in, shows the sweep's trials in charts."""
    printed = run_digitsweep("ui", swept, cwd=tmp_path, seconds=120, CI="true", **stack.environment())
    assert printed.returncode == 0, printed.stderr
    link = printed.stdout.removeprefix("The MLflow UI: ").strip()
    assert link.startswith(stack.uri)
    assert_shows_trials(browser, link, picture=tmp_path / "ui.png", http_credentials=signed_in(stack))
