"""Page, terminal, JSON, CSV, runs and registered versions of one sweep: each figure is the same wherever it stands, and is
what the child runs give when it is computed again from them alone."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from numpy.typing import NDArray
from running import Sweep, run_digitsweep
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, f1_score
from test_report import Parsed

from digitsweep.data import Split
from digitsweep.data.sources import load_dataset
from digitsweep.evaluation.statistics import family_difference
from digitsweep.report.format import p_value
from digitsweep.report.sentences import family_verdict
from digitsweep.tracking.records import restored_trial, restored_weights
from digitsweep.training.loop import probabilities, trained_model

HURRIED = """\
name: hurried
question: What does a sweep say whose seconds end its trials?
seed: 0
data: {source: digits, validation: 0.25}
budget: {trials: 2, epochs: 1000, seconds: 3}
pruner: {type: none}
finalists: {top: 2, seeds: 1, confirm: 2, epochs: 2, refit: false}
families:
  ann:
    space:
      hidden_layers: 1
      units: {type: int, low: 16, high: 64}
      learning_rate: 0.001
      batch_size: 256
"""
"""One family without baselines; finalists that train shorter than the search; nothing is refitted."""


@dataclass(frozen=True)
class Told:
    """All that a sweep says of itself, and the child runs that it says it of."""

    sweep: Sweep

    @cached_property
    def runs(self) -> dict[str, list[Run]]:
        return {kind: self.sweep.runs(kind) for kind in ("trial", "finalist", "confirmation", "refit")}

    @cached_property
    def values(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._file("comparison.json"))
        return found

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self._file("comparison.csv"))))

    @cached_property
    def page(self) -> str:
        return _plain(Parsed(self._file("report.html")).text)

    @cached_property
    def terminal(self) -> str:
        return _plain(self.sweep.output)

    @cached_property
    def short(self) -> str:
        return _plain(self._file("report.md").replace("\\", ""))

    @cached_property
    def test(self) -> Split:
        return load_dataset("digits", validation=0.25, seed=0).test.open("a test")

    @property
    def families(self) -> list[str]:
        return list(self.values["spent"])

    def of(self, family: str, kind: str) -> list[Run]:
        """The winner's runs of a kind, by repetition."""
        number = self.best(family)["trial"][4:7]
        found = [run for run in self.runs[kind] if run.info.run_name.startswith(f"{family}-{number}")]
        return sorted(found, key=lambda run: str(run.info.run_name))

    def best(self, family: str) -> dict[str, Any]:
        (entry,) = (each for each in self.values["entries"] if each["role"] == "best" and each["family"] == family)
        return dict(entry)

    def row(self, trial: str, role: str) -> dict[str, str]:
        (found,) = (each for each in self.rows if each["trial"] == trial and each["role"] == role)
        return found

    def finalist(self, family: str) -> dict[str, Any]:
        (found,) = (each for each in self.values["finalists"] if each["won"] and each["family"] == family)
        return dict(found)

    def version(self, family: str) -> ModelVersion:
        return self.sweep.client.get_model_version_by_alias(f"digits-{family}", "challenger")

    def validated(self, runs: Sequence[Run]) -> list[float]:
        """Of each run, the validation accuracy after its last epoch."""
        histories = (self.sweep.client.get_metric_history(run.info.run_id, "val_accuracy") for run in runs)
        return [max(history, key=lambda each: each.step).value for history in histories]

    def rights(self, run: Run) -> NDArray[np.bool_]:
        """Which test images the network of a run gets right, by its weights."""
        found: NDArray[np.bool_] = self.predicted(run) == self.test.labels
        return found

    def predicted(self, run: Run) -> NDArray[np.intp]:
        """What the network of a run predicts for the test images, by its weights."""
        trial = restored_trial(json.loads(run.data.tags["digitsweep.trial"]))
        weights = restored_weights(self.sweep.artifact(run, "weights.npz"))
        found: NDArray[np.intp] = probabilities(
            trained_model(trial.params, (8, 8, 1), 10, weights), self.test.images
        ).argmax(axis=1)
        return found

    def _file(self, name: str) -> str:
        return self.sweep.artifact(self.sweep.parent(), f"comparison/{name}").decode()


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A finished sweep of HURRIED."""
    folder = tmp_path_factory.mktemp("hurried")
    (folder / "hurried.yaml").write_text(HURRIED)
    finished = run_digitsweep("sweep", "hurried.yaml", "--workers", "2", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    return Sweep(folder, f"sqlite:///{folder}/mlflow.db", finished.stdout)


@pytest.fixture(scope="module", params=["smoke", "hurried"])
def told(request: pytest.FixtureRequest) -> Told:
    return Told(request.getfixturevalue(request.param))


def test_each_accuracy_has_one_name_and_one_value(told: Told) -> None:
    """Each accuracy of a family, computed from its child runs, stands under its name in the sweep's metrics, the CSV and the
    version's tags, and no other accuracy does."""
    for family in told.families:
        selected, confirmed = told.of(family, "finalist"), told.of(family, "confirmation")
        (search,) = told.of(family, "trial")
        version = told.version(family)
        (registered,) = (run for each in told.runs.values() for run in each if run.info.run_id == version.run_id)
        tested = [float(told.rights(run).mean()) for run in confirmed]
        expected = {
            "search_val_accuracy": told.validated([search])[0],
            "selection_val_accuracy": fmean(told.validated(selected)),
            "confirmation_val_accuracy": fmean(told.validated(confirmed)),
            "confirmation_test_accuracy": fmean(tested),
            "test_accuracy": float(told.rights(registered).mean()),
            "test_balanced_accuracy": balanced_accuracy_score(told.test.labels, told.predicted(registered)),
            "test_macro_f1": f1_score(told.test.labels, told.predicted(registered), average="macro"),
        }
        metrics = told.sweep.parent().data.metrics
        mine = {name.removeprefix(f"{family}_"): value for name, value in metrics.items() if name.startswith(f"{family}_")}
        assert mine == pytest.approx({**expected, "weights": told.best(family)["weights"]})
        tags = {name: float(value) for name, value in version.tags.items() if name.endswith(("accuracy", "_f1"))}
        assert tags == pytest.approx(expected, abs=5e-7)
        row = told.row(told.best(family)["trial"], "best")
        columns = {name: float(value) for name, value in row.items() if name.endswith(("accuracy", "_f1")) and value}
        assert columns == pytest.approx(expected)
        finalist = told.finalist(family)
        before = {name: value for name, value in expected.items() if not name.startswith("test_")}
        assert {name: finalist[name] for name in before} == pytest.approx(before)
        assert told.best(family)["test"]["accuracy"] == expected["test_accuracy"]
        assert registered.data.metrics["test_accuracy"] == expected["test_accuracy"]
        assert [run.data.metrics["test_accuracy"] for run in confirmed] == pytest.approx(tested)
        assert not any("test_accuracy" in run.data.metrics for run in selected), "they chose the winner, and judge nothing"
        assert told.best(family)["validation"] is None, "an interval of what was chosen would be too narrow"


def test_a_baselines_figures(told: Told) -> None:
    """A baseline's accuracies are those of its one network, on its run, in the JSON, the CSV and on the page."""
    baselines = {run.info.run_name: run for run in told.runs["trial"] if "baseline" in run.data.tags}
    entries = [each for each in told.values["entries"] if each["role"] == "baseline"]
    assert {each["trial"] for each in entries} == set(baselines)
    for entry in entries:
        run = baselines[entry["trial"]]
        validated, tested = told.validated([run])[0], float(told.rights(run).mean())
        assert (entry["validation"]["accuracy"], entry["test"]["accuracy"]) == pytest.approx((validated, tested))
        assert run.data.metrics["test_accuracy"] == pytest.approx(tested)
        row = told.row(entry["trial"], "baseline")
        assert (float(row["val_accuracy"]), float(row["test_accuracy"])) == pytest.approx((validated, tested))
        assert not row["search_val_accuracy"]
        for text in (told.page, told.terminal, told.short):
            assert _percent(tested) in text


def test_the_sentences_on_seeds_are_true(told: Told) -> None:
    """What is said of how each winner was chosen, and what it is worth, is what its runs give, word for word everywhere."""
    for family in told.families:
        selected, confirmed = told.of(family, "finalist"), told.of(family, "confirmation")
        (search,) = told.of(family, "trial")
        searched, length = _epochs(search), _epochs(selected[0])
        score, fresh = told.validated([search])[0], told.validated(confirmed)
        tested = [float(told.rights(run).mean()) for run in confirmed]
        rivals = {run.data.tags["trial.number"] for run in told.runs["finalist"] if run.data.tags["family"] == family}
        name, gap = family.upper(), 100 * (score - fmean(fresh))
        chosen = (
            f"The {name}, {told.best(family)['trial']}, got {_percent(score)} of the validation images right in the search "
            f"({_count(searched, 'epoch')}) and {_mean(told.validated(selected))} on "
            f"{_count(len(selected), 'selection seed')} ({length} epochs), the best of {len(rivals)} finalists. "
            f"On {_count(len(confirmed), 'confirmation seed')}, which chose nothing, it got {_mean(fresh)}; "
            f"these networks get {_mean(tested)} of the test images right."
        )
        measured = f"The search scored the {name} {abs(gap):.2f} points {'above' if gap >= 0 else 'below'} its mean over"
        not_measured = f"How far the search overrated the {name} was not measured: the search trained"
        optimism = (
            f"{measured} the confirmation seeds."
            if searched == length
            else f"{not_measured} {_count(searched, 'epoch')}, the finalists {length}."
        )
        for text in (told.terminal, told.short, _plain(str(told.version(family).description))):
            assert f"{chosen} {optimism}" in text
        assert optimism in told.page
        for figure in (_percent(score), _mean(told.validated(selected)), _mean(fresh)):
            assert figure in told.page
        assert told.finalist(family)["optimism"] == (pytest.approx(gap / 100) if searched == length else None)


def test_what_was_used_is_what_the_runs_took(told: Told) -> None:
    """Trainings and seconds of search, baselines, finalists, confirmations and refits, and how the trials of the search
    ended, are those of the runs, in JSON, page and terminal."""
    for family in told.families:
        own = {kind: [run for run in runs if run.data.tags["family"] == family] for kind, runs in told.runs.items()}
        searched = [run for run in own["trial"] if "baseline" not in run.data.tags]
        used = {
            "search": searched,
            "baselines": [run for run in own["trial"] if "baseline" in run.data.tags],
            "finalists": own["finalist"],
            "confirmations": own["confirmation"],
            "refits": own["refit"],
        }
        spent = told.values["spent"][family]
        for kind, runs in used.items():
            assert spent[kind]["trainings"] == len(runs)
            assert spent[kind]["seconds"] == pytest.approx(sum(run.data.metrics["train_seconds"] for run in runs))
            if kind != "search" and runs:
                assert f"{_count(len(runs), kind[:-1])}, {spent[kind]['seconds']:.1f} s" in told.terminal
                assert f"{len(runs)} in {spent[kind]['seconds']:.1f} s" in told.page
        ended = Counter(map(_outcome, searched))
        assert spent["trials"] == ended
        points = told.values["history"][family]["trials"]
        assert Counter(point["state"] for point in points) == ended
        names = {"COMPLETE": "complete", "PRUNED": "pruned", "OUT_OF_TIME": "out of time", "FAIL": "failed"}
        text = ", ".join(f"{ended[state]} {name}" for state, name in names.items() if ended[state])
        assert f"{family.upper()}: {_count(len(searched), 'trial')} ({text}), " in told.terminal
        assert f"{family.upper()} {text} " in told.page
        for run in searched:
            cut_off = run.data.tags["trial.state"] == "PRUNED"
            assert run.info.status == ("KILLED" if cut_off else "FINISHED"), "in MLflow both are pruned"


def test_how_many_images_each_network_was_trained_on(told: Told) -> None:
    """A refit had training and validation images, every other network those of training alone; JSON, CSV, the version and
    the page say how many for each."""
    inputs = told.sweep.parent().inputs
    assert inputs is not None
    profile = json.loads(str(inputs.dataset_inputs[0].dataset.profile))
    for entry in told.values["entries"]:
        refitted = entry["role"] == "best" and bool(told.of(entry["family"], "refit"))
        expected = profile["train"] + (profile["validation"] if refitted else 0)
        assert entry["trained_on"] == expected
        assert told.row(entry["trial"], entry["role"])["trained_on"] == str(expected)
        if entry["role"] == "best":
            assert told.version(entry["family"]).tags["trained_on"] == str(expected)
            assert f"{entry['epochs']:g} epochs of {expected:,} images" in told.page
            assert f"was trained on {expected:,} images" in told.terminal
        else:
            assert re.search(rf"{entry['weights']:,} {expected:,} \d", told.page)


def test_the_headline_is_about_two_networks_and_the_families_have_their_own(smoke: Sweep) -> None:
    """The verdict is McNemar's test on the two registered networks; the sentence on the families is from the confirmation
    networks; page, terminal, report.md, JSON and MLflow's description have both, with one p-value each."""
    told = Told(smoke)
    ann, cnn = (told.rights(told.of(family, "refit")[0]) for family in ("ann", "cnn"))
    first, second = int((~ann & cnn).sum()), int((ann & ~cnn).sum())
    exact = binomtest(first, first + second).pvalue if first + second else 1.0
    assert told.values["difference"]["p_value"] == pytest.approx(exact)
    families = [np.stack([told.rights(run) for run in told.of(family, "confirmation")]) for family in ("ann", "cnn")]
    found = family_difference(families[0], families[1], ("ANN", "CNN"))
    assert found.accuracy == pytest.approx(families[1].mean() - families[0].mean())
    for key in ("accuracy", "low", "high", "p_value"):
        assert told.values["family_difference"][key] == pytest.approx(getattr(found, key))
    assert tuple(told.values["family_difference"]["seeds"]) == (3, 3)
    for text in (told.page, told.terminal, told.short):
        assert _plain(told.values["verdict"]) in text
        assert _plain(family_verdict(found)) in text
    assert p_value(exact) in told.values["verdict"]
    assert set(re.findall(r"p [<=] [\d.]*\d", told.page)) == {p_value(exact), p_value(found.p_value)}


def test_seconds_that_run_out_are_not_a_pruner(hurried: Sweep) -> None:
    """Where no pruner was at work, nothing on the page or the terminal is pruned, and nothing is said of families."""
    told = Told(hurried)
    assert "out of time" in told.page
    assert "OUT OF TIME" in told.terminal
    for text in (told.page, told.terminal, told.short):
        assert "pruned" not in text.lower()
        assert "pruner stopped" not in text
        assert "CNN" not in text
    assert (told.values["family_verdict"], told.values["family_difference"]) == ("", None)


def test_the_same_comparison_is_printed_again(told: Told) -> None:
    """`digitsweep compare` prints, from comparison.json, what the sweep printed."""
    again = run_digitsweep("compare", cwd=told.sweep.folder, MLFLOW_TRACKING_URI=told.sweep.uri)
    assert again.returncode == 0, again.stderr
    shown = _plain(again.stdout).partition(" See every trial")[0]
    assert shown in told.terminal


def _plain(text: str) -> str:
    """On one line, with plain spaces."""
    return " ".join(text.split())


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _mean(shares: Sequence[float]) -> str:
    if len(shares) == 1:
        return _percent(shares[0])
    return f"{100 * fmean(shares):.2f} ± {100 * stdev(shares):.2f} %"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _epochs(run: Run) -> int:
    return len(json.loads(run.data.tags["digitsweep.trial"])["values"])


def _outcome(run: Run) -> str:
    out_of_time = run.data.tags.get("trial.reason") == "the family's seconds were spent"
    return "OUT_OF_TIME" if out_of_time else str(run.data.tags["trial.state"])
