"""The address of a sweep's trials in the MLflow UI, and the view behind it. test_ui_browser.py opens it in a browser."""

from __future__ import annotations

import base64
import json
import socket
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from running import Sweep

from digitsweep.cli import main
from digitsweep.tracking.ui import MOST_VIEWS, OURS, VIEW, has_screen, home, link_to

LOCAL = "http://127.0.0.1:5000/#/experiments"


def sweep_run(client: MlflowClient, name: str = "sweep some", *, begun: int = 1_700_000_000_000) -> str:
    """The id of a run that is tagged as a sweep's."""
    tags = {"digitsweep.kind": "sweep", "mlflow.runName": name}
    return str(client.create_run("0", start_time=begun, tags=tags).info.run_id)


def views(client: MlflowClient) -> dict[str, str]:
    """The tags of the experiment that hold views, by key."""
    tags = client.get_experiment("0").tags
    return {name.removeprefix(VIEW): value for name, value in tags.items() if name.startswith(VIEW)}


def state_of(envelope: str) -> dict[str, Any]:
    """What MLflow's UI reads from a view."""
    text = json.loads(envelope)["state"]
    assert text.startswith("deflate;")
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text.removeprefix("deflate;"))))
    return found


def test_a_link_names_a_view_of_the_sweeps_trials(made_store: Path) -> None:
    """The address opens the view of trainings with the charts of this sweep, whose view has a name for people."""
    client = MlflowClient()
    run_id = sweep_run(client, 'sweep "odd" </script>')
    address, _, query = link_to(run_id).partition("?")
    assert address == f"{LOCAL}/0/runs"
    asked = {"viewStateShareKey": [OURS + run_id], "workflowType": ["machine_learning"], "compareRunsMode": ["CHART"]}
    assert parse_qs(query) == asked, "with a filter of its own, MLflow would ignore the view"
    envelope = views(client)[OURS + run_id]
    assert json.loads(envelope)["name"] == 'sweep "odd" </script>, 2023-11-14 22:13 UTC'
    state = state_of(envelope)
    trial = {"mlflow.parentRunId": run_id, "digitsweep.kind": "trial"}
    for tags in (trial, {**trial, "digitsweep.kind": "attempt"}, {**trial, "mlflow.parentRunId": "another"}):
        client.create_run("0", tags=tags)
    (found,) = client.search_runs(["0"], state["searchFilter"])
    assert trial.items() <= found.data.tags.items()
    assert {each["metricSectionId"] for each in state["compareRunCharts"]} < {
        each["uuid"] for each in state["compareRunSections"]
    }


@pytest.mark.parametrize(
    ("address", "base"), [("", "http://server:5000"), ("https://mlflow.example.org/", "https://mlflow.example.org")]
)
def test_people_may_reach_a_server_by_another_address(monkeypatch: pytest.MonkeyPatch, address: str, base: str) -> None:
    """DIGITSWEEP_UI is the address of links to a server."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    monkeypatch.setenv("DIGITSWEEP_UI", address)
    assert home() == f"{base}/#/experiments?workflowType=machine_learning"


def test_views_stay_few(made_store: Path) -> None:
    """However many sweeps there are, the experiment keeps the views of the newest, and those that people have saved or
    changed; the link of an older sweep saves its view again."""
    client = MlflowClient()
    client.set_experiment_tag("0", f"{VIEW}mine", "a view of a person's")
    sweeps = [sweep_run(client, begun=1_700_000_000_000 + number) for number in range(MOST_VIEWS + 3)]
    for run_id in sweeps:
        link_to(run_id)
    assert set(views(client)) == {"mine", *(OURS + run_id for run_id in sweeps[3:])}
    changed = json.dumps({**json.loads(views(client)[OURS + sweeps[-1]]), "name": "changed in the UI"})
    client.set_experiment_tag("0", f"{VIEW}{OURS}{sweeps[-1]}", changed)
    client.set_experiment_tag("0", f"{VIEW}{OURS}unreadable", "{}")
    for run_id in (sweeps[-1], sweeps[0]):
        link_to(run_id)
    assert set(views(client)) == {"mine", *(OURS + run_id for run_id in (sweeps[0], *sweeps[4:]))}
    assert views(client)[OURS + sweeps[-1]] == changed


def test_other_runs_have_links_too(made_store: Path) -> None:
    """A run that is no sweep's has the address of its files, and one that is not there that of the UI, with a reason."""
    client, told = MlflowClient(), list[str]()
    run_id = client.create_run("0", tags={"digitsweep.kind": "comparison"}).info.run_id
    assert link_to(run_id, told.append) == f"{LOCAL}/0/runs/{run_id}/artifacts?workflowType=machine_learning"
    assert not told
    assert link_to("0" * 32, told.append, port=5001) == home(5001)
    (line,) = told
    assert line.startswith("Run 000")
    assert not views(client)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
        ({"DISPLAY": ":0", "CI": "true"}, False),
        ({"SSH_CONNECTION": "10.0.0.1 50000 10.0.0.2 22"}, False),
        ({}, False),
    ],
)
def test_a_browser_opens_where_a_person_sees_it(environment: dict[str, str], expected: bool) -> None:
    """A browser opens where there is a display, also one that ssh forwards, and never in CI."""
    assert has_screen(environment) is expected


def test_a_taken_port_is_one_line(made_store: Path) -> None:
    """Where another program listens on the port, `digitsweep ui` names the option and another port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = CliRunner().invoke(main, ["ui", "--port", str(port)])
    assert found.exit_code == 2
    (line,) = found.stderr.splitlines()
    assert line.startswith(f"digitsweep: --port {port}: cannot be used (")
    assert line.endswith(f"name another port, such as {port + 1}")


def test_a_server_that_is_away_is_one_line(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`digitsweep ui` fails with one line, without the password, where the tracking server does not answer."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:s3cret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    found = CliRunner().invoke(main, ["ui"])
    assert found.exit_code == 1
    assert found.stderr == (
        "digitsweep: the tracking server http://127.0.0.1:9 could not be asked: nothing answers there (connection refused)\n"
    )


def test_compare_saves_the_files(smoke: Sweep, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`digitsweep compare --save` writes the files of the comparison to a folder, byte for byte, and nothing half."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", smoke.uri)
    for _ in range(2):  # into a folder that has them already, too
        found = CliRunner().invoke(main, ["compare", "--save", "new/saved"])
        assert found.exit_code == 0, found.stderr
    files = {path.name: path.read_bytes() for path in (store / "new" / "saved").iterdir()}
    assert {f"comparison/{name}" for name in files} == smoke.artifacts(smoke.parent(), "comparison")
    assert {"report.html", "report.md", "model-card-ann.md", "model-card-cnn.md", "comparison.json"} < set(files)
    for name, content in files.items():
        assert smoke.artifact(smoke.parent(), f"comparison/{name}") == content


@pytest.mark.parametrize("folder", ["taken", "taken/below"])
def test_a_folder_that_cannot_be_is_one_line(folder: str, store: Path) -> None:
    """Where --save names a file, or a folder below one, one line says so before anything is asked of the server."""
    (store / "taken").write_text("a file")
    found = CliRunner().invoke(main, ["compare", "--save", folder])
    assert found.exit_code == 2
    (line,) = found.stderr.splitlines()
    assert line.startswith("digitsweep: --save ")
    assert "must be a folder" in line
    assert (store / "taken").read_text() == "a file"
    assert not (store / "mlflow.db").exists()
