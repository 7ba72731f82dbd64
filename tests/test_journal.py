"""A sweep as an Optuna journal: Optuna itself reads back what MLflow holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from running import Sweep, run_digitsweep
from support import MINUTES_EXPERIMENT

from digitsweep.config.experiment import Experiment
from digitsweep.config.experiment_file import load_experiment
from digitsweep.families import parse_params
from digitsweep.search.journal import RecordedSearches, RecordedTrial, journal
from digitsweep.trial import EpochMetrics, Trial, TrialRecord, TrialResult, TrialState

DRAWN = {"hidden_layers": 2, "units_1": 64, "units_2": 32, "learning_rate": 0.003, "schedule": "cosine", "batch_size": 64}
MOMENT = 1_800_000_000_000


def read(path: Path) -> dict[str, optuna.Study]:
    """The studies of a journal, by name."""
    storage = JournalStorage(JournalFileBackend(str(path)))
    names = optuna.get_all_study_names(storage)
    return {name: optuna.load_study(study_name=name, storage=storage) for name in names}


def recorded(number: int, rung: int, values: Sequence[float], state: str = "COMPLETE", **changed: object) -> RecordedTrial:
    """A training of one rung, which took ten seconds."""
    drawn = {**DRAWN, **changed}
    params = {name: value for name, value in drawn.items() if not name.startswith("units_")}
    units = [drawn[f"units_{layer + 1}"] for layer in range(int(str(drawn["hidden_layers"])))]
    trial = Trial(
        number=number,
        params=parse_params("ann", {**params, "units": units}),
        seed=number,
        epochs=len(values),
        drawn=drawn,  # type: ignore[arg-type]
        rung=rung,
        proposed_by="neighbour",
        ladder=(1.0, 4.0),
    )
    epochs = tuple(EpochMetrics(step, 0.5, 0.9, 0.5, value, 0.001, 1.0) for step, value in enumerate(values, start=1))
    result = TrialResult(TrialState(state), epochs, weight_count=100, train_seconds=10.0)
    began = MOMENT + 100_000 * rung + 1000 * number
    return RecordedTrial(TrialRecord(trial, result), f"run {number} {rung}", began, began + 10_000)


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    path = tmp_path / "minutes.yaml"
    path.write_text(MINUTES_EXPERIMENT)
    return load_experiment(path)


def written(tmp_path: Path, experiment: Experiment, trials: Sequence[RecordedTrial]) -> dict[str, optuna.Study]:
    path = tmp_path / "study.log"
    path.write_bytes(journal(RecordedSearches("a run", experiment, {"state": "COMPLETE", "data": "digits"}, tuple(trials))))
    return read(path)


def test_a_configuration_is_one_trial(tmp_path: Path, experiment: Experiment) -> None:
    """A configuration that was trained on two rungs is one trial: the higher rung, with the values of both as attributes."""
    trials = [
        recorded(1, 0, [0.5, 0.8]),
        recorded(2, 0, [0.4, 0.7], hidden_layers=1, units_1=16),
        recorded(1, 1, [0.6, 0.8, 0.85, 0.9]),
    ]
    studies = written(tmp_path, experiment, trials)
    assert set(studies) == {"minutes-ann", "minutes-cnn"}
    assert studies["minutes-cnn"].trials == []
    study = studies["minutes-ann"]
    assert study.metric_names == ["val_accuracy"]
    assert study.user_attrs["sweep"] == "a run"
    promoted, other = study.trials
    assert (promoted.value, promoted.intermediate_values) == (0.9, {1: 0.6, 2: 0.8, 3: 0.85, 4: 0.9})
    assert promoted.params == DRAWN
    assert promoted.user_attrs["val_accuracy_rung_0"] == 0.8
    assert promoted.user_attrs["val_accuracy_rung_1"] == 0.9
    assert (promoted.user_attrs["rung"], promoted.user_attrs["mlflow_run_id"]) == (1, "run 1 1")
    assert (promoted.user_attrs["seconds"], promoted.user_attrs["seconds_all_rungs"]) == (10.0, 20.0)
    assert promoted.duration is not None
    assert promoted.duration.total_seconds() == 10.0
    assert (other.value, other.user_attrs["rung"], "units_2" in other.params) == (0.7, 0, False)
    assert study.best_trial.number == promoted.number


def test_the_highest_completed_rung_is_shown(tmp_path: Path, experiment: Experiment) -> None:
    """A configuration whose training on a higher rung did not come to its end shows the rung below."""
    (trial,) = written(tmp_path, experiment, [recorded(3, 0, [0.5, 0.8]), recorded(3, 1, [0.1], "PRUNED")])[
        "minutes-ann"
    ].trials
    assert (trial.value, trial.state, trial.user_attrs["rung"]) == (0.8, optuna.trial.TrialState.COMPLETE, 0)


def test_states_are_kept(tmp_path: Path, experiment: Experiment) -> None:
    """A pruned trial has its last value, as in Optuna, and a failed one none, with or without epochs."""
    trials = [
        recorded(0, 0, [0.5, 0.4], "PRUNED"),
        recorded(1, 0, [0.5], "FAIL"),
        recorded(2, 0, [], "FAIL"),
        recorded(3, 0, [math.nan], "PRUNED"),
    ]
    pruned, failed, nothing, diverged = written(tmp_path, experiment, trials)["minutes-ann"].trials
    assert (pruned.state.name, pruned.value, pruned.intermediate_values) == ("PRUNED", 0.4, {1: 0.5, 2: 0.4})
    assert (failed.state.name, failed.value, failed.intermediate_values) == ("FAIL", None, {1: 0.5})
    assert (nothing.state.name, nothing.intermediate_values) == ("FAIL", {})
    assert diverged.value is not None
    assert math.isnan(diverged.value)


def test_a_search_can_go_on_from_a_journal(tmp_path: Path, experiment: Experiment) -> None:
    """Optuna's sampler and importance take the trials, conditional hyperparameters included."""
    trials = [
        recorded(number, 0, [0.5, 0.6 + number / 100], learning_rate=0.0002 * (number + 1), hidden_layers=1 + number % 2)
        for number in range(12)
    ]
    study = written(tmp_path, experiment, trials)["minutes-ann"]
    learning_rate = study.trials[0].distributions["learning_rate"]
    assert learning_rate == optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True)
    importance = optuna.importance.get_param_importances(study)
    assert importance["learning_rate"] > 0
    study.sampler = optuna.samplers.TPESampler(seed=0)
    study.tell(study.ask({"learning_rate": learning_rate}), 0.5)
    assert len(study.trials) == 13


def test_a_sweep_is_exported(smoke: Sweep, tmp_path: Path) -> None:
    """`digitsweep export optuna last FILE`: each searched trial with its state, values, hyperparameters and run."""
    path = tmp_path / "study.log"
    done = run_digitsweep("export", "optuna", "last", str(path), cwd=smoke.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"optuna-dashboard {path}" in done.stdout
    assert [each.name for each in tmp_path.iterdir()] == ["study.log"]
    studies = read(path)
    assert set(studies) == {"smoke-ann", "smoke-cnn"}
    trials = {trial.user_attrs["mlflow_run_id"]: trial for study in studies.values() for trial in study.trials}
    runs = {run.info.run_id: run.data for run in smoke.runs("trial") if "baseline" not in run.data.tags}
    assert trials.keys() == runs.keys()
    for run_id, trial in trials.items():
        tags, metrics = runs[run_id].tags, runs[run_id].metrics
        assert trial.state.name == tags["trial.state"]
        assert trial.user_attrs["seed"] == int(tags["seed"])
        params = runs[run_id].params  # without those that this network does not have, such as a softmax's dropout
        drawn = {name: str(value) for name, value in trial.params.items() if name in params}
        assert drawn.items() <= params.items()
        assert "learning_rate" in drawn
        if trial.state is not optuna.trial.TrialState.FAIL:
            assert trial.value == pytest.approx(metrics["val_accuracy"])
            assert trial.intermediate_values[max(trial.intermediate_values)] == trial.value


def test_what_cannot_be_exported_is_one_line(smoke: Sweep, tmp_path: Path) -> None:
    """No such run, a run that is no sweep, no folder, a file that exists: one line, exit code 2, and the file as it was."""
    kept = tmp_path / "kept.log"
    kept.write_text("kept")
    child = smoke.runs("trial")[0].info.run_id
    for arguments, told in (
        (("0" * 32, "new.log"), "name a sweep's run, or `last`"),
        (("no run", "new.log"), "name a sweep's run, or `last`"),
        ((child, "new.log"), "is not a sweep's"),
        (("last", "missing/new.log"), "must be a file in an existing folder"),
        (("last", str(tmp_path)), "must be a file in an existing folder"),
        (("last", str(kept)), "already exists; name another file, or replace it with --force"),
    ):
        done = run_digitsweep("export", "optuna", *arguments, cwd=tmp_path, MLFLOW_TRACKING_URI=smoke.uri)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1
        assert told in done.stderr
    assert kept.read_text() == "kept"
    assert [each.name for each in tmp_path.iterdir()] == ["kept.log"]
    done = run_digitsweep("export", "optuna", "last", str(kept), "--force", cwd=tmp_path, MLFLOW_TRACKING_URI=smoke.uri)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(read(kept)) == {"smoke-ann", "smoke-cnn"}
