"""A search selects by its objective, and whatever ranks by it shows it."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import samples
from mlflow import MlflowClient
from pydantic import ValidationError
from running import EXPERIMENTS, Sweep, run_digitsweep
from test_report import Parsed, page_of
from trials import Machine

from digitsweep.config.experiment import Experiment, Objective
from digitsweep.config.experiment_file import load_experiment
from digitsweep.data.sources import load_dataset
from digitsweep.evaluation.comparison import Comparison, Scores, comparison_from
from digitsweep.evaluation.mistakes import ClassRecall
from digitsweep.evaluation.statistics import Share
from digitsweep.families import parse_params
from digitsweep.report.sentences import cautions, how_chosen, on_validation, optimism
from digitsweep.search.proposals import Proposer
from digitsweep.search.study import Study
from digitsweep.tracking.resume import curves
from digitsweep.trial import DIRECTIONS, EpochMetrics, Trial, TrialRecord, TrialResult, TrialState, best_of, in_order

METRICS = list(DIRECTIONS)


def record(number: int, value: float, metric: str) -> TrialRecord:
    """A complete trial with this value of a metric; by every other metric, it is the better the worse it is by this one."""
    others = {each: 1.0 - value if DIRECTIONS[each] == DIRECTIONS[metric] else value for each in DIRECTIONS}
    figures = {**others, metric: value}
    epoch = EpochMetrics(1, 0.5, 0.5, learning_rate=0.01, epoch_seconds=1.0, **figures)
    trial = Trial(number, parse_params("ann", {"hidden_layers": 0}), seed=number, epochs=1)
    return TrialRecord(trial, TrialResult(TrialState.COMPLETE, (epoch,), weights=(), weight_count=1))


@pytest.mark.parametrize("metric", METRICS)
def test_the_best_is_that_of_the_objective(metric: str) -> None:
    """Trials are ranked by the objective alone: losses from the lowest, all others from the highest."""
    records = [record(0, 0.4, metric), record(1, 0.8, metric), record(2, 0.6, metric)]
    expected = [0, 2, 1] if metric == "val_loss" else [1, 2, 0]
    assert [each.trial.number for each in in_order(records, metric)] == expected
    assert best_of(records, metric) is records[expected[0]]


@pytest.mark.parametrize("metric", METRICS)
def test_a_direction_that_does_not_go_with_the_metric_is_refused(metric: str) -> None:
    """Only losses are minimized."""
    right = DIRECTIONS[metric]
    wrong = "minimize" if right == "maximize" else "maximize"
    assert Objective.model_validate({"metric": metric, "direction": right}).metric == metric
    with pytest.raises(ValidationError, match=f"`direction` of {metric} is {right}, but is {wrong}"):
        Objective.model_validate({"metric": metric, "direction": wrong})


def by(experiment: Experiment, metric: str) -> Experiment:
    objective = Objective.model_validate({"metric": metric, "direction": DIRECTIONS[metric]})
    return experiment.model_copy(update={"objective": objective})


@pytest.mark.parametrize("metric", METRICS)
def test_a_search_in_seconds_follows_the_objective(metric: str) -> None:
    """Optuna is told the objective and its direction, and the history holds its values."""
    study = Study(by(load_experiment(EXPERIMENTS / "smoke.yaml"), metric), "ann", (8, 8, 1))
    values = []
    while (trial := study.next_trial()) is not None:
        found = record(trial.number, 0.3 + 0.1 * trial.number, metric).result
        study.epoch_ended(trial, found.epochs[0])
        study.trial_ended(trial, found)
        values += [] if trial.baseline else [found.last(metric)]
    assert [each.values for each in study.history().trials] == [(value,) for value in values]
    assert study._sampler.study.best_value == (max if DIRECTIONS[metric] == "maximize" else min)(values)


class Contrary(Machine):
    """Trainings that are the better by the objective the worse they are by accuracy."""

    metric = "val_balanced_accuracy"

    def result(self, trial: Trial) -> TrialResult:
        found = super().result(trial)
        value = 1.0 - self.accuracy(trial)
        changed: dict[str, Any] = {self.metric: value}
        epochs = tuple(dataclasses.replace(each, **changed) for each in found.epochs)
        return dataclasses.replace(found, epochs=epochs)


@pytest.mark.parametrize("metric", ["val_balanced_accuracy", "val_macro_f1"])
def test_a_search_in_minutes_follows_the_objective(metric: str) -> None:
    """Whatever is promoted was the best of its rung by the objective when it was, and TPE is told the objective's values."""
    experiment = by(load_experiment(EXPERIMENTS / "images.yaml"), metric)
    machine = Contrary(images=1500)
    machine.metric = metric
    study = machine.study(experiment, "ann")
    promoted = 0
    while (ended := machine.train(study)) is not None:
        trial = ended.trial
        if trial.rung and trial.proposed_by != "first":
            promoted += 1
            below = {each.trial.number: each for each in machine.ended[:-1] if each.trial.rung == trial.rung - 1}
            taken = {each.trial.number for each in machine.ended[:-1] if each.trial.rung >= trial.rung}
            rivals = [each for number, each in below.items() if number not in taken and not each.trial.baseline]
            assert below[trial.number].result.last(metric) == max(each.result.last(metric) for each in rivals)
    assert promoted
    told = Proposer(experiment, "ann").told(study.records)
    values = {round(each.result.last(metric), 9) for each in machine.ended}
    assert {round(value, 9) for each in told for value in each.intermediate_values.values()} <= values


def compared(metric: str) -> Comparison:
    """As a sweep with this objective has it; the values of the objective are unlike the accuracies."""
    whole = samples.comparison()
    finalists = tuple(
        dataclasses.replace(
            each,
            search_epochs=each.epochs,
            scores=Scores(
                metric,
                0.8123,
                tuple(0.8 + 0.001 * seed for seed in range(len(each.selection_seeds))),
                tuple(0.7 + 0.001 * seed for seed in range(len(each.confirmation_seeds))),
            ),
        )
        for each in whole.finalists
    )
    entries = tuple(dataclasses.replace(each, score=0.8123 if each.role == "best" else 0.6543) for each in whole.entries)
    return dataclasses.replace(whole, metric=metric, finalists=finalists, entries=entries)


SHOWN = {
    "val_balanced_accuracy": ("balanced accuracy", "81.23 %", "65.43 %", "70.10 ± 0.10 %", "11.13 points"),
    "val_macro_f1": ("macro F1", "81.23 %", "65.43 %", "70.10 ± 0.10 %", "11.13 points"),
    "val_loss": ("loss", "0.8123", "0.6543", "0.7010 ± 0.0010", "0.1113"),
}


@pytest.mark.parametrize("metric", SHOWN)
def test_sentences_name_what_chose(metric: str) -> None:
    """How the winner was chosen, what the table shows of validation and how far the search overrated it are told by the
    objective."""
    whole = compared(metric)
    name, searched, own, confirmed, gap = SHOWN[metric]
    best, baseline = whole.best()[0], next(each for each in whole.entries if each.role == "baseline")
    finalist = whole.finalist_of(best)
    assert finalist is not None
    told = how_chosen(whole, best)
    assert f"got a {name} of {searched} on the validation images in the search" in told
    assert f"it got {confirmed};" in told
    assert on_validation(whole, best).startswith(confirmed)
    assert on_validation(whole, baseline) == own
    assert f"{gap} above its mean" in optimism(finalist)
    alone = dataclasses.replace(whole, finalists=())
    assert f"got a {name} of {searched} on the validation images and was chosen by that score" in how_chosen(alone, best)


@pytest.mark.parametrize("metric", SHOWN)
def test_the_page_shows_what_chose(metric: str) -> None:
    """The table and the figure of the fresh seeds are of the objective, and say so."""
    name, searched, _, confirmed, _ = SHOWN[metric]
    page = page_of(compared(metric))
    seeds = page.text[page.text.index("The best score of a search is partly luck") :]
    assert f"columns for validation images show the validation {name}" in seeds
    assert searched in seeds
    assert confirmed in seeds


def test_values_of_another_objective_have_its_name() -> None:
    """Beside the accuracies, whose names never change; JSON gives all of it back."""
    whole = compared("val_macro_f1")
    best = whole.best()[0]
    found = whole.accuracies(best)
    assert found["search_val_accuracy"] == best.search_val_accuracy
    assert found["search_val_macro_f1"] == 0.8123
    assert found["confirmation_val_macro_f1"] == pytest.approx(0.701)
    assert "val_macro_f1" not in found
    assert comparison_from(json.loads(json.dumps(whole.values()))) == whole
    plain = samples.comparison()
    assert not [name for name in plain.accuracies(plain.best()[0]) if "macro_f1" in name]


def test_epochs_of_older_versions_are_read(made_store: Path) -> None:
    """They recorded `val_macro_f1` once, at the end, and no balanced accuracy: all of their epochs are still read."""
    client = MlflowClient(f"sqlite:///{made_store}/mlflow.db")
    run = client.create_run(client.create_experiment("old"))
    for epoch in (1, 2, 3):
        client.log_metric(run.info.run_id, "train_loss", 1.0 / epoch, step=epoch)
        client.log_metric(run.info.run_id, "val_accuracy", 0.1 * epoch, step=epoch)
    client.log_metric(run.info.run_id, "val_macro_f1", 0.25, step=3)
    found = curves(client, client.get_run(run.info.run_id))
    assert [each.epoch for each in found] == [1, 2, 3]
    assert [each.val_accuracy for each in found] == pytest.approx([0.1, 0.2, 0.3])
    assert [math.isnan(each.val_macro_f1) for each in found] == [True, True, False]
    assert all(math.isnan(each.val_balanced_accuracy) for each in found)


def test_the_largest_class_has_its_name() -> None:
    """A caution about unequal classes names the class as people do."""
    whole = samples.comparison()
    assert whole.mistakes is not None
    classes = (ClassRecall(0, {"ANN": Share(5, 10)}), ClassRecall(1, {"ANN": Share(5, 90)}))
    unequal = dataclasses.replace(
        whole,
        data={**whole.data, "classes": ["cat", "dog"]},
        mistakes=dataclasses.replace(whole.mistakes, classes=classes),
    )
    (caution,) = cautions(unequal)
    assert "always answering dog would be right on 90.00 % of the test images" in caution
    assert not cautions(whole)


UNEQUAL = """\
name: unequal
question: Which network is best for classes of unequal size?
seed: 0
data: {source: unequal.npz, validation: 0.3}
budget: {trials: 2, epochs: 4, seconds: 60}
objective: {metric: val_balanced_accuracy}
pruner: {type: none}
finalists: {top: 1, seeds: 1, confirm: 2}
families:
  ann:
    baselines: {softmax: {params: {hidden_layers: 0, batch_size: 8}}}
    space:
      hidden_layers: 1
      units: 16
      batch_size: 8
      augmentation: crop
      learning_rate: {type: float, low: 1.0e-3, high: 1.0e-2}
"""


@pytest.fixture(scope="module")
def unequal(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A sweep of digits of which nine in ten are a 0."""
    folder = tmp_path_factory.mktemp("unequal")
    (folder / "unequal.yaml").write_text(UNEQUAL)
    training = load_dataset("digits", validation=None).training.train
    counts = ((0, 120), (1, 15), (2, 15))
    order = np.concatenate([np.flatnonzero(training.labels == label)[:count] for label, count in counts])
    images, labels, rest = training.images[order, :, :, 0], training.labels[order], np.arange(len(order)) % 3 == 0
    parts = {"x_train": images[~rest], "y_train": labels[~rest], "x_test": images[rest], "y_test": labels[rest]}
    np.savez(folder / "unequal.npz", **parts)
    finished = run_digitsweep("sweep", "unequal.yaml", "--workers", "1", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    return Sweep(folder, f"sqlite:///{folder}/mlflow.db", finished.stdout)


def test_a_sweep_by_balanced_accuracy(unequal: Sweep) -> None:
    """The winner has the best balanced accuracy of its trials. It is on the sweep's run, in JSON and CSV, with the figures
    on the test images."""
    best = max(unequal.runs("trial"), key=lambda run: run.data.metrics["val_balanced_accuracy"])
    values = json.loads(unequal.artifact(unequal.parent(), "comparison/comparison.json"))
    entry: dict[str, Any] = next(each for each in values["entries"] if each["role"] == "best")
    metrics = unequal.parent().data.metrics
    assert entry["score"] == metrics["ann_search_val_balanced_accuracy"] == best.data.metrics["val_balanced_accuracy"]
    (won,) = (each for each in values["finalists"] if each["won"])
    assert won["scores"]["confirmation"] == [
        run.data.metrics["val_balanced_accuracy"]
        for run in sorted(unequal.runs("confirmation"), key=lambda run: str(run.info.run_name))
    ]
    assert metrics["ann_confirmation_val_balanced_accuracy"] == pytest.approx(np.mean(won["scores"]["confirmation"]))
    row = next(csv.DictReader(io.StringIO(unequal.artifact(unequal.parent(), "comparison/comparison.csv").decode())))
    recalls = [each["recalls"]["ANN"]["accuracy"] for each in values["mistakes"]["classes"]]
    averages = entry["averages"]["balanced_accuracy"]
    assert averages["value"] == pytest.approx(np.mean(recalls))
    assert metrics["ann_test_balanced_accuracy"] == averages["value"] == float(row["test_balanced_accuracy"])
    assert (float(row["test_balanced_accuracy_low"]), float(row["test_balanced_accuracy_high"])) == (
        averages["low"],
        averages["high"],
    )
    assert metrics["ann_test_macro_f1"] == entry["averages"]["macro_f1"]["value"]
    version = unequal.client.get_model_version_by_alias("unequal-ann", "challenger")
    assert float(version.tags["test_balanced_accuracy"]) == pytest.approx(averages["value"], abs=1e-6)


def test_it_says_that_accuracy_misleads(unequal: Sweep) -> None:
    """Page, terminal and short report name the largest class and what always answering it would be worth."""
    values = json.loads(unequal.artifact(unequal.parent(), "comparison/comparison.json"))
    sizes = {each["label"]: each["recalls"]["ANN"]["images"] for each in values["mistakes"]["classes"]}
    told = f"always answering 0 would be right on {100 * sizes[0] / sum(sizes.values()):.2f} % of the test images"
    page = Parsed(unequal.artifact(unequal.parent(), "comparison/report.html").decode()).text
    assert told in page
    assert told in unequal.output
    assert told in unequal.artifact(unequal.parent(), "comparison/report.md").decode()
    balanced = next(each for each in values["entries"] if each["role"] == "best")["averages"]["balanced_accuracy"]
    for text in (page, unequal.output):
        assert f"{100 * balanced['value']:.2f} % (95 % interval {100 * balanced['low']:.2f}" in text
    assert "validation balanced accuracy" in unequal.output
