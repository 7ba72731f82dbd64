"""A tracking server behind HTTP: whether it answers, and whether it lets us in. Two requests, judged by pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from digitsweep.doctor.finding import Finding, ok, warning, wrong
from digitsweep.store import first_line, without_secrets

SECONDS = 3.0
"""That a server has to answer a request."""
VERSION, SEARCH = "/version", "/api/2.0/mlflow/experiments/search?max_results=1"
"""What is asked. `/version` is open to any Host header, the interface is not."""


@dataclass(frozen=True)
class Answer:
    """What a server said to one request."""

    status: int | None
    """Of HTTP; None where there was no answer."""
    text: str
    """The body, or why there is none."""


def ask(uri: str, endpoint: str) -> Answer:
    """Sends one request as MLflow would, with its credentials and certificates, but once."""
    try:
        credentials = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
        response = http_request(  # type: ignore[no-untyped-call]
            credentials, endpoint, "GET", max_retries=0, timeout=SECONDS, raise_on_status=False
        )
    except MlflowException as error:
        text = first_line(error)
        reason = re.search(r"\[Errno -?\d+\] ([^'\")]+)|(timed out|CERTIFICATE_VERIFY_FAILED[^'\")]*)", text)
        return Answer(None, (reason[1] or reason[2]) if reason else text)
    return Answer(response.status_code, response.text.strip())


def server_findings(uri: str) -> list[Finding]:
    """All that two requests tell of a server."""
    version = ask(uri, VERSION)
    if version.status is None:
        return [tracking_server(uri, version)]
    search = ask(uri, SEARCH)
    return [tracking_server(uri, version), host_header(uri, search), sign_in(search)]


def tracking_server(uri: str, answer: Answer) -> Finding:
    """Whether it is there, and of a version that this was tried with."""
    name, address = "tracking server", without_secrets(uri)
    if answer.status is None:
        mend = "start it (`mlflow server`), or mend MLFLOW_TRACKING_URI"
        if "CERTIFICATE" in answer.text:
            mend = "name its certificate in MLFLOW_TRACKING_SERVER_CERT_PATH"
        return wrong(name, f"{address}: {answer.text}", mend)
    if answer.status in (401, 403):
        return ok(name, f"{address} answers, and tells its version only after the sign-in")
    if answer.status != 200 or not re.match(r"\d+\.\d+", answer.text):
        said = f"HTTP {answer.status}" if answer.status != 200 else "something else than a version"
        return wrong(
            name,
            f"{address}{VERSION} answers with {said}",
            "point MLFLOW_TRACKING_URI at an MLflow server, with the path that it is served under",
        )
    found = f"{address}, mlflow {answer.text}"
    if answer.text.split(".")[0] != mlflow.__version__.split(".")[0]:
        return warning(name, f"{found}; tried with {mlflow.__version__}", f"run the server with mlflow {mlflow.__version__}")
    return ok(name, found)


def host_header(uri: str, answer: Answer) -> Finding:
    """Whether the server takes the name that it is called by."""
    name, host = "Host header", urlsplit(uri).hostname or ""
    if answer.status == 403 and "Invalid Host" in answer.text:
        return wrong(
            name,
            f"the server refuses to be called {host}",
            f'start it with --allowed-hosts "{host},{host}:*,localhost:*,127.0.0.1:*"',
        )
    return ok(name, f"{host} is accepted")


def sign_in(answer: Answer) -> Finding:
    """Whether the server lets us search its experiments, for which nobody needs more rights than for a sweep."""
    name = "sign-in"
    if answer.status == 200:
        return ok(name, "accepted, or not needed")
    if answer.status == 401:
        return wrong(
            name,
            "the server asks who we are and does not take the answer",
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        )
    if answer.status == 403 and "Invalid Host" in answer.text:
        return warning(name, "cannot be tried before the Host header is accepted", "mend that first")
    if answer.status == 403:
        return wrong(name, "known to the server, but without permission", "ask whoever runs it for permission to edit")
    return wrong(
        name,
        f"the server's interface answers with {f'HTTP {answer.status}' if answer.status else answer.text}",
        "look into the server's log",
    )
