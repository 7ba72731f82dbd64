"""The page to draw on inside the stack's MLflow UI."""

from __future__ import annotations

from typing import Any

import pytest
from browser import opened_in_ui
from stacked import Stack
from strokes import check_drawing

pytestmark = pytest.mark.stack


def test_the_page_works_in_the_stacks_ui(browser: Any, stack: Stack, swept: str) -> None:
    """Somebody who signs in opens comparison/draw.html of a sweep in the stack's UI, and draws in it."""
    run = stack.run(swept)["info"]["experiment_id"], swept
    signed_in = {"username": "admin", "password": stack.secret("ADMIN_PASSWORD")}
    with opened_in_ui(browser, stack.uri, run, "comparison/draw.html", http_credentials=signed_in) as page:
        check_drawing(page)
