"""Sends what waits in the spool to MLflow, in order, in a thread of its own.

Nobody waits for a server that is away, slow or refusing: each update is repeated until it succeeds. A run is looked for
before it is made a second time, and everything else can be sent twice.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from mlflow.entities import Metric
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from digitsweep.errors import DigitsweepError
from digitsweep.tracking.client import (
    ATTEMPT,
    attempt_of,
    children,
    first_line,
    log_files,
    no_hidden_retries,
    patience_seconds,
    run_params,
    run_tags,
    shown_uri,
)
from digitsweep.tracking.lock import HEARTBEAT_SECONDS
from digitsweep.tracking.records import trial_name_of
from digitsweep.tracking.spool import RunUpdate, Spool
from digitsweep.tracking.sweep_run import OvertakenError, SweepRun

MOST_AT_ONCE = 1000
"""Metrics, parameters and tags in one request of MLflow's."""
MOST_PAUSE = 10.0
"""Seconds between two tries, at most."""
END_SECONDS = 5.0
"""What a request may still take when the sweep ends; the thread is a daemon."""


class Sender:
    """Sends one sweep's updates, and its heartbeats."""

    def __init__(self, sweep_id: str, spool: Spool, open_run: Callable[[], SweepRun]) -> None:
        """open_run: opens the sweep's run, in the sender's thread; until then updates wait on disk."""
        self._sweep_id, self._spool, self._open_run = sweep_id, spool, open_run
        self.run: SweepRun | None = None
        """None until it is open."""
        self.failure: Exception | None = None
        """Why nothing can be sent any more: the run cannot be opened, or another coordinator has taken the sweep over."""
        self.runs: dict[tuple[str, int], str] = {}
        """Ids of the trials' runs, by the trial's name and the attempt."""
        self._trouble = ""
        """Why the last try failed."""
        self._maybe_sent = len(spool) > 0
        """Whether the first update may have been sent before: by another process, or by a try that failed half-way."""
        self._accepted = time.monotonic()
        """When the server took something last."""
        self._confirmed = -math.inf
        """When this coordinator was confirmed last. By the wall clock: it goes on while the machine sleeps."""
        self._closing = False
        no_hidden_retries()
        self._thread = threading.Thread(target=self._work, name="digitsweep-sending", daemon=True)
        self._thread.start()

    def backlog(self) -> str:
        """A sentence about the records that the server does not take now; empty if it takes all."""
        if not (self._trouble and len(self._spool)):
            return ""
        return (
            f"The tracking server accepts no records ({self._trouble}): {len(self._spool)} wait on this machine and are "
            "sent later; training continues."
        )

    def check(self) -> None:
        """Raises why nothing can be sent any more, if that is so."""
        if self.failure is not None:
            raise self.failure

    def wait(self, patience: float | None = None) -> None:
        """Until the server has taken everything, and has confirmed lately that the sweep is still this coordinator's.

        Raises DigitsweepError where it has taken nothing for so many seconds, by default for `patience_seconds`."""
        # SQLite has no server that could be away: other sweeps are opening the same file, one after another.
        in_line = patience is None and shown_uri().startswith("sqlite")
        if patience is None:
            patience = patience_seconds()
        with self._spool.changed:
            since = time.monotonic()
            self.check()
            while len(self._spool) or not self._is_confirmed(2 * HEARTBEAT_SECONDS):
                trouble = self._trouble or ("" if self.run or in_line else "it has not answered yet")
                if trouble and time.monotonic() - max(since, self._accepted) > patience:
                    raise DigitsweepError(
                        f"the tracking server {shown_uri()} accepts no records: {trouble}; nothing is lost, "
                        f"{len(self._spool)} of them wait on this machine; once this is mended, continue with: "
                        f"digitsweep sweep --resume {self.run.run_id if self.run else self._sweep_id}"
                    )
                self._spool.changed.wait(0.5)
                self.check()

    def close(self) -> None:
        """Ends the thread after the request that it may be in; what waits stays on disk."""
        with self._spool.changed:
            self._closing = True
            self._spool.changed.notify_all()
        self._thread.join(END_SECONDS)

    def _work(self) -> None:
        try:
            self.run = self._open_run()
            pause = 0.0
            while self._is_due(pause):
                try:
                    self._heartbeat(self.run)
                    self._send_first(self.run)
                except OvertakenError:
                    raise
                except Exception as error:
                    self._trouble, self._maybe_sent = first_line(error), True
                    pause = min(MOST_PAUSE, 2 * pause or 0.25)
                else:
                    self._trouble, pause = "", 0.0
        except Exception as error:  # `check` raises it in the coordinator's thread
            with self._spool.changed:
                self.failure = error
                self._spool.changed.notify_all()

    def _is_due(self, pause: float) -> bool:
        """Waits: after a failure for so many seconds, else for an update or the next heartbeat. False where the end has
        come."""
        with self._spool.changed:
            if pause:
                self._spool.changed.wait_for(lambda: self._closing, pause)
            else:
                due = min(max(self._confirmed + HEARTBEAT_SECONDS - time.time(), 0.0), HEARTBEAT_SECONDS)
                self._spool.changed.wait_for(lambda: self._closing or len(self._spool) > 0, due)
            return not self._closing

    def _send_first(self, sweep: SweepRun) -> None:
        update = self._spool.first()
        if update is None:
            return
        client, run_id = sweep.client, self._run_id(sweep, update)
        metrics = [Metric(*each) for each in update.metrics]
        first = MOST_AT_ONCE - len(update.tags) - len(update.params)
        self._heartbeat(sweep)  # here and below: this process may have been asleep since
        if update.tags or update.params or metrics:
            client.log_batch(run_id, metrics[:first], run_params(update.params), run_tags(update.tags))
        for begin in range(first, len(metrics), MOST_AT_ONCE):
            client.log_batch(run_id, metrics[begin : begin + MOST_AT_ONCE])
        self._heartbeat(sweep)
        log_files(client, run_id, update.files)
        if update.status is not None:
            self._heartbeat(sweep)
            client.set_terminated(run_id, update.status, end_time=update.ended)
        self._maybe_sent = False
        self._accepted = time.monotonic()
        self._spool.taken()

    def _run_id(self, sweep: SweepRun, update: RunUpdate) -> str:
        """The run of an update, which is made where it was not yet."""
        if not update.run:
            return sweep.run_id
        client, key = sweep.client, (update.run, update.attempt)
        if key not in self.runs and (update.started is None or self._maybe_sent):
            self.runs |= {
                (name, attempt_of(each)): each.info.run_id
                for each in children(client, sweep.experiment_id, sweep.run_id)
                if (name := trial_name_of(each)) is not None
            }
        if key not in self.runs:
            tags = {**update.tags, MLFLOW_PARENT_RUN_ID: sweep.run_id, ATTEMPT: str(update.attempt)}
            self._heartbeat(sweep)
            made = client.create_run(sweep.experiment_id, start_time=update.started, run_name=update.run, tags=tags)
            self.runs[key] = made.info.run_id
        return self.runs[key]

    def _heartbeat(self, sweep: SweepRun) -> None:
        """Every HEARTBEAT_SECONDS, checks that no other coordinator has taken the sweep over, and writes the heartbeat."""
        if not self._is_confirmed(HEARTBEAT_SECONDS):
            sweep.confirm()
            sweep.heartbeat()
            with self._spool.changed:
                self._confirmed = time.time()
                self._spool.changed.notify_all()

    def _is_confirmed(self, seconds: float) -> bool:
        return 0 <= time.time() - self._confirmed < seconds
