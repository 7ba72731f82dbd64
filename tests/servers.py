"""Real servers for tests: an `mlflow server` that can be stopped, paused and started again, a registered model that MLflow
serves, and a PostgreSQL of its own."""

from __future__ import annotations

import http.client
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

START_SECONDS = 180
"""A busy machine takes its time."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def wait_for(address: str, log: Path) -> None:
    """Comes back when a server answers; what it wrote to its log is the error if it never does."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(address, timeout=1).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError(log.read_text())


class Server:
    """An MLflow server with one worker, whose runs are in `store` and whose files are in the folder; with more arguments of
    `mlflow server` and variables where some are given. `command` is what a person calls it by, `server` or `ui`."""

    def __init__(self, folder: Path, store: str, *arguments: str, command: str = "server", **environment: str) -> None:
        port = free_port()
        prefix = arguments[arguments.index("--static-prefix") + 1] if "--static-prefix" in arguments else ""
        self.uri = f"http://127.0.0.1:{port}{prefix}"
        self._folder = folder
        self._command = [sys.executable, "-m", "mlflow", command, "--port", str(port), "--workers", "1"]
        self._command += ["--backend-store-uri", store, "--artifacts-destination", str(folder / "files"), *arguments]
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Comes back when the server answers."""
        with (self._folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **self._environment},
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(f"{self.uri}/health", self._folder / "server.log")

    def signal(self, number: int) -> None:
        """To the server and all that it has started."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """At once, in the middle of whatever it does."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


class Proxy:
    """An HTTP server before another one, which passes requests on; or answers some of them itself, with a status, or by
    breaking the connection off."""

    def __init__(self, target: str) -> None:
        proxy, host = self, target.removeprefix("http://")

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                refusal = proxy.refusal(f"{self.command} {self.path}")
                if refusal is BROKEN_OFF:
                    self.connection.shutdown(socket.SHUT_RDWR)
                elif refusal is not None:
                    self.send_error(refusal)
                else:
                    passed = http.client.HTTPConnection(host, timeout=60)
                    with closing(passed):
                        given = {key: value for key, value in self.headers.items() if key.lower() not in HOPS}
                        passed.request(self.command, self.path, body, given)
                        answer = passed.getresponse()
                        content = answer.read()
                    self.send_response(answer.status)
                    for key, value in answer.getheaders():
                        if key.lower() not in HOPS:
                            self.send_header(key, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815  # the names that http.server calls

            def log_message(self, *arguments: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self._server.server_port}"
        self._lock = threading.Lock()
        self._status, self._matching, self._times = 0, "", 0
        self.refused = 0
        """Requests that it has answered itself since it was told to refuse."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def refuse(self, status: int, matching: str, times: int) -> None:
        """Answers the next so many requests whose `METHOD /path` a regular expression finds something in; BROKEN_OFF is no
        answer."""
        with self._lock:
            self._status, self._matching, self._times, self.refused = status, matching, times, 0

    def refusal(self, request: str) -> int | None:
        with self._lock:
            if not self._times or not re.search(self._matching, request):
                return None
            self._times -= 1
            self.refused += 1
            return self._status

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


BROKEN_OFF = 0
"""In place of a status: the connection is closed without an answer."""
HOPS = {"host", "connection", "content-length", "transfer-encoding", "keep-alive", "date", "server"}
"""Headers that say something of one connection."""


@contextmanager
def mlflow_server(
    folder: Path, store: str, *arguments: str, command: str = "server", **environment: str
) -> Iterator[Server]:
    """A server for as long as the test lasts."""
    server = Server(folder, store, *arguments, command=command, **environment)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def served(model: str, store: str, folder: Path) -> Iterator[str]:
    """The address at which a registered model of a store answers, once it does; the server ends with the block."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{model}", "--env-manager=local"]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": store,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    log = folder / f"serve-{port}.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [*command, "--port", str(port)],
            env=environment,
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the process, and uvicorn that it started


def asked(address: str, body: object) -> tuple[int, Any]:
    """The status and the JSON of `POST /invocations`."""
    answer = requests.post(f"{address}/invocations", json=body, timeout=60)
    return answer.status_code, answer.json()


def wait_for_model(address: str, seconds: float = 120) -> None:
    """Waits until the model at an address answers `/ping`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            requests.get(f"{address}/ping", timeout=5).raise_for_status()
        except requests.RequestException:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"{address} does not answer")


@contextmanager
def postgres() -> Iterator[str]:
    """The URI of an empty PostgreSQL database of its own; skips where there is none to start, or no driver."""
    found = shutil.which("pg_ctl") or next((str(each) for each in Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")), None)
    if found is None or importlib.util.find_spec("psycopg") is None:
        pytest.skip("needs PostgreSQL's pg_ctl and psycopg 3")
    binaries = Path(found).resolve().parent
    as_other = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []  # PostgreSQL does not run as root
    folder, port = Path(tempfile.mkdtemp(prefix="digitsweep-postgres-")), free_port()
    if as_other:
        try:
            shutil.chown(folder, "postgres")
        except LookupError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    control = [*as_other, str(binaries / "pg_ctl"), "-D", str(folder / "data"), "-w"]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"

    def run(*command: str) -> None:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        run(*as_other, str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "digits", "-A", "trust", "--no-sync")
        run(*control, "-l", str(folder / "log"), "-o", options, "start")
        run(*as_other, str(binaries / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "digits", "mlflow")
        yield f"postgresql+psycopg://digits@127.0.0.1:{port}/mlflow"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], cwd="/", capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)
