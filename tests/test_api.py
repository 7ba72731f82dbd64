"""The public functions: as complete as the command line, light to import, typed tables, one clear line for each misuse."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import EXPERIMENTS, ROOT, Sweep, brief_experiment
from test_layers import loaded_after

import digitsweep
from digitsweep.api import TRIALS
from digitsweep.cli import main
from digitsweep.config.options import Options
from digitsweep.errors import DigitsweepError, InputError, RefusedError
from digitsweep.evaluation.comparison import comparison_from
from digitsweep.sweeping.coordinator import Interruption

SMOKE = str(EXPERIMENTS / "smoke.yaml")
PYTHON = ROOT / "docs" / "python.md"
HEAVY = {"tensorflow", "keras", "mlflow", "optuna", "matplotlib", "sklearn", "scipy", "pandas", "pydantic", "rich", "numpy"}


@pytest.fixture
def swept(smoke: Sweep, monkeypatch: pytest.MonkeyPatch) -> digitsweep.Result:
    """The comparison of a finished sweep."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", smoke.uri)
    return digitsweep.load_comparison()


def test_importing_names_is_light() -> None:
    """To import every public name loads none of the heavy libraries; to load a comparison does without TensorFlow."""
    assert loaded_after("from digitsweep import *").isdisjoint(HEAVY)


def test_tables_do_without_tensorflow(smoke: Sweep) -> None:
    """A program that only looks at a comparison never imports TensorFlow."""
    code = "import digitsweep\nfound = digitsweep.load_comparison()\nfound.trials, found.entries, found.figures"
    assert loaded_after(code, MLFLOW_TRACKING_URI=smoke.uri).isdisjoint({"tensorflow", "keras"})


def test_public_names() -> None:
    """Each public name is there, has a docstring and a place in docs/python.md, and `dir` lists it; no other name is."""
    page = PYTHON.read_text()
    for name in digitsweep.__all__:
        assert inspect.getdoc(getattr(digitsweep, name)), name
        assert re.search(rf"^\.\. auto\w+:: digitsweep\.{name}$", page, re.MULTILINE), name
        assert name in dir(digitsweep)
    with pytest.raises(AttributeError, match="module 'digitsweep' has no attribute 'swep'"):
        _ = digitsweep.swep


def test_no_module_hides_a_function() -> None:
    """A public name is the same whatever was imported before it."""
    code = "import pkgutil, digitsweep\nmodules = {each.name for each in pkgutil.iter_modules(digitsweep.__path__)}"
    loaded_after(f"{code}\nassert not modules & set(digitsweep.__all__), modules")


@pytest.mark.parametrize("resumes", [False, True])
def test_functions_take_the_options_of_the_command_line(resumes: bool) -> None:
    """`sweep` and `resume` take exactly the options that the command line takes, and None stands for `auto`."""
    parameters = inspect.signature(digitsweep.resume if resumes else digitsweep.sweep).parameters
    options = {name: each.default for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY}
    assert options.pop("progress") is True
    assert options == dict.fromkeys(Options.names(resumes=resumes))
    command = main.commands["sweep"]
    assert options.keys() <= {each.name for each in command.params}


def test_a_result_is_what_was_recorded(swept: digitsweep.Result, smoke: Sweep) -> None:
    """`load_comparison` gives the values of comparison.json, by run id as well as for the newest sweep."""
    run = smoke.parent()
    recorded = comparison_from(json.loads(smoke.artifact(run, "comparison/comparison.json")))
    assert swept.comparison == recorded == digitsweep.load_comparison(run.info.run_id).comparison
    assert (swept.run_id, swept.state) == (run.info.run_id, "COMPLETE")
    assert swept.file("report.html") == smoke.artifact(run, "comparison/report.html")
    assert swept.verdict in repr(swept)
    assert escape(swept.verdict) in swept._repr_html_()


def documented(table: str) -> str:
    return inspect.getdoc(getattr(digitsweep.Result, table)) or ""


def test_trials(swept: digitsweep.Result, smoke: Sweep) -> None:
    """`trials` has a row for each training in MLflow, with its metrics, typed as documented, and hyperparameters last."""
    trials, told = swept.trials, documented("trials")
    assert list(trials.columns)[: len(TRIALS)] == list(TRIALS)
    for name, dtype in TRIALS.items():
        assert str(trials[name].dtype) == dtype, name
        assert f"`{name}`" in told, name
        assert dtype in told
    runs = {run.info.run_id: run for kind in ("trial", "finalist", "confirmation", "refit") for run in smoke.runs(kind)}
    assert trials["trial"].is_unique
    assert set(trials["run_id"]) == set(runs)
    for row in trials.to_dict("records"):
        data = runs[row["run_id"]].data
        assert row["kind"] == data.tags["digitsweep.kind"]
        assert row["state"].replace("OUT_OF_TIME", "PRUNED") == data.tags["trial.state"]
        for name in ("val_accuracy", "train_loss", "test_accuracy"):
            assert data.metrics.get(name, np.nan) == pytest.approx(row[name], nan_ok=True), name
        assert row["learning_rate"] == float(data.params["learning_rate"])
        assert row["batch_size"] == int(data.params["batch_size"])
    assert str(trials["batch_size"].dtype) == str(trials["blocks"].dtype) == "Int64"
    assert str(trials["learning_rate"].dtype) == "Float64"
    assert str(trials["activation"].dtype) == "str"


def test_entries(swept: digitsweep.Result) -> None:
    """`entries` is the comparison's table, typed as documented: words, whole numbers, fractions, then hyperparameters."""
    entries, told = swept.entries, set(re.findall(r"`(\w+)`", documented("entries")))
    params = {name for each in swept.comparison.entries for name in each.params}
    counts, words = {"weights", "trained_on", "seed"}, {"family", "role", "trial", "network", "model", "note"}
    for name in entries.columns:
        if name in params:
            assert str(entries[name].dtype) in ("Int64", "Float64", "str")
            continue
        dtype = "str" if name in words else "int64" if name in counts else "float64"
        assert str(entries[name].dtype) == dtype, name
        measured = re.sub("_(low|high)$", "", name)
        assert {measured, f"{measured}_accuracy"} & told, name
    assert str(entries["blocks"].dtype) == "Int64"
    assert list(entries["test_accuracy"].dropna()) == [each.test.accuracy for each in swept.comparison.entries if each.test]


def test_epochs(swept: digitsweep.Result) -> None:
    """`epochs` has the objective after each epoch of each searched trial, under the trial's name in `trials`."""
    epochs = swept.epochs
    assert {name: str(dtype) for name, dtype in epochs.dtypes.items()} == {
        "trial": "str",
        "family": "str",
        "epoch": "int64",
        "val_accuracy": "float64",
    }
    last = epochs.sort_values("epoch").groupby("trial")["val_accuracy"].last()
    searched = swept.trials.query("kind == 'trial' and baseline == ''").set_index("trial")["val_accuracy"]
    assert last.to_dict() == pytest.approx(searched.to_dict())


def test_mistakes_and_their_images(swept: digitsweep.Result) -> None:
    """`mistakes` has each image that a network gets wrong, and `pixels` gives that test image itself."""
    mistakes = swept.mistakes
    test = digitsweep.load_data(SMOKE).test.open("a test of the pictures")
    names = [name.removesuffix(" confidence") for name in mistakes.columns if name.endswith(" confidence")]
    assert len(names) == 2
    assert mistakes["image"].is_unique
    for row in mistakes.head(5).to_dict("records"):
        assert int(row["label"]) == test.labels[row["image"]]
        assert row["wrong"].split(", ") == [name for name in names if row[name] != row["label"]]
        assert np.array_equal(swept.pixels(row["image"]), test.images[row["image"]])
    tiles = [tile for gallery in swept.galleries for tile in gallery.tiles]
    assert {tile.image.index for tile in tiles} == set(mistakes["image"])
    assert all(tile.png.startswith(b"\x89PNG") for tile in tiles)
    for gallery in swept.galleries:
        assert gallery._repr_html_().count("<img ") == len(gallery.tiles)


def test_figures_show_themselves(swept: digitsweep.Result) -> None:
    """Each figure is a picture with a title, words for those who do not see it, and a sentence on how to read it."""
    assert len({each.name for each in swept.figures}) == len(swept.figures) > 5
    for each in swept.figures[:3]:
        assert each.png.startswith(b"\x89PNG")
        html = each._repr_html_()
        assert html.count("<img alt=") == 1
        assert each.title in html
        assert swept.figure(each.name) is each
        assert each.svg.startswith("<svg ")
    assert {"difference", "recalls", "matrix-0", "matrix-1"} <= {each.name for each in swept.figures}


def test_champions(smoke: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promotion, prediction, a comparison of models, history and rollback are functions, and use the same registry."""
    database = tmp_path / "mlflow.db"
    shutil.copy(smoke.folder / "mlflow.db", database)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    monkeypatch.chdir(tmp_path)
    gate = tmp_path / "gate.yaml"
    gate.write_text("min_accuracy: 1.0\n")
    with pytest.raises(RefusedError):
        digitsweep.promote("digits-cnn", gate=gate, dry_run=True)
    decision = digitsweep.promote("digits-cnn", gate=gate, force="a test")
    assert decision.promotes
    images = digitsweep.load_data("digits").training.validation
    readings = digitsweep.predict([np.kron(each[:, :, 0], np.ones((8, 8), np.uint8)) for each in images.images[:3]])
    assert [len(each.probabilities) for each in readings] == [10, 10, 10]
    compared = digitsweep.compare("digits-ann/1", "digits-cnn@champion")
    assert len(compared.entries) == 2
    assert len(compared.trials) == 0
    assert digitsweep.load_comparison(compared.run_id).comparison == compared.comparison
    assert [each.to for each in digitsweep.history("digits-cnn").records] == ["1"]
    with pytest.raises(RefusedError, match="no earlier champion"):
        digitsweep.rollback("digits-cnn")


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "an unknown experiment": (lambda: digitsweep.sweep("mnits"), "mnits: no such experiment file; there are "),
    "an experiment of another type": (lambda: digitsweep.sweep(3), "experiment: must be a path or a name, but is 3"),  # type: ignore[arg-type]
    "a number as a text": (lambda: digitsweep.sweep(SMOKE, workers="2"), "of 1 or more, at most 1,024, but is '2'"),  # type: ignore[arg-type]
    "a fraction of a worker": (lambda: digitsweep.sweep(SMOKE, workers=1.5), "workers: must be a whole number"),  # type: ignore[arg-type]
    "a truth value": (lambda: digitsweep.sweep(SMOKE, seed=True), "seed: must be a whole number of 0 or more"),
    "too few minutes": (lambda: digitsweep.sweep("digits", minutes=0.1), "minutes: must be a number of 0.5 or more"),
    "no seconds": (lambda: digitsweep.sweep(SMOKE, seconds=0), "seconds: must be a number above 0, but is 0"),
    "an unknown engine": (lambda: digitsweep.sweep(SMOKE, engine="spark"), "engine: must be local or ray, but is 'spark'"),
    "data of another type": (lambda: digitsweep.load_data(SMOKE, data=[1]), "data: must be a path, but is [1]"),  # type: ignore[arg-type]
    "data that is not there": (lambda: digitsweep.load_data(SMOKE, data="none"), "none: no such folder"),
    "nothing to resume": (lambda: digitsweep.resume(), "can be resumed"),
    "a complete sweep": (lambda: digitsweep.resume(digitsweep.load_comparison().run_id), "is complete: there is nothing"),
    "a run that is not there": (lambda: digitsweep.load_comparison("0" * 32), f"no comparison in run {'0' * 32} at sqlite"),
    "a run of another type": (lambda: digitsweep.load_comparison(7), "run_id: must be a string, but is 7"),  # type: ignore[arg-type]
    "an unknown figure": (lambda: digitsweep.load_comparison().figure("roc"), "figure roc: no such figure; choose one of "),
    "an image without a mistake": (lambda: digitsweep.load_comparison().pixels(-1), "image -1: must be one of those in "),
    "a file that is not there": (lambda: digitsweep.load_comparison().file("x.png"), "no comparison/x.png in run "),
    "one model": (lambda: digitsweep.compare("digits-cnn/1"), "models: must be two or more, but there is one"),
    "an unknown model": (lambda: digitsweep.predict("x.png", model="other@champion"), "other@champion: "),
    "a model's version": (lambda: digitsweep.promote("digits-cnn@champion"), "digits-cnn@champion: write only the name"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_uses(case: str, smoke: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each misuse raises the project's own exception, with one line that names what is wrong, which is all that a notebook
    shows; the environment is as it was."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", smoke.uri)
    before = dict(os.environ)
    call, message = WRONG[case]
    with pytest.raises(DigitsweepError) as found:
        call()
    assert message in str(found.value)
    assert found.value._render_traceback_() == [f"{type(found.value).__name__}: {found.value}"]
    assert dict(os.environ) == before


def test_every_wrong_option_is_told() -> None:
    """Several options that are wrong are told together, a line each."""
    with pytest.raises(InputError) as found:
        digitsweep.sweep(SMOKE, trials=-1, workers=0, seed=2**31)
    assert [line.partition(":")[0] for line in str(found.value).splitlines()] == ["trials", "workers", "seed"]


def test_a_trial_has_no_comparison(swept: digitsweep.Result) -> None:
    """The run of a trial is told from that of a sweep."""
    with pytest.raises(InputError, match="is the run of a trial; name a sweep's run"):
        digitsweep.load_comparison(swept.trials["run_id"].iloc[0])


def test_options_are_held_to_the_limits_of_the_command_line() -> None:
    """What the command line accepts is accepted, whatever number type it has."""
    given = {"minutes": 1, "workers": np.int64(2), "seed": 0, "data": Path("x"), "engine": "ray", "trials": None}
    found = Options.checked(given)
    assert dataclasses.asdict(found) == {**dataclasses.asdict(Options()), **given}
    assert isinstance(found.minutes, float)
    assert type(found.workers) is int


def test_other_threads_leave_signals_alone() -> None:
    """A sweep in another thread than the main one runs, and handles no signals."""
    heard: list[bool] = []

    def listen() -> None:
        with Interruption().listening() as interruption:
            heard.append(interruption.asked)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert heard == [False]


SCRIPT = """\
import os
import threading

import digitsweep

print("started")
before = dict(os.environ)
found = []
thread = threading.Thread(target=lambda: found.append(digitsweep.sweep("brief.yaml", workers=2)))
thread.start()
thread.join()
(result,) = found
again = digitsweep.load_comparison("last")
assert again.comparison == result.comparison
assert result.trials.equals(again.trials)
assert dict(os.environ) == before
"""


@pytest.mark.slow
def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    """A script calls `sweep` at its top level, even in a thread: workers do not run it again, and its variables stay."""
    brief_experiment(tmp_path / "brief.yaml")
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("started") == 1
    assert done.stdout.count("COMPLETE, epoch ") > 4


@pytest.mark.slow
def test_the_pages_code_runs(tmp_path: Path) -> None:
    """The Python code of docs/python.md runs from top to bottom, on a smaller experiment."""
    blocks = re.findall(r"^```python\n(.*?)^```", PYTHON.read_text(), re.DOTALL | re.MULTILINE)
    code = "\n".join(blocks).replace('sweep("digits", minutes=1)', 'sweep("smoke")')
    assert 'sweep("smoke")' in code
    assert "scans/" in code
    code = code.replace('"two.png", "scans/"', '"two.png"').replace("digits-cnn@champion", "digits-cnn/1")
    paper = "from PIL import Image, ImageDraw\nfrom pathlib import Path\npaper = Image.new('L', (90, 120), 235)\n"
    paper += "ImageDraw.Draw(paper).line([(45, 20), (45, 100)], fill=30, width=9)\npaper.save('two.png')\n"
    (tmp_path / "page.py").write_text(f"{paper}{code}")
    done = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "two.png" in done.stdout
