"""The doctor: each check, on something real that is right and on something that is wrong."""

from __future__ import annotations

import base64
import dataclasses
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
from test_faults_crashes import small_disk

from digitsweep import doctor
from digitsweep.cli import main
from digitsweep.config.experiment_file import load_experiment
from digitsweep.config.options import Options
from digitsweep.config.space import Space
from digitsweep.data import Dataset, SealedSplit, TrainingData
from digitsweep.doctor import Finding, State, examine, quick
from digitsweep.errors import InputError
from digitsweep.families.build import network
from digitsweep.sweeping.processes import Place
from digitsweep.sweeping.run import after_seconds

SMOKE = EXPERIMENTS / "smoke.yaml"
NOBODY = "http://user:secret@127.0.0.1:1"
PASSWORD = "only-for-this-test"


def named(findings: list[Finding], name: str) -> Finding:
    """The one finding with this name."""
    (found,) = [each for each in findings if each.name == name]
    return found


def states(findings: list[Finding]) -> dict[str, State]:
    """All but the environment, which is that of these tests."""
    return {each.name: each.state for each in findings if each.name != "environment"}


def assert_nothing_left(client: MlflowClient) -> None:
    """Asserts that the doctor's one run is deleted, not running, and without its file."""
    experiments, made = [each.experiment_id for each in client.search_experiments()], "tags.`digitsweep.kind` = 'doctor'"
    assert client.search_runs(experiments, made) == []
    deleted = client.search_runs(experiments, made, ViewType.DELETED_ONLY)
    assert [each.info.status for each in deleted] == ["FINISHED"]
    assert client.list_artifacts(deleted[0].info.run_id) == []


@pytest.fixture
def place(made_store: Path) -> Path:
    """A store whose default experiment keeps its artifacts beside it, not where the database was copied from."""
    with closing(sqlite3.connect(made_store / "mlflow.db")) as connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", [f"{made_store}/mlruns/0"])
        connection.commit()
    return made_store


def test_all_is_well_on_a_fresh_store(store: Path) -> None:
    """In an empty folder all checks pass, and the doctor removes what it wrote."""
    findings = examine(SMOKE, Options(workers=1))
    assert set(states(findings).values()) == {State.OK}
    assert not any(each.mend for each in findings if each.state is State.OK)
    assert "1,078 training" in named(findings, "data").found
    assert_nothing_left(MlflowClient())


@pytest.mark.skipif(find_spec("flask_wtf") is None, reason="needs flask-wtf, as MLflow's sign-in does")
def test_mlflows_own_sign_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With MLflow's basic-auth, a missing or wrong password names the variables to set; the right one passes."""
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


class _Proxy(BaseHTTPRequestHandler):
    """Answers all but the signed-in user with 401, and that one like the given server."""

    version = "3.17.2"
    status = 200

    def do_GET(self) -> None:
        key = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
        self.send_response(self.status if self.headers.get("Authorization") == f"Basic {key}" else 401)
        self.end_headers()
        self.wfile.write(self.version.encode() if self.path == "/version" else b"{}")

    def log_message(self, *_: object) -> None: ...


@contextmanager
def proxy(**given: object) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", free_port()), type("_", (_Proxy,), given)) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_proxy_with_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a proxy in front of the server asks for a password, the doctor says whether MLflow's credentials pass."""
    with proxy() as uri:
        assert_sign_in(uri, monkeypatch)


def assert_sign_in(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    for password, state in (("", State.WRONG), ("wrong", State.WRONG), (PASSWORD, State.OK)):
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        found = doctor.server(uri)
        assert found.state is state
        assert ("MLFLOW_TRACKING_PASSWORD" in found.mend) == (state is State.WRONG)
        assert PASSWORD not in found.line()


def test_a_server_that_is_away() -> None:
    """If nothing answers, the finding has the reason and a fix, and no password."""
    found = doctor.server(NOBODY)
    assert found.state is State.WRONG
    assert "connection refused" in found.found
    assert "secret" not in found.line()
    assert "MLFLOW_TRACKING_URI" in found.mend


@pytest.mark.parametrize(
    ("given", "state", "said"),
    [
        ({}, State.OK, "mlflow 3.17.2"),
        ({"version": "2.22.0"}, State.WARNING, "tested with 3."),
        ({"version": "<html>Welcome</html>"}, State.WRONG, "something other than a version"),
        ({"status": 404}, State.WRONG, "HTTP 404"),
        ({"status": 500}, State.WRONG, "HTTP 500"),
        ({"status": 403}, State.WRONG, "no permission"),
    ],
)
def test_what_a_server_answers(given: dict[str, object], state: State, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may be MLflow as tested, another version of it, something else, or not for this user."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    with proxy(**given) as uri:
        found = doctor.server(uri)
    assert found.state is state
    assert said in found.found
    assert bool(found.mend) == (state is not State.OK)


def test_databases_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder instead of a file, a file that is not a database, one in memory and one in a folder without write access are
    wrong; a database that another process has locked is a warning. None of them is changed."""
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "text.db").write_text("This is no database, but it is long enough to look like something. " * 3)
    for uri in (f"sqlite:///{tmp_path}/folder.db", f"sqlite:///{tmp_path}/text.db", "sqlite://", "sqlite:////proc/1/x.db"):
        assert doctor.sqlite_file(uri).state is State.WRONG, uri
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE t (x)")
        before = path.read_bytes()
        assert doctor.sqlite_file(f"sqlite:///{path}").state is State.OK
        writer.execute("BEGIN IMMEDIATE")
        assert doctor.sqlite_file(f"sqlite:///{path}").state is State.WARNING
    assert path.read_bytes() == before


def test_a_path_that_cannot_exist(tmp_path: Path) -> None:
    """For a path with a name that no file system allows, the nearest existing folder is checked."""
    assert doctor.nearest_existing(tmp_path / ("n" * 300) / "m.db") == tmp_path
    assert doctor.sqlite_file(f"sqlite:///{tmp_path}/{'n' * 300}/m.db").state in (State.OK, State.WRONG)


def test_a_disk_that_is_read_only_or_full(tmp_path: Path) -> None:
    """The database cannot be on a read-only disk, and a sweep's records not on a disk that is too small."""
    with small_disk(tmp_path / "disk", "1m,ro") as disk:
        found = doctor.sqlite_file(f"sqlite:///{disk}/deep/mlflow.db")
        assert found.state is State.WRONG
        assert "Read-only file system" in found.found
        full = doctor.disk("records", disk, 2**21)
        assert (full.state, "1 MiB free, at most 2 MiB needed" in full.found) == (State.WRONG, True)
        assert doctor.disk("records", disk, 2**20 - 2**18).state is State.WARNING
        assert doctor.disk("records", disk / "not" / "there", 2**10).state is State.OK


def test_tables_of_another_mlflow(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of another MLflow version are wrong, with the command that migrates them; so is an unreachable database."""
    copies = [shutil.copy(empty_database, tmp_path / name) for name in ("right.db", "wrong.db")]
    with closing(sqlite3.connect(copies[1])) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'older'")
        connection.commit()
    for copy, state in zip(copies, (State.OK, State.WRONG), strict=True):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{copy}")
        found = doctor.tables(f"sqlite:///{copy}")
        assert found.state is state
    assert "mlflow db upgrade" in found.mend
    assert doctor.tables("postgresql+psycopg://me:secret@127.0.0.1:1/x").state is State.WRONG


def test_artifacts_that_cannot_be_written(place: Path) -> None:
    """If the artifact folder cannot be written, the finding says so, and the doctor's run is still deleted."""
    (place / "mlruns").write_text("no folder can be made of this")
    found = doctor.artifacts()
    assert found.state is State.WRONG
    assert found.mend
    client = MlflowClient()
    assert client.search_runs(["0"]) == []
    assert [each.info.status for each in client.search_runs(["0"], run_view_type=ViewType.DELETED_ONLY)] == ["FINISHED"]


def test_damaged_and_missing_data(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged file is named; missing MNIST is wrong, or a warning if the experiment has a fallback."""
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


MIB, GIB = 2**20, 2**30


@pytest.mark.parametrize(
    ("free", "state", "mend"),
    [
        (64 * GIB, State.OK, ""),
        (6 * GIB, State.WARNING, "fewer workers"),
        (3 * GIB, State.WRONG, "use --workers 3"),
        (GIB, State.WRONG, "close other programs"),
    ],
)
def test_memory(free: int, state: State, mend: str) -> None:
    """Eight workers and the coordinator fit into the free memory, or the finding says how many workers would."""
    found = doctor.memory(8, doctor.MNIST.size, doctor.WORKER, free)
    assert found.state is state
    assert mend in found.mend


def test_free_memory_within_a_container(tmp_path: Path) -> None:
    """A container's limit bounds the free memory, but files that it merely caches can be dropped; `max` is no limit."""
    for name, content in (
        ("memory.current", "900"),
        ("memory.stat", "anon 500\ninactive_file 300\n"),
        ("memory.max", "1000"),
    ):
        (tmp_path / name).write_text(content)
    assert doctor.free_memory(tmp_path) == 400
    (tmp_path / "memory.max").write_text("max\n")
    assert doctor.free_memory(tmp_path) > MIB
    assert doctor.free_memory(tmp_path / "nothing") > MIB


def test_disk_space_grows_with_the_plan() -> None:
    """More trials need more disk, up to what the time budget allows."""
    experiment = load_experiment(SMOKE)
    few, many = (doctor.record_bytes(experiment.changed(trials=trials), 2) for trials in (1, 50))
    endless = doctor.record_bytes(experiment.changed(trials=1_000_000, seconds=10), 2)
    assert few < many
    assert endless < 2 * GIB


def test_the_workers_of_a_cluster(store: Path) -> None:
    """Workers of a Ray cluster need memory here only if Ray is started here. More workers leave more records in a budget of
    minutes."""
    minutes = load_experiment(EXPERIMENTS / "digits.yaml")
    here, there = (minutes.placed("ray", address) for address in ("local", "head:6379"))
    assert "needed by 3 workers and the coordinator" in named(quick(here, Options(workers=3)), "memory").found
    assert named(quick(there, Options(workers=3)), "memory").found.endswith("needed by the coordinator")
    few, many = (named(quick(there, Options(), workers=count), "waiting records").found for count in (1, 3))
    assert few != many


@pytest.mark.parametrize("name", ["images", "three"])
def test_large_images_need_more(name: str) -> None:
    """Larger images in colour, and more classes, make larger networks, which take more memory and more disk."""
    experiment = load_experiment(EXPERIMENTS / f"{name}.yaml")
    large = doctor.Images(doctor.MNIST.size, (64, 64, 3), 100)
    assert doctor.model_bytes(experiment, large) > 4 * doctor.model_bytes(experiment, doctor.MNIST)
    assert doctor.worker_bytes(experiment, large) > 1.2 * doctor.worker_bytes(experiment, doctor.MNIST)
    more = dataclasses.replace(doctor.MNIST, classes=100)
    assert doctor.model_bytes(experiment, more) > doctor.model_bytes(experiment, doctor.MNIST)
    assert doctor.record_bytes(experiment, 2, large) > doctor.record_bytes(experiment, 2)


def test_a_network_is_as_large_as_it_is_said() -> None:
    """The weights that a model's size is estimated from are those of the network, but for biases and normalisation."""
    experiment = load_experiment(EXPERIMENTS / "images.yaml")
    images = doctor.Images(MIB, (28, 28, 3), 7)
    for name, family in experiment.families.items():
        params = family.first[0]
        alone = family.model_copy(update={"first": (params,), "space": Space(name, {}, {}), "baselines": {}})
        only = experiment.model_copy(update={"families": {name: alone}})
        weights = network(params, images.shape, images.classes).count_params()
        assert doctor.model_bytes(only, images) == pytest.approx(4 * weights, rel=0.05)


def test_the_end_of_a_sweep_takes_as_long_as_its_images_are_large() -> None:
    """What is kept of a sweep's minutes for its end grows with the number and the size of its test images, and with the
    number of classes."""
    experiment = load_experiment(EXPERIMENTS / "three.yaml")

    def after(side: int, test: int, classes: int = 3) -> float:
        training = TrainingData(made_split(12, side=side), made_split(6, side=side), classes)
        return after_seconds(experiment, Dataset("made", "here", training, SealedSplit(made_split(test, side=side))))

    assert after(4, 10) < after(4, 1000) < after(16, 1000) < after(16, 1000, classes=100)


def test_processors() -> None:
    """Workers train on the GPUs, on the processor, or on the processor only because the CUDA libraries are missing."""
    assert doctor.processors([Place("0"), Place("1")], ["0", "1"]).found == "2 workers on GPU 0, 1"
    assert doctor.processors([Place(None)], []).state is State.OK
    assert "tensorflow[and-cuda]" in doctor.processors([Place(None)], ["0"]).mend


@pytest.mark.parametrize(
    ("requires", "said"),
    [
        (["click", "click>=8"], None),
        (["click==0.1"], "made-up requires click==0.1, but 8"),
        (["no-such-package==2"], "no-such-package is not installed"),
        (["no-such-package ; sys_platform == 'win32'", "no-such-package ; extra == 'more'"], None),
    ],
)
def test_the_environment(requires: list[str], said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A requirement that is missing, or installed at another version, is named; one for other systems or extras is not."""
    (tmp_path / "made_up-1.0.dist-info").mkdir()
    metadata = ["Metadata-Version: 2.1", "Name: made-up", "Version: 1.0", *(f"Requires-Dist: {each}" for each in requires)]
    (tmp_path / "made_up-1.0.dist-info" / "METADATA").write_text("\n".join(metadata))
    monkeypatch.syspath_prepend(tmp_path)
    found = doctor.environment("made-up")
    assert found.state is (State.OK if said is None else State.WARNING)
    assert (said or "all packages") in found.found


def test_the_environment_of_source_code() -> None:
    """Code that runs from its source, as in the Docker image, has no metadata, which is nothing to warn of."""
    assert doctor.environment("not-installed").state is State.OK


def test_the_quick_half_is_light(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick checks create no database and read no images; a folder as the store is wrong."""
    experiment = load_experiment(EXPERIMENTS / "mnist.yaml")
    assert "tracking database" in states(quick(experiment, Options()))
    assert list(store.iterdir()) == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(store))
    assert named(quick(experiment, Options()), "tracking database").state is State.WRONG


def test_the_command(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints lines or JSON; its exit code is 0 if a sweep can start, 1 if it would fail, and 2 for invalid input."""
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
    """A sweep that cannot be recorded shows how to fix that before it fails."""
    finished = run_digitsweep("sweep", str(SMOKE), "--workers", "1", cwd=tmp_path, MLFLOW_TRACKING_URI="file:./mlruns")
    assert finished.returncode != 0
    assert "wrong: tracking database: " in finished.stdout
    assert "sqlite:///mlflow.db" in finished.stdout
