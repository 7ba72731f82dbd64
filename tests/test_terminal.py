"""What others wrote (names, reasons, tags) is shown on a terminal, and does not steer it."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from ledgers import versions
from mlflow import MlflowClient
from rich.console import Console
from rich.table import Table
from rich.text import Text
from support import PROPERTY
from trials import complete, metrics

from digitsweep.cli import main
from digitsweep.cli.shared import console_here
from digitsweep.errors import printable
from digitsweep.families import parse_params
from digitsweep.registry.ledger import Action, Ledger, new_record
from digitsweep.sweeping.progress import Display
from digitsweep.trial import Kind, Trial, TrialRecord

ESCAPES = "\x1b[2J\x1b]0;title\x07\rhidden\x9b1A\u202e"
LINE = f"done{ESCAPES}\n   9  2026-01-01 00:00:00 UTC  promote"


def harmless(text: str) -> bool:
    return all(sign.isprintable() or sign in "\n\xa0" for sign in text)


@PROPERTY
@given(st.text())
def test_any_text_is_one_line_that_is_only_read(text: str) -> None:
    """Whatever a text holds, it is shown as one line of signs that can be printed; what can be printed stays as it is."""
    shown = printable(text)
    assert shown.replace("\xa0", " ").isprintable()
    assert printable(shown) == shown
    assert (shown == text) == text.replace("\xa0", " ").isprintable()


@PROPERTY
@given(st.text(), st.booleans())
def test_no_result_steers_the_terminal(text: str, in_a_table: bool) -> None:
    """Text of others that is printed, alone or in a table, leaves no control character but the ends of lines."""
    console, table = console_here(), Table("column")
    table.add_row(Text(text))
    with console.capture() as captured:
        console.print(table if in_a_table else Text(text))
    assert harmless(captured.get())


def test_reading_images_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a log, reading has a line at its start and one now and then; on a terminal a bar, which goes when it ends."""
    stream = io.StringIO()
    display = Display(Console(file=stream, width=80))
    monkeypatch.setattr("digitsweep.sweeping.progress.READING_SECONDS", -1.0)
    for done in (0, 300, 600):
        display.images_read(done, 600)
    assert stream.getvalue().splitlines() == ["Reading 600 image files.", "Read 300 of 600 image files."]
    shown = io.StringIO()
    with Display(Console(file=shown, width=80, force_terminal=True)) as display:
        for done in (0, 300, 600):
            display.images_read(done, 600)
        assert "/600" in shown.getvalue()
        display.note("next")
    assert shown.getvalue().rstrip().endswith("next")


def test_colours_of_our_own_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """What digitsweep itself colours is coloured."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = console_here()
    with console.capture() as captured:
        console.print(Text("red", "red"))
    assert "\x1b[31m" in captured.get()


def test_a_ledger_that_somebody_else_wrote(made_store: Path) -> None:
    """Who, reason, time and commit of a record, and whoever came first in an error, are shown as one line each, with their
    control characters as escapes; in JSON too."""
    client = MlflowClient()
    versions(client, "m", 3)
    record = new_record(Action.PROMOTE, None, "1", LINE)
    Ledger("m").submit(replace(record, who=LINE, at=LINE, commit=LINE, decision=LINE))
    shown = CliRunner().invoke(main, ["history", "m"])
    assert shown.exit_code == 0, shown.output
    assert harmless(shown.stdout)
    assert "\\x1b[2J" in shown.stdout
    assert [line for line in shown.stdout.splitlines() if line.startswith("   9")] == []
    told = json.loads(CliRunner().invoke(main, ["history", "m", "--json"]).stdout)
    assert told["records"][0]["who"] == printable(LINE)
    Ledger("m")._append(new_record(Action.PROMOTE, None, "2", "late"))
    late = CliRunner().invoke(main, ["history", "m"]).stdout
    assert "another one came first" in late.replace("\n", " ").replace("      ", "")
    assert harmless(late)


def test_an_error_steers_nothing(made_store: Path) -> None:
    """An error that repeats a name from elsewhere is one line that can be printed."""
    found = CliRunner().invoke(main, ["history", f"m{ESCAPES}"])
    assert found.exit_code == 2
    assert harmless(found.stderr)
    assert len(found.stderr.splitlines()) == 1


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_sweep_is_shown(is_terminal: bool) -> None:
    """Each trial that has ended is a line with its accuracy, and a note is one as it is. The best one so far and the time
    left are on the line, or, on a terminal, in the table below, with the running trials, the workers and the rate."""
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=150)
    trial = Trial(7, parse_params("ann", {"hidden_layers": 1, "units": 32}), 0, epochs=3)
    with Display(console) as display:
        display.trial_started(trial)
        display.epoch_ended(trial, metrics(1, 0.5))
        display.progressed(70.0, "1 of 2 workers on 1 node")
        display.trial_ended(TrialRecord(trial, complete(trial, 0.9, seconds=2.0)))
        display.note("[bold]as it is")
        display.trial_started(trial)
        display.epoch_ended(trial, metrics(1, 0.5))
        with console.capture() as captured:
            console.print(display)
    assert isinstance(console.file, io.StringIO)
    so_far = "" if is_terminal else ", best ann 90.00 %, about 70 s left"
    assert console.file.getvalue().splitlines() == [
        f"ann-007: dense 32: COMPLETE, epoch 3/3, validation 90.00 %, 2.0 s{so_far}",
        "[bold]as it is",
    ]
    shown = " ".join(Text.from_ansi(captured.get()).plain.split())
    assert re.fullmatch(
        r"trial network epoch validation ann-007 dense 32 1/3 50.00 % best ann 90.00 % "
        r"\d+ s, about 70 s left, 1 of 2 workers on 1 node, \d+ trials? a minute",
        shown,
    )


def test_the_best_before_an_interruption_counts() -> None:
    """The best so far of a resumed sweep includes what had ended before it was interrupted."""
    console = Console(file=io.StringIO(), width=150)
    trial = Trial(7, parse_params("ann", {"hidden_layers": 1, "units": 32}), 0, epochs=3)
    with Display(console) as display:
        display.trial_restored(TrialRecord(replace(trial, number=3), complete(replace(trial, number=3), 0.95, seconds=2.0)))
        display.trial_started(trial)
        display.trial_ended(TrialRecord(trial, complete(trial, 0.9, seconds=2.0)))
    assert isinstance(console.file, io.StringIO)
    assert "best ann 95.00 %" in console.file.getvalue()


def on_rung(rung: int, number: int = 7) -> Trial:
    params = parse_params("ann", {"hidden_layers": 1, "units": 32})
    return Trial(number, params, 0, epochs=2.0, rung=rung, proposed_by="tpe", ladder=(1.0, 4.0))


def ended(display: Display, trial: Trial, accuracy: float) -> None:
    display.trial_started(trial)
    display.trial_ended(TrialRecord(trial, complete(replace(trial, epochs=2), accuracy, seconds=2.0)))


def test_rungs_are_shown() -> None:
    """A terminal shows how many configurations of each family completed each rung, and the best of the highest one; a line
    says the rung of its trial and who proposed it."""
    console = Console(file=io.StringIO(), force_terminal=True, width=150)
    with Display(console) as display:
        for number, accuracy in enumerate((0.9, 0.95, 0.8)):
            ended(display, on_rung(0, number), accuracy)
        ended(display, on_rung(1, 1), 0.94)
        display.trial_started(replace(on_rung(0, 3), epochs=2.5))
        with console.capture() as captured:
            console.print(display)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[2:] == [
        "ann-002 rung 0 (TPE): dense 32: COMPLETE, epoch 2/2, validation 80.00 %, 2.0 s",
        "ann-001 rung 1 (TPE): dense 32: COMPLETE, epoch 2/2, validation 94.00 %, 2.0 s",
    ]
    shown = [" ".join(line.split()) for line in Text.from_ansi(captured.get()).plain.splitlines() if line.strip()]
    assert shown[1:3] == ["ann-003 rung 0 dense 32 0/3", "ann rung 0: 3 rung 1: 1 best 94.00 %"]


def test_the_best_of_a_search_with_rungs() -> None:
    """The best is that of the highest rung, but a baseline counts beside it."""
    console = Console(file=io.StringIO(), width=150)
    with Display(console) as display:
        ended(display, on_rung(0, 0), 0.97)
        ended(display, on_rung(1, 0), 0.96)
        ended(display, replace(on_rung(0, 1), baseline="softmax", proposed_by="", ladder=()), 0.98)
    assert isinstance(console.file, io.StringIO)
    assert [line.rpartition("best ")[2] for line in console.file.getvalue().splitlines()] == [
        "ann 97.00 %", "ann 96.00 %", "ann 98.00 %",
    ]  # fmt: skip


def test_the_end_of_a_search_is_said_once() -> None:
    """Once finalists train, the end of their family's search is told, after the line of its last trial."""
    console = Console(file=io.StringIO(), width=150)
    with Display(console) as display:
        display.trial_started(on_rung(0))
        for kind in (Kind.REFIT, Kind.CONFIRMATION):
            display.trial_started(replace(on_rung(0), kind=kind, repetition=1, rung=0, proposed_by="", ladder=()))
        display.trial_ended(TrialRecord(on_rung(0), complete(replace(on_rung(0), epochs=2), 0.9, seconds=2.0)))
        for _ in range(2):
            display.progressed(30.0)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines()[1:] == [
        "The search of the ANN is over; its best is trained again, on fresh seeds."
    ]
