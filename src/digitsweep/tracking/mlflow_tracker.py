"""Every event of a sweep becomes an update of an MLflow run. The contract of runs, tags, metrics and files is in
docs/architecture.md.

Neither workers nor the coordinator wait for the server or for a picture. Each start and each end of a trial is on disk, in
the spool, when the call returns; the metrics of its epochs follow within seconds. One thread draws reports and pictures; the
sender's opens the sweep's run and sends what waits.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_SOURCE_NAME, MLFLOW_USER

from digitsweep.config.experiment import Experiment
from digitsweep.data import Dataset
from digitsweep.errors import DigitsweepError
from digitsweep.evaluation.comparison import Comparison, Opening
from digitsweep.tracking import records
from digitsweep.tracking.client import OPENED, milliseconds, open_store, patiently, server_errors, user
from digitsweep.tracking.lock import Claim, locked
from digitsweep.tracking.provenance import Commit
from digitsweep.tracking.resume import take_over, unfinished_like
from digitsweep.tracking.sender import Sender
from digitsweep.tracking.spool import Figure, RunUpdate, Spool, discard, records_folder
from digitsweep.tracking.sweep_run import PendingRun, SweepRun, data_tags, note, open_pending_runs
from digitsweep.tracking.tracker import Tracker
from digitsweep.trial import CUT_OFF, INTERRUPTED, EpochMetrics, Trial, TrialRecord

FLUSH_SECONDS = 5.0
"""How old an epoch's metrics may get before they are sent while their trial still runs."""
LAST_SECONDS = 3.0
"""How long a server that takes nothing is waited for where the sweep has failed or a person has ended it."""


class MlflowTracker(Tracker):
    """Records a sweep below the run that `mlflow run` opened, below its own, or below that of the sweep it resumes."""

    def __init__(
        self,
        experiment: Experiment,
        dataset: Dataset,
        commit: Commit,
        options: Mapping[str, Any],
        unfinished: str | None = None,
    ) -> None:
        """unfinished: the id of the run of the sweep to resume. Raises DigitsweepError where that cannot be read, or another
        coordinator runs it.

        The run of a new sweep is opened in the background, while the first trials train already: MLflow takes more than a
        second to create the tables of an empty database. `check` raises what fails there."""
        self._experiment = experiment
        self._labels, self._classes = dataset.training.validation.labels, dataset.class_names
        self._shared_tags = {**data_tags(experiment, dataset), **commit.tags()}
        self._attempts: dict[str, int] = {}
        """How often each trial was begun."""
        self._unsent: dict[str, list[Figure]] = {}
        """Metrics of the trials that run."""
        self._flushed: dict[str, float] = {}
        self._is_compared = False
        self._has_backlog = False
        """Whether the person was told that records wait for the server."""
        self._has_results = False
        """Whether a trial has come to its own end, so that what waits on disk is worth keeping."""
        self._abandoned = ""
        """The state in which the sweep ended before its run was open."""
        self._notices: deque[str] = deque()
        self._drawing = ThreadPoolExecutor(1, "digitsweep-drawing")
        self._drawings: deque[Future[None]] = deque()
        with ExitStack() as held:
            if unfinished is None:
                pending = PendingRun.new(experiment, dataset, commit, options)
                held.enter_context(locked(pending.sweep_id))
                claim = Claim.here(pending.sweep_id)
                pending.save()
                self._sweep_id = pending.sweep_id
                self._spool = Spool(records_folder(pending.sweep_id), claim.generation)
                self._sender = Sender(pending.sweep_id, self._spool, lambda: self._open(pending, claim))
                held.callback(self._sender.close)
            else:
                resumed = take_over(experiment, unfinished, held)
                self._sweep_id, self.run_id = resumed.run.sweep_id, unfinished
                self._spool, self._sender, self.past = resumed.spool, resumed.sender, resumed.past
                self._notices.extend(resumed.spool.notices)
                for name, attempt in self.past.runs:
                    self._attempts[name] = max(attempt, self._attempts.get(name, 0))
            self._held = held.pop_all()

    def trial_started(self, trial: Trial) -> None:
        self._attempts[trial.name] = self._attempts.get(trial.name, 0) + 1
        self._unsent[trial.name] = []
        self._flushed[trial.name] = time.monotonic()
        tags = {
            **self._shared_tags,
            "digitsweep.kind": trial.kind.value,
            "family": trial.family,
            "trial.number": str(trial.number),
            "seed": str(trial.seed),
            **({"baseline": trial.baseline} if trial.baseline else {}),
            **({"rung": str(trial.rung), "proposed_by": trial.proposed_by} if trial.ladder else {}),
            records.TRIAL: records.planned(trial),
            MLFLOW_SOURCE_NAME: "digitsweep sweep",
            MLFLOW_USER: user(),
        }
        params = {name: str(value) for name, value in {**trial.params.flat(), "epochs": trial.epochs}.items()}
        self._put(trial.name, started=milliseconds(), tags=tags, params=params)

    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> None:
        now = milliseconds()
        self._unsent[trial.name] += [(name, value, now, metrics.epoch) for name, value in metrics.metrics().items()]
        if time.monotonic() - self._flushed[trial.name] > FLUSH_SECONDS:
            self._put(trial.name, metrics=self._unsent[trial.name])
            self._unsent[trial.name] = []
            self._flushed[trial.name] = time.monotonic()

    def trial_ended(self, record: TrialRecord) -> None:
        now, trial, result = milliseconds(), record.trial, record.result
        self._has_results = self._has_results or result.reason not in (INTERRUPTED, CUT_OFF)
        metrics, files = records.recorded(record, self._labels, self._classes)
        tags = {
            "trial.state": result.state.value,
            "digitsweep.precision": result.precision,
            records.TRIAL: records.compact(record, self._experiment.objective.metric),
            **({"trial.reason": result.reason} if result.reason else {}),
        }
        last = [(name, value, now, len(result.epochs)) for name, value in metrics.items()]
        self._put(trial.name, tags=tags, metrics=[*self._unsent.pop(trial.name, ()), *last], files=files)
        self._drawings.append(self._drawing.submit(self._draw, record, files.get(records.MATRIX), now))

    def _draw(self, record: TrialRecord, matrix: bytes | None, now: int) -> None:
        """Ends a trial's run. Where a kill comes before, the run is completed when its sweep is resumed or reconciled."""
        trial, result = record.trial, record.result
        files = records.derived(records.title_of(trial), result.epochs, matrix)
        self._put(trial.name, files=files, status=records.TRIAL_STATUS[result.state], ended=now)

    def attempt_ended(self, trial: Trial, reason: str, seconds: float) -> None:
        now = milliseconds()
        metrics = [*self._unsent.pop(trial.name, ()), (records.SECONDS, seconds, now, 0)]
        self._put(trial.name, tags=records.attempt_tags(reason), metrics=metrics, status="FAILED", ended=now)

    def run_of(self, trial: Trial) -> str:
        self.settle()
        return self._sender.runs[trial.name, self._attempts[trial.name]]

    def measured(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        now = milliseconds()
        self._put(trial.name, metrics=[(name, value, now, 0) for name, value in metrics.items()])

    def test_opened(self, family: str, opening: Opening) -> None:
        opened = f"{opening.at} by {user()} for {opening.by}, sha256 {opening.digest}, opening {opening.number}"
        self._put("", tags={f"{OPENED}{family}": opened})

    def compared(self, comparison: Comparison, files: Mapping[str, bytes]) -> None:
        metrics, tags, everything = records.comparison_records(comparison, files)
        self._put("", metrics=metrics, tags=tags, files=everything)
        self._is_compared = True

    def _put(self, run: str, **values: Any) -> None:
        self._spool.put(RunUpdate(run, self._attempts.get(run, 1), **values))

    def check(self) -> None:
        while self._drawings and self._drawings[0].done():
            self._drawings.popleft().result()
        self._sender.check()

    def settle(self) -> None:
        while self._drawings:
            self._drawings.popleft().result()
        self._sender.wait()

    def notices(self) -> Iterator[str]:
        while self._notices:
            yield self._notices.popleft()
        backlog = self._sender.backlog()
        if bool(backlog) != self._has_backlog:
            self._has_backlog = bool(backlog)
            yield backlog or "The tracking server accepts records again."

    def ended(self, state: str) -> None:
        try:
            self._drawing.shutdown()
            self.check()
            if state == "COMPLETE":
                self._sender.wait()
                patiently(lambda: self._close(state))
            else:
                self._sender.wait(LAST_SECONDS)
                self._close(state)
            discard(self._sweep_id)
        except BaseException as error:
            if self._sender.run is None:
                self._end_unopened(error, state)
                return
            with suppress(DigitsweepError):  # what still waits on disk is sent when the sweep is resumed
                self._sender.wait(LAST_SECONDS)
                self._close("FAILED")
            raise
        finally:
            self._drawing.shutdown(wait=False, cancel_futures=True)
            self._held.close()

    def _close(self, state: str) -> None:
        assert self._sender.run is not None
        with server_errors("could not mark the sweep as finished"):
            self._sender.run.confirm()
            described = "" if self._is_compared else note(self._experiment, f"ended without a comparison: {state.lower()}")
            self._sender.run.close(state, described)

    def _open(self, pending: PendingRun, claim: Claim) -> SweepRun:
        """Opens the run of a new sweep. A run that it has made when something fails is FAILED."""
        with server_errors("cannot be used"):
            client = open_store()
            list(open_pending_runs(client))
            advice = unfinished_like(client, self._experiment)
            run = pending.open(client, claim)
            if self._abandoned:
                run.close(self._abandoned)
        self.run_id = run.run_id
        if advice:
            self._notices.append(advice)
        return run

    def _end_unopened(self, error: BaseException, state: str) -> None:
        """Ends a sweep whose run is not open yet. Its results wait on disk to be resumed; without any, nothing is kept."""
        unusable = self._sender.failure is not None
        if self._has_results and unusable:
            raise DigitsweepError(
                f"{error}; nothing is lost: the results wait on this machine; when the server can be used: "
                f"digitsweep sweep --resume {self._sweep_id}"
            ) from error
        if not self._has_results:
            self._abandoned = state
            discard(self._sweep_id)
            if isinstance(error, DigitsweepError) and not unusable:
                return  # the server is silent, and there is nothing to tell it
        raise error
