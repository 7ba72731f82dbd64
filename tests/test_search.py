"""What the sampler looks at: all trials as long as there are few, the best, the newest and some running ones of many."""

from __future__ import annotations

import math
from pathlib import Path

import optuna
import pytest
from running import EXPERIMENTS

from digitsweep.config.experiment import Experiment
from digitsweep.config.experiment_file import load_experiment
from digitsweep.families import Params
from digitsweep.search import sampler as search
from digitsweep.search.sampler import Sampler, Window
from digitsweep.trial import TrialState


@pytest.fixture
def experiment() -> Experiment:
    return load_experiment(EXPERIMENTS / "smoke.yaml").changed(trials=1000)


def with_window(patch: pytest.MonkeyPatch, best: int, newest: int, running: int) -> None:
    for name, value in (("BEST", best), ("NEWEST", newest), ("RUNNING", running)):
        patch.setattr(search, name, value)


def drawn(experiment: Experiment, trials: int, at_once: int = 4) -> list[Params]:
    """The configurations of so many trials, some of them at once, of which every third is pruned and some fail."""
    study = Sampler(experiment, "ann")
    found: list[Params] = []
    running: list[int] = []
    for number in range(trials):
        params = study.draw(number)
        assert params is not None
        found.append(params)
        running.append(number)
        study.report(number, 1, value(params))
        if len(running) == at_once:
            ended = running.pop(0)
            state = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE, TrialState.FAIL)[ended % 4]
            study.tell(ended, state, value(found[ended]))
    return found


def value(params: Params) -> float:
    return 1.0 - abs(math.log(float(params.learning_rate) / 0.01))


def storage_with(told: list[float | None], *, maximize: bool = True) -> tuple[optuna.Study, Window]:
    """A study whose trials ended with these values; None: one that still runs."""
    storage = Window()
    study = optuna.create_study(storage=storage, direction="maximize" if maximize else "minimize")
    trials = [study.ask() for _ in told]
    for trial, each in zip(trials, told, strict=True):
        if each is not None:
            study.tell(trial, each)
    return study, storage


def looked_at(study: optuna.Study, storage: Window) -> list[int]:
    storage.narrow = True
    try:
        return [each.number for each in study.get_trials(deepcopy=False)]
    finally:
        storage.narrow = False


@pytest.mark.parametrize("pruner", ["successive_halving", "median", "hyperband"])
def test_a_window_that_all_trials_fit_into_changes_nothing(
    pruner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same seed and the same trials draw what Optuna's own storage, which shows the sampler everything, would draw."""
    path = tmp_path / "each.yaml"
    path.write_text((EXPERIMENTS / "smoke.yaml").read_text().replace("type: successive_halving", f"type: {pruner}"))
    experiment = load_experiment(path)
    narrow = drawn(experiment, 60)
    with monkeypatch.context() as patch:
        patch.setattr(search, "Window", WithoutWindow)
        assert drawn(experiment, 60) == narrow


class WithoutWindow(optuna.storages.InMemoryStorage):
    """Optuna's own storage, for which narrowing means nothing."""

    narrow = False


def test_a_window_that_is_too_small_for_all_is_used(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past its size the window has a say in what is drawn, from that trial on and not before; nothing is drawn twice."""
    everything = drawn(experiment, 60)
    with_window(monkeypatch, 5, 20, 100)
    narrow = drawn(experiment, 60)
    assert narrow[:20] == everything[:20]
    assert narrow != everything
    assert len({each.key() for each in narrow}) == 60


def test_the_best_the_newest_and_some_running_ones_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many trials the sampler sees the best ever, the last that ended and the last that were started, in order."""
    with_window(monkeypatch, 2, 3, 2)
    told = [0.1, 0.9, 0.2, 0.8, 0.3, 0.3, 0.3, 0.4, 0.5, 0.6, None, None, None]
    study, storage = storage_with(told)
    assert looked_at(study, storage) == [1, 3, 7, 8, 9, 11, 12]
    assert len(study.get_trials(deepcopy=False)) == len(told), "the pruner sees all"
    study, storage = storage_with(told, maximize=False)
    assert looked_at(study, storage) == [0, 2, 7, 8, 9, 11, 12]


def test_of_equals_the_earlier_is_the_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """As TPE sorts: the first of those with the same value are kept."""
    with_window(monkeypatch, 2, 1, 5)
    assert looked_at(*storage_with([0.5, 0.5, 0.5, 0.5, 0.1])) == [0, 1, 4]


def test_pruned_trials_rank_after_complete_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the pruned trials the one that came furthest is best, then the one with the better last value; NaN is worst."""
    with_window(monkeypatch, 2, 1, 5)
    storage = Window()
    study = optuna.create_study(storage=storage, direction="maximize")
    for reports in ({1: 0.9}, {1: 0.2, 3: 0.3}, {1: 0.99}, {1: math.nan}, {}):
        trial = study.ask()
        for step, each in reports.items():
            trial.report(each, step)
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    study.tell(study.ask(), 0.0)
    study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
    assert looked_at(study, storage) == [1, 2, 5]
