"""Who may make a champion on the tracking server: deploy/server/champions.py in a real `mlflow server` with sign-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import requests
from ledgers import versions, without_models
from mlflow import MlflowClient
from running import ROOT
from servers import mlflow_server

from digitsweep.errors import DigitsweepError
from digitsweep.registry.promote import history, promote

pytest.importorskip("flask_wtf", reason="needs mlflow[auth]")
pytestmark = pytest.mark.slow

DEPLOY = ROOT / "deploy" / "server"
ADMIN, ADA, BEN = (
    ("admin", "a long password of admin"),
    ("ada", "a long password of ada"),
    ("ben", "a long password of ben"),
)
ALIAS = "/registered-models/alias"


class Server:
    """A server with the sign-in of the stack, and requests of its users."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def post(self, user: tuple[str, str], path: str, **values: str) -> int:
        """The code that a request is answered with."""
        return requests.post(f"{self.uri}/api/2.0/mlflow{path}", json=values, auth=user, timeout=60).status_code

    def grant(self, user: tuple[str, str], name: str, permission: str) -> None:
        """In place of what the user had."""
        given = {"username": user[0], "resource_type": "registered_model", "resource_id": name}
        for action, values in (("revoke", given), ("grant", {**given, "permission": permission})):
            address = f"{self.uri}/api/3.0/mlflow/users/permissions/{action}"
            answer = requests.post(address, json=values, auth=ADMIN, timeout=60)
            assert answer.ok or action == "revoke", answer.text


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Server]:
    """With users Ada and Ben."""
    folder = tmp_path_factory.mktemp("server")
    settings = (DEPLOY / "basic_auth.ini").read_text()
    database = next(line for line in settings.splitlines() if line.startswith("database_uri"))
    (folder / "auth.ini").write_text(settings.replace(database, f"database_uri = sqlite:///{folder}/auth.db"))
    store = folder / "mlflow.db"
    store.write_bytes(empty_database.read_bytes())
    variables = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN[0],
        "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "signs nothing here",
        "PYTHONPATH": str(DEPLOY),
    }
    with mlflow_server(folder, f"sqlite:///{store}", "--app-name", "basic-auth", **variables) as running:
        made = Server(running.uri)
        for name, password in (ADA, BEN):
            assert made.post(ADMIN, "/users/create", username=name, password=password) == 200
        yield made


def signed_in(user: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", user[1])


@pytest.fixture
def model(server: Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """A registered model of Ada's with three versions, in which Ben may register versions; nobody asks a network."""
    without_models(monkeypatch)
    name = str(request.node.name)
    signed_in(ADA, monkeypatch)
    mlflow.set_tracking_uri(server.uri)
    versions(MlflowClient(), name, 3)
    server.grant(BEN, name, "EDIT")
    yield name
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # back to the default


def test_only_with_manage(server: Server, model: str) -> None:
    """Whoever has EDIT may set any alias but `champion`, and may not rename the model; with MANAGE, or as admin, both go."""
    for prefix in ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow"):
        values = {"name": model, "alias": "champion", "version": "1"}
        answer = requests.post(f"{server.uri}{prefix}{ALIAS}", json=values, auth=BEN, timeout=60)
        assert answer.status_code == 403
        assert f"Only who has MANAGE on the registered model {model}" in answer.text
    assert server.post(BEN, ALIAS, name=model, alias="challenger", version="1") == 200
    assert server.post(BEN, "/registered-models/rename", name=model, new_name="other") == 403
    assert server.post(ADA, ALIAS, name=model, alias="champion", version="1") == 200
    assert server.post(ADMIN, ALIAS, name=model, alias="champion", version="2") == 200
    server.grant(BEN, model, "MANAGE")
    assert server.post(BEN, ALIAS, name=model, alias="champion", version="3") == 200
    assert server.post(BEN, "/registered-models/rename", name=model, new_name=f"{model}-renamed") == 200


def test_all_else_is_as_it_was(server: Server, model: str) -> None:
    """Signing in, reading and what EDIT allows are untouched; without a password nothing is."""
    wrong = (ADA[0], "a wrong password")
    assert server.post(wrong, ALIAS, name=model, alias="champion", version="1") == 401
    assert server.post(BEN, "/model-versions/set-tag", name=model, version="1", key="note", value="x") == 200
    assert server.post(BEN, ALIAS, name="nothing", alias="champion", version="1") == 404
    assert server.post(BEN, ALIAS, name=model) in (400, 403)
    answer = requests.get(f"{server.uri}/api/2.0/mlflow/registered-models/get", params={"name": model}, auth=BEN, timeout=60)
    assert answer.ok


def test_who_may_promote(server: Server, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first promoter owns the ledger. Others need MANAGE on the model and EDIT on its ledger; where they lack it, one
    line says so, the champion stays, and no record is left behind that a later promotion would carry out."""
    promote(model, "1")
    signed_in(BEN, monkeypatch)
    server.grant(BEN, f"{model}-ledger", "EDIT")
    for granted in ("the model", "the ledger"):
        with pytest.raises(DigitsweepError) as error:
            promote(model, "2", force="because")
        assert "\n" not in str(error.value)
        assert f"promoting needs MANAGE on the registered model {model} and EDIT on {model}-ledger" in str(error.value)
        assert [each.to for each in history(model).records] == ["1"]
        if granted == "the model":
            server.grant(BEN, model, "MANAGE")
            server.grant(BEN, f"{model}-ledger", "READ")
    server.grant(BEN, f"{model}-ledger", "EDIT")
    promote(model, "2")
    told = history(model)
    assert told.champion == "2"
    assert not told.notes


def test_a_ledger_granted_beforehand(server: Server, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions on a ledger may be given before its first record is written."""
    server.grant(BEN, model, "MANAGE")
    server.grant(BEN, f"{model}-ledger", "EDIT")
    promote(model, "1")
    signed_in(BEN, monkeypatch)
    promote(model, "2")
    assert history(model).champion == "2"
