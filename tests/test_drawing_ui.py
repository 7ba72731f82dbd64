"""The page to draw on inside the MLflow UI, which shows artifacts in a sandboxed frame."""

from __future__ import annotations

from typing import Any

import pytest
from browser import opened_in_ui
from running import Sweep
from servers import mlflow_server
from strokes import check_drawing

pytestmark = pytest.mark.slow


def test_the_page_works_in_the_mlflow_ui(browser: Any, smoke: Sweep) -> None:
    """`mlflow ui` on the SQLite store of a sweep shows comparison/draw.html, and one draws in it."""
    info = smoke.parent().info
    run = info.experiment_id, info.run_id
    with (
        mlflow_server(smoke.folder, smoke.uri, command="ui") as server,
        opened_in_ui(browser, server.uri, run, "comparison/draw.html") as page,
    ):
        check_drawing(page)
