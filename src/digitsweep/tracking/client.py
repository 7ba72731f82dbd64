"""The store that MLflow resolves: opening it, waiting for it, what its errors mean, and reading and writing its runs."""

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
from mlflow.entities import Param, Run, RunTag
from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS, MlflowException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    RESOURCE_DOES_NOT_EXIST,
    ErrorCode,
)
from mlflow.tracking import get_tracking_uri
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from requests.exceptions import ChunkedEncodingError, HTTPError, RetryError, Timeout
from requests.exceptions import ConnectionError as RequestsConnectionError
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from urllib3.exceptions import HTTPError as Urllib3Error

from digitsweep.errors import DigitsweepError, InputError

EXPERIMENT_NAME = "digitsweep"
"""MLflow's experiment where its variables name none."""
OPENED = "digitsweep.test.opened."
"""Tag of a sweep's run, before the family's name, and of a version, before an attempt to promote it: when its test set was
opened, by whom, for what."""
TEST_DIGEST = "digitsweep.data.digest.test"
"""Tag of whatever was evaluated on a test set, and of models that were made for one: SHA-256 of its images and labels."""
ATTEMPT = "trial.attempt"
"""Tag of a trial's run: which training of it this is, where workers died or a sweep was broken off."""
NETWORK = {
    "Connection refused": "nothing answers there (connection refused)",
    "Read timed out": "it did not answer in time",
    "connect timeout": "it did not answer in time",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not trusted; MLFLOW_TRACKING_SERVER_CERT_PATH may name it",
    "Connection aborted": "it closed the connection",
    "Name or service not known": "its name is not known",
    "No route to host": "there is no route to it",
}
"""Texts of network errors, which come wrapped in three others, and what they mean."""
PASSING = (401, 408, 425, 429)
"""HTTP statuses below 500 after which the same request may succeed. MLflow's server answers 401 to an artifact while its
database is away."""
NETWORK_ERRORS = (
    RequestsConnectionError,
    Timeout,
    RetryError,
    ChunkedEncodingError,
    Urllib3Error,
    OperationalError,
    ConnectionError,
    TimeoutError,
)
"""Raised where a server, or a database, does not answer or breaks its answer off."""
NOT_THERE = [ErrorCode.Name(each) for each in (RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE)]
"""How MLflow says that there is no such run, model, version or alias."""
T = TypeVar("T")


def open_store() -> MlflowClient:
    """A client of the store that MLflow resolves.

    MLflow creates the tables of an empty database when it is opened. Two processes that do so at once break its schema, so a
    lock lets one open it at a time. One that is killed meanwhile breaks a SQLite database for good, so that gets its name
    when it has its tables."""
    quiet_mlflow()
    uri = get_tracking_uri()
    if uri.startswith("http"):
        return MlflowClient()
    name = hashlib.sha256(uri.encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir(), f"digitsweep-{os.getuid()}-{name}.lock")
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600)  # anybody may have put a link there
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        url = make_url(uri) if uri.startswith("sqlite:") else None
        if url is not None and url.database and not Path(url.database).exists():
            part = Path(f"{url.database}.part")
            part.unlink(missing_ok=True)
            MlflowClient(str(url.set(database=str(part))))
            part.rename(url.database)
        return MlflowClient()
    finally:
        os.close(file)


def quiet_mlflow() -> None:
    """Silences what MLflow and alembic log of each step; warnings remain."""
    for name in ("mlflow", "alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It logs each database error with its traceback, and raises it as well.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def no_hidden_retries() -> None:
    """Keeps MLflow from repeating a request by itself: that makes a run twice where only the answer was lost."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"


@contextmanager
def server_errors(what: str) -> Iterator[None]:
    """Turns whatever MLflow's store raises into one line: the address, what failed, and why."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise DigitsweepError(f"the tracking server {shown_uri()} {what}: {first_line(error)}") from error


def patiently(call: Callable[[], T]) -> T:
    """Repeats a call for up to `patience_seconds` while the server is away. The call must be safe to repeat, and raise what
    failed as `server_errors` does.

    Raises the DigitsweepError of the last try; of the first one where the server refuses."""
    until, pause = time.monotonic() + patience_seconds(), 0.5
    while True:
        try:
            return call()
        except DigitsweepError as error:
            if not is_away(error) or time.monotonic() + pause > until:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 5.0)


def patience_seconds() -> float:
    """How long an absent server is waited for.

    Raises InputError where DIGITSWEEP_PATIENCE is no number of seconds."""
    given = os.environ.get("DIGITSWEEP_PATIENCE", "60")
    try:
        found = float(given)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise InputError(f"DIGITSWEEP_PATIENCE must be a number of seconds, 0 or more, but is {given!r}")
    return found


def is_away(error: BaseException) -> bool:
    """Whether an error means that the server cannot be reached or cannot answer for now, so that the same call may succeed
    later. A refusal (400, 403, 404) is final.

    The outermost exception that has a status, or is one of the network's, decides. MLflow's INTERNAL_ERROR is vague: it
    stands for 500, and for whatever MLflow has no code for."""
    vague = False
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, MlflowException):
            # A download that failed has the status in its text alone, in the words of requests.
            statuses = [int(found) for found in re.findall(r"\b(\d{3}) (?:Client|Server) Error:", str(each))]
            if not statuses and each.error_code != ErrorCode.Name(INTERNAL_ERROR):
                statuses = [ERROR_CODE_TO_HTTP_STATUS.get(each.error_code, 500)]
            if statuses:
                return any(map(_passes, statuses))
            vague = True
        elif isinstance(each, HTTPError) and each.response is not None:
            return _passes(each.response.status_code)
        elif isinstance(each, NETWORK_ERRORS):
            return True
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return vague


def _passes(status: int) -> bool:
    return status >= 500 or status in PASSING


def first_line(error: Exception) -> str:
    """The line of an error that tells what is wrong, without the passwords of the addresses in it."""
    for text, meaning in NETWORK.items():
        if text in str(error):
            return meaning
    # SQLAlchemy's advice, and the lines that MLflow puts before what failed in a download, do not tell it.
    beside = ("(raised as a result of", "The following failures occurred while downloading", "##### File ")
    lines = [line for line in str(error).splitlines() if not line.startswith(beside)]
    return without_secrets((lines or [type(error).__name__])[0])


def shown_uri() -> str:
    """The tracking URI without a password in it."""
    return without_secrets(get_tracking_uri())


def without_secrets(text: str) -> str:
    """The text without the users, passwords and tokens of the addresses in it."""
    # Up to the last @ of the word: a password that somebody did not escape may hold an @, a slash or a quote.
    text = re.sub(r"(://)\S*@", r"\1", text)
    return re.sub(r"(?i)([?&](?:user|\w*password|passwd|pwd|\w*token|\w*secret|\w*key)=)[^&\s'\"]*", r"\1...", text)


def last_sweep() -> str:
    """The id of the newest run of a sweep that came to a comparison.

    Raises DigitsweepError where there is none."""
    with server_errors("could not be asked"):
        for run in all_runs(open_store(), "tags.`digitsweep.kind` = 'sweep'"):
            if run.data.tags.get("digitsweep.state") in ("COMPLETE", "INTERRUPTED"):
                return str(run.info.run_id)
    raise DigitsweepError(f"no sweep has been recorded at {shown_uri()}; start one with `digitsweep sweep`")


def load_comparison(run_id: str) -> dict[str, Any]:
    """The content of `comparison.json` of the run of a sweep, or of a comparison of models.

    Raises InputError where the run is of something else, and DigitsweepError where there is no such run, or no comparison in
    it."""
    with _none_in(run_id, "comparison", "name a sweep's run, or leave it out for the newest"):
        client = open_store()
        run = client.get_run(run_id)
        kind, state = (run.data.tags.get(f"digitsweep.{name}") for name in ("kind", "state"))
        if kind not in ("sweep", "comparison"):
            what = f"the run of a {kind}" if kind else "not a run of digitsweep"
            raise InputError(f"run {run_id} is {what}; name a sweep's run, or leave it out for the newest")
        if state in ("RUNNING", "FAILED"):
            raise DigitsweepError(
                f"sweep {run_id} has no comparison, since its state is {state}; if it is no longer running, "
                f"continue it with `digitsweep sweep --resume {run_id}`"
            )
        values: dict[str, Any] = json.loads(artifact(client, run, "comparison/comparison.json"))
    return values


def comparison_file(run_id: str, name: str) -> bytes:
    """The content of one of the files beside `comparison.json`, such as `report.html`.

    Raises DigitsweepError where there is no such run or file."""
    with _none_in(run_id, f"comparison/{name}", "name a file in the folder comparison of that run"):
        client = open_store()
        return artifact(client, client.get_run(run_id), f"comparison/{name}")


@contextmanager
def _none_in(run_id: str, what: str, way_out: str) -> Iterator[None]:
    """Turns what MLflow raises if a run, or something in it, is not there into one line."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, json.JSONDecodeError) as error:
        raise DigitsweepError(f"no {what} in run {run_id} at {shown_uri()}: {first_line(error)}; {way_out}") from None


def all_runs(
    client: MlflowClient,
    asked: str,
    experiments: Sequence[str] | None = None,
    *,
    order: str = "attributes.start_time DESC",
) -> Iterator[Run]:
    """All runs that match a filter, of all experiments where none are given; the newest first, unless ordered otherwise."""
    token, within = None, list(all_experiments(client) if experiments is None else experiments)
    while True:
        page = client.search_runs(within, asked, max_results=1000, order_by=[order], page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def all_experiments(client: MlflowClient) -> Iterator[str]:
    """The ids of all of MLflow's experiments."""
    token = None
    while True:
        page = client.search_experiments(max_results=1000, page_token=token)
        yield from (str(each.experiment_id) for each in page)
        token = page.token
        if not token:
            return


def children(client: MlflowClient, experiment_id: str, sweep_run: str) -> list[Run]:
    """The runs below a sweep's, the oldest first."""
    asked = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{sweep_run}'"
    return list(all_runs(client, asked, [experiment_id], order="attributes.start_time ASC"))


def attempt_of(run: Run) -> int:
    """Which attempt at its trial a run is, from 1."""
    return int(run.data.tags.get(ATTEMPT, "1"))


def artifact(client: MlflowClient, run: Run, path: str) -> bytes:
    """The content of one of a run's artifacts. `MlflowClient.download_artifacts` reports every failure as a wrong path; this
    way the error tells whether the server is away."""
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory(prefix="digitsweep-") as folder:
        uri = f"{run.info.artifact_uri}/{path}"
        return Path(download_artifacts(uri, dst_path=folder, tracking_uri=client.tracking_uri)).read_bytes()


def experiment_id(client: MlflowClient) -> str:
    """The id of the experiment that MLflow's variables name, or of digitsweep's own; created where there is none yet."""
    if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return given
    return experiment_named(client, os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT_NAME))


def experiment_named(client: MlflowClient, name: str) -> str:
    """The id of an experiment, which is created where there is none yet."""
    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException:  # another sweep was first
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


def adopt_run(tags: Mapping[str, str]) -> None:
    """Sets tags on the run that `mlflow run` opened, if it did."""
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if run_id:
        with server_errors("did not accept tags"):
            open_store().log_batch(run_id, tags=run_tags(tags))


def run_tags(values: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(key, value) for key, value in values.items()]


def run_params(values: Mapping[str, str]) -> list[Param]:
    return [Param(key, value) for key, value in values.items()]


def log_files(client: MlflowClient, run_id: str, files: Mapping[str, bytes]) -> None:
    """Writes files to a run's artifacts by their paths, in one go."""
    if not files:
        return
    with tempfile.TemporaryDirectory(prefix="digitsweep-") as folder:
        for name, content in files.items():
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        client.log_artifacts(run_id, folder)


def user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def milliseconds() -> int:
    """Now, since 1970."""
    return time.time_ns() // 1_000_000
