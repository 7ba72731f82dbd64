"""The link of a sweep in a real browser, on a real `mlflow ui`: the first thing that somebody sees of the records."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from browser import assert_shows_trials
from running import Sweep
from servers import START_SECONDS, free_port, mlflow_server

from digitsweep.tracking.ui import link_to

pytestmark = pytest.mark.slow


@contextmanager
def user_interface(sweep: Sweep, *arguments: str, **environment: str) -> Iterator[str]:
    """`digitsweep ui` over a sweep's store: the link that it prints once it answers."""
    command = [sys.executable, "-m", "digitsweep", "ui", "--port", str(free_port()), *arguments]
    log = sweep.folder / "ui.log"
    quiet = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY", "CI")}
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=sweep.folder, env={**quiet, **environment}, stdout=output, stderr=output, start_new_session=True
        )
        try:
            until, found = time.monotonic() + START_SECONDS, None
            while found is None and process.poll() is None and time.monotonic() < until:
                time.sleep(0.2)
                found = re.search(r"^The MLflow UI: (\S+)$", log.read_text(), re.MULTILINE)
            assert found is not None, log.read_text()
            yield found[1]
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(timeout=60)


def test_a_sweeps_link_shows_its_trials_in_charts(browser: Any, smoke: Sweep, tmp_path: Path) -> None:
    """The link that a sweep prints, opened with `digitsweep ui` in a fresh browser, shows its trials in charts."""
    printed = re.search(r"See every trial in the MLflow UI \(.*\): http://127\.0\.0\.1:5000(/#/\S+)", smoke.output)
    assert printed is not None, smoke.output
    with user_interface(smoke) as link:
        assert link.endswith(printed[1]), "the newest sweep is this one"
        assert_shows_trials(browser, link, picture=tmp_path / "ui.png")


def test_the_browser_opens_by_itself(smoke: Sweep, tmp_path: Path) -> None:
    """Where there is a display, `digitsweep ui` opens the link in the person's browser."""
    opened, program = tmp_path / "opened", tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    program.chmod(0o755)
    with user_interface(smoke, smoke.parent().info.run_id, DISPLAY=":99", BROWSER=str(program)) as link:
        until = time.monotonic() + 10
        while not opened.exists() and time.monotonic() < until:
            time.sleep(0.1)
        assert opened.read_text().strip() == link


def test_a_server_below_a_path(browser: Any, smoke: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a server has a path of its own, the link has it too, and leads to the charts."""
    with mlflow_server(tmp_path, smoke.uri, "--static-prefix", "/tracking") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{server.uri}/")
        link = link_to(smoke.parent().info.run_id)
        assert link.startswith(f"{server.uri}/#/experiments/")
        assert "/tracking/#/" in link
        assert_shows_trials(browser, link)
