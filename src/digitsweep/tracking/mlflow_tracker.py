"""Every event of a sweep becomes an MLflow record. The contract of runs, tags, metrics and files is in docs/architecture.md.

One thread makes updates of the events (pictures are drawn there) and keeps them in the spool; the writer's sends them.
Neither workers nor the coordinator ever wait for the server.
"""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_SOURCE_NAME, MLFLOW_USER

from digitsweep.comparison import Comparison, Opening
from digitsweep.data import Dataset
from digitsweep.errors import DigitsweepError
from digitsweep.experiment import Experiment
from digitsweep.provenance import Commit
from digitsweep.results import EpochMetrics, Trial, TrialRecord
from digitsweep.store import first_line, open_store, quiet_mlflow, server_errors
from digitsweep.tracker import Backlog, Past
from digitsweep.tracking.lock import TAG, Coordinating, coordinating, taken
from digitsweep.tracking.records import comparison_records, milliseconds, user
from digitsweep.tracking.recovery import STATUS, given_up, recover
from digitsweep.tracking.spool import Figure, RunUpdate, Spool, state_folder
from digitsweep.tracking.sweep_run import close_run, data_tags, describe_run, note, open_run, reopen_run
from digitsweep.tracking.trial_record import compact, planned, summarized
from digitsweep.tracking.unfinished import unfinished_like
from digitsweep.tracking.writer import Writer, no_hidden_retries

FLUSH_SECONDS = 5.0
"""How old an epoch's metrics may get before they are sent while their trial still runs."""
LAST_SECONDS = 3.0
"""What a server that takes nothing gets, where the sweep has failed or a person has ended it."""


class MlflowTracker:
    """Writes to the tracking server that MLflow resolves: under the run that `mlflow run` opened, or one of its own, or that
    of a sweep that was broken off, which it goes on with."""

    def __init__(
        self,
        experiment: Experiment,
        dataset: Dataset,
        commit: Commit,
        options: Mapping[str, Any],
        unfinished: str | None = None,
    ) -> None:
        """unfinished: the id of the run of the sweep to go on with.

        Raises DigitsweepError where the server cannot be used, or another coordinator runs that sweep."""
        quiet_mlflow()
        no_hidden_retries()
        self._labels = dataset.training.validation.labels
        self._classes = dataset.training.classes
        self._data_tags = data_tags(experiment, dataset)
        self._experiment = experiment
        self._is_compared = False
        self._attempts: dict[str, int] = {}
        """How often each trial was begun."""
        self._waiting: dict[str, list[Figure]] = {}
        self._flushed: dict[str, float] = {}
        self.past, self.notice = Past(), ""
        self._held = ExitStack()
        try:
            with server_errors("cannot be used"):
                self._client = open_store()
                if unfinished is None:
                    self._begin(dataset, commit, options)
                else:
                    self._go_on(unfinished)
        except BaseException:
            self._held.close()
            raise
        self._queue: queue.Queue[Callable[[], object] | None] = queue.Queue()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._keep, name="digitsweep-tracking", daemon=True)
        self._thread.start()

    def trial_started(self, trial: Trial) -> None:
        started = milliseconds()
        self._queue.put(lambda: self._create(trial, started))

    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> None:
        now = milliseconds()
        self._queue.put(lambda: self._collect(trial, metrics, now))

    def trial_ended(self, record: TrialRecord) -> None:
        now = milliseconds()
        self._queue.put(lambda: self._finish(record, now))

    def attempt_ended(self, trial: Trial, reason: str) -> None:
        now = milliseconds()
        self._queue.put(lambda: self._give_up(trial, reason, now))

    def run_of(self, trial: Trial) -> str:
        self.settle()
        return self._writer.run_of(trial.name, self._attempts[trial.name])

    def measured(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        now = milliseconds()
        values = [(name, value, now, 0) for name, value in metrics.items()]
        self._queue.put(lambda: self._put(trial.name, metrics=values))

    def test_opened(self, family: str, opening: Opening) -> None:
        opened = f"{opening.at} by {user()} for {opening.by}, sha256 {opening.digest}, opening {opening.number}"
        self._queue.put(lambda: self._put("", tags={f"digitsweep.test.opened.{family}": opened}))

    def settle(self) -> None:
        self._queue.join()
        self.check()
        self._writer.wait()

    def check(self) -> None:
        if isinstance(self._failure, DigitsweepError):
            raise self._failure
        if self._failure is not None:
            raise DigitsweepError(f"a record could not be made: {first_line(self._failure)}") from self._failure
        self._writer.check()

    def backlog(self) -> Backlog | None:
        return self._writer.backlog()

    def compared(self, comparison: Comparison, files: Mapping[str, bytes]) -> None:
        self._queue.put(lambda: self._put_comparison(comparison, files))

    def ended(self, state: str) -> None:
        self._queue.put(None)
        self._thread.join()
        try:
            self.check()
            self._writer.wait(None if state == "COMPLETE" else LAST_SECONDS)
            self._close(state)
        except BaseException:
            # What can still be said is said; what waits on disk is sent when somebody goes on with the sweep.
            with suppress(DigitsweepError):
                self._writer.wait(LAST_SECONDS)
                self._close("FAILED")
            raise
        else:
            shutil.rmtree(state_folder(self.run_id), ignore_errors=True)
        finally:
            self._writer.close()
            self._held.close()

    def _begin(self, dataset: Dataset, commit: Commit, options: Mapping[str, Any]) -> None:
        self.notice = unfinished_like(self._client, self._experiment)
        self._experiment_id, self.run_id = open_run(self._client, self._experiment, options)
        try:
            describe_run(self._client, self.run_id, self._experiment, dataset, commit)
            self._take()
        except BaseException:
            self._client.set_terminated(self.run_id, "FAILED")
            raise

    def _go_on(self, run_id: str) -> None:
        self.run_id = run_id
        self._experiment_id = self._client.get_run(run_id).info.experiment_id
        self._take()
        try:
            self._writer.wait()  # what the last coordinator kept and could not send
            self.past = recover(self._client, self._experiment_id, run_id, self._experiment.objective.metric)
            for (name, attempt), run in self.past.runs.items():
                self._writer.know(name, attempt, run)
                self._attempts[name] = max(attempt, self._attempts.get(name, 0))
            reopen_run(self._client, run_id, self._experiment)
        except BaseException:
            self._writer.close()
            raise

    def _take(self) -> None:
        """Becomes the sweep's one coordinator.

        Raises DigitsweepError where another one may be at work."""
        self._held.enter_context(coordinating(self.run_id))
        holder = Coordinating.from_tag(self._client.get_run(self.run_id).data.tags.get(TAG))
        if holder is not None and not holder.is_gone(self.run_id):
            raise DigitsweepError(taken(self.run_id, holder))
        self._client.set_tag(self.run_id, TAG, Coordinating.here(self.run_id).tag())
        spool = Spool(state_folder(self.run_id) / "records")
        self._writer = Writer(self._client, self._experiment_id, self.run_id, spool)

    def _close(self, state: str) -> None:
        described = "" if self._is_compared else note(self._experiment, f"ended without a comparison: {state.lower()}")
        with server_errors("does not take that the sweep has ended"):
            close_run(self._client, self.run_id, state, described)

    # The rest runs in the thread that makes updates.

    def _create(self, trial: Trial, started: int) -> None:
        self._attempts[trial.name] = self._attempts.get(trial.name, 0) + 1
        self._waiting[trial.name] = []
        self._flushed[trial.name] = time.monotonic()
        tags = {
            **self._data_tags,
            "digitsweep.kind": trial.kind.value,
            "family": trial.family,
            "trial.number": str(trial.number),
            "seed": str(trial.seed),
            **({"baseline": trial.baseline} if trial.baseline else {}),
            "digitsweep.trial": planned(trial),
            MLFLOW_SOURCE_NAME: "digitsweep sweep",
            MLFLOW_USER: user(),
        }
        flat = {name: str(value) for name, value in {**trial.params.flat(), "epochs": trial.epochs}.items()}
        self._put(trial.name, started=started, tags=tags, params=flat)

    def _collect(self, trial: Trial, metrics: EpochMetrics, now: int) -> None:
        self._waiting[trial.name] += [(key, value, now, metrics.epoch) for key, value in metrics.metrics().items()]
        if time.monotonic() - self._flushed[trial.name] > FLUSH_SECONDS:
            self._put(trial.name, metrics=self._waiting[trial.name])
            self._waiting[trial.name] = []
            self._flushed[trial.name] = time.monotonic()

    def _finish(self, record: TrialRecord, now: int) -> None:
        trial, result = record.trial, record.result
        figures, files = summarized(record, self._labels, self._classes)
        tags = {
            "trial.state": result.state.value,
            "digitsweep.precision": result.precision,
            "digitsweep.trial": compact(record, self._experiment.objective.metric),
            **({"trial.reason": result.reason} if result.reason else {}),
        }
        last = [(name, value, now, len(result.epochs)) for name, value in figures.items()]
        metrics = [*self._waiting.pop(trial.name), *last]
        self._put(trial.name, tags=tags, metrics=metrics, files=files, status=STATUS[result.state], ended=now)
        del self._flushed[trial.name]

    def _give_up(self, trial: Trial, reason: str, now: int) -> None:
        metrics = self._waiting.pop(trial.name)
        self._put(trial.name, tags=given_up(reason), metrics=metrics, status="FAILED", ended=now)
        del self._flushed[trial.name]

    def _put_comparison(self, comparison: Comparison, files: Mapping[str, bytes]) -> None:
        metrics, tags, everything = comparison_records(comparison, files)
        self._put("", metrics=metrics, tags=tags, files=everything)
        self._is_compared = True

    def _put(self, run: str, **values: Any) -> None:
        self._writer.put(RunUpdate(run, self._attempts.get(run, 1), **values))

    def _keep(self) -> None:
        while True:
            make = self._queue.get()
            try:
                if make is None:
                    return
                if self._failure is None:  # the order of records matters: after one is lost none follows
                    make()
            except Exception as error:  # `check` tells the coordinator
                self._failure = error
            finally:
                self._queue.task_done()
