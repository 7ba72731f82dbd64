"""Every event of a sweep becomes an MLflow record. The contract of runs, tags, metrics and files is in docs/architecture.md.

One thread opens the store, makes updates of the events (pictures are drawn there) and keeps them in the spool; the writer's
sends them. Neither workers nor the coordinator ever wait for the server.
"""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_SOURCE_NAME, MLFLOW_USER

from digitsweep.comparison import Comparison, Opening
from digitsweep.data import Dataset
from digitsweep.errors import DigitsweepError
from digitsweep.experiment import Experiment
from digitsweep.provenance import Commit
from digitsweep.results import EpochMetrics, Trial, TrialRecord
from digitsweep.store import OPENED, first_line, quiet_mlflow, server_errors
from digitsweep.tracker import Backlog, Past
from digitsweep.tracking.opening import Opened, begin, go_on
from digitsweep.tracking.records import comparison_records, milliseconds, user
from digitsweep.tracking.recovery import STATUS, given_up
from digitsweep.tracking.spool import Figure, RunUpdate, state_folder
from digitsweep.tracking.sweep_run import close_run, data_tags, note
from digitsweep.tracking.trial_record import compact, planned, summarized
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
        """unfinished: the id of the run of the sweep to go on with. Raises DigitsweepError where that cannot be read, or
        another coordinator runs it.

        A new sweep's run is opened in the background, while the first trials train already: to make the tables of an empty
        database takes MLflow more than a second. Where that fails, `check` says so."""
        quiet_mlflow()
        no_hidden_retries()
        self._labels, self._classes = dataset.training.validation.labels, dataset.training.classes
        self._data_tags = data_tags(experiment, dataset)
        self._experiment = experiment
        self._is_compared = False
        self._attempts: dict[str, int] = {}
        """How often each trial was begun."""
        self._waiting: dict[str, list[Figure]] = {}
        self._flushed: dict[str, float] = {}
        self.past = Past()
        self._notices: deque[str] = deque()
        self._held = ExitStack()
        self._writer: Writer | None = None
        """None until the sweep's run is open."""
        self._queue: queue.Queue[Callable[[], object] | None] = queue.Queue()
        self._failure: Exception | None = None
        if unfinished is None:
            begun = milliseconds()
            self._queue.put(lambda: self._know(begin(experiment, dataset, commit, options, self._held, begun)))
        else:
            try:
                self._know(go_on(self._experiment, unfinished, self._held))
            except BaseException:
                self._held.close()
                raise
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
        self._queue.put(lambda: self._end(record, now))

    def attempt_ended(self, trial: Trial, reason: str) -> None:
        now = milliseconds()
        self._queue.put(lambda: self._give_up(trial, reason, now))

    def run_of(self, trial: Trial) -> str:
        self.settle()
        return self._opened().run_of(trial.name, self._attempts[trial.name])

    def measured(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        now = milliseconds()
        values = [(name, value, now, 0) for name, value in metrics.items()]
        self._queue.put(lambda: self._put(trial.name, metrics=values))

    def test_opened(self, family: str, opening: Opening) -> None:
        opened = f"{opening.at} by {user()} for {opening.by}, sha256 {opening.digest}, opening {opening.number}"
        self._queue.put(lambda: self._put("", tags={f"{OPENED}{family}": opened}))

    def settle(self) -> None:
        self._queue.join()
        self.check()
        self._opened().wait()

    def check(self) -> None:
        if isinstance(self._failure, DigitsweepError):
            raise self._failure
        if self._failure is not None:
            raise DigitsweepError(f"a record could not be made: {first_line(self._failure)}") from self._failure
        if self._writer is not None:
            self._writer.check()

    def backlog(self) -> Backlog | None:
        return self._writer.backlog() if self._writer is not None else None

    def notices(self) -> Iterator[str]:
        while self._notices:
            yield self._notices.popleft()

    def compared(self, comparison: Comparison, files: Mapping[str, bytes]) -> None:
        self._queue.put(lambda: self._put_comparison(comparison, files))

    def ended(self, state: str) -> None:
        self._queue.put(None)
        # A server that has not even answered the first request is not waited for when nothing has come of the sweep.
        self._thread.join(None if self._writer is not None or state == "COMPLETE" else LAST_SECONDS)
        try:
            if self._writer is None:
                self.check()
            else:
                self._finish(self._writer, state)
        finally:
            self._held.close()

    def _finish(self, writer: Writer, state: str) -> None:
        try:
            self.check()
            writer.wait(None if state == "COMPLETE" else LAST_SECONDS)
            self._close(state)
        except BaseException:
            # What can still be said is said; what waits on disk is sent when somebody goes on with the sweep.
            with suppress(DigitsweepError):
                writer.wait(LAST_SECONDS)
                self._close("FAILED")
            raise
        else:
            shutil.rmtree(state_folder(self.run_id), ignore_errors=True)
        finally:
            writer.close()

    def _know(self, opened: Opened) -> None:
        self.run_id, self.past, self._writer, self._client = opened.run_id, opened.past, opened.writer, opened.client
        if opened.notice:
            self._notices.append(opened.notice)
        for name, attempt in self.past.runs:
            self._attempts[name] = max(attempt, self._attempts.get(name, 0))

    def _opened(self) -> Writer:
        assert self._writer is not None, "whatever comes first in the queue opens it, and its failure was raised"
        return self._writer

    def _close(self, state: str) -> None:
        described = "" if self._is_compared else note(self._experiment, f"ended without a comparison: {state.lower()}")
        with server_errors("does not take that the sweep has ended"):
            self._opened().confirm()
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

    def _end(self, record: TrialRecord, now: int) -> None:
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
        self._opened().put(RunUpdate(run, self._attempts.get(run, 1), **values))

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
