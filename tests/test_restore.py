"""deploy/restore.sh replaces nothing that somebody could miss, unless it is told to. The scripts are the real ones and so is
PostgreSQL; in place of Docker stands a command that runs what the containers would, on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from ledgers import versions
from mlflow import MlflowClient
from running import ROOT
from servers import postgres

psycopg = pytest.importorskip("psycopg")
pytestmark = pytest.mark.slow

DOCKER = """\
#!/usr/bin/env bash
# docker compose SUBCOMMAND ...: what the containers would do
set -euo pipefail
echo "$*" >>"$FAKE/log"
if [ "$1" = volume ]; then exit 1; fi # inspect: there is none
shift
case "$1 $2" in
    'exec -T') shift 3 ;;
    'run --rm') shift 5 ;;
    *) exit 0 ;; # up, stop
esac
if [ "$1" = "$(cat "$FAKE/broken" 2>/dev/null)" ]; then echo 'the connection was lost' >&2; exit 2; fi
exec "${@//\\/artifacts/$FAKE/artifacts}"
"""


@dataclass(frozen=True)
class Stack:
    """Two databases, a folder of artifacts, and the scripts that work on them."""

    folder: Path
    uri: str

    def script(self, name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        host, port = self.uri.rpartition("@")[2].partition("/")[0].split(":")
        variables = {
            "PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}",
            "FAKE": str(self.folder),
            "COMPOSE_ENV_FILES": str(self.folder / "env"),
            "PGHOST": host,
            "PGPORT": port,
        }
        command = [str(ROOT / "deploy" / f"{name}.sh"), *map(str, arguments)]
        return subprocess.run(
            command, env={**os.environ, **variables}, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
        )

    def sql(self, statement: str, database: str = "mlflow") -> list[tuple[object, ...]]:
        address = self.uri.replace("postgresql+psycopg", "postgresql").rpartition("/")[0]
        with psycopg.connect(f"{address}/{database}", autocommit=True) as connection:
            done = connection.execute(statement)
            return list(done.fetchall()) if done.description else []

    def empty(self) -> None:
        """As Docker leaves it when it has just made the volumes."""
        for name in ("mlflow", "mlflow_auth"):
            self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", "postgres")
            self.sql(f"CREATE DATABASE {name} OWNER mlflow", "postgres")
        shutil.rmtree(self.folder / "artifacts", ignore_errors=True)
        (self.folder / "artifacts").mkdir()

    def champion(self) -> str:
        ((found,),) = self.sql("SELECT version FROM registered_model_aliases WHERE alias = 'champion'")
        return str(found)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if shutil.which("psql") is None or shutil.which("pg_restore") is None:
        pytest.skip("needs PostgreSQL's psql and pg_restore")
    with postgres() as uri:
        made = Stack(tmp_path_factory.mktemp("stack"), uri)
        (made.folder / "docker").write_text(DOCKER)
        (made.folder / "docker").chmod(0o755)
        made.sql("CREATE ROLE postgres SUPERUSER LOGIN")
        made.sql("CREATE ROLE mlflow LOGIN")
        yield made


@pytest.fixture(scope="module")
def backup(stack: Stack) -> Path:
    """Of a registry of published champions, which has no run; with a user beside the admin, and a file."""
    stack.empty()
    (stack.folder / "env").write_text("ADMIN_PASSWORD=x\n")
    mlflow.set_tracking_uri(stack.uri)
    client = MlflowClient()
    versions(client, "mnist-cnn", 2)
    client.set_registered_model_alias("mnist-cnn", "champion", "2")
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # back to the default
    stack.sql("CREATE TABLE users (username text)", "mlflow_auth")
    stack.sql("INSERT INTO users VALUES ('admin'), ('ada')", "mlflow_auth")
    (stack.folder / "artifacts" / "model.keras").write_text("weights")
    folder = stack.folder / "backup"
    done = stack.script("backup", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_champions_without_runs_are_not_dropped(stack: Stack, backup: Path) -> None:
    """A registry that holds versions but no runs is something to lose: the restore says what is there, and changes nothing
    until it is told to."""
    refused = stack.script("restore", backup)
    assert refused.returncode == 2, refused.stderr
    (line,) = refused.stderr.splitlines()
    for expected in ("registered models: 1", "model versions: 2", "users beside admin: 1", "artifacts", "replace=yes"):
        assert expected in line
    assert "runs: " not in line
    assert stack.champion() == "2"
    stack.sql("UPDATE registered_model_aliases SET version = 1")
    replaced = stack.script("restore", backup, "yes")
    assert replaced.returncode == 0, replaced.stderr
    assert stack.champion() == "2"


def test_an_empty_stack_is_filled(stack: Stack, backup: Path) -> None:
    """Databases without tables and no artifacts are all that a restore fills without being told to."""
    stack.empty()
    done = stack.script("restore", backup)
    assert done.returncode == 0, done.stderr
    assert stack.champion() == "2"
    assert (stack.folder / "artifacts" / "model.keras").read_text() == "weights"


@pytest.mark.parametrize(
    ("database", "statement", "told"),
    [
        ("mlflow", "CREATE TABLE unknown ()", "tables in mlflow: 1"),
        ("mlflow_auth", "CREATE TABLE users (username text)", "tables in mlflow_auth: 1"),
        ("mlflow", None, "the stack holds artifacts;"),
    ],
)
def test_anything_at_all_is_kept(stack: Stack, backup: Path, database: str, statement: str | None, told: str) -> None:
    """One table without a row, in either database, or one file, is enough to be asked."""
    stack.empty()
    if statement is None:
        (stack.folder / "artifacts" / "kept").write_text("")
    else:
        stack.sql(statement, database)
    refused = stack.script("restore", backup)
    assert refused.returncode == 2, refused.stderr
    assert told in refused.stderr


@pytest.mark.parametrize("broken", ["psql", "find"])
def test_an_error_is_no_empty_stack(stack: Stack, backup: Path, broken: str) -> None:
    """Where the database or the server's files cannot be asked, the restore ends with that error and changes nothing."""
    stack.empty()
    assert stack.script("restore", backup).returncode == 0
    log = stack.folder / "log"
    log.write_text("")
    (stack.folder / "broken").write_text(broken)
    try:
        failed = stack.script("restore", backup)
    finally:
        (stack.folder / "broken").unlink()
    assert failed.returncode != 0
    assert failed.stderr.splitlines()[0] == "the connection was lost"
    assert "cannot tell what the stack holds, so nothing was changed" in failed.stderr
    assert "dropdb" not in log.read_text()
    assert stack.champion() == "2"


def test_a_restore_that_was_broken_off_can_be_repeated(stack: Stack, backup: Path) -> None:
    """A database that is missing, because a restore was broken off, is an empty one."""
    stack.empty()
    stack.sql("DROP DATABASE mlflow", "postgres")
    done = stack.script("restore", backup)
    assert done.returncode == 0, done.stderr
    assert stack.champion() == "2"
