"""Every event of a sweep becomes an MLflow record. The contract of runs, tags, metrics and files is in docs/architecture.md.

One thread makes updates of the events (pictures are drawn there) and keeps them in the spool; the writer's sends them.
Neither workers nor the coordinator ever wait for the server.
"""

from __future__ import annotations

import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME, MLFLOW_SOURCE_NAME, MLFLOW_USER

from digitsweep.comparison import Comparison, Opening
from digitsweep.data import Dataset
from digitsweep.errors import DigitsweepError
from digitsweep.experiment import Experiment
from digitsweep.lock import TAG, Coordinating, coordinating, taken
from digitsweep.provenance import Commit
from digitsweep.records import comparison_records, dataset_input, experiment_id, log_files, milliseconds, params, user
from digitsweep.recovery import given_up, recover
from digitsweep.results import EpochMetrics, Trial, TrialRecord, TrialState
from digitsweep.spool import Figure, RunUpdate, Spool, state_folder
from digitsweep.store import quiet_mlflow, run_tags, server_errors
from digitsweep.tracker import Backlog, Past
from digitsweep.trial_record import compact, planned, summarized
from digitsweep.unfinished import unfinished_like
from digitsweep.writer import Writer, no_hidden_retries

EXPERIMENT_NAME = "digitsweep"
STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
SWEEP_STATUS = {"COMPLETE": "FINISHED", "INTERRUPTED": "KILLED", "FAILED": "FAILED"}
FLUSH_SECONDS = 5.0
"""How old an epoch's metrics may get before they are sent while their trial still runs."""


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
        self._data_tags = {"digitsweep.data": dataset.name, "digitsweep.digest": experiment.digest()}
        self._metric = experiment.objective.metric
        self._note = f"**{experiment.question}**"
        self._attempts: dict[str, int] = {}
        """How often each trial was begun."""
        self._waiting: dict[str, list[Figure]] = {}
        self._flushed: dict[str, float] = {}
        self.past, self.notice = Past(), ""
        self._held = ExitStack()
        try:
            with server_errors("cannot be used"):
                self._client = MlflowClient()
                if unfinished is None:
                    self._begin(experiment, dataset, commit, options)
                else:
                    self._go_on(unfinished, experiment)
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
        self._queue.join()
        self.check()
        self._writer.wait()
        return self._writer.run_of(trial.name, self._attempts[trial.name])

    def measured(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        now = milliseconds()
        values = [(name, value, now, 0) for name, value in metrics.items()]
        self._queue.put(lambda: self._put(trial.name, metrics=values))

    def test_opened(self, family: str, opening: Opening) -> None:
        opened = f"{opening.at} by {user()} for {opening.by}, sha256 {opening.digest}, opening {opening.number}"
        self._queue.put(lambda: self._put("", tags={f"digitsweep.test.opened.{family}": opened}))

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure
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
            self._writer.wait()
            self._close_sweep(state)
        except BaseException:
            # What can still be said is said; what waits on disk is sent when somebody goes on with the sweep.
            with suppress(MlflowException, DigitsweepError, OSError):
                self._close_sweep("FAILED")
            raise
        else:
            shutil.rmtree(state_folder(self.run_id), ignore_errors=True)
        finally:
            self._writer.close()
            self._held.close()

    def _begin(self, experiment: Experiment, dataset: Dataset, commit: Commit, options: Mapping[str, Any]) -> None:
        self.notice = unfinished_like(self._client, experiment)
        self._experiment_id, self.run_id = self._sweep_run(experiment, options)
        try:
            self._describe_sweep(experiment, dataset, commit)
            self._take()
        except BaseException:
            self._client.set_terminated(self.run_id, "FAILED")
            raise

    def _go_on(self, run_id: str, experiment: Experiment) -> None:
        self.run_id = run_id
        self._experiment_id = self._client.get_run(run_id).info.experiment_id
        self._take()
        try:
            self._writer.wait()  # what the last coordinator kept and could not send
            self.past = recover(self._client, self._experiment_id, run_id, self._metric)
            for (name, attempt), run in self.past.runs.items():
                self._writer.know(name, attempt, run)
                self._attempts[name] = max(attempt, self._attempts.get(name, 0))
            note = f"{self._note}\n\nThe sweep is running again."
            self._client.log_batch(run_id, tags=run_tags({"digitsweep.state": "RUNNING", "mlflow.note.content": note}))
            self._client.update_run(run_id, status="RUNNING")
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

    def _close_sweep(self, state: str) -> None:
        with server_errors("does not take that the sweep has ended"):
            if self._note:
                note = f"{self._note}\n\nThe sweep ended without a comparison: {state.lower()}."
                self._client.set_tag(self.run_id, "mlflow.note.content", note)
            self._client.set_tag(self.run_id, "digitsweep.state", state)
            self._client.set_terminated(self.run_id, SWEEP_STATUS[state])

    def _sweep_run(self, experiment: Experiment, options: Mapping[str, Any]) -> tuple[str, str]:
        """Experiment and id of the run that `mlflow run` opened, or of a new one."""
        tags = {"digitsweep.kind": "sweep", "digitsweep.state": "RUNNING", MLFLOW_RUN_NAME: f"sweep {experiment.name}"}
        adopted = os.environ.get("MLFLOW_RUN_ID")
        if adopted:
            self._client.log_batch(adopted, tags=run_tags(tags))
            return self._client.get_run(adopted).info.experiment_id, adopted
        tags |= {MLFLOW_SOURCE_NAME: "digitsweep sweep", MLFLOW_USER: user()}
        run = self._client.create_run(experiment_id(self._client), tags=tags)
        self._client.log_batch(run.info.run_id, params=params(options))
        return run.info.experiment_id, run.info.run_id

    def _describe_sweep(self, experiment: Experiment, dataset: Dataset, commit: Commit) -> None:
        tags = {
            **self._data_tags,
            **commit.tags(),
            "digitsweep.experiment": experiment.name,
            "digitsweep.data.source": dataset.source,
            "digitsweep.data.digest": dataset.digest(),
            **{f"digitsweep.data.digest.{split}": digest for split, digest in dataset.digests().items()},
            "mlflow.note.content": f"{self._note}\n\nThe sweep is running.",
        }
        self._client.log_batch(self.run_id, tags=run_tags(tags))
        # What the UI asks of an experiment: training runs, not conversations of a language model.
        self._client.set_experiment_tag(self._experiment_id, "mlflow.experimentKind", "custom_model_development")
        self._client.log_inputs(self.run_id, [dataset_input(dataset)])
        log_files(self._client, self.run_id, {"experiment.yaml": experiment.text.encode()})

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
            "digitsweep.trial": compact(record, self._metric),
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
        self._note = ""

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
