"""The notebook: kept without outputs, and executed from a clean kernel without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import ROOT

import digitsweep

NOTEBOOK = ROOT / "notebooks" / "digits.ipynb"
CELLS: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text())["cells"]
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
# Through sockets in the file system: there is no network, not even the machine's own.
client = NotebookClient(notebook, timeout=600, startup_timeout=300, kernel_name="python3")
manager = client.create_kernel_manager()
manager.transport, manager.ip = "ipc", sys.argv[4]
client.execute(cwd=sys.argv[3])
nbformat.write(notebook, sys.argv[2])
"""


def without_a_network() -> list[str]:
    """What a command begins with to have no network; empty where that is not possible."""
    isolated = ["unshare", "--map-root-user", "--net"]
    try:
        subprocess.run([*isolated, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return isolated


@pytest.fixture
def short_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nb-") as folder:
        yield Path(folder)


def text_of(cell: dict[str, Any], kind: str = "text/plain") -> str:
    """What a cell printed, and its outputs of one kind."""
    outputs = (each.get("text") or each.get("data", {}).get(kind, "") for each in cell.get("outputs", ()))
    return "\n".join("".join(each) for each in outputs)


def test_it_is_kept_without_outputs() -> None:
    """No cell has an output or a number: what a person sees there is what this version gives."""
    for cell in CELLS:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert not cell["metadata"]


def test_it_uses_the_public_names() -> None:
    """The notebook uses only the public names of digitsweep."""
    code = "".join(line for cell in CELLS if cell["cell_type"] == "code" for line in cell["source"])
    assert "from digitsweep" not in code
    names = {part.partition("(")[0].split(" ")[0].strip(".:") for part in code.split("digitsweep.")[1:]}
    assert names <= set(digitsweep.__all__)
    assert {"sweep", "load_comparison", "load_data", "promote", "predict"} <= names


@pytest.mark.slow
def test_it_runs(tmp_path: Path, short_folder: Path) -> None:
    """The notebook runs from a clean kernel in a network namespace of its own. It ends with what it promises: tables,
    pictures, a champion and a reading; the cell of the sweep shows how each family stood."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    proxies = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https", "HTTP", "HTTPS")}
    # A short path: a socket's has at most 107 characters.
    folders = dict.fromkeys(("TMPDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "DIGITSWEEP_STATE"), str(short_folder))
    executed = tmp_path / "executed.ipynb"
    command = [*without_a_network(), sys.executable, "-c", EXECUTE, str(NOTEBOOK), str(executed), str(tmp_path)]
    command.append(str(short_folder / "kernel"))
    done = subprocess.run(
        command, env={**os.environ, **proxies, **folders}, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    cells = {"".join(each["source"]): each for each in json.loads(executed.read_text())["cells"]}

    def found(part: str, kind: str = "text/plain") -> str:
        return text_of(next(cell for source, cell in cells.items() if part in source), kind)

    assert not any(each.get("name") == "stderr" for cell in cells.values() for each in cell.get("outputs", ()))
    progress = found("digitsweep.sweep(", "text/html")
    assert "<summary>" in progress
    assert "rung 0: " in progress
    assert "best " in progress
    assert found("for gallery in", "text/html").count("<img ") > 0
    assert found('startswith("matrix")', "text/html").count("<img ") == 2
    assert "min_accuracy" in found("decision.text()", "text/markdown")
    assert "is champion already" in found("RefusedError")
    assert "7, " in found("digitsweep.predict(")
