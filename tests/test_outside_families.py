"""A family from a file of somebody's own, that of docs/families.md: swept, broken off, resumed without the file, registered,
loaded elsewhere, served and promoted; and one from an installed package."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from faults import kill, log_of, start, wait_for
from outside import EXPERIMENT, MIXER, write_experiment
from PIL import Image
from running import Sweep, run_digitsweep
from servers import asked, served, wait_for_model
from support import only_line

from digitsweep.config.experiment_file import load_experiment
from digitsweep.data.sources import load_dataset
from digitsweep.errors import InputError
from digitsweep.families import parse_params
from digitsweep.families.outside import FamilyFile, InstalledFamily
from digitsweep.prediction.images import pages_of
from digitsweep.prediction.predicting import predict
from digitsweep.prediction.preparing import prepare
from digitsweep.sweeping.processes import LocalWorkers, Place
from digitsweep.sweeping.workers import TrialEnded
from digitsweep.tracking.client import log_files, open_store
from digitsweep.tracking.lock import Claim, locked
from digitsweep.tracking.provenance import current_commit
from digitsweep.tracking.resume import find_unfinished
from digitsweep.tracking.sweep_run import PendingRun
from digitsweep.trial import Trial, TrialState


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Sweep:
    """A sweep with the family. Its file was edited while it ran, its coordinator was killed after a trial of the family, and
    it was resumed where the file is gone."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copy(empty_database, folder)
    uri = f"sqlite:///{folder}/mlflow.db"
    begun = folder / "begun"
    begun.mkdir()
    path = write_experiment(begun)
    process = start(folder, "sweep", str(path), "--workers", "1", uri=uri)
    sweep = Sweep(folder, uri, "")
    wait_for(lambda: "mixer-000" in log_of(folder), process, folder)
    (begun / "my_models.py").write_text("raise RuntimeError('this text is not the sweep's')")
    wait_for(lambda: [each for each in ended(sweep) if each.startswith("mixer")], process, folder)
    kill(process)
    shutil.rmtree(begun)
    finished = run(sweep, "sweep", "--resume", "last", "--workers", "2")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return Sweep(folder, uri, finished.stdout)


def ended(sweep: Sweep) -> dict[str, str]:
    return {each.info.run_name: each.info.run_id for each in sweep.runs("trial") if each.info.end_time}


def run(sweep: Sweep, *arguments: str) -> subprocess.CompletedProcess[str]:
    state = str(sweep.folder / "state")
    return run_digitsweep(*arguments, cwd=sweep.folder, DIGITSWEEP_STATE=state, MLFLOW_TRACKING_URI=sweep.uri)


@pytest.mark.slow
def test_the_resumed_sweep_compares_both_families(resumed: Sweep) -> None:
    """The trials of both families are there once, and both have a model that was judged."""
    names = [each.info.run_name for each in resumed.runs("trial")]
    assert sorted(names) == ["cnn-000", "cnn-001", "mixer-000", "mixer-001"]
    assert resumed.parent().data.tags["digitsweep.state"] == "COMPLETE"
    assert {"cnn_test_accuracy", "mixer_test_accuracy"} <= set(resumed.parent().data.metrics)
    compared = json.loads(resumed.artifact(resumed.parent(), "comparison/comparison.json"))
    assert {each["family"] for each in compared["entries"]} == {"cnn", "mixer"}


@pytest.mark.slow
def test_the_run_keeps_the_file(resumed: Sweep) -> None:
    """The sweep's run has the text that was run, and its sha256."""
    run = resumed.parent()
    assert resumed.artifact(run, "families/mixer.py").decode() == MIXER
    assert run.data.tags["digitsweep.family.mixer"] == FamilyFile("", "", MIXER).identity
    assert "digitsweep.family.cnn" not in run.data.tags


BROKEN = """def build(params, shape, classes):
    raise ValueError(f"no network of width {params.width}")
"""
LOADS = """
import sys
sys.modules["digitsweep"] = None  # an import of it fails
import mlflow, numpy
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.keras.load_model("models:/digits-mixer@challenger")
found = model.predict(numpy.zeros((3, 8, 8, 1), numpy.uint8), verbose=0)
print(found.shape, round(float(found.sum()), 3))
"""


@pytest.mark.slow
def test_its_model_loads_without_digitsweep(resumed: Sweep, tmp_path: Path) -> None:
    """A registered model of the family loads in a Python that has neither digitsweep nor the file."""
    command = [sys.executable, "-I", "-c", LOADS, resumed.uri]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert found.stdout.splitlines()[-1:] == ["(3, 10) 3.0"], found.stderr


@pytest.mark.slow
def test_a_family_that_cannot_be_built(tmp_path: Path, empty_database: Path) -> None:
    """A family whose networks cannot be built ends its search after five trials, with one line; the other one is trained and
    judged all the same."""
    shutil.copy(empty_database, tmp_path)
    path = write_experiment(tmp_path, MIXER.replace("def build(params, shape, classes):", BROKEN))
    path.write_text(path.read_text().replace("{trials: 2,", "{trials: 12,"))
    sweep = Sweep(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", "")
    finished = run(sweep, "sweep", "mixed.yaml", "--workers", "1")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    said = [each for each in finished.stdout.splitlines() if each.startswith("The search of the family mixer ends early")]
    assert len(said) == 1
    assert re.search(r"its first 5 trials all failed: ValueError: no network of width \d+$", said[0])
    assert len([each for each in sweep.runs("trial") if each.data.tags["family"] == "mixer"]) == 5
    assert "best CNN" in finished.stdout


@pytest.mark.slow
def test_its_model_is_served(resumed: Sweep, tmp_path: Path) -> None:
    """Where the family's file is gone, `mlflow models serve` answers what `predict` answers, and the metadata of its model
    name the classes."""
    model = "digits-mixer@challenger"
    digits = load_dataset("digits", validation=0.25, seed=0).test.open("test_outside_families").images[:40]
    large = [Image.fromarray(each[..., 0]).resize((80, 80), Image.Resampling.BICUBIC) for each in digits]
    paper = np.stack([255 - np.pad(np.asarray(each), 20) for each in large])
    mlflow.set_tracking_uri(resumed.uri)
    try:
        readings = predict(paper, model)
        about = mlflow.models.get_model_info(f"models:/{model}")
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # back to the default
    assert about.metadata is not None
    assert about.metadata["classes"] == [str(label) for label in range(10)]
    prepared = [prepare(each.pixels, 8).image for each in pages_of(paper, "paper")]
    read = [number for number, each in enumerate(readings) if each.label is not None]
    assert len(read) > 30
    with served(model, resumed.uri, tmp_path) as address:
        wait_for_model(address)
        status, answer = asked(address, {"inputs": [prepared[each].tolist() for each in read]})
    assert status == 200
    np.testing.assert_allclose(answer["predictions"], [readings[each].probabilities for each in read], atol=1e-6)


@pytest.mark.slow
def test_commands_without_the_file(resumed: Sweep, tmp_path: Path) -> None:
    """Its model is promoted, its comparison shown and its runs repaired where the family is not known."""
    gate = tmp_path / "gate.yaml"
    gate.write_text("min_accuracy: null\nmin_class_recall: null\nclean_commit: false\n")
    promoted = run(resumed, "promote", "digits-mixer", "--gate", str(gate))
    assert promoted.returncode == 0, promoted.stdout + promoted.stderr
    assert resumed.client.get_model_version_by_alias("digits-mixer", "champion").aliases == ["challenger", "champion"]
    shown = run(resumed, "compare")
    assert shown.returncode == 0, shown.stderr
    assert "mixer, depth 1" in shown.stdout
    (trial,) = (each for each in resumed.runs("trial") if each.info.run_name == "mixer-000")
    picture = Path(trial.info.artifact_uri.removeprefix("file://")) / "learning_curves.png"
    picture.unlink()
    repaired = run(resumed, "reconcile")
    assert "learning_curves.png was missing and has been made again" in repaired.stdout, repaired.stderr
    assert picture.is_file()


def test_a_sweep_without_a_run_keeps_the_file(made_store: Path) -> None:
    """A sweep that is killed before its run is open is resumed from the text of the file in its folder."""
    path = write_experiment(made_store)
    experiment = load_experiment(path)
    pending = PendingRun.new(experiment, load_dataset("digits", validation=0.25, seed=0), current_commit(), {})
    with locked(pending.sweep_id, ""):
        pending.save()
    (made_store / "my_models.py").unlink()
    unfinished = find_unfinished(pending.sweep_id)
    assert unfinished.experiment.digest() == experiment.digest()
    build = unfinished.experiment.families["mixer"].build
    assert isinstance(build, FamilyFile)
    assert build.text == MIXER


def test_the_file_decides_the_digest(tmp_path: Path) -> None:
    """Another text of the file makes another experiment."""
    before = load_experiment(write_experiment(tmp_path)).digest()
    write_experiment(tmp_path, MIXER.replace("gelu", "relu"))
    assert load_experiment(tmp_path / "mixed.yaml").digest() != before


def test_a_configuration_is_pickled_by_its_values(tmp_path: Path) -> None:
    """A configuration comes back from a pickle, and the pickle does not name the module of its class."""
    load_experiment(write_experiment(tmp_path))
    params = parse_params("mixer", {"width": 16, "learning_rate": 0.01})
    content = pickle.dumps(params)
    assert pickle.loads(content) == params
    assert type(params).__module__.encode() not in content


def test_a_spawned_worker_knows_the_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where workers are spawned, as with GPUs, they train a family whose file is gone."""
    load_experiment(write_experiment(tmp_path))
    (tmp_path / "my_models.py").unlink()
    monkeypatch.setattr("sys.platform", "darwin")
    workers = LocalWorkers(load_dataset("digits", validation=0.25, seed=0).training, [Place(None)])
    try:
        while not workers.free():
            workers.events(0.5)
        workers.start(Trial(0, parse_params("mixer", {"depth": 1, "width": 16}), seed=0, epochs=1))
        events: list[Any] = []
        while not (events and isinstance(events[-1], TrialEnded)):
            events += workers.events(0.5)
        assert events[-1].result.state is TrialState.COMPLETE, events[-1].result.reason
    finally:
        workers.close()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages with one that has the family."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "mixers.py").write_text(MIXER)
    about = site / "mixers-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mixers\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text("[digitsweep.families]\nmixer = mixers:MIXER\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "mixers", raising=False)
    return site


def test_a_family_of_a_package(installed: Path, tmp_path: Path) -> None:
    """A package's family is imported when an experiment names it, and not before; the digest holds its version."""
    built_in = tmp_path / "built-in.yaml"
    built_in.write_text(EXPERIMENT.replace("  mixer:\n", "  ann:\n").replace("    build: my_models.py:MIXER\n", "").replace(
        "{depth: 1, width: {type: int, low: 16, high: 32}}", "{hidden_layers: 1, units: 8}"))  # fmt: skip
    load_experiment(built_in)
    assert "mixers" not in sys.modules
    path = tmp_path / "mixed.yaml"
    path.write_text(EXPERIMENT.replace("    build: my_models.py:MIXER\n", ""))
    experiment = load_experiment(path)
    assert "mixers" in sys.modules
    assert experiment.families["mixer"].build == InstalledFamily("mixer", "mixers 1.2")
    (installed / "mixers-1.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mixers\nVersion: 1.3\n")
    assert load_experiment(path).digest() != experiment.digest()


def test_a_package_that_cannot_be_imported(installed: Path, tmp_path: Path) -> None:
    """One line names the package, its version and the error."""
    (installed / "mixers.py").write_text("import a_package_that_is_missing")
    path = tmp_path / "mixed.yaml"
    path.write_text(EXPERIMENT.replace("    build: my_models.py:MIXER\n", ""))
    with pytest.raises(InputError) as error:
        load_experiment(path)
    only_line(error, f"{path}:", "families.mixer", "mixers 1.2", "a_package_that_is_missing")


def test_a_copy_that_was_changed_is_not_run(made_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A copy whose sha256 is not the one on the sweep's run is refused, and does not run."""
    path = write_experiment(made_store)
    dataset = load_dataset("digits", validation=0.25, seed=0)
    pending = PendingRun.new(load_experiment(path), dataset, current_commit(), {})
    client = open_store()
    opened = pending.open(client, Claim.here(pending.sweep_id))
    log_files(client, opened.run_id, {"families/mixer.py": b"print('it runs')"})
    with pytest.raises(InputError) as error:
        find_unfinished(opened.run_id)
    only_line(error, opened.run_id, "families/mixer.py")
    assert "it runs" not in capsys.readouterr().out


def test_predictions_are_of_all_classes(tmp_path: Path) -> None:
    """The family's network is built for any number of classes and either number of channels."""
    from digitsweep.families.build import network

    load_experiment(write_experiment(tmp_path))
    model = network(parse_params("mixer", {"depth": 1, "width": 8}), (12, 12, 3), 5)
    found = np.asarray(model(np.zeros((2, 12, 12, 3), np.uint8)))
    assert found.shape == (2, 5)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)
