"""Every event of a sweep becomes an MLflow record. The contract of runs, tags, metrics and files is in docs/architecture.md.

Records are written by one thread, in order and in batches: workers and the coordinator never wait for the server.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_SOURCE_NAME, MLFLOW_USER

from digitsweep.comparison import Comparison, Opening
from digitsweep.data import Dataset
from digitsweep.errors import DigitsweepError
from digitsweep.experiment import Experiment
from digitsweep.provenance import Commit
from digitsweep.records import (
    dataset_input,
    experiment_id,
    log_comparison,
    log_files,
    milliseconds,
    params,
    user,
)
from digitsweep.results import EpochMetrics, Trial, TrialRecord, TrialState
from digitsweep.store import first_line, quiet_mlflow, run_tags, server_errors, shown_uri
from digitsweep.trial_record import compact, summarized

EXPERIMENT_NAME = "digitsweep"
STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
SWEEP_STATUS = {"COMPLETE": "FINISHED", "INTERRUPTED": "KILLED", "FAILED": "FAILED"}
FLUSH_SECONDS = 5.0
"""How old an epoch's metrics may get before they are sent while their trial still runs."""


class MlflowTracker:
    """Writes to the tracking server that MLflow resolves, under the run that `mlflow run` opened or one of its own."""

    def __init__(self, experiment: Experiment, dataset: Dataset, commit: Commit, options: Mapping[str, Any]) -> None:
        quiet_mlflow()
        self._labels = dataset.training.validation.labels
        self._classes = dataset.training.classes
        self._data_tags = {"digitsweep.data": dataset.name, "digitsweep.digest": experiment.digest()}
        self._metric = experiment.objective.metric
        self._note = f"**{experiment.question}**"
        self._runs: dict[str, str] = {}
        self._open: dict[str, str] = {}
        """Of the trials that run: their runs."""
        self._waiting: dict[str, list[Metric]] = {}
        self._flushed: dict[str, float] = {}
        with server_errors("cannot be used"):
            self._client = MlflowClient()
            self._experiment_id, self.run_id = self._sweep_run(experiment, options)
            try:
                self._describe_sweep(experiment, dataset, commit)
            except BaseException:
                self._client.set_terminated(self.run_id, "FAILED")
                raise
        self._queue: queue.Queue[Callable[[], object] | None] = queue.Queue()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._write, name="digitsweep-tracking", daemon=True)
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

    def run_of(self, trial: Trial) -> str:
        self._queue.join()
        self.check()
        return self._runs[trial.name]

    def measured(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        now = milliseconds()
        values = [Metric(name, value, now, 0) for name, value in metrics.items()]
        self._queue.put(lambda: self._client.log_batch(self._runs[trial.name], metrics=values))

    def test_opened(self, family: str, opening: Opening) -> None:
        opened = f"{opening.at} by {user()} for {opening.by}, sha256 {opening.digest}, opening {opening.number}"
        self._queue.put(lambda: self._client.set_tag(self.run_id, f"digitsweep.test.opened.{family}", opened))

    def check(self) -> None:
        if self._failure is not None:
            raise DigitsweepError(
                f"the tracking server {shown_uri()} took no more records: {first_line(self._failure)}"
            ) from self._failure

    def compared(self, comparison: Comparison, files: Mapping[str, bytes]) -> None:
        self._queue.put(lambda: self._write_comparison(comparison, files))

    def ended(self, state: str) -> None:
        self._queue.put(None)
        self._thread.join()
        # Also after a failure, and after a Ctrl-C that kept a trial from its last record: nothing stays RUNNING.
        reached = "FAILED" if self._failure else state
        try:
            with server_errors("does not take that the sweep has ended"):
                self._close_runs(reached)
        finally:
            self.check()  # what failed first is the reason for what follows

    # The rest runs in the writing thread, but for what makes the sweep's run, which comes before it.

    def _close_runs(self, state: str) -> None:
        for run_id in self._open.values():
            self._client.set_terminated(run_id, "FAILED")
        if self._note:
            self._note += f"\n\nThe sweep ended without a comparison: {state.lower()}."
            self._client.set_tag(self.run_id, "mlflow.note.content", self._note)
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

    def _create(self, trial: Trial, started: int) -> None:
        tags = {
            **self._data_tags,
            "digitsweep.kind": trial.kind.value,
            "family": trial.family,
            "trial.number": str(trial.number),
            "seed": str(trial.seed),
            **({"baseline": trial.baseline} if trial.baseline else {}),
            MLFLOW_PARENT_RUN_ID: self.run_id,
            MLFLOW_SOURCE_NAME: "digitsweep sweep",
            MLFLOW_USER: user(),
        }
        run = self._client.create_run(self._experiment_id, start_time=started, run_name=trial.name, tags=tags)
        self._runs[trial.name] = self._open[trial.name] = run.info.run_id
        self._waiting[trial.name] = []
        self._flushed[trial.name] = time.monotonic()
        self._client.log_batch(run.info.run_id, params=params({**trial.params.flat(), "epochs": trial.epochs}))

    def _collect(self, trial: Trial, metrics: EpochMetrics, now: int) -> None:
        self._waiting[trial.name] += [Metric(key, value, now, metrics.epoch) for key, value in metrics.metrics().items()]
        if time.monotonic() - self._flushed[trial.name] > FLUSH_SECONDS:
            self._flush(trial)

    def _flush(self, trial: Trial) -> None:
        self._client.log_batch(self._runs[trial.name], metrics=self._waiting[trial.name])
        self._waiting[trial.name] = []
        self._flushed[trial.name] = time.monotonic()

    def _finish(self, record: TrialRecord, now: int) -> None:
        trial, result = record.trial, record.result
        run_id = self._runs[trial.name]
        self._flush(trial)
        step = len(result.epochs)
        figures, files = summarized(record, self._labels, self._classes)
        metrics = [Metric(name, value, now, step) for name, value in figures.items()]
        tags = {
            "trial.state": result.state.value,
            "digitsweep.precision": result.precision,
            "digitsweep.trial": compact(record, self._metric),
            **({"trial.reason": result.reason} if result.reason else {}),
        }
        self._client.log_batch(run_id, metrics=metrics, tags=run_tags(tags))
        log_files(self._client, run_id, files)
        self._client.set_terminated(run_id, STATUS[result.state], end_time=now)
        del self._open[trial.name], self._waiting[trial.name], self._flushed[trial.name]

    def _write_comparison(self, comparison: Comparison, files: Mapping[str, bytes]) -> None:
        log_comparison(self._client, self.run_id, comparison, files)
        self._note = ""

    def _write(self) -> None:
        while True:
            write = self._queue.get()
            try:
                if write is None:
                    return
                if self._failure is None:  # the order of records matters: after one is lost none follows
                    write()
            except Exception as error:  # `check` tells the coordinator
                self._failure = error
            finally:
                self._queue.task_done()
