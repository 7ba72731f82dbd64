"""The notebook: kept without outputs, and executed from a clean kernel without a network."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from running import ROOT
from trials import complete

import digitsweep
from digitsweep.families import parse_params
from digitsweep.sweeping.progress import Display
from digitsweep.trial import Trial, TrialRecord

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


def test_a_cell_shows_how_a_sweep_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a sweep runs, one output of the cell has the newest lines and the running trials; at the end, all lines, folded,
    and the best of each family. What others wrote is only text."""
    pytest.importorskip("IPython")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    from digitsweep.sweeping.notebook import Cell

    trial = Trial(7, parse_params("ann", {"hidden_layers": 0}), 1, 2)
    record = TrialRecord(trial, complete(trial, 0.75))
    InteractiveShell.instance()
    try:
        with capture_output() as captured, Display(Console(file=io.StringIO()), Cell()) as display:
            display.trial_started(trial)
            display.note("<script>\x1b[2J")
            for number in range(9):
                display.note(f"line {number}")
            display.trial_ended(record)
    finally:
        InteractiveShell.clear_instance()
    first, *others = captured.outputs
    assert all(each.update and each.transient == first.transient for each in others)
    running, ended = others[9].data["text/html"], others[-1].data["text/html"]
    assert "ann-007" in running
    assert "line 3" in running
    assert "line 2" not in running
    assert "<summary>11 lines</summary>" in ended
    assert "&lt;script&gt;\\x1b[2J" in ended
    assert "best ann 75.00 %" in ended
    assert "line 0" in others[-1].data["text/plain"]


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
    assert "digits-cnn 1 passes" in found("decision.text()", "text/markdown")
    assert "is champion already" in found("RefusedError")
    assert re.search(r"^\d \(", found("digitsweep.predict("), re.MULTILINE)
