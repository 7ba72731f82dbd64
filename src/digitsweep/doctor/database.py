"""A tracking database: whether it can be written, and whether its tables are those of this MLflow."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from mlflow.exceptions import MlflowException
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from digitsweep.doctor.finding import Finding, ok, warning, wrong
from digitsweep.store import first_line, without_secrets

NAME = "tracking database"
LOCKED_SECONDS = 1.0
"""That another writer may take."""


def sqlite_file(uri: str) -> Path | None:
    """The file of an SQLite address; None for a database in memory.

    Raises SQLAlchemyError where it is no address."""
    named = make_url(uri).database
    return Path(named) if named and named != ":memory:" else None


def writable(uri: str) -> Finding:
    """Whether an SQLite file, or the folder where it is to be made, takes what is written; it stays as it is."""
    try:
        path = sqlite_file(uri)
    except SQLAlchemyError as error:
        return wrong(NAME, f"{without_secrets(uri)}: {first_line(error)}", "mend MLFLOW_TRACKING_URI")
    if path is None:
        return wrong(NAME, "is in memory, and gone with the process", "name a file: sqlite:///mlflow.db")
    folder = existing(path.parent)
    refused = refusal(folder)
    if refused:
        return wrong(NAME, f"{folder} cannot be written: {refused}", "name a file elsewhere in MLFLOW_TRACKING_URI")
    if not _there(path):
        return ok(NAME, f"{path.resolve()} is made by the first sweep")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=LOCKED_SECONDS)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        if "locked" in str(error):
            return warning(NAME, f"{path} is being written by another process", "let that end, or use a server for both")
        return wrong(NAME, f"{path} cannot be written: {error}", "name another file in MLFLOW_TRACKING_URI")
    return ok(NAME, f"{path.resolve()} can be written")


def schema(uri: str) -> Finding:
    """Whether the tables are those of the MLflow that is installed; of any database that SQLAlchemy reaches."""
    # Here and not above: half a second, which the quick half has no use for.
    from mlflow.store.db.utils import _get_latest_schema_revision, _get_schema_version, create_sqlalchemy_engine

    name, address = "tables", without_secrets(uri)
    if uri.startswith("sqlite") and not ((path := sqlite_file(uri)) and path.exists()):
        return ok(name, "are made by the first sweep")
    try:
        engine = create_sqlalchemy_engine(uri)  # type: ignore[no-untyped-call]
        try:
            found = _get_schema_version(engine)  # type: ignore[no-untyped-call]
            newest = _get_latest_schema_revision()  # type: ignore[no-untyped-call]
        finally:
            engine.dispose()
    except ImportError as error:
        return wrong(name, f"{address}: {first_line(error)}", "install the database's driver")
    except (SQLAlchemyError, MlflowException) as error:
        return wrong(name, f"{address}: {first_line(error)}", "start the database, or mend MLFLOW_TRACKING_URI")
    if found is None:
        return ok(name, "are made by the first sweep")
    if found != newest:
        return wrong(
            name,
            f"{address} has those of another MLflow ({found}, not {newest})",
            "take a copy of it, then `mlflow db upgrade` with its address; or install the MLflow that made it",
        )
    return ok(name, f"as this MLflow makes them ({newest})")


def existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    folder = folder.resolve()
    return next((each for each in (folder, *folder.parents) if _there(each)), folder)


def _there(path: Path) -> bool:
    """Whether that can be seen to exist: in a folder that may not be looked into nothing can."""
    try:
        return path.exists()
    except OSError:
        return False


def refusal(folder: Path) -> str:
    """Why a folder takes no file, by trying; empty where it does."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)
