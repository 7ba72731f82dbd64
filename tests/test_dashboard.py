"""An exported sweep in optuna-dashboard, really started, in a real Chromium."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from running import run_digitsweep
from servers import free_port, wait_for
from support import SMALL_EXPERIMENT
from test_journal import read

pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed (the extra dev)")
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Dashboard:
    folder: Path
    """With `study.log`."""
    address: str


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """A dashboard of a sweep of eight trials, some of which were pruned."""
    folder = tmp_path_factory.mktemp("dashboard")
    text = SMALL_EXPERIMENT.replace("{trials: 2, epochs: 3, seconds: 20}", "{trials: 8, epochs: 3, seconds: 600}")
    assert text != SMALL_EXPERIMENT
    (folder / "small.yaml").write_text(
        f"{text}pruner: {{type: successive_halving, min_epochs: 1, reduction_factor: 2}}\n"
        "finalists: {top: 1, seeds: 0, confirm: 1}\n"
    )
    for arguments in (("sweep", "small.yaml", "--workers", "1"), ("export", "optuna", "last", "study.log")):
        done = run_digitsweep(*arguments, cwd=folder, seconds=600)
        assert done.returncode == 0, done.stderr
    address, log = f"http://127.0.0.1:{free_port()}", folder / "dashboard.log"
    command = ["-c", "from optuna_dashboard._cli import main; main()", "study.log", "--port", address.rpartition(":")[2]]
    with log.open("w") as output:
        server = subprocess.Popen([sys.executable, *command], cwd=folder, stdout=output, stderr=output)
    try:
        wait_for(f"{address}/api/studies", log)
        yield Dashboard(folder, f"{address}/dashboard")
    finally:
        server.terminate()
        server.wait(60)


def traces(page: Any, plot: str) -> list[dict[str, Any]]:
    """What a plot shows, in Plotly's form, when it is there."""
    page.wait_for_function(f"() => document.getElementById('{plot}')?.data?.length > 0", timeout=120_000)
    return list(page.evaluate(f"() => JSON.parse(JSON.stringify(document.getElementById('{plot}').data))"))


def test_a_sweep_is_shown(browser: Any, dashboard: Dashboard, tmp_path: Path) -> None:
    """History, importance, intermediate values and parallel coordinates show the trials of the journal."""
    study = read(dashboard.folder / "study.log")["small-ann"]
    complete = [each for each in study.trials if each.state is optuna.trial.TrialState.COMPLETE]
    assert len(complete) >= 2
    assert len(study.trials) == 8
    page = browser.new_page(viewport={"width": 1400, "height": 1500})
    page.goto(f"{dashboard.address}/studies/{study._study_id}")
    history = next(each for each in traces(page, "plot-history") if each["name"] == "val_accuracy of small-ann")
    assert sorted(history["y"]) == pytest.approx(sorted(each.values[0] for each in study.trials))
    (importance,) = traces(page, "graph-hyperparameter-importances")
    assert set(importance["y"]) <= set().union(*(each.params for each in complete))
    assert sum(importance["x"]) == pytest.approx(1)
    curves = traces(page, "graph-intermediate-values")
    assert [each["y"] for each in curves] == [list(each.intermediate_values.values()) for each in study.trials]
    page.screenshot(path=tmp_path / "history.png")
    page.goto(f"{dashboard.address}/studies/{study._study_id}/smartSelection")
    (lines,) = traces(page, "plot-parallel-coordinate")
    assert {each["label"] for each in lines["dimensions"]} >= {"learning_rate", "val_accuracy"}
    assert len(lines["dimensions"][0]["values"]) == len(study.trials)
    page.screenshot(path=tmp_path / "selection.png")
    page.close()
