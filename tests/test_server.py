"""A sweep that talks to a real `mlflow server` over HTTP leaves what one on SQLite leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from ledgers import versions, without_models
from mlflow import MlflowClient
from running import EXPERIMENTS, Sweep, brief_experiment, run_digitsweep
from servers import Proxy, mlflow_server
from test_doctor import assert_nothing_left, named, states

from digitsweep.config.options import Options
from digitsweep.doctor import State, examine
from digitsweep.doctor import server as check_server
from digitsweep.errors import RefusedError
from digitsweep.registry.promote import history, promote, rollback
from digitsweep.tracking.ui import OURS, VIEW


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps all that it is told."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    """The address of an MLflow server with one worker and a store of its own, which is not called by any other name."""
    with mlflow_server(folder, f"sqlite:///{folder}/mlflow.db", "--allowed-hosts", "127.0.0.1:*") as running:
        yield running.uri


def shape(sweep: Sweep) -> Counter[tuple[object, ...]]:
    """What a sweep's runs are, without ids and times; trials of one worker are the same everywhere."""
    found: Counter[tuple[object, ...]] = Counter()
    for run in sweep.runs("trial"):
        params, tags = run.data.params, run.data.tags
        figures = {name: value for name, value in run.data.metrics.items() if "seconds" not in name}
        found[
            tags["family"], tags["trial.number"], tags["trial.state"], tags["seed"], run.info.status,
            tuple(sorted(params.items())), tuple(sorted(figures.items())), tuple(sorted(sweep.artifacts(run))),
        ] += 1  # fmt: skip
    return found


def brief_sweep(place: Path, uri: str) -> Sweep:
    """A sweep with one worker that records at `uri`."""
    place.mkdir()
    experiment = brief_experiment(place / "brief.yaml")
    finished = run_digitsweep(*("sweep", str(experiment), "--workers", "1"), cwd=place, MLFLOW_TRACKING_URI=uri)
    assert finished.returncode == 0, finished.stderr
    return Sweep(place, uri, finished.stdout)


@pytest.fixture(scope="module")
def over_http(server: str, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A sweep that the server has recorded for a user with a password."""
    sweep = brief_sweep(tmp_path_factory.mktemp("http") / "sweep", server.replace("http://", "http://me:s3cret@"))
    assert [each.name for each in sweep.folder.iterdir()] == ["brief.yaml"], "nothing is written beside the server"
    return sweep


@pytest.mark.slow
def test_http_and_sqlite_hold_the_same(over_http: Sweep, folder: Path, tmp_path: Path) -> None:
    """The same sweep with one worker leaves the same runs, parameters, figures and files over HTTP as over SQLite.

    It also shows that with one worker a sweep repeats itself, to the last digit, and that the password of the server's
    address is nowhere in what was printed or recorded."""
    on_sqlite = brief_sweep(tmp_path / "sqlite", f"sqlite:///{tmp_path}/mlflow.db")
    assert shape(over_http) == shape(on_sqlite)
    parents = [each.parent() for each in (over_http, on_sqlite)]
    assert parents[0].info.status == parents[1].info.status == "FINISHED"
    assert parents[0].data.metrics == parents[1].data.metrics
    assert over_http.artifacts(parents[0], "comparison") == on_sqlite.artifacts(parents[1], "comparison")
    for family in ("ann", "cnn"):
        version = over_http.client.get_model_version_by_alias(f"digits-{family}", "challenger")
        assert version.status == "READY"
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert kept
    assert not any(b"s3cret" in path.read_bytes() for path in kept)
    assert "s3cret" not in over_http.output


@pytest.mark.slow
def test_a_view_that_the_server_refuses_is_a_warning(server: str, over_http: Sweep, tmp_path: Path) -> None:
    """If the server refuses to save the charts of a sweep, `digitsweep compare` shows the comparison, says why in one line,
    and gives the address of the trials without charts; with the permission, the address is that of the charts, and the saved
    report.md has it too."""
    client, proxy = MlflowClient(server), Proxy(server)
    run = over_http.parent()
    client.delete_experiment_tag(run.info.experiment_id, f"{VIEW}{OURS}{run.info.run_id}")
    proxy.refuse(403, "/experiments/set-experiment-tag", 100)
    page = f"{proxy.uri}/#/experiments/{run.info.experiment_id}/runs?"
    refused = run_digitsweep("compare", run.info.run_id, cwd=tmp_path, MLFLOW_TRACKING_URI=proxy.uri)
    assert refused.returncode == 0, refused.stderr
    assert f"See every trial in the MLflow UI: {page}workflowType=machine_learning\n" in refused.stdout
    (line,) = (line for line in refused.stdout.splitlines() if line.startswith("The charts of this sweep could not"))
    assert "403" in line
    assert proxy.refused == 1
    proxy.refuse(403, "", 0)
    allowed = run_digitsweep("compare", run.info.run_id, "--save", "saved", cwd=tmp_path, MLFLOW_TRACKING_URI=proxy.uri)
    assert f"See every trial in the MLflow UI: {page}viewStateShareKey={OURS}{run.info.run_id}&" in allowed.stdout
    last = (tmp_path / "saved" / "report.md").read_text().splitlines()[-1]
    assert last.startswith(f"[Every trial in the MLflow UI]({page}viewStateShareKey=")
    proxy.close()


def test_the_doctor_and_a_servers_names(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name that the server rejects comes with the option that allows it; under its own name all checks pass, and the
    doctor removes what it wrote."""
    rejected = check_server(server.replace("127.0.0.1", "localhost"))
    assert rejected.state is State.WRONG
    assert '--allowed-hosts "localhost,localhost:*,' in rejected.mend
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    findings = examine(EXPERIMENTS / "smoke.yaml", Options(workers=1))
    assert set(states(findings).values()) == {State.OK}
    assert "mlflow-artifacts:" in named(findings, "artifacts").found
    assert_nothing_left(MlflowClient(server))


def test_promotions_over_http(server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server takes the records of a ledger: promoted, refused, forced, rolled back, and told in that order."""
    without_models(monkeypatch)
    request.addfinalizer(lambda: mlflow.set_tracking_uri(None))  # type: ignore[arg-type]
    mlflow.set_tracking_uri(server)
    client = MlflowClient()
    versions(client, "over-http", 2)
    promote("over-http", "1")
    with pytest.raises(RefusedError, match="is champion already"):
        promote("over-http", "1")
    promote("over-http", "2", force="why not")
    assert client.get_model_version_by_alias("over-http", "champion").version == "2"
    rollback("over-http")
    told = history("over-http")
    assert (told.champion, told.notes) == ("1", ())
    assert [(each.action, each.state) for each in told.records] == [
        ("promote", "done"), ("refuse", "refused"), ("promote", "done"), ("rollback", "done"),
    ]  # fmt: skip
    assert [each.forced for each in told.records] == [False, False, True, False]


def test_a_server_that_is_away_is_one_line(tmp_path: Path) -> None:
    """Where nothing listens, the sweep ends at once with one line that names the server."""
    finished = run_digitsweep(
        *("sweep", str(EXPERIMENTS / "smoke.yaml")),
        cwd=tmp_path,
        MLFLOW_TRACKING_URI="http://user:secret@127.0.0.1:9",
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
    )
    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert "127.0.0.1:9" in line
    assert "secret" not in finished.stderr + finished.stdout
