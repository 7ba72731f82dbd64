"""Sends what waits in the spool to MLflow, in order, until the server has taken it. A thread of its own does that.

A server that is away, slow or refusing keeps nobody waiting: each update is tried again until it succeeds. MLflow is told
not to repeat a request by itself (`no_hidden_retries`): it would make a run twice where only the answer was lost. Here a run
is looked for before it is made a second time, and everything else that is sent can be sent again.
"""

from __future__ import annotations

import os
import threading
import time

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from digitsweep.errors import DigitsweepError
from digitsweep.store import ATTEMPT, attempt_of, children, first_line, patience_seconds, run_tags, shown_uri
from digitsweep.tracker import Backlog
from digitsweep.tracking.lock import BEAT_SECONDS, TAG, Coordinating, taken
from digitsweep.tracking.records import log_files, params
from digitsweep.tracking.spool import RunUpdate, Spool

MOST_AT_ONCE = 1000
"""Metrics, parameters and tags in one request of MLflow's."""
MOST_PAUSE = 10.0
"""Seconds between two tries, at most."""
END_SECONDS = 5.0
"""What a request may still take when the sweep ends; the thread is a daemon."""


class Writer:
    """One sweep's updates, from the spool to the server."""

    def __init__(self, client: MlflowClient, experiment_id: str, sweep_run: str, spool: Spool) -> None:
        self._client, self._experiment_id, self._sweep_run, self._spool = client, experiment_id, sweep_run, spool
        self._runs: dict[tuple[str, int], str] = {}
        self._unsure = len(spool) > 0
        """Whether the first update may have been sent before: by another process, or by a try that failed half-way."""
        self._trouble = ""
        self._lost: DigitsweepError | None = None
        """Set for good where another coordinator has taken the sweep over."""
        self._moved = time.monotonic()
        """When the server took something last."""
        self._beaten = -BEAT_SECONDS
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._write, name="digitsweep-writing", daemon=True)
        self._thread.start()

    def put(self, update: RunUpdate) -> None:
        """Keeps an update on disk; it is sent as soon as can be.

        Raises DigitsweepError where the disk is full."""
        with self._changed:
            if not len(self._spool):  # the server has not been silent: it was told nothing
                self._moved = time.monotonic()
            self._spool.put(update)
            self._changed.notify_all()

    def backlog(self) -> Backlog | None:
        """What waits because the server does not take it; None where all goes well."""
        return Backlog(len(self._spool), self._trouble) if self._trouble and len(self._spool) else None

    def check(self) -> None:
        """Raises DigitsweepError where another coordinator has taken the sweep over."""
        if self._lost is not None:
            raise self._lost

    def confirm(self) -> None:
        """Asks the server whether this is still the sweep's coordinator: one that slept may have heard nothing yet.

        Raises DigitsweepError where another one has taken the sweep over."""
        holder = Coordinating.from_tag(self._client.get_run(self._sweep_run).data.tags.get(TAG))
        if holder is not None and not holder.is_me():
            self._lost = DigitsweepError(taken(self._sweep_run, holder))
        self.check()

    def wait(self, patience: float | None = None) -> None:
        """Until the server has taken everything.

        Raises DigitsweepError where it has taken nothing for so many seconds; None: what a server gets in general."""
        if patience is None:
            patience = patience_seconds()
        with self._changed:
            since = time.monotonic()
            while len(self._spool):
                self.check()
                if self._trouble and time.monotonic() - max(since, self._moved) > patience:
                    raise DigitsweepError(
                        f"the tracking server {shown_uri()} takes no records: {self._trouble}; nothing is lost, "
                        f"{len(self._spool)} of them wait on this machine; when the server is back: "
                        f"digitsweep sweep --resume {self._sweep_run}"
                    )
                self._changed.wait(0.5)

    def run_of(self, name: str, attempt: int) -> str:
        """The id of a trial's run, which must have been written."""
        return self._runs[name, attempt]

    def know(self, name: str, attempt: int, run_id: str) -> None:
        """A run that an earlier coordinator made."""
        self._runs[name, attempt] = run_id

    def close(self) -> None:
        """Ends the thread after the request that it may be in; what waits stays on disk."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(END_SECONDS)

    def _write(self) -> None:
        pause = 0.0
        while True:
            with self._changed:
                if pause:
                    self._changed.wait_for(lambda: self._closing, pause)
                else:
                    self._changed.wait_for(lambda: self._closing or len(self._spool) > 0, BEAT_SECONDS)
                if self._closing:
                    return
            try:
                self._beat()
                self._send_first()
            except Exception as error:
                self._trouble, self._unsure = first_line(error), True
                pause = min(MOST_PAUSE, 2 * pause or 0.25)
            else:
                self._trouble, pause = "", 0.0
            if self._lost is not None:
                return

    def _send_first(self) -> None:
        update = self._spool.first()
        if update is None:
            return
        self._send(update)
        self._unsure = False
        with self._changed:
            self._spool.taken()
            self._moved = time.monotonic()
            self._changed.notify_all()

    def _send(self, update: RunUpdate) -> None:
        client, run_id = self._client, self._run(update)
        metrics = [Metric(*each) for each in update.metrics]
        first = MOST_AT_ONCE - len(update.tags) - len(update.params)
        if update.tags or update.params or metrics:
            client.log_batch(run_id, metrics[:first], params(update.params), run_tags(update.tags))
        for begin in range(first, len(metrics), MOST_AT_ONCE):
            client.log_batch(run_id, metrics[begin : begin + MOST_AT_ONCE])
        log_files(client, run_id, update.files)
        if update.status is not None:
            client.set_terminated(run_id, update.status, end_time=update.ended)

    def _run(self, update: RunUpdate) -> str:
        """The id of an update's run, which is made where it has to be and was not yet."""
        if not update.run:
            return self._sweep_run
        client, key = self._client, (update.run, update.attempt)
        if key not in self._runs and (update.started is None or self._unsure):
            self._runs |= {
                (each.info.run_name, attempt_of(each)): each.info.run_id
                for each in children(client, self._experiment_id, self._sweep_run)
            }
        if key not in self._runs:
            tags = {**update.tags, MLFLOW_PARENT_RUN_ID: self._sweep_run, ATTEMPT: str(update.attempt)}
            made = client.create_run(self._experiment_id, start_time=update.started, run_name=update.run, tags=tags)
            self._runs[key] = made.info.run_id
        return self._runs[key]

    def _beat(self) -> None:
        """Says that this coordinator lives, unless another one has said so meanwhile."""
        now = time.monotonic()
        if now - self._beaten < BEAT_SECONDS:
            return
        if self._beaten > 0:
            self.confirm()
        self._client.set_tag(self._sweep_run, TAG, Coordinating.here(self._sweep_run).tag())
        self._beaten = now


def no_hidden_retries() -> None:
    """A request that failed is repeated by whoever knows whether it may be; see above."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
