"""What a person sees while a sweep runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from digitsweep.data import Dataset
from digitsweep.experiment import Experiment
from digitsweep.results import EpochMetrics, Kind, Trial, TrialRecord, TrialState
from digitsweep.tracker import Backlog

SHOWN_ENDED = 12
"""Ended trials in the live table: the newest."""
STYLES = {TrialState.COMPLETE: "green", TrialState.PRUNED: "yellow", TrialState.FAIL: "red"}


class Display(Protocol):
    """Hears what happens in a sweep, to show it."""

    def started(self, experiment: Experiment, dataset: Dataset, workers: int) -> None:
        """Workers and tracking are ready."""

    def trial_started(self, trial: Trial) -> None:
        """A worker has begun with a trial."""

    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> None:
        """A trial has finished an epoch."""

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial is over."""

    def progressed(self, seconds_left: float) -> None:
        """So much is still to come, as far as is known."""

    def note(self, text: str) -> None:
        """A sentence for the person."""

    def waiting(self, backlog: Backlog | None) -> None:
        """The records that the tracking server does not take now; None where it takes all."""

    def closed(self) -> None:
        """There is nothing more to show."""


class NoDisplay:
    """Shows nothing."""

    def started(self, experiment: Experiment, dataset: Dataset, workers: int) -> None: ...
    def trial_started(self, trial: Trial) -> None: ...
    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> None: ...
    def trial_ended(self, record: TrialRecord) -> None: ...
    def progressed(self, seconds_left: float) -> None: ...
    def note(self, text: str) -> None: ...
    def waiting(self, backlog: Backlog | None) -> None: ...
    def closed(self) -> None: ...


def make_display(console: Console) -> Display:
    """A live table where the console is a terminal, else plain lines."""
    return LiveTable(console) if console.is_terminal else PlainLines(console)


def headline(experiment: Experiment, dataset: Dataset, workers: int) -> str:
    """What is about to happen, in two lines."""
    budget, training = experiment.budget, dataset.training
    baselines = sum(len(each.baselines) for each in experiment.families.values())
    return (
        f"{experiment.question}\n"
        f"{dataset.name} ({len(training.train):,} train, {len(training.validation):,} validation, "
        f"{len(dataset.test):,} test images) from {dataset.source}. For each of {' and '.join(experiment.families)}: "
        f"at most {budget.trials} trials of {budget.epochs} epochs in {budget.seconds:g} training seconds; "
        f"{baselines} baselines; {workers} worker{'s' if workers != 1 else ''}."
    )


def time_left(seconds: float | None) -> str:
    """`, about 3 min left`; empty while nobody can know."""
    if seconds is None or math.isinf(seconds):
        return ""
    return f", about {seconds:.0f} s left" if seconds < 100 else f", about {seconds / 60:.0f} min left"


def waiting_line(backlog: Backlog) -> str:
    """That the server is away, and what becomes of the records."""
    return (
        f"The tracking server takes no records ({backlog.reason}): {backlog.count} wait on this machine and are "
        "sent when it does; training goes on."
    )


class PlainLines:
    """A line for each trial that ended, and for each note."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._best: dict[str, float] = {}
        self._left: float | None = None
        self._waiting = False

    def started(self, experiment: Experiment, dataset: Dataset, workers: int) -> None:
        self._print(headline(experiment, dataset, workers))

    def trial_started(self, trial: Trial) -> None:
        pass

    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> None:
        pass

    def trial_ended(self, record: TrialRecord) -> None:
        trial, result = record.trial, record.result
        accuracy = result.epochs[-1].metrics().get("val_accuracy") if result.epochs else None
        if accuracy is not None and result.state is TrialState.COMPLETE and trial.kind is Kind.TRIAL:
            self._best[trial.family] = max(accuracy, self._best.get(trial.family, 0.0))
        best = f", best {trial.family} {self._best[trial.family]:.2%}" if trial.family in self._best else ""
        self._print(
            f"{trial.name}: {trial.params.describe()}: {result.state}, epoch {len(result.epochs)}/{trial.epochs}"
            + (f", validation {accuracy:.2%}" if accuracy is not None else "")
            + (f", {result.reason}" if result.state is TrialState.FAIL else "")
            + f", {result.train_seconds:.1f} s{best}"
            + time_left(self._left)
        )

    def progressed(self, seconds_left: float) -> None:
        self._left = seconds_left

    def note(self, text: str) -> None:
        self._print(text)

    def waiting(self, backlog: Backlog | None) -> None:
        if (backlog is not None) != self._waiting:
            self._waiting = backlog is not None
            self._print(waiting_line(backlog) if backlog else "The tracking server takes records again.")

    def closed(self) -> None:
        pass

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


@dataclass
class _Row:
    trial: Trial
    metrics: EpochMetrics | None = None
    state: TrialState | None = None


class LiveTable:
    """The running trials, the newest that ended, the best so far and the time left, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[str, _Row] = {}
        self._best: dict[str, _Row] = {}
        self._counts: dict[TrialState, int] = {}
        self._begun = time.monotonic()
        self._left: float | None = None
        self._backlog: Backlog | None = None
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._render, transient=True)

    def started(self, experiment: Experiment, dataset: Dataset, workers: int) -> None:
        self._begun = time.monotonic()
        self._console.print(headline(experiment, dataset, workers), markup=False, highlight=False)
        self._live.start()

    def trial_started(self, trial: Trial) -> None:
        self._rows[trial.name] = _Row(trial)

    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> None:
        self._rows[trial.name].metrics = metrics

    def trial_ended(self, record: TrialRecord) -> None:
        row = self._rows.pop(record.trial.name)
        self._rows[record.trial.name] = row  # to the end: the newest that ended
        row.state = record.result.state
        row.metrics = record.result.epochs[-1] if record.result.epochs else None
        self._counts[row.state] = self._counts.get(row.state, 0) + 1
        best = self._best.get(record.trial.family)
        complete = row.state is TrialState.COMPLETE and record.trial.kind is Kind.TRIAL
        accuracy = row.metrics.val_accuracy if row.metrics and complete else 0.0
        if accuracy and (best is None or best.metrics is None or accuracy > best.metrics.val_accuracy):
            self._best[record.trial.family] = row

    def progressed(self, seconds_left: float) -> None:
        self._left = seconds_left

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def waiting(self, backlog: Backlog | None) -> None:
        self._backlog = backlog

    def closed(self) -> None:
        self._live.stop()

    def _render(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name, right in (("family", 0), ("trial", 0), ("network", 0), ("epoch", 1), ("validation", 1), ("state", 0)):
            table.add_column(name, justify="right" if right else "left", no_wrap=True)
        rows = list(self._rows.values())
        running = [each for each in rows if each.state is None]
        ended = [each for each in rows if each.state is not None][-SHOWN_ENDED:]
        for row in ended + running:
            state = Text(row.state.value, STYLES[row.state]) if row.state else Text("running", "bold")
            trial = row.trial
            table.add_row(
                trial.family,
                escape(trial.baseline or trial.name.partition("-")[2]),
                escape(trial.params.describe()),
                f"{row.metrics.epoch if row.metrics else 0}/{trial.epochs}",
                f"{row.metrics.val_accuracy:.2%}" if row.metrics and "val_accuracy" in row.metrics.metrics() else "",
                state,
            )
        elapsed = time.monotonic() - self._begun
        counts = ", ".join(f"{count} {state.value.lower()}" for state, count in list(self._counts.items()))
        best = "   ".join(
            f"best {family} {row.metrics.val_accuracy:.2%} ({row.trial.baseline or row.trial.number})"
            for family, row in sorted(self._best.items())
            if row.metrics
        )
        footer = f"{elapsed:.0f} s{time_left(self._left)}" + (f"   {counts}" if counts else "")
        backlog = [Text(waiting_line(self._backlog), "yellow")] if self._backlog else []
        return Group(table, Text(best, "bold"), *backlog, Text(footer, "dim"))
