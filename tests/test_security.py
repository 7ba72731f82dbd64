"""Nothing runs what it reads, and no password is shown."""

from __future__ import annotations

import ast
import logging
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from running import EXPERIMENTS, ROOT
from support import PROPERTY

from digitsweep.cli import main
from digitsweep.tracking.client import first_line, without_secrets

SOURCES = [*sorted((ROOT / "src").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]
RUNS_TEXT = {
    *("eval", "exec", "compile", "__import__", "input", "breakpoint"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell"),
    *("pickle.load", "pickle.loads", "cloudpickle.load", "dill.load", "marshal.loads", "shelve.open", "joblib.load"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "keras.config.enable_unsafe_deserialization"),
    *("mlflow.pyfunc.load_model", "mlflow.tensorflow.load_model"),
}
"""What runs a shell, or text, or a file, that somebody else may have written."""
UNSAFE = {("shell", True), ("allow_pickle", True), ("safe_mode", False)}
"""Arguments that make a safe call an unsafe one."""


def called(node: ast.expr) -> str:
    """`subprocess.run` of a call of it."""
    if isinstance(node, ast.Attribute):
        return f"{called(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_a_shell_or_a_pickle(path: Path) -> None:
    """No shell, no `eval`, no pickle, no YAML but the safe kind."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            assert called(node.func) not in RUNS_TEXT, f"{path}:{node.lineno}"
            given = {(each.arg, each.value.value) for each in node.keywords if isinstance(each.value, ast.Constant)}
            assert not given & UNSAFE, f"{path}:{node.lineno}"
        elif isinstance(node, ast.Attribute):
            assert called(node) not in ("yaml.Loader", "yaml.UnsafeLoader", "yaml.FullLoader"), f"{path}:{node.lineno}"


PASSWORD = st.text(st.characters(exclude_categories=["Z", "C"]), max_size=12).map(lambda text: f"s3cret{text}s3cret")


@PROPERTY
@given(user=st.sampled_from(["", "me"]), password=PASSWORD, quote=st.sampled_from(["", "'", '"']))
def test_no_password_survives(user: str, password: str, quote: str) -> None:
    """An address is shown with its host and without its password, whatever characters that has."""
    for address in (f"http://{user}:{password}@host:5000/x", f"postgresql+psycopg://{user}:{password}@host/x"):
        shown = without_secrets(f"at {quote}{address}{quote} failed")
        assert "s3cret" not in shown
        assert "host" in shown


@pytest.mark.parametrize("key", ["password", "sslpassword", "PWD", "token", "aws_secret_access_key", "secret"])
def test_no_password_in_a_query(key: str) -> None:
    """Nor is a password shown that is in the query of a database's or a bucket's address."""
    shown = first_line(ValueError(f"no mysql://host/x?user=me&{key}=s3cret&charset=utf8 here"))
    assert "s3cret" not in shown
    assert "host/x?user=" in shown
    assert "charset=utf8 here" in shown


SMOKE = str(EXPERIMENTS / "smoke.yaml")
COMMANDS = [
    ["sweep", SMOKE, "--workers", "1", "--trials", "0"],
    ["sweep", "--resume", "last"],
    ["reconcile"],
    ["compare"],
    ["compare", "0123456789abcdef0123456789abcdef"],
    ["compare", "digits-ann@challenger", "digits-cnn/1"],
    ["compare", "http://me:s3cret@host/model", "digits-cnn/1"],
    ["doctor", SMOKE],
    ["doctor", SMOKE, "--json"],
]
ADDRESSES = [
    "http://me:s3cret@127.0.0.1:1",
    "postgresql+psycopg://me:s3cret@127.0.0.1:1/x?sslpassword=s3cret",
    "other://me:s3cret@host",
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("address", ADDRESSES, ids=["http", "database", "neither"])
def test_no_command_shows_a_password(
    arguments: list[str], address: str, store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No command prints, logs or stores the password of an address that does not answer."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)  # MLflow's ten take three minutes
    with caplog.at_level(logging.INFO):
        found = CliRunner().invoke(main, arguments)
    assert found.exit_code in (1, 2), found.output
    assert found.output
    assert "s3cret@" not in found.output + caplog.text
    assert "=s3cret" not in found.output + caplog.text
    assert "Traceback" not in found.output
    for path in store.rglob("*"):
        assert not path.is_file() or b"s3cret" not in path.read_bytes(), path
