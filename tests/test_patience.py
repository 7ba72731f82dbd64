"""A server that is away is waited for; a refusal is reported at once; and what a person is told of either."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import requests
import urllib3
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, PERMISSION_DENIED, TEMPORARILY_UNAVAILABLE, UNAUTHENTICATED
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from servers import BROKEN_OFF, Proxy, mlflow_server
from sqlalchemy.exc import OperationalError

from digitsweep.errors import DigitsweepError, InputError
from digitsweep.families.ann import AnnParams
from digitsweep.registry.models import load
from digitsweep.registry.openings import openings_of
from digitsweep.registry.versions import Registered, describe_version, log_model, register
from digitsweep.tracking.client import (
    experiment_named,
    first_line,
    is_away,
    log_files,
    open_store,
    patience_seconds,
    patiently,
)
from digitsweep.tracking.records import compact, recorded
from digitsweep.tracking.resume import recover
from digitsweep.trial import EpochMetrics, Kind, Trial, TrialRecord, TrialResult, TrialState

WEIGHTS = (np.zeros((64, 3), np.float32), np.zeros(3, np.float32))
SOFTMAX = AnnParams.model_validate({"hidden_layers": 0, "batch_size": 32})
AWAY = (401, 503, BROKEN_OFF)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Proxy]:
    """A real MLflow server behind a proxy that refuses what it is told to."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, folder)
    with mlflow_server(folder, f"sqlite:///{folder}/mlflow.db") as server:
        proxy = Proxy(server.uri)
        yield proxy
        proxy.close()


@pytest.fixture
def client(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """Of the server; MLflow repeats no request by itself, as in a sweep."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("DIGITSWEEP_PATIENCE", "30")
    proxy.refuse(503, "", 0)
    mlflow.set_tracking_uri(proxy.uri)
    yield MlflowClient()
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # back to the default


def log(run_id: str) -> tuple[str, str]:
    return log_model("digits-ann", SOFTMAX, WEIGHTS, shape=(8, 8, 1), classes=3, run_id=run_id, tags={"family": "ann"})


@pytest.mark.parametrize("status", AWAY)
def test_a_winner_is_registered_however_the_server_fails(proxy: Proxy, client: MlflowClient, status: int) -> None:
    """Each step of registering and judging a winner, refused as a server that is away refuses, is done in the end, once."""
    experiment = client.create_experiment(f"registered {status}")
    run_id = client.create_run(experiment).info.run_id

    def done(step: Callable[[], Any], matching: str) -> Any:
        proxy.refuse(status, matching, 2)
        found = patiently(step)
        assert proxy.refused == 2
        return found

    done(lambda: log(run_id), "PUT .*/mlflow-artifacts/")
    done(lambda: log(run_id), "runs/get")
    uri, model_id = log(run_id)
    outputs = client.get_run(run_id).outputs
    assert outputs is not None
    assert [each.model_id for each in outputs.model_outputs] == [model_id]
    assert [each.model_id for each in client.search_logged_models([experiment])] == [model_id]
    registered: Registered = done(
        lambda: register("digits-ann", uri, model_id, run_id=run_id, tags={}, description=""), "model-versions/create"
    )
    assert len(client.search_model_versions(f"run_id = '{run_id}'")) == 1
    assert done(lambda: load(registered.uri), "GET .*/model[.]keras").input_shape == (None, 8, 8, 1)
    done(lambda: describe_version(registered, {"test_accuracy": "1"}, "All right."), "model-versions/(set-tag|update)")
    assert done(lambda: openings_of("3" * 64), "runs/search").times == 0


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_refusal_is_told_at_once(proxy: Proxy, client: MlflowClient, status: int) -> None:
    """Where the server answers, and the answer is no, nothing is asked a second time."""
    experiment = client.create_experiment(f"refused {status}")
    run_id = client.create_run(experiment).info.run_id
    uri, model_id = log(run_id)
    version = register("digits-ann", uri, model_id, run_id=run_id, tags={}, description="")
    for step, matching in (
        (lambda: load(version.uri), "GET .*/model[.]keras"),
        (lambda: log(client.create_run(experiment).info.run_id), "PUT .*/mlflow-artifacts/"),
        (lambda: describe_version(version, {}, ""), "model-versions/update"),
    ):
        proxy.refuse(status, matching, 1000)
        with pytest.raises(DigitsweepError, match="the tracking server"):
            patiently(step)
        assert proxy.refused == 1


@pytest.fixture
def sweep(client: MlflowClient) -> str:
    """The run of a sweep with one baseline that has ended."""
    experiment = experiment_named(client, "recovered")
    sweep = client.create_run(experiment, tags={"digitsweep.kind": "sweep"}).info.run_id
    trial = Trial(0, SOFTMAX, 1, 1, "softmax")
    epochs = (EpochMetrics(1, 0.5, 0.8, 0.4, 0.9, 0.001, 0.1),)
    record = TrialRecord(trial, TrialResult(TrialState.COMPLETE, epochs, None, WEIGHTS, 195, 0.1))
    tags = {
        MLFLOW_PARENT_RUN_ID: sweep,
        "digitsweep.kind": Kind.TRIAL.value,
        "digitsweep.trial": compact(record, "val_accuracy"),
    }
    run_id = client.create_run(experiment, tags=tags, run_name=trial.name).info.run_id
    for name, value in epochs[0].metrics().items():
        client.log_metric(run_id, name, value, step=1)
    content = recorded(record, np.zeros(0, np.uint8), "012")[1]["weights.npz"]
    log_files(client, run_id, {"weights.npz": content})
    client.set_terminated(run_id)
    return str(sweep)


@pytest.mark.parametrize("status", AWAY)
@pytest.mark.parametrize("matching", ["GET .*weights.npz", "GET .*/mlflow-artifacts/artifacts[?]path="])
def test_weights_that_cannot_be_fetched_are_not_lost(
    proxy: Proxy, client: MlflowClient, sweep: str, status: int, matching: str
) -> None:
    """A server that is away while a sweep is recovered makes nobody train again what it holds."""
    proxy.refuse(status, matching, 2)
    past = recover(client, client.get_run(sweep).info.experiment_id, sweep, "val_accuracy")
    assert proxy.refused == 2
    assert past.lost == ()
    (record,) = past.ended
    assert record.result.weights is not None
    assert [each.shape for each in record.result.weights] == [each.shape for each in WEIGHTS]


def test_recovering_waits_no_longer_than_it_is_told(
    proxy: Proxy, client: MlflowClient, sweep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that stays away ends the resume with one line, and still nothing counts as lost."""
    monkeypatch.setenv("DIGITSWEEP_PATIENCE", "1")
    experiment = client.get_run(sweep).info.experiment_id
    proxy.refuse(503, "mlflow-artifacts", 1000)
    with pytest.raises(DigitsweepError, match="did not return the weights of ann-000 softmax"):
        recover(client, experiment, sweep, "val_accuracy")
    proxy.refuse(503, "", 0)
    assert recover(client, experiment, sweep, "val_accuracy").lost == ()


@pytest.mark.parametrize("damage", [b"", b"PK\3\4 is how a zip file begins", b"no weights"])
def test_damaged_weights_are_lost(client: MlflowClient, sweep: str, damage: bytes) -> None:
    """What an artifact holds in place of weights is told as lost, and trained again."""
    experiment = client.get_run(sweep).info.experiment_id
    (run,) = client.search_runs([experiment], f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{sweep}'")
    log_files(client, run.info.run_id, {"weights.npz": damage})
    assert [each.name for each in recover(client, experiment, sweep, "val_accuracy").lost] == ["ann-000 softmax"]


def test_a_database_that_was_half_made(store: Path) -> None:
    """What a process that was killed while it made the tables has left is made anew."""
    (store / "mlflow.db.part").write_text("half a database")
    assert open_store().search_experiments()
    assert [each.name for each in store.glob("mlflow.db*")] == ["mlflow.db"]


def answered(status: int) -> requests.HTTPError:
    """What requests makes of a status."""
    response = requests.Response()
    response.status_code, response.url, response.raw = status, "http://server/artifact", io.BytesIO(b"")
    with pytest.raises(requests.HTTPError) as error:
        response.raise_for_status()
    return error.value


def downloaded(*errors: Exception) -> MlflowException:
    """What MLflow makes of the errors of a download: their text."""
    files = "\n".join(f"##### File {number} #####\n{error}" for number, error in enumerate(errors))
    return MlflowException(f"The following failures occurred while downloading one or more artifacts from x:\n{files}")


@pytest.mark.parametrize(
    ("error", "away"),
    [
        *[(answered(status), True) for status in (401, 408, 425, 429, 500, 502, 503, 504)],
        *[(answered(status), False) for status in (400, 403, 404, 409, 413)],
        (downloaded(answered(503)), True),
        (downloaded(answered(401), answered(404)), True),
        (downloaded(answered(404)), False),
        (downloaded(requests.ConnectionError("refused")), True),
        (MlflowException("locked", TEMPORARILY_UNAVAILABLE), True),
        (MlflowException("no password", UNAUTHENTICATED), True),
        (MlflowException("not yours", PERMISSION_DENIED), False),
        (MlflowException("too long", BAD_REQUEST), False),
        (RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"}), False),  # type: ignore[no-untyped-call]
        (RestException({"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slow down"}), True),  # type: ignore[no-untyped-call]
        (requests.ReadTimeout(), True),
        (requests.exceptions.InvalidURL(), False),
        (urllib3.exceptions.ProtocolError("broken"), True),
        (OperationalError("select", None, Exception("database is locked")), True),
        (ConnectionResetError(), True),
        (PermissionError("a file"), False),
        (DigitsweepError("another coordinator"), False),
    ],
    ids=lambda value: f"{type(value).__name__} {value}".split("\n")[0][:60],
)
def test_who_is_away(error: Exception, away: bool) -> None:
    """Whether a failure passes depends on what failed, however deep in a chain of exceptions that is."""
    assert is_away(error) is away
    wrapped = DigitsweepError("the tracking server did not answer")
    wrapped.__cause__ = error
    assert is_away(wrapped) is away


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (downloaded(answered(404)), "404 Client Error: None for url: http://server/artifact"),
        (
            Exception("(raised as a result of Query-invoked autoflush)\n(sqlite3.OperationalError) disk is full\n[SQL]"),
            "(sqlite3.OperationalError) disk is full",
        ),
        (ValueError(), "ValueError"),
    ],
    ids=["download", "SQLAlchemy", "no text"],
)
def test_the_line_that_says_what_is_wrong(error: Exception, line: str) -> None:
    """The line that a person sees is the reason, not the advice or the frame around it."""
    assert first_line(error) == line


@pytest.mark.parametrize("given", ["1m", "nan", "inf", "-1", ""])
def test_patience_is_a_number_of_seconds(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """DIGITSWEEP_PATIENCE is a number of seconds, or one line names it."""
    monkeypatch.setenv("DIGITSWEEP_PATIENCE", given)
    with pytest.raises(InputError, match="DIGITSWEEP_PATIENCE must be a number of seconds"):
        patience_seconds()
    monkeypatch.setenv("DIGITSWEEP_PATIENCE", "2.5")
    assert patience_seconds() == 2.5
