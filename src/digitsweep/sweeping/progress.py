"""What a person sees while a sweep runs."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict, deque
from typing import Self

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from digitsweep.config.experiment import Experiment, MinutesBudget
from digitsweep.data import Dataset
from digitsweep.families import title_of
from digitsweep.report.format import by_metric, listed, percent, plural, proposer
from digitsweep.sweeping.notebook import Cell
from digitsweep.tracking.tracker import Listener
from digitsweep.trial import DIRECTIONS, EpochMetrics, Kind, Trial, TrialRecord, TrialState

READING_SECONDS = 10.0
"""Between the lines that tell how many image files have been read, where there is no terminal."""

RATE_SECONDS = 60.0
"""The trials that ended within this time make the rate that is shown."""

COLUMNS: tuple[tuple[str, JustifyMethod], ...] = (
    ("trial", "left"),
    ("network", "left"),
    ("epoch", "right"),
)


class Standing:
    """How a family's search stands."""

    def __init__(self) -> None:
        self.rungs: Counter[int] = Counter()
        """How many configurations completed each rung; empty where the budget is not in minutes."""
        self.planned = 0
        """How many rungs there are."""
        self._best: dict[int, float] = {}
        """The best value of each rung, a fraction."""
        self._best_baseline = 0.0

    def began(self, trial: Trial) -> None:
        """Counts a trial that starts, or started before the sweep was interrupted."""
        self.planned = len(trial.ladder) or self.planned

    def completed(self, trial: Trial, value: float) -> None:
        """Counts a trial of the search that was complete."""
        self.began(trial)
        if trial.baseline is not None:
            self._best_baseline = max(value, self._best_baseline)
            return
        if trial.ladder:
            self.rungs[trial.rung] += 1
        self._best[trial.rung] = max(value, self._best.get(trial.rung, 0.0))

    def best(self) -> float | None:
        """The best value of the baselines and the highest rung that was reached; None before there is any."""
        reached = self._best[max(self._best)] if self._best else 0.0
        return max(reached, self._best_baseline) or None


class Display(Listener):
    """A line for each note and each trial that has ended. On a terminal and in a notebook, a table below them shows the
    running trials, the best of each family and the time left, redrawn in place; the lines then leave out what it shows.

    A `with` block removes the table at its end; a notebook keeps the best of each family."""

    def __init__(self, console: Console, cell: Cell | None = None) -> None:
        """cell: of a notebook, which is written to in place of the console."""
        self._console, self._cell = console, cell
        self._has_table = cell is not None or console.is_terminal
        self._running: dict[str, tuple[Trial, EpochMetrics | None]] = {}
        self._standings: defaultdict[str, Standing] = defaultdict(Standing)
        """By family."""
        self._over: dict[str, bool] = {}
        """The families whose search is over, and whether that was said."""
        self._metric = "val_accuracy"
        """What is shown of a trial: the objective, if higher values of it are better."""
        self._left = math.inf
        self._workers = ""
        """How many there are, and where."""
        self._ended: deque[float] = deque()
        """When each trial of the last minute ended."""
        self._begun = time.monotonic()
        self._reading: Progress | None = None
        """While image files are read."""
        self._said = 0.0
        """When the last line told how many of them have been read."""
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self.__rich__, transient=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_reading()
        self._live.stop()
        if self._cell is not None:
            self._left = math.inf
            self._cell.end(self._standing())

    def images_read(self, done: int, total: int) -> None:
        if self._cell is not None or not self._console.is_terminal:
            if not done or (time.monotonic() - self._said > READING_SECONDS and done < total):
                self.note(f"Read {done:,} of {total:,} image files." if done else f"Reading {total:,} image files.")
                self._said = time.monotonic()
            return
        if self._reading is None:
            columns = (TextColumn("Reading images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._reading = Progress(*columns, console=self._console, transient=True)
            self._reading.add_task("", total=total)
            self._reading.start()
        self._reading.update(self._reading.task_ids[0], completed=done)
        if done == total:
            self._end_reading()

    def _end_reading(self) -> None:
        if self._reading is not None:
            self._reading.stop()
            self._reading = None

    def sweep_started(self, experiment: Experiment, dataset: Dataset, workers: int) -> None:
        if DIRECTIONS[experiment.objective.metric] == "maximize":
            self._metric = experiment.objective.metric
        self.note(headline(experiment, dataset, workers))
        if self._has_table and self._cell is None:
            self._live.start()

    def trial_restored(self, record: TrialRecord) -> None:
        trial, result = record.trial, record.result
        if result.state is TrialState.COMPLETE and trial.kind is Kind.TRIAL:
            self._standings[trial.family].completed(trial, result.last(self._metric))

    def trial_started(self, trial: Trial) -> None:
        self._running[trial.name] = (trial, None)
        self._standings[trial.family].began(trial)
        if trial.kind is not Kind.TRIAL:
            self._over.setdefault(trial.family, False)

    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> None:
        self._running[trial.name] = (trial, metrics)

    def attempt_ended(self, trial: Trial, reason: str, seconds: float) -> None:
        del self._running[trial.name]

    def trial_ended(self, record: TrialRecord) -> None:
        trial, result = record.trial, record.result
        del self._running[trial.name]
        self._ended.append(time.monotonic())
        metrics = result.epochs[-1] if result.epochs else None
        self.trial_restored(record)
        reason = f", {result.reason}" if result.outcome == TrialState.FAIL else ""
        so_far = ""
        if not self._has_table:
            best = self._standings[trial.family].best()
            so_far = f"{f', best {trial.family} {percent(best)}' if best else ''}{time_left(self._left)}"
        by = f" ({proposer(trial.proposed_by)})" if trial.proposed_by else ""
        outcome = f"{result.outcome.replace('_', ' ')}, epoch {epoch_of(trial, metrics)}"
        value = value_of(metrics, self._metric)
        validation = f", {by_metric('validation', self._metric)} {value}" if value else ""
        self.note(
            f"{label_of(trial)}{by}: {trial.params.describe()}: {outcome}{validation}{reason}, {result.train_seconds:.1f} s"
            f"{so_far}"
        )

    def progressed(self, seconds_left: float, workers: str = "") -> None:
        self._left, self._workers = seconds_left, workers
        if self._cell is not None:  # a terminal's table is redrawn by a thread of its own
            self._cell.draw(self.__rich__())
        for family in [each for each, was_said in self._over.items() if not was_said]:
            # Not as soon as the first finalist starts: the search's last trial is shown after that.
            self._over[family] = True
            self.note(f"The search of the {title_of(family)} is over; its best is trained again, on fresh seeds.")

    def note(self, text: str) -> None:
        if self._cell is None:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._cell.note(text)
            self._cell.draw(self.__rich__(), now=True)

    def __rich__(self) -> Group:
        """What stands below the lines."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name, justify in (*COLUMNS, (by_metric("validation", self._metric), "right")):
            table.add_column(name, justify=justify, no_wrap=True)
        for trial, metrics in list(self._running.values()):
            network = escape(trial.params.describe())
            table.add_row(escape(label_of(trial)), network, epoch_of(trial, metrics), value_of(metrics, self._metric))
        return Group(table, "", self._standing()) if self._has_rungs() else Group(table, self._standing())

    def _has_rungs(self) -> bool:
        return any(each.planned for each in self._standings.values())

    def _standing(self) -> RenderableType:
        """The best of each family, and the time."""
        elapsed = f"{time.monotonic() - self._begun:.0f} s{time_left(self._left)}"
        elapsed += f"{self._workers and f', {self._workers}'}{self._rate()}"
        if self._has_rungs():
            return Group(self._rungs(), Text(elapsed, "dim"))
        standings = sorted(self._standings.items())
        best = "   ".join(f"best {family} {percent(best)}" for family, each in standings if (best := each.best()))
        return Text.assemble((f"{best}   " if best else "", "bold"), (elapsed, "dim"))

    def _rate(self) -> str:
        """`, 14 trials a minute`; empty before the first one has ended."""
        now = time.monotonic()
        while self._ended and now - self._ended[0] > RATE_SECONDS:
            self._ended.popleft()
        window = min(RATE_SECONDS, max(1.0, now - self._begun))
        return f", {plural(round(60.0 * len(self._ended) / window), 'trial')} a minute" if self._ended else ""

    def _rungs(self) -> Table:
        """A line for each family: how many configurations completed each rung, and the best of the highest one."""
        standings = sorted(self._standings.items())
        most = max(each.planned for _, each in standings)
        table = Table.grid(padding=(0, 3, 0, 0))
        for _ in range(most + 2):
            table.add_column(no_wrap=True)
        for family, each in standings:
            rungs = [f"rung {rung}: {each.rungs[rung]}" if rung < each.planned else "" for rung in range(most)]
            best = each.best()
            table.add_row(family, *rungs, f"best {percent(best)}" if best else "", style="bold")
        return table


def headline(experiment: Experiment, dataset: Dataset, workers: int) -> str:
    """What is about to happen, in two lines."""
    budget, training = experiment.budget, dataset.training
    families = listed(list(experiment.families))
    limit = (
        f"{plural(budget.minutes, 'minute')} for {families}"
        if isinstance(budget, MinutesBudget)
        else f"for each of {families}: at most {budget.trials} trials of {budget.epochs} epochs in {budget.seconds:g} "
        "training seconds"
    )
    baselines = sum(len(each.baselines) for each in experiment.families.values())
    prepared = dataset.prepared()
    return (
        f"{experiment.question}\n"
        f"{dataset.name} ({len(training.train):,} train, {len(training.validation):,} validation, "
        f"{len(dataset.test):,} test images) from {dataset.source}. {limit[0].upper()}{limit[1:]}; "
        f"{plural(baselines, 'baseline')}; {plural(workers, 'worker')}."
        f"{' ' if prepared else ''}{prepared}"
    )


def label_of(trial: Trial) -> str:
    """A trial's name, with its rung if it has one."""
    return f"{trial.name} rung 0" if trial.ladder and not trial.rung else trial.name


def epoch_of(trial: Trial, metrics: EpochMetrics | None) -> str:
    """The last epoch so far, of all: `3/10`."""
    epoch = metrics.epoch if metrics else 0
    return f"{epoch}/{max(epoch, trial.epoch_count)}"


def value_of(metrics: EpochMetrics | None, metric: str) -> str:
    """A metric on the validation images; empty before the first epoch, and for a refit, which has none."""
    value = math.nan if metrics is None else getattr(metrics, metric)
    return "" if math.isnan(value) else percent(value)


def time_left(seconds: float) -> str:
    """`, about 3 min left`; empty if nobody can know."""
    if math.isinf(seconds):
        return ""
    return f", about {seconds:.0f} s left" if seconds < 100 else f", about {seconds / 60:.0f} min left"
