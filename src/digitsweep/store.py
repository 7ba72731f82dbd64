"""The store that MLflow resolves: where it is, and what earlier sweeps left there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import math
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
    ErrorCode,
)
from mlflow.tracking import get_tracking_uri
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from sqlalchemy.exc import SQLAlchemyError

from digitsweep.errors import DigitsweepError, InputError

NETWORK = {
    "Connection refused": "nothing answers there (connection refused)",
    "Read timed out": "it did not answer in time",
    "Connection aborted": "it broke the connection off",
    "Name or service not known": "its name is not known",
    "No route to host": "there is no way to it",
}
"""What the network's errors, which come wrapped in three others, say; and what they mean."""
AWAY = [ErrorCode.Name(each) for each in (INTERNAL_ERROR, TEMPORARILY_UNAVAILABLE)]
"""How MLflow says that a server did not answer, or not for now."""
NOT_THERE = [ErrorCode.Name(each) for each in (RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE)]
"""How MLflow says that there is no such run, model, version or alias."""
T = TypeVar("T")
OPENED = "digitsweep.test.opened."
"""Tag of a sweep's run, before the family's name: when its test set was opened, by whom, for which time."""
ATTEMPT = "trial.attempt"
"""Tag of a trial's run: which training of it this is, where workers died or a sweep was broken off."""


def open_store() -> MlflowClient:
    """A client of the store that MLflow resolves.

    MLflow makes the tables of an empty database when it is opened, and two processes that do so at once break its schema:
    one opens it at a time."""
    uri = get_tracking_uri()
    if uri.startswith("http"):
        return MlflowClient()
    name = hashlib.sha256(uri.encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir(), f"digitsweep-{os.getuid()}-{name}.lock")
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600)  # anybody may have put a link there
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        return MlflowClient()
    finally:
        os.close(file)


@contextmanager
def server_errors(what: str) -> Iterator[None]:
    """Turns whatever MLflow's store raises into one line: the address, what failed, and why."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise DigitsweepError(f"the tracking server {shown_uri()} {what}: {first_line(error)}") from error


def patiently(call: Callable[[], T]) -> T:
    """What a call gives; where the server is away it is made again for a while. For calls that may be made twice.

    Raises the DigitsweepError of the last try."""
    until, pause = time.monotonic() + patience_seconds(), 0.5
    while True:
        try:
            return call()
        except DigitsweepError as error:
            cause = error.__cause__
            away = isinstance(cause, MlflowException) and cause.error_code in AWAY
            if not away or time.monotonic() + pause > until:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 5.0)


def patience_seconds() -> float:
    """How long a server that takes nothing is waited for, where something needs it.

    Raises InputError where DIGITSWEEP_PATIENCE is no number of seconds."""
    given = os.environ.get("DIGITSWEEP_PATIENCE", "60")
    try:
        found = float(given)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise InputError(f"DIGITSWEEP_PATIENCE must be a number of seconds, 0 or more, but is {given!r}")
    return found


def last_sweep() -> str:
    """The id of the newest run of a sweep that came to a comparison.

    Raises DigitsweepError where there is none."""
    quiet_mlflow()
    with server_errors("could not be asked"):
        client = open_store()
        experiments = [each.experiment_id for each in client.search_experiments()]
        runs = client.search_runs(
            experiments, "tags.`digitsweep.kind` = 'sweep'", max_results=1000, order_by=["attributes.start_time DESC"]
        )
    found = [run for run in runs if run.data.tags.get("digitsweep.state") in ("COMPLETE", "INTERRUPTED")]
    if not found:
        raise DigitsweepError(f"no sweep has been recorded at {shown_uri()}; start one with `digitsweep sweep`")
    return str(found[0].info.run_id)


def sweeps_that_opened(test_digest: str, apart_from: str) -> int:
    """How many sweeps of the store have opened these test images (SHA-256), one run apart.

    Raises DigitsweepError where the store cannot be asked."""
    asked = f"tags.`digitsweep.kind` = 'sweep' AND tags.`digitsweep.data.digest.test` = '{test_digest}'"
    with server_errors("could not be asked"):
        client = open_store()
        experiments = [each.experiment_id for each in client.search_experiments()]
        others = (run for run in all_runs(client, experiments, asked) if run.info.run_id != apart_from)
        return sum(any(tag.startswith(OPENED) for tag in run.data.tags) for run in others)


def load_comparison(run_id: str) -> dict[str, Any]:
    """What `comparison.json` of a sweep's run holds.

    Raises DigitsweepError where there is no such run, or no comparison in it."""
    quiet_mlflow()
    with server_errors("could not be asked"):
        client = open_store()
    with tempfile.TemporaryDirectory(prefix="digitsweep-") as folder:
        try:
            client.get_run(run_id)
            path = client.download_artifacts(run_id, "comparison/comparison.json", folder)
            values: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        except (MlflowException, OSError, json.JSONDecodeError) as error:
            raise DigitsweepError(
                f"no comparison in run {run_id} at {shown_uri()}: {first_line(error)}; "
                "name a sweep's run, or leave it out for the newest"
            ) from None
    return values


def children(client: MlflowClient, experiment_id: str, sweep_run: str) -> list[Run]:
    """The runs below a sweep's, the oldest first."""
    asked = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{sweep_run}'"
    return list(all_runs(client, [experiment_id], asked, order="attributes.start_time ASC"))


def all_runs(
    client: MlflowClient, experiments: Sequence[str], asked: str, *, order: str = "attributes.start_time DESC"
) -> Iterator[Run]:
    """The runs that a filter finds, however many; the newest first, where no other order is given."""
    token = None
    while True:
        page = client.search_runs(list(experiments), asked, max_results=1000, order_by=[order], page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def attempt_of(run: Run) -> int:
    """Which attempt at its trial a run is, from 1."""
    return int(run.data.tags.get(ATTEMPT, "1"))


def adopt_run(tags: Mapping[str, str]) -> None:
    """Sets tags on the run that `mlflow run` opened, where it did."""
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if run_id:
        with server_errors("took no tags"):
            open_store().log_batch(run_id, tags=run_tags(tags))


def shown_uri() -> str:
    """The tracking URI without a password in it."""
    return without_secrets(get_tracking_uri())


def quiet_mlflow() -> None:
    """MLflow and alembic tell of each step on standard error; only warnings are for a person."""
    for name in ("mlflow", "alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It logs each database error with its traceback, and raises it as well.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def run_tags(values: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(key, value) for key, value in values.items()]


def first_line(error: Exception) -> str:
    """An error's first line that says what is wrong, without the passwords of the addresses in it."""
    for said, meant in NETWORK.items():
        if said in str(error):
            return meant
    lines = [
        line for line in str(error).splitlines() if not line.startswith("(raised as a result of")
    ]  # SQLAlchemy's advice
    return without_secrets((lines or [type(error).__name__])[0])


def without_secrets(text: str) -> str:
    """The text, its addresses without user and password, wherever in an address they stand."""
    # Up to the last @ of the word: a password that somebody did not escape may hold an @, a slash or a quote.
    text = re.sub(r"(://)\S*@", r"\1", text)
    return re.sub(r"(?i)([?&](?:user|\w*password|passwd|pwd|\w*token|\w*secret|\w*key)=)[^&\s'\"]*", r"\1...", text)
