"""The coordinator with workers and a tracker that are scripted, for what real ones do only rarely."""

from __future__ import annotations

import math
import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import EXPERIMENTS
from support import MINUTES_EXPERIMENT, PROPERTY
from trials import Machine, complete, metrics

from digitsweep.config.experiment import Experiment
from digitsweep.config.experiment_file import load_experiment
from digitsweep.config.options import Options
from digitsweep.data import TrainingData
from digitsweep.data.sources import load_dataset
from digitsweep.errors import DigitsweepError
from digitsweep.families import parse_params
from digitsweep.search.finalists import Finalists, Succession, Unhurried
from digitsweep.search.scheduler import SchedulerDecision
from digitsweep.search.study import Study
from digitsweep.sweeping.coordinator import SIGNALS, TIMES, Coordinator, Interruption, Pace
from digitsweep.sweeping.run import sweep
from digitsweep.sweeping.workers import EpochEnded, Event, TrialEnded
from digitsweep.tracking.tracker import Listener, Past, Tracker
from digitsweep.trial import CUT_OFF, SPENT, Epoch, EpochMetrics, Kind, Trial, TrialRecord, TrialResult, TrialState, failed

SMOKE = EXPERIMENTS / "smoke.yaml"


class ScriptedWorkers:
    """Each trial tells of one epoch, and ends only if it is told to stop."""

    def __init__(self, data: TrainingData, experiment: Experiment | None = None, options: Options | None = None) -> None:
        self.predictions = data.validation.labels
        self.places = 1 if options is None else options.workers or 1
        self.running: list[Trial] = []
        self.waiting: list[Event] = []
        self.closed = False

    def count(self) -> int:
        return self.places

    def free(self) -> int:
        return self.places - len(self.running)

    def status(self) -> str:
        return ""

    def notices(self) -> Sequence[str]:
        return ()

    def start(self, trial: Trial, needs_weights: Callable[[TrialResult], bool]) -> None:
        self.running.append(trial)
        self.waiting.append(EpochEnded(trial, Epoch(metrics(), self.predictions)))

    def stop(self, trial: Trial) -> None:
        self.waiting.append(TrialEnded(trial, TrialResult(TrialState.PRUNED, (), self.predictions, reason="stopped")))
        self.running.remove(trial)

    def kill(self, trial: Trial, why: str) -> None:
        self.waiting.append(TrialEnded(trial, failed((), why), lost=True))
        self.running.remove(trial)

    def events(self, timeout: float) -> Sequence[Event]:
        events, self.waiting = self.waiting, []
        return events

    def close(self) -> None:
        self.closed = True


class Recorder(Tracker):
    """Keeps what it hears; fails where it is told to."""

    def __init__(self, failing: bool = False, interrupting: int = 0) -> None:
        self.failing, self.interrupting = failing, interrupting
        self.records: list[TrialRecord] = []
        self.states: list[str] = []
        self.attempts: list[str] = []

    def attempt_ended(self, trial: Trial, reason: str, seconds: float) -> None:
        self.attempts.append(reason)

    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> None:
        for _ in range(self.interrupting):
            os.kill(os.getpid(), signal.SIGINT)
        self.interrupting = 0

    def trial_ended(self, record: TrialRecord) -> None:
        self.records.append(record)

    def check(self) -> None:
        if self.failing:
            raise DigitsweepError("the tracking server is gone")

    def ended(self, state: str) -> None:
        self.states.append(state)


def run(recorder: Recorder, made: list[ScriptedWorkers] | None = None) -> None:
    """A sweep of smoke.yaml; the workers that it makes are put into `made`."""
    kept = [] if made is None else made

    def make_workers(data: TrainingData, experiment: Experiment, options: Options) -> ScriptedWorkers:
        kept.append(ScriptedWorkers(data, experiment, options))
        return kept[-1]

    sweep(SMOKE, Options(workers=2), Listener(), start_workers=make_workers, open_tracker=lambda *_: recorder)


def test_a_tracker_that_fails_ends_the_sweep(store: Path) -> None:
    """Where records can no longer be written, each running trial is ended as FAIL and the sweep as FAILED, once."""
    recorder = Recorder(failing=True)
    made: list[ScriptedWorkers] = []
    with pytest.raises(DigitsweepError, match="the tracking server is gone"):
        run(recorder, made)
    assert [len(each.running) for each in made] == [2], "nothing is started once the sweep ends"
    assert recorder.states == ["FAILED"]
    assert len(recorder.records) == 2
    for record in recorder.records:
        assert (record.result.state, record.result.reason) == (TrialState.FAIL, CUT_OFF)
        assert [each.epoch for each in record.result.epochs] == [1]
        assert record.result.predictions is not None


@pytest.mark.parametrize("times", [1, 2, 3])
def test_an_interruption_before_anything_is_finished(times: int, store: Path) -> None:
    """Ctrl-C in the first epoch, pressed once or more, ends as INTERRUPTED: there is nothing to compare, nothing to hide."""
    before = signal.getsignal(signal.SIGINT)
    recorder = Recorder(interrupting=times)
    with pytest.raises(KeyboardInterrupt):
        run(recorder)
    assert recorder.states == ["INTERRUPTED"]
    assert {record.result.state for record in recorder.records} == {TrialState.FAIL}
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_is_ignored_stays_ignored(number: signal.Signals) -> None:
    """What `nohup` or a script's `&` has the process ignore asks nothing of the sweep; without them it does."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        ignoring, hearing = Interruption(), Interruption()
        with ignoring.listening():
            os.kill(os.getpid(), number)
        assert not ignoring.asked
        assert signal.getsignal(number) is signal.SIG_IGN
        signal.signal(number, signal.SIG_DFL)
        with hearing.listening():
            os.kill(os.getpid(), number)
        assert hearing.asked
    finally:
        signal.signal(number, before)


def test_a_trial_that_runs_on_is_not_waited_for(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted sweep gives its trials some seconds; one that does not stop by then is ended all the same."""
    monkeypatch.setattr("digitsweep.sweeping.coordinator.STOP_SECONDS", 0.2)
    monkeypatch.setattr(ScriptedWorkers, "stop", lambda self, trial: None)
    recorder = Recorder(interrupting=1)
    with pytest.raises(KeyboardInterrupt):
        run(recorder)
    assert [record.result.reason for record in recorder.records] == ["the sweep was interrupted"] * 2
    assert np.array_equal(*(record.result.predictions for record in recorder.records))  # type: ignore[arg-type]


class OneSeedDiverges(ScriptedWorkers):
    """Trials tell of an epoch and end as they are told to stop; of the finalists one fresh seed fails."""

    def start(self, trial: Trial, needs_weights: Callable[[TrialResult], bool]) -> None:
        super().start(trial, needs_weights)
        if trial.kind is Kind.FINALIST:
            self.running.remove(trial)
            whole = TrialResult(TrialState.COMPLETE, (metrics(),), self.predictions)
            self.waiting.append(TrialEnded(trial, whole if trial.repetition == 2 else failed((), "it diverged")))

    def stop(self, trial: Trial) -> None:
        epochs = (metrics(),)
        self.waiting.append(TrialEnded(trial, TrialResult(TrialState.PRUNED, epochs, self.predictions, reason="stopped")))
        self.running.remove(trial)


class InterruptingFinals(Recorder):
    """Presses Ctrl-C in the first epoch of a finalist that fails."""

    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> None:
        if trial.kind is Kind.FINALIST and trial.repetition == 1:
            super().epoch_ended(trial, metrics)


@pytest.mark.parametrize(
    ("times", "error", "state"), [(0, DigitsweepError, "FAILED"), (1, KeyboardInterrupt, "INTERRUPTED")]
)
def test_finalists_that_leave_nothing_to_judge(
    times: int, error: type[BaseException], state: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the seconds ended every trial and no finalist has all of its seeds, that is one line that says why; or, where
    somebody interrupted, the end of an interrupted sweep."""
    monkeypatch.setattr("digitsweep.sweeping.run.EvaluationImport.finish", lambda self: None)
    text = re.sub(r"    baselines:\n.*\n", "", SMOKE.read_text()).replace("seconds: 20", "seconds: 0.5")
    (store / "searched.yaml").write_text(text)
    recorder = InterruptingFinals(interrupting=times)
    with pytest.raises(error) as raised:
        sweep(
            store / "searched.yaml",
            Options(workers=2),
            Listener(),
            start_workers=OneSeedDiverges,
            open_tracker=lambda *_: recorder,
        )
    assert recorder.states == [state]
    assert any(each.result.state is TrialState.COMPLETE for each in recorder.records)
    if error is DigitsweepError:
        assert str(raised.value) == "no trial was completed (it diverged; the family's seconds were spent)"


class DyingWorkers(ScriptedWorkers):
    """The worker of `ann-000` dies so many times; every other trial is complete at once."""

    deaths = 0

    def start(self, trial: Trial, needs_weights: Callable[[TrialResult], bool]) -> None:
        super().start(trial, needs_weights)
        self.running.remove(trial)
        if trial.name.startswith("ann-000 ") and self.deaths:
            self.deaths -= 1
            self.waiting.append(TrialEnded(trial, failed((), "its worker died"), lost=True))
            return
        self.waiting.append(TrialEnded(trial, complete(trial)))


@pytest.mark.parametrize(("deaths", "attempts", "state"), [(2, 2, TrialState.COMPLETE), (9, 2, TrialState.FAIL)])
def test_a_lost_trial_begins_again(deaths: int, attempts: int, state: TrialState, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial whose worker dies is begun again, three times in all; then it is FAIL, and the sweep goes on."""
    monkeypatch.setattr(DyingWorkers, "deaths", deaths)
    recorder = Recorder()
    experiment = load_experiment(SMOKE)
    data = load_dataset("digits", validation=0.25, seed=0).training
    studies: dict[str, Study] = {family: Study(experiment, family, data.shape) for family in experiment.families}
    workers = DyingWorkers(data, experiment, Options(workers=2))
    Coordinator(workers, data.shape, recorder, [recorder], Interruption()).run(studies)
    assert recorder.attempts == ["its worker died"] * attempts
    ends = [each.result for each in recorder.records if each.trial.name.startswith("ann-000 ")]
    assert [each.state for each in ends] == [state]
    if state is TrialState.FAIL:
        assert ends[0].reason == "its worker died, at attempt 3: given up"
    assert len(recorder.records) == 8


class NearlyDone(Recorder):
    """Keeps how many trials had begun when the end was near."""

    begun, begun_then = 0, 0

    def trial_started(self, trial: Trial) -> None:
        self.begun += 1

    def nearly_done(self) -> None:
        self.begun_then = self.begun


def test_workers_that_wait_for_the_first_baseline(tmp_path: Path) -> None:
    """Where there are more workers than baselines, the end is not near as long as these wait: the search has not begun."""
    (tmp_path / "minutes.yaml").write_text(MINUTES_EXPERIMENT)
    experiment, recorder = load_experiment(tmp_path / "minutes.yaml").changed(trials=6), NearlyDone()
    data = load_dataset("digits", validation=0.25, seed=0).training
    machine = Machine()
    time = machine.time(experiment)
    studies = {family: machine.study(experiment, family, time) for family in map(str, experiment.families)}
    workers = DyingWorkers(data, experiment, Options(workers=5))
    Coordinator(workers, data.shape, recorder, [recorder], Interruption()).run(studies)
    assert recorder.begun_then > 2


@pytest.mark.parametrize("interrupting", [0, 1])
def test_what_is_lost_is_trained_before_the_finals_go_on(
    interrupting: int, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep that has finalists, and has lost the weights of a baseline and of the best trial, trains these again
    first, and draws nothing more. Where somebody interrupts it meanwhile, the finalists that it had count all the same."""
    experiment = load_experiment(SMOKE)
    past = Past()
    for family in experiment.families:
        study = Study(experiment, family, (8, 8, 1))
        while (trial := study.next_trial()) is not None:
            study.trial_ended(trial, complete(trial, 0.9 if trial.number == 1 else 0.5))
        assert experiment.finalists is not None
        finals = Finalists(experiment, family, experiment.finalists, study.records, Unhurried((8, 8, 1)))
        finalist = finals.next_trial()
        assert finalist is not None
        finals.trial_ended(finalist, complete(finalist, 0.9))
        kept = [each for each in study.records if each.trial.number > 1]
        lost = [each.trial for each in study.records if each.trial.number <= 1]
        past = Past(ended=(*past.ended, *kept, *finals.records), lost=(*past.lost, *lost))
    recorder = Recorder(interrupting=interrupting)
    recorder.past = past
    judged: list[Mapping[str, Succession]] = []

    def end_here(experiment: Experiment, families: Mapping[str, Succession], state: str) -> None:
        judged.append(families)
        raise DigitsweepError("nothing is judged in this test")

    monkeypatch.setattr("digitsweep.sweeping.run.choose_winners", end_here)
    with pytest.raises(DigitsweepError, match="nothing is judged"):
        sweep(SMOKE, Options(workers=2), Listener(), start_workers=DyingWorkers, open_tracker=lambda *_: recorder)
    trained = [each.trial for each in recorder.records]
    assert {each.name for each in trained[:4]} == {each.name for each in past.lost}
    assert [len(each.followed) for each in judged[0].values()] == ([1, 1] if interrupting else [8, 8])
    assert {each.kind for each in trained[4:]} == (set() if interrupting else {Kind.FINALIST, Kind.CONFIRMATION, Kind.REFIT})


class DyingAtTheEnd(DyingWorkers):
    """The worker of `ann-001` dies after the first epoch of the trial, in the moment in which the seconds run out."""

    now = 0.0

    def start(self, trial: Trial, needs_weights: Callable[[TrialResult], bool]) -> None:
        if trial.name != "ann-001":
            super().start(trial, needs_weights)
            return
        ScriptedWorkers.start(self, trial, needs_weights)
        if not self.now:
            self.waiting.append(TrialEnded(trial, failed((), "its worker died"), lost=True))
            self.running.remove(trial)

    def events(self, timeout: float) -> Sequence[Event]:
        found = super().events(timeout)
        if any(each.trial.name == "ann-001" for each in found):
            self.now += 1000.0
        return found


def test_the_seconds_run_out_while_a_trial_waits_for_a_worker() -> None:
    """A trial that lost its worker as its family's seconds ran out is trained again for one epoch, and stopped as others
    are."""
    recorder = Recorder()
    data = load_dataset("digits", validation=0.25, seed=0).training
    workers = DyingAtTheEnd(data)
    study = Study(load_experiment(SMOKE).changed(trials=1), "ann", data.shape, lambda: workers.now)
    Coordinator(workers, data.shape, recorder, [recorder], Interruption(), clock=lambda: workers.now).run({"ann": study})
    assert recorder.attempts == ["its worker died"]
    (record,) = [each for each in recorder.records if each.trial.name == "ann-001"]
    assert (record.result.state, record.result.reason) == (TrialState.PRUNED, SPENT)
    assert study.attempt_seconds() == 1000.0


class Stoppable:
    """A scheduler that stops its only trial after the first epoch."""

    def __init__(self, trial: Trial) -> None:
        self.waiting = [trial]
        self.heard: list[int] = []

    def next_trial(self) -> Trial | None:
        return self.waiting.pop() if self.waiting else None

    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> SchedulerDecision:
        self.heard.append(metrics.epoch)
        return SchedulerDecision.STOP

    def out_of_time(self) -> list[Trial]:
        return []

    def attempt_ended(self, trial: Trial, seconds: float) -> None:
        raise AssertionError("a trial that was stopped is not trained again")

    def needs_weights(self, trial: Trial, result: TrialResult) -> bool:
        return True

    def trial_ended(self, trial: Trial, result: TrialResult) -> TrialRecord:
        return TrialRecord(trial, result)

    def priority(self) -> float:
        return 0.0

    def progress(self) -> float:
        return 1.0

    def seconds_left(self) -> float:
        return 0.0

    def notices(self) -> Sequence[str]:
        return ()


class LateWorkers(ScriptedWorkers):
    """Trains one more epoch after it was told to stop, and then is through with its trial, or dead."""

    dies = False

    def stop(self, trial: Trial) -> None:
        last = Epoch(metrics(2), self.predictions + 1)
        self.waiting.append(EpochEnded(trial, last))
        end = failed([last], "its worker died") if self.dies else complete(trial)
        self.waiting.append(TrialEnded(trial, end, lost=self.dies))
        self.running.remove(trial)


@pytest.mark.parametrize("dies", [False, True])
def test_what_comes_after_a_stop_does_not_count(dies: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that learns of its stop late, or dies, leaves the same record as one that stops at once."""
    monkeypatch.setattr(LateWorkers, "dies", dies)
    recorder = Recorder()
    data = load_dataset("digits", validation=0.25, seed=0).training
    scheduler = Stoppable(Trial(0, parse_params("ann", {"hidden_layers": 0}), 0, 3))
    workers = LateWorkers(data)
    Coordinator(workers, data.shape, recorder, [recorder], Interruption()).run({"ann": scheduler})
    assert scheduler.heard == [1]
    (record,) = recorder.records
    assert record.result.state is TrialState.PRUNED
    assert [each.epoch for each in record.result.epochs] == [1]
    assert record.result.predictions is not None
    assert np.array_equal(record.result.predictions, data.validation.labels)
    assert record.result.weights is None


SMALL = Trial(0, parse_params("ann", {"hidden_layers": 0}), 0, 3)
LARGE = Trial(1, parse_params("ann", {"hidden_layers": 2, "units": 512}), 0, 3)


@PROPERTY
@given(st.lists(st.floats(0.01, 1000), min_size=1, max_size=5), st.floats(0, 100))
def test_how_long_an_epoch_may_take(seconds: list[float], least: float) -> None:
    """Many times the slowest so far, more for a larger network, and never too little for a busy machine."""
    pace = Pace((28, 28, 1), least)
    assert pace.limit(SMALL) == math.inf
    for each in seconds:
        pace.add(SMALL, metrics(seconds=each))
    assert pace.limit(SMALL) >= max(least, TIMES * max(seconds) * 0.999)
    assert pace.limit(LARGE) >= pace.limit(SMALL)
