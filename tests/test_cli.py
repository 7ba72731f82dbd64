"""The command line: help, exit codes, and one clear line for whatever is wrong."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from running import EXPERIMENTS, Sweep, run_digitsweep

from digitsweep.cli import main

COMMANDS = sorted(main.commands)
SMOKE = str(EXPERIMENTS / "smoke.yaml")
MINUTES = str(EXPERIMENTS / "images.yaml")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_has_help(command: str) -> None:
    """`--help` of each command says what it does."""
    found = CliRunner().invoke(main, [*command.split(), "--help"])
    assert found.exit_code == 0
    assert len(found.output.split()) > 10


def test_the_list_of_commands_is_not_cut_off() -> None:
    """`digitsweep --help` shows the first sentence of every command in full."""
    assert "..." not in CliRunner().invoke(main, ["--help"]).output.partition("Commands:")[2]


def changed(folder: Path, old: str, new: str) -> str:
    """smoke.yaml with one thing changed, as a file's path."""
    text = (EXPERIMENTS / "smoke.yaml").read_text()
    assert old in text
    path = folder / "wrong.yaml"
    path.write_text(text.replace(old, new, 1))
    return str(path)


EDITS = {
    "misspelt key": ("budget:", "buget:", "buget: unknown key"),
    "misspelt hyperparameter": ("momentum:", "momentun:", "did you mean momentum?"),
    "missing hyperparameter": ("      units: {", "      #", "`units` must be given"),
    "bounds the wrong way round": (
        "low: 16, high: 64",
        "low: 64, high: 16",
        "`low` must be below `high`, but low=64, high=16",
    ),
    "unknown choice": ("choices: [sgd, adam", "choices: [sdg, adam", "sdg"),
    "a negative budget": ("seconds: 20", "seconds: -20", "budget.seconds"),
    "unknown family": ("  ann:", "  rnn:", "rnn"),
    "unknown pruner": ("successive_halving", "patience", "pruner.type"),
    "a key of an engine that is not asked for": (
        "seed: 0",
        "seed: 0\nworkers: {cpus: 2}",
        "workers: `cpus` needs `engine: ray`",
    ),
    "a key of the other engine": ("seed: 0", "seed: 0\nworkers: {engine: ray, per_gpu: 2}", "`per_gpu` does not go with"),
    "an address in the file that is none": (
        "seed: 0",
        "seed: 0\nworkers: {engine: ray, address: head}",
        "workers.address: is ray://HOST:PORT, HOST:PORT or local, but is 'head'",
    ),
    "a GPU and a half": ("seed: 0", "seed: 0\nworkers: {engine: ray, gpus: 1.5}", "workers.gpus: is a share of one GPU or"),
    "a key given twice": ("seed: 0", "seed: 0\nseed: 1", "given twice"),
    "no YAML": ("name: smoke", "name: [smoke", "not valid YAML"),
    "validation that takes all": ("validation: 0.25", "validation: 1438", "validation"),
    "images too small for a baseline": (
        "filters: 8, padding: same",
        "filters: 8, kernel_size: 9, padding: valid",
        "needs images of at least",
    ),
}
OPTIONS = {
    "no such experiment": (["sweep", "nothing"], "nothing: no such experiment"),
    "an experiment that is a folder": (["sweep", "given"], "folder"),
    "no such data": (["sweep", SMOKE, "--data", "none"], "no such folder"),
    "an empty folder of data": (["sweep", SMOKE, "--data", "given"], "a folder of images contains"),
    "wrong magic": (["sweep", SMOKE, "--data", "broken"], "train-images-idx3-ubyte: an IDX file of images begins with"),
    "no number of trials": (["sweep", SMOKE, "--trials", "some"], "--trials"),
    "seconds without end": (["sweep", SMOKE, "--seconds", "inf"], "--seconds must be a finite number"),
    "seconds that are no number": (["validate", SMOKE, "--seconds", "nan"], "--seconds must be a finite number"),
    "minutes of a budget in seconds": (["sweep", SMOKE, "--minutes", "5"], "--minutes does not go with"),
    "too few minutes": (["sweep", MINUTES, "--minutes", "0.1"], "--minutes"),
    "seconds of a budget in minutes": (["sweep", MINUTES, "--seconds", "5"], "--seconds does not go with"),
    "a home of nobody": (["sweep", SMOKE, "--data", "~nosuchuser/x"], "~nosuchuser/x: this user has no home"),
    "workers below one": (["sweep", SMOKE, "--workers", "0"], "--workers"),
    "a negative seed": (["sweep", SMOKE, "--seed", "-1"], "--seed"),
    "an unknown engine": (["sweep", SMOKE, "--engine", "spark"], "--engine"),
    "an address without an engine": (["sweep", SMOKE, "--address", "head:6379"], "--address needs --engine ray"),
    "an address that is none": (
        ["sweep", SMOKE, "--engine", "ray", "--address", "head"],
        "--address must be ray://HOST:PORT",
    ),
    "an unknown option": (["sweep", SMOKE, "--epochs", "3"], "--epochs"),
}


@pytest.mark.parametrize("name", [*EDITS, *OPTIONS])
def test_wrong_input_is_one_clear_line(name: str, store: Path) -> None:
    """Any invalid experiment, data or option is reported in one line, with exit code 2, and nothing is recorded."""
    for folder in ("given", "broken"):
        (store / folder).mkdir()
    for split in ("train", "t10k"):
        for file in ("images-idx3", "labels-idx1"):
            (store / "broken" / f"{split}-{file}-ubyte").write_bytes(b"\x89PNG" + bytes(40))
    if name in EDITS:
        old, new, expected = EDITS[name]
        words = ["sweep", changed(store / "given", old, new)]
    else:
        words, expected = OPTIONS[name]
    found = CliRunner().invoke(main, words)
    assert found.exit_code == 2, found.output
    lines = [line for line in found.stderr.splitlines() if not re.match(r"Usage:|Try |$", line)]
    assert len(lines) == 1, found.stderr
    assert expected in lines[0]
    assert {path.name for path in store.iterdir()} == {"given", "broken"}


def test_ray_that_is_not_installed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Ray its engine is one line that says what to install, and nothing is recorded."""
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "digitsweep.sweeping.ray", raising=False)
    found = CliRunner().invoke(main, ["sweep", SMOKE, "--engine", "ray"])
    assert found.exit_code == 2, found.output
    (line,) = found.stderr.splitlines()
    assert "run `pip install 'digitsweep[ray]'`" in line
    assert list(store.iterdir()) == []


@pytest.mark.parametrize(
    ("experiment", "expected"),
    [
        (
            "smoke",
            ("learning_rate", "for each of hidden_layers", "baseline conv-pool", "at most 14 trials", "20 training sec"),
        ),
        ("mnist", ("learning_rate", "for each of hidden_layers", "baseline conv-32", "15 minutes", "at most 7 config")),
        ("three", ("ann configurations named by digitsweep", "cnn configurations named by digitsweep")),
    ],
)
def test_validate_prints_the_space_and_the_cost(experiment: str, expected: tuple[str, ...]) -> None:
    """`validate` shows each hyperparameter, each baseline, and what a sweep may take, in seconds or in minutes."""
    path = str(EXPERIMENTS / f"{experiment}.yaml")
    found = CliRunner().invoke(main, ["validate", path, "--workers", "2", "--trials", "7"])
    assert found.exit_code == 0
    for each in expected:
        assert each in found.output


def test_a_wrong_variable_is_told_before_training(store: Path) -> None:
    """A variable that a sweep needs only at its end is checked before it begins."""
    found = run_digitsweep("sweep", SMOKE, cwd=store, DIGITSWEEP_PATIENCE="1m")
    assert found.returncode == 2
    (line,) = found.stderr.splitlines()
    assert line == "digitsweep: DIGITSWEEP_PATIENCE must be a number of seconds, 0 or more, but is '1m'"
    assert list(store.iterdir()) == []


@pytest.mark.parametrize("command", [["history", "mnist-cnn"], ["rollback", "mnist-cnn"], ["predict", "any.png"]])
def test_a_store_that_cannot_be_asked(command: list[str], store: Path) -> None:
    """A store that cannot be opened is one line and exit code 1, in every command."""
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
    """If there is no such sweep, `compare` says so in one line, with exit code 1."""
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
    """If MNIST is not available, one paragraph says why, and the fallback runs on its own data under its own name."""
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
    assert "MNIST is not available" in finished.stdout
    assert "smoke.yaml runs instead" in finished.stdout
    sweep = Sweep(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", finished.stdout)
    assert sweep.parent().data.tags["digitsweep.data"] == "digits"
    assert sweep.parent().data.tags["digitsweep.experiment"] == "smoke"
