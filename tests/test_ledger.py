"""The ledger keeps its word when processes are killed, and when many promote at once: SQLite, HTTP, PostgreSQL."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from ledgers import versions, without_models
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from running import ROOT
from servers import mlflow_server, postgres

from digitsweep.errors import RefusedError
from digitsweep.registry.ledger import Action, Ledger, new_record
from digitsweep.registry.promote import History, history, promote, rollback

WRITES = 7
"""Of a promotion: the opening, the decision, the description, the ledger, the record, the alias, the mark."""


@pytest.fixture(scope="module", params=["sqlite", "http", "postgres"])
def registry(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> Iterator[str]:
    """The tracking URI of an empty registry: SQLite, a server on SQLite, a server on PostgreSQL."""
    folder = tmp_path_factory.mktemp("registry")
    sqlite = f"sqlite:///{shutil.copy(empty_database, folder)}"
    if request.param == "sqlite":
        yield sqlite
    elif request.param == "http":
        with mlflow_server(folder, sqlite) as server:
            yield server.uri
    else:
        with postgres() as store, mlflow_server(folder, store) as server:
            yield server.uri


@pytest.fixture
def client(registry: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """A client of the registry, which is MLflow's own for as long; nobody asks a model, and nobody waits long."""
    without_models(monkeypatch)
    mlflow.set_tracking_uri(registry)
    yield MlflowClient()
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


def drive(registry: str, jobs: list[dict[str, Any]], *more: str) -> list[dict[str, Any]]:
    """Runs promotion_driver.py: how each promotion ended."""
    command = [sys.executable, str(Path(__file__).parent / "promotion_driver.py"), registry, json.dumps(jobs), *more]
    paths = os.pathsep.join([str(ROOT / "src"), str(Path(__file__).parent)])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def honest(told: History, client: MlflowClient) -> None:
    """What a history says is so: the records that are done are a chain that ends at the champion, which the alias names."""
    assert str(client.get_registered_model(told.name).aliases.get("champion")) == str(told.champion)
    champion = None
    for each in told.records:
        if each.state == "done":
            assert each.came_from == champion
            champion = each.to
    assert champion == told.champion


@pytest.mark.slow
def test_killed_at_every_step(registry: str, client: MlflowClient) -> None:
    """Killed before any of its writes, a promotion leaves the old champion or the new one, and history says which; the next
    promotion carries on, and no attempt is in the ledger twice."""
    names = {kill: f"killed-{kill}" for kill in range(1, WRITES + 2)}
    for name in names.values():
        versions(client, name, 3)
        promote(name, "1")
    ends = drive(registry, [{"name": name, "version": "2", "kill": kill} for kill, name in names.items()])
    assert [each["end"] for each in ends] == [-9] * WRITES + [0], ends
    assert len(ends[-1]["told"]) == WRITES, "there is no other write that it could have been killed at"
    for kill, name in names.items():
        told = history(name)
        honest(told, client)
        wrote = ends[kill - 1]["told"]
        assert told.champion == ("2" if "set_registered_model_alias" in wrote else "1"), wrote
        records = [each for each in told.records if each.to == "2"]
        assert len(records) == wrote.count("create_model_version")
        pending = [each.state == "pending" for each in records] == [True]
        assert pending == (len(records) == 1 and told.champion == "1")
        assert any("decided and not carried out" in note for note in told.notes) == pending
        promote(name, "3")
        after = history(name)
        honest(after, client)
        assert after.champion == "3"
        assert not after.notes
        assert [each.state for each in after.records] == ["done"] * (2 + len(records))
        rollback(name)
        assert history(name).champion == ("2" if records else "1")


@pytest.mark.slow
def test_eight_at_once(registry: str, client: MlflowClient) -> None:
    """Of eight promotions that have all decided against the same champion one wins, the others are told so, and all eight
    stand in the ledger as what they were."""
    versions(client, "eight", 9)
    promote("eight", "1")
    ends = drive(registry, [{"name": "eight", "version": str(version)} for version in range(2, 10)], "together")
    assert sorted(each["end"] for each in ends) == [0] + [3] * 7, ends
    winner = str(2 + [each["end"] for each in ends].index(0))
    told = history("eight")
    honest(told, client)
    assert told.champion == winner
    assert not told.notes
    assert {each.to: each.state for each in told.records} == {
        **{str(version): "lost" for version in range(2, 10)},
        winner: "done",
        "1": "done",
    }
    assert len(told.records) == 9
    for each in ends:
        assert each["end"] == 0 or "another one came first: after record 2" in each["told"][-1]


@pytest.mark.slow
def test_eight_at_once_as_the_first(registry: str, client: MlflowClient) -> None:
    """Eight at once where there is no champion and no ledger yet: one is the first."""
    versions(client, "first", 8)
    ends = drive(registry, [{"name": "first", "version": str(version)} for version in range(1, 9)], "together")
    assert sorted(each["end"] for each in ends) == [0] + [3] * 7, ends
    told = history("first")
    honest(told, client)
    assert [each.state for each in told.records] == ["done"] + ["lost"] * 7


@pytest.fixture
def alone(made_store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A client of a registry on SQLite with one model of five versions, the first its champion."""
    without_models(monkeypatch)
    client = MlflowClient()
    versions(client, "m", 5)
    promote("m", "1")
    return client


def test_an_owner_that_slept_puts_its_alias_right(alone: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was stopped before it set the alias, carried out by another and overtaken, ends with the later champion."""
    real, asleep = MlflowClient.set_registered_model_alias, [True]

    def slow(self: MlflowClient, name: str, alias: str, version: str) -> None:
        if asleep:
            asleep.clear()
            promote("m", "3")  # the other: it finds the record of 2, carries it out, and goes on
            assert history("m").champion == "3"
        real(self, name, alias, version)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", slow)
    promote("m", "2")
    told = history("m")
    honest(told, alone)
    assert [each.to for each in told.records] == ["1", "2", "3"]
    assert told.champion == "3"


def test_an_owner_that_slept_and_was_killed(alone: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was overtaken and killed right after it set the alias leaves a champion, history says that the alias is not
    where the ledger led, and the next promotion notes it."""
    real, asleep = MlflowClient.set_registered_model_alias, [True]

    def killed(self: MlflowClient, name: str, alias: str, version: str) -> None:
        if not asleep:
            return real(self, name, alias, version)
        asleep.clear()
        promote("m", "3")
        real(self, name, alias, version)
        raise KeyboardInterrupt

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", killed)
    with pytest.raises(KeyboardInterrupt):
        promote("m", "2")
    told = history("m")
    assert told.champion == "2"
    assert "The alias champion was set to version 2 outside of the ledger, after record 3" in told.notes[0]
    promote("m", "4")
    told = history("m")
    honest(told, alone)
    assert [each.action for each in told.records] == ["promote", "promote", "promote", "outside", "promote"]


def test_an_answer_that_was_lost(alone: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that was written though its request failed, or that was written twice, is one record."""
    real, failures = MlflowClient.create_model_version, ["once", "twice"]

    def lossy(self: MlflowClient, *arguments: Any, **keywords: Any) -> Any:
        made = real(self, *arguments, **keywords)
        if failures:
            if failures.pop() == "twice":
                real(self, *arguments, **keywords)
            raise MlflowException("the answer was lost", TEMPORARILY_UNAVAILABLE)
        return made

    monkeypatch.setattr(MlflowClient, "create_model_version", lossy)
    promote("m", "2")
    promote("m", "3")
    promote("m", "4")
    told = history("m")
    honest(told, alone)
    assert [(each.to, each.state) for each in told.records] == [(str(v), "done") for v in range(1, 5)]
    assert not told.notes


def test_an_alias_that_somebody_set_by_hand(alone: MlflowClient) -> None:
    """Where somebody sets or removes the alias in MLflow itself, history says so, and the next promotion notes it first."""
    alone.set_registered_model_alias("m", "champion", "4")
    told = history("m")
    assert told.champion == "4"
    assert "The alias champion was set to version 4 outside of the ledger, after record 1" in told.notes[0]
    promote("m", "2")
    told = history("m")
    honest(told, alone)
    assert [each.action for each in told.records] == ["promote", "outside", "promote"]
    rollback("m")
    assert history("m").champion == "4"
    alone.delete_registered_model_alias("m", "champion")
    assert "The alias champion was removed outside of the ledger" in history("m").notes[0]
    rollback("m", "somebody removed it")
    told = history("m")
    honest(told, alone)
    assert told.champion == "4"


def test_a_version_that_was_deleted(alone: MlflowClient) -> None:
    """A decided promotion whose version was deleted before the alias was set is void; the next goes on."""
    book = Ledger("m")
    book._append(new_record(Action.PROMOTE, "1", "5", reason="then its process died"))
    alone.delete_model_version("m", "5")
    promote("m", "2")
    told = history("m")
    honest(told, alone)
    assert [each.state for each in told.records] == ["done", "void", "done"]


def test_a_late_rollback(alone: MlflowClient) -> None:
    """A rollback that was decided against a champion that is no longer there is told so, and changes nothing."""
    promote("m", "2")
    late = new_record(Action.ROLLBACK, "2", "1", reason="late")
    rollback("m")
    with pytest.raises(RefusedError, match="another one came first"):
        Ledger("m").submit(late)
    with pytest.raises(RefusedError, match="no earlier champion"):
        rollback("m")
    honest(history("m"), alone)
