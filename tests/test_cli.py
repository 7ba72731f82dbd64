"""The command line: help, exit codes, and one clear line for whatever is wrong."""

from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from running import EXPERIMENTS, ROOT, Sweep, run_digitsweep

from digitsweep.cli import main

COMMANDS = sorted(main.commands)
SMOKE = str(EXPERIMENTS / "smoke.yaml")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_has_help(command: str) -> None:
    """`--help` of each command says what it does."""
    found = CliRunner().invoke(main, [*command.split(), "--help"])
    assert found.exit_code == 0
    assert len(found.output.split()) > 10


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    """No command is left out of the README."""
    assert f"digitsweep {command}" in (ROOT / "README.md").read_text()


def changed(folder: Path, old: str, new: str) -> str:
    """smoke.yaml with one thing changed, as a file's path."""
    text = (EXPERIMENTS / "smoke.yaml").read_text()
    assert old in text
    path = folder / "wrong.yaml"
    path.write_text(text.replace(old, new, 1))
    return str(path)


def images(folder: Path, name: str, content: bytes) -> str:
    """A folder with the four IDX files of a tiny data set, one of them replaced."""
    count, side = 40, 4
    labels = bytes(each % 4 for each in range(count))
    files = {
        f"{split}-{what}-idx{dimensions}-ubyte": body
        for split in ("train", "t10k")
        for what, dimensions, body in (
            ("images", 3, struct.pack(">4I", 0x803, count, side, side) + bytes(count * side * side)),
            ("labels", 1, struct.pack(">2I", 0x801, count) + labels),
        )
    }
    for key, body in {**files, name: content}.items():
        (folder / key).write_bytes(body)
    return str(folder)


WRONG: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "no such experiment": (lambda _: ["sweep", "nothing"], "nothing: no such experiment"),
    "an experiment that is a folder": (lambda f: ["sweep", str(f)], "folder"),
    "misspelt key": (lambda f: ["sweep", changed(f, "budget:", "buget:")], "buget: is not known here"),
    "misspelt hyperparameter": (lambda f: ["sweep", changed(f, "momentum:", "momentun:")], "did you mean momentum?"),
    "missing hyperparameter": (lambda f: ["sweep", changed(f, "      units: {", "      #")], "`units` must be given"),
    "bounds the wrong way round": (
        lambda f: ["sweep", changed(f, "low: 16, high: 64", "low: 64, high: 16")],
        "`low` must be below `high`, but low=64, high=16",
    ),
    "unknown choice": (lambda f: ["sweep", changed(f, "choices: [sgd, adam", "choices: [sdg, adam")], "sdg"),
    "wrong type": (lambda f: ["sweep", changed(f, "trials: 3", "trials: many")], "budget.trials"),
    "a negative budget": (lambda f: ["sweep", changed(f, "seconds: 20", "seconds: -20")], "budget.seconds"),
    "unknown family": (lambda f: ["sweep", changed(f, "  ann:", "  rnn:")], "rnn"),
    "unknown pruner": (lambda f: ["sweep", changed(f, "successive_halving", "patience")], "pruner.type"),
    "a key given twice": (lambda f: ["sweep", changed(f, "seed: 0", "seed: 0\nseed: 1")], "given twice"),
    "no YAML": (lambda f: ["sweep", changed(f, "name: smoke", "name: [smoke")], "not valid YAML"),
    "validation that takes all": (
        lambda f: ["sweep", changed(f, "validation: 0.25", "validation: 1438")],
        "validation",
    ),
    "no such data": (lambda f: ["sweep", SMOKE, "--data", str(f / "none")], "no such folder"),
    "an empty folder of data": (lambda f: ["sweep", SMOKE, "--data", str(f)], "a folder of images holds"),
    "wrong magic": (
        lambda f: ["sweep", SMOKE, "--data", images(f, "train-images-idx3-ubyte", b"\x89PNG" + bytes(40))],
        "train-images-idx3-ubyte: an IDX file of images begins with",
    ),
    "truncated": (
        lambda f: [
            "sweep",
            SMOKE,
            "--data",
            images(f, "t10k-labels-idx1-ubyte", struct.pack(">2I", 0x801, 40) + bytes(9)),
        ],
        "t10k-labels-idx1-ubyte: is truncated",
    ),
    "truncated gzip": (
        lambda f: [
            "sweep",
            SMOKE,
            "--data",
            images(f, "train-labels-idx1-ubyte", gzip.compress(struct.pack(">2I", 0x801, 40) + bytes(40))[:-9]),
        ],
        "train-labels-idx1-ubyte: the gzip stream is truncated",
    ),
    "as many labels as images": (
        lambda f: [
            "sweep",
            SMOKE,
            "--data",
            images(f, "t10k-labels-idx1-ubyte", struct.pack(">2I", 0x801, 3) + bytes(3)),
        ],
        "each test image needs a label",
    ),
    "a label out of range": (
        lambda f: [
            *("sweep", SMOKE, "--data"),
            images(f, "t10k-labels-idx1-ubyte", struct.pack(">2I", 0x801, 40) + bytes([9] * 40)),
        ],
        "test labels must occur among the training labels",
    ),
    "no number of trials": (lambda _: ["sweep", SMOKE, "--trials", "some"], "--trials"),
    "seconds without end": (lambda _: ["sweep", SMOKE, "--seconds", "inf"], "--seconds must be a finite number"),
    "seconds that are no number": (lambda _: ["validate", SMOKE, "--seconds", "nan"], "--seconds must be a finite number"),
    "a home of nobody": (lambda _: ["sweep", SMOKE, "--data", "~nosuchuser/x"], "~nosuchuser/x: this user has no home"),
    "workers below one": (lambda _: ["sweep", SMOKE, "--workers", "0"], "--workers"),
    "a negative seed": (lambda _: ["sweep", SMOKE, "--seed", "-1"], "--seed"),
    "an unknown option": (lambda _: ["sweep", SMOKE, "--epochs", "3"], "--epochs"),
    "validate reads too": (lambda f: ["validate", changed(f, "log: true", "log: maybe")], "log"),
    "images too small for a baseline": (
        lambda f: ["sweep", changed(f, "filters: 8, padding: same", "filters: 8, kernel_size: 9, padding: valid")],
        "needs images of at least",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_clear_line(name: str, store: Path) -> None:
    """Whatever a person gets wrong is told in one line that names it, with exit code 2, and nothing is recorded."""
    make, expected = WRONG[name]
    folder = store / "given"
    folder.mkdir()
    found = CliRunner().invoke(main, make(folder))
    assert found.exit_code == 2, found.output
    lines = [line for line in found.stderr.splitlines() if not re.match(r"Usage:|Try |$", line)]
    assert len(lines) == 1, found.stderr
    assert expected in lines[0]
    assert {path.name for path in store.iterdir()} == {"given"}


def test_validate_prints_the_space_and_the_cost() -> None:
    """`validate` shows each hyperparameter, each baseline, and what a sweep may take."""
    found = CliRunner().invoke(main, ["validate", str(EXPERIMENTS / "mnist.yaml"), "--workers", "2", "--trials", "7"])
    assert found.exit_code == 0
    for expected in ("learning_rate", "for each of hidden_layers", "baseline conv-32", "at most 14 trials"):
        assert expected in found.output


def test_a_wrong_variable_is_told_before_training(store: Path) -> None:
    """What a sweep asks for at its end only is looked at before it begins."""
    found = run_digitsweep("sweep", SMOKE, cwd=store, DIGITSWEEP_PATIENCE="1m")
    assert found.returncode == 2
    (line,) = found.stderr.splitlines()
    assert line == "digitsweep: DIGITSWEEP_PATIENCE must be a number of seconds, 0 or more, but is '1m'"
    assert list(store.iterdir()) == []


@pytest.mark.parametrize("command", [["history", "mnist-cnn"], ["rollback", "mnist-cnn"], ["predict", "any.png"]])
def test_a_store_that_cannot_be_asked(command: list[str], store: Path) -> None:
    """An address that leads nowhere is one line and exit code 1, whoever asks: it says nothing of what was named."""
    found = run_digitsweep(*command, cwd=store, MLFLOW_TRACKING_URI="strange://nowhere")
    assert found.returncode == 1, found.stderr
    (line,) = found.stderr.splitlines()
    assert "strange://nowhere could not be asked" in line


def test_compare_prints_the_newest_sweep_again(smoke: Sweep) -> None:
    """`compare` shows the same figures as the sweep did, from what MLflow holds."""
    again = run_digitsweep("compare", cwd=smoke.folder)
    assert again.returncode == 0, again.stderr
    assert again.stdout.strip() in smoke.output
    by_id = run_digitsweep("compare", smoke.parent().info.run_id, cwd=smoke.folder)
    assert by_id.stdout == again.stdout


@pytest.mark.parametrize("run", ["last", "0123456789abcdef0123456789abcdef"])
def test_compare_without_a_sweep(run: str, store: Path) -> None:
    """Where there is no such sweep, `compare` says so in one line, with exit code 1."""
    found = run_digitsweep("compare", run, cwd=store)
    assert found.returncode == 1
    assert len(found.stderr.splitlines()) == 1, found.stderr


def test_data_says_where_it_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`data` names the variable, the cache and what is missing."""
    monkeypatch.setenv("DIGITSWEEP_CACHE", str(tmp_path))
    found = CliRunner().invoke(main, ["data"])
    assert found.exit_code == 0
    assert "DIGITSWEEP_DATA: not set" in found.output
    assert str(tmp_path) in found.output
    assert found.output.count("missing") >= 4


def test_the_fallback_runs_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where MNIST cannot be had, one paragraph says why, and the fallback runs on its own data under its own name."""
    (tmp_path / "cache").write_text("no folder can be made of this")
    (tmp_path / "smoke.yaml").write_text((EXPERIMENTS / "smoke.yaml").read_text())
    wanted = (EXPERIMENTS / "smoke.yaml").read_text()
    wanted = wanted.replace("source: digits", "source: mnist, fallback: smoke.yaml").replace("name: smoke", "name: wanted")
    (tmp_path / "wanted.yaml").write_text(wanted)
    finished = run_digitsweep(
        *("sweep", "wanted.yaml", "--trials", "0", "--workers", "1"),
        cwd=tmp_path,
        DIGITSWEEP_CACHE=str(tmp_path / "cache"),
    )
    assert finished.returncode == 0, finished.stderr
    assert "MNIST cannot be had" in finished.stdout
    assert "smoke.yaml runs instead" in finished.stdout
    sweep = Sweep(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", finished.stdout)
    assert sweep.parent().data.tags["digitsweep.data"] == "digits"
    assert sweep.parent().data.tags["digitsweep.experiment"] == "smoke"
