"""The doctor: each check on something real that is as it should be, and on something that is not."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.entities import ViewType
from running import EXPERIMENTS, run_digitsweep
from servers import free_port, mlflow_server
from support import made_split, write_idx_folder
from test_faults_disk import small_disk

from digitsweep.cli import main
from digitsweep.doctor import Finding, State, database, environment, examine, machine, quick, rehearsal, room, server
from digitsweep.errors import InputError
from digitsweep.experiment_file import load_experiment
from digitsweep.options import Options
from digitsweep.workers.placement import Place

SMOKE = EXPERIMENTS / "smoke.yaml"
NOBODY = "http://user:secret@127.0.0.1:1"
PASSWORD = "only-for-this-test"


def named(findings: list[Finding], name: str) -> Finding:
    """The one finding of a name."""
    (found,) = [each for each in findings if each.name == name]
    return found


def states(findings: list[Finding]) -> dict[str, State]:
    return {each.name: each.state for each in findings if each.name != "environment"}  # which is that of these tests


def assert_nothing_left(client: MlflowClient) -> None:
    """The one run that the doctor made is neither shown nor running, and its file is gone."""
    experiments, made = [each.experiment_id for each in client.search_experiments()], "tags.`digitsweep.kind` = 'doctor'"
    assert client.search_runs(experiments, made) == []
    deleted = client.search_runs(experiments, made, ViewType.DELETED_ONLY)
    assert [each.info.status for each in deleted] == ["FINISHED"]
    assert client.list_artifacts(deleted[0].info.run_id) == []


@pytest.fixture
def place(made_store: Path) -> Path:
    """A store whose default experiment keeps its files beside it, and not where the database was copied from."""
    with closing(sqlite3.connect(made_store / "mlflow.db")) as connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", [f"{made_store}/mlruns/0"])
        connection.commit()
    return made_store


def test_all_is_well_on_a_fresh_store(store: Path) -> None:
    """In an empty folder everything can be done, and what was written to try it is gone again."""
    findings = examine(SMOKE, Options(workers=1))
    assert set(states(findings).values()) == {State.OK}
    assert not any(each.mend for each in findings if each.state is State.OK)
    assert "1,078 training" in named(findings, "data").found
    assert_nothing_left(MlflowClient())


@pytest.mark.skipif(find_spec("flask_wtf") is None, reason="needs flask-wtf, as MLflow's sign-in does")
def test_mlflows_own_sign_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's basic-auth: nobody and a wrong password are told which variables to set; the right one is let in."""
    settings = tmp_path / "auth.ini"
    settings.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{tmp_path}/auth.db\nadmin_username = admin\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    secrets = {"MLFLOW_FLASK_SERVER_SECRET_KEY": "key", "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD}
    place = {"MLFLOW_AUTH_CONFIG_PATH": str(settings)}
    with mlflow_server(
        tmp_path, f"sqlite:///{tmp_path}/mlflow.db", "--app-name", "basic-auth", **secrets, **place
    ) as running:
        assert_sign_in(running.uri, monkeypatch)


class _Door(BaseHTTPRequestHandler):
    """What stands before many a server: no answer but to who signs in, and then MLflow's."""

    def do_GET(self) -> None:
        key = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
        inside = self.headers.get("Authorization") == f"Basic {key}"
        self.send_response(200 if inside else 401)
        self.end_headers()
        self.wfile.write(b"3.17.2" if self.path == "/version" else b"{}")

    def log_message(self, *_: object) -> None: ...


@contextmanager
def door() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", free_port()), _Door) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_door_before_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a proxy asks for a password, the doctor says so, and whether it takes the one that MLflow sends."""
    with door() as uri:
        assert_sign_in(uri, monkeypatch)


def assert_sign_in(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    for password, state in (("", State.WRONG), ("wrong", State.WRONG), (PASSWORD, State.OK)):
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        findings = server.server_findings(uri)
        found = named(findings, "sign-in")
        assert found.state is state
        assert ("MLFLOW_TRACKING_PASSWORD" in found.mend) == (state is State.WRONG)
        assert named(findings, "tracking server").state is State.OK
        assert PASSWORD not in "".join(each.line() for each in findings)


def test_a_server_that_is_away() -> None:
    """Nobody there is one finding with the reason and the mend, and without the password."""
    (found,) = server.server_findings(NOBODY)
    assert found.state is State.WRONG
    assert "connection refused" in found.found
    assert "secret" not in found.line()
    assert "MLFLOW_TRACKING_URI" in found.mend


@pytest.mark.parametrize(
    ("status", "text", "state", "told"),
    [
        (200, "3.17.2", State.OK, "mlflow 3.17.2"),
        (200, "2.22.0", State.WARNING, "tried with 3."),
        (200, "<html>Welcome</html>", State.WRONG, "something else than a version"),
        (404, "Not Found", State.WRONG, "HTTP 404"),
        (None, "timed out", State.WRONG, "https://host/path: timed out"),
        (None, "CERTIFICATE_VERIFY_FAILED] self-signed", State.WRONG, "self-signed"),
    ],
)
def test_what_a_server_says_of_itself(status: int | None, text: str, state: State, told: str) -> None:
    """An answer is one of a known MLflow, of another one, or of something else."""
    found = server.tracking_server("https://host/path", server.Answer(status, text))
    assert found.state is state
    assert told in found.found
    assert bool(found.mend) == (state is not State.OK)


@pytest.mark.parametrize(("status", "told"), [(403, "without permission"), (500, "HTTP 500"), (None, "timed out")])
def test_a_server_that_does_not_let_us_in(status: int | None, told: str) -> None:
    """Whatever keeps us from searching is wrong, and has a mend."""
    found = server.sign_in(server.Answer(status, "timed out"))
    assert found.state is State.WRONG
    assert told in found.found
    assert found.mend


def test_databases_that_cannot_be_written(tmp_path: Path) -> None:
    """A disk that is read-only, a folder in place of a file, a file that is no database, and one in memory are refused; a
    database that another process writes is a warning. None of them is changed."""
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "text.db").write_text("This is no database, but it is long enough to look like something. " * 3)
    for uri in (f"sqlite:///{tmp_path}/folder.db", f"sqlite:///{tmp_path}/text.db", "sqlite://", "sqlite:////proc/1/x.db"):
        assert database.writable(uri).state is State.WRONG, uri
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE t (x)")
        before = path.read_bytes()
        assert database.writable(f"sqlite:///{path}").state is State.OK
        writer.execute("BEGIN IMMEDIATE")
        assert database.writable(f"sqlite:///{path}").state is State.WARNING
    assert path.read_bytes() == before


def test_what_cannot_be_seen_is_not_there(tmp_path: Path) -> None:
    """Of a path whose names no file system takes, the nearest folder that can be seen is looked at."""
    assert database.existing(tmp_path / ("n" * 300) / "m.db") == tmp_path
    assert database.writable(f"sqlite:///{tmp_path}/{'n' * 300}/m.db").state in (State.OK, State.WRONG)


def test_a_disk_that_is_read_only_or_full(tmp_path: Path) -> None:
    """A disk that takes nothing is wrong as a place for the database; a small one as a place for a sweep's records."""
    with small_disk(tmp_path / "disk", "1m,ro") as disk:
        found = database.writable(f"sqlite:///{disk}/deep/mlflow.db")
        assert found.state is State.WRONG
        assert "Read-only file system" in found.found
        full = room.disk("records", disk, 2**21)
        assert (full.state, "1 MiB free, at most 2 MiB needed" in full.found) == (State.WRONG, True)
        assert room.disk("records", disk, 2**20 - 2**18).state is State.WARNING
        assert room.disk("records", disk / "not" / "there", 2**10).state is State.OK


def test_tables_of_another_mlflow(empty_database: Path, tmp_path: Path) -> None:
    """Tables that this MLflow did not make are wrong, with the command that mends them."""
    copy = shutil.copy(empty_database, tmp_path)
    uri = f"sqlite:///{copy}"
    assert database.schema(uri).found.startswith("as this MLflow")
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'older'")
        connection.commit()
    found = database.schema(uri)
    assert found.state is State.WRONG
    assert "mlflow db upgrade" in found.mend
    assert database.schema("postgresql+psycopg://me:secret@127.0.0.1:1/x").state is State.WRONG


def test_artifacts_that_cannot_be_written(place: Path) -> None:
    """Where the folder of artifacts takes no file, that is one finding; the run that tried it is deleted all the same."""
    (place / "mlruns").write_text("no folder can be made of this")
    found = rehearsal.artifact()
    assert found.state is State.WRONG
    assert found.mend
    client = MlflowClient()
    assert client.search_runs(["0"]) == []
    assert [each.info.status for each in client.search_runs(["0"], run_view_type=ViewType.DELETED_ONLY)] == ["FINISHED"]


def test_damaged_and_missing_data(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged file is named; MNIST that cannot be had is wrong, or a warning where the experiment has a fallback."""
    folder = write_idx_folder(place / "images", made_split(80), made_split(20), zipped=True)
    whole = examine(SMOKE, Options(workers=1, data=folder))
    damaged = folder / "t10k-images-idx3-ubyte.gz"
    damaged.write_bytes(gzip.compress(gzip.decompress(damaged.read_bytes()))[:-9])
    found = named(examine(SMOKE, Options(workers=1, data=folder)), "data")
    assert str(damaged) in found.found
    assert (named(whole, "data").state, found.state, bool(found.mend)) == (State.OK, State.WRONG, True)
    monkeypatch.setenv("DIGITSWEEP_CACHE", str(damaged))
    text = SMOKE.read_text()
    (place / "smoke.yaml").write_text(text)
    for source, state in (("mnist", State.WRONG), ("mnist, fallback: smoke.yaml", State.WARNING)):
        (place / "wanted.yaml").write_text(text.replace("source: digits", f"source: {source}"))
        assert named(examine(place / "wanted.yaml", Options(workers=1)), "data").state is state


GIB = 2**30


@pytest.mark.parametrize(
    ("free", "workers", "state", "mend"),
    [
        (None, 2, State.OK, ""),
        (64 * GIB, 8, State.OK, ""),
        (6 * GIB, 8, State.WARNING, "fewer workers"),
        (3 * GIB, 8, State.WRONG, "--workers 3 fits"),
        (GIB, 8, State.WRONG, "end other programs"),
    ],
)
def test_memory(free: int | None, workers: int, state: State, mend: str) -> None:
    """Workers and coordinator fit into what is free, or it is said how many workers would."""
    plan = room.plan_of(load_experiment(SMOKE), workers)
    found = room.memory(plan, workers, free)
    assert found.state is state
    assert mend in found.mend


def test_a_plan_grows_with_what_is_planned() -> None:
    """More trials take more disk, as far as there is time for them; more workers take more memory."""
    experiment = load_experiment(SMOKE)
    few, many = (room.plan_of(experiment.changed(trials=trials), 2) for trials in (1, 50))
    endless = room.plan_of(experiment.changed(trials=1_000_000, seconds=10), 4)
    assert few.records < many.records
    assert endless.records < 2 * GIB
    assert endless.memory > many.memory
    assert (room.free_memory() or 1) > 0


@pytest.mark.parametrize(
    ("flags", "state", "told"),
    [
        ("sse2 avx2 avx512_bf16", State.OK, "trains in mixed_bfloat16"),
        ("sse2 avx2 amx_bf16", State.OK, "trains in mixed_bfloat16"),
        ("sse2 avx2", State.OK, "trains in float32"),
        ("sse2", State.WARNING, "without avx2"),
        ("", State.OK, "does not tell"),
    ],
)
def test_the_processor(flags: str, state: State, told: str) -> None:
    """By the processor's flags it is known what the search will compute in."""
    found = machine.processor(frozenset(flags.split()))
    assert (found.state, told in found.found) == (state, True)


def test_gpus() -> None:
    """GPUs are used, are not there, or lack CUDA's libraries."""
    assert machine.gpus([Place("0"), Place("1")], ["0", "1"]).found == "2 workers on 0, 1"
    assert machine.gpus([Place(None)], []).state is State.OK
    assert "tensorflow[and-cuda]" in machine.gpus([Place(None)], ["0"]).mend


def test_the_environment_beside_the_lock(tmp_path: Path) -> None:
    """A package that is missing, or of another version, is named; one for other systems is not missed."""
    lock = tmp_path / "requirements.txt"
    assert "there is no" in environment.packages(lock).found
    from importlib.metadata import version

    right = f"numpy=={version('numpy')} \\\n    --hash=sha256:0\nnothing==1 ; sys_platform == 'win32' \\\n"
    lock.write_text(right)
    assert environment.packages(lock) == Finding("environment", State.OK, "2 packages as in requirements.txt")
    lock.write_text(f"{right}click==0.1 \\\nno-such-package==2 \\\nnumpy==1.0 ; python_version < '3'\n")
    found = environment.packages(lock)
    assert found.state is State.WARNING
    assert f"click {version('click')}, not 0.1, no no-such-package" in found.found
    assert environment.python((3, 11)).state is State.OK
    assert environment.python((3, 14)).state is State.WRONG


def test_the_quick_half_is_light(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes no database and reads no images; a folder in place of a store is wrong."""
    experiment = load_experiment(EXPERIMENTS / "mnist.yaml")
    assert "tracking database" in states(quick(experiment, Options()))
    assert list(store.iterdir()) == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(store))
    assert named(quick(experiment, Options()), "tracking database").state is State.WRONG


def test_the_command(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As lines and as JSON; its exit code is 0 where a sweep can start, 1 where it would fail, and 2 for a wrong file."""
    fine = CliRunner().invoke(main, ["doctor", str(SMOKE), "--workers", "1"])
    assert fine.exit_code == 0, fine.output
    assert "a sweep can start." in fine.output.splitlines()[-1]
    assert "ok: registry: " in fine.output
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    wrong = CliRunner().invoke(main, ["doctor", str(SMOKE), "--json"])
    assert wrong.exit_code == 1
    assert {each["name"]: each["state"] for each in json.loads(wrong.output)}["tracking server"] == "wrong"
    assert "secret" not in wrong.output
    assert CliRunner().invoke(main, ["doctor", "nothing"]).exit_code == 2
    with pytest.raises(InputError):
        examine(place / "nothing.yaml", Options())


def test_a_sweep_tells_what_is_wrong_first(tmp_path: Path) -> None:
    """A sweep that cannot be recorded says by itself how to mend that, before it fails."""
    finished = run_digitsweep("sweep", str(SMOKE), "--workers", "1", cwd=tmp_path, MLFLOW_TRACKING_URI="file:./mlruns")
    assert finished.returncode != 0
    assert "wrong: tracking database: " in finished.stdout
    assert "sqlite:///mlflow.db" in finished.stdout
