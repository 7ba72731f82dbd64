"""Readings as a table, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from digitsweep.errors import InputError
from digitsweep.reading.images import is_folder
from digitsweep.reading.predicting import Answer, Disagreement, Reading

DECIMALS = 6
"""Of probabilities, in JSON and CSV."""


def as_json(values: Sequence[Reading] | Sequence[Disagreement]) -> str:
    """An array with an object for each; a disagreement holds both readings, and why it is one."""
    return json.dumps([_plain(each) for each in values], indent=2, ensure_ascii=False)


def as_csv(readings: Sequence[Reading]) -> str:
    """A row for each reading: source, page, label, confidence, p0 to p9, note; without a label these are empty."""
    classes = max((len(each.probabilities) for each in readings), default=0)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["source", "page", "label", "confidence", *(f"p{label}" for label in range(classes)), "note"])
    for each in readings:
        figures: list[float | str] = [round(share, DECIMALS) for share in (each.confidence, *each.probabilities)]
        if each.label is None:
            figures = [""] * (classes + 1)
        writer.writerow([each.source, each.page, "" if each.label is None else each.label, *figures, each.note])
    return buffer.getvalue()


def check_writable(path: Path) -> None:
    """Raises InputError where no CSV can be written, before anything is read."""
    if is_folder(path) or not is_folder(path.absolute().parent):
        raise InputError(f"--csv {path}: must be a file in a folder that is there")


def write_csv(readings: Sequence[Reading], path: Path) -> None:
    """The CSV as a file, which is there as a whole or not at all.

    Raises InputError where it cannot be written."""
    try:
        with tempfile.TemporaryDirectory(prefix=".digitsweep-", dir=path.absolute().parent) as folder:
            part = Path(folder) / path.name
            part.write_text(as_csv(readings), encoding="utf-8", newline="")
            part.replace(path)
    except OSError as error:
        raise InputError(f"--csv {path}: cannot be written: {error.strerror or error}") from None


def print_answer(answer: Answer, console: Console) -> None:
    """CSV where there were many images, which are for a program or a spreadsheet, else a table for a person."""
    if answer.many:
        print(as_csv(answer.readings), end="")
    else:
        print_readings(answer.readings, console)


def print_readings(readings: Sequence[Reading], console: Console) -> None:
    """A table with the label, the probability of each label in per cent, and the note."""
    if not readings:
        return
    table = _table()
    table.add_column("digit", justify="right")
    classes = max(len(each.probabilities) for each in readings)
    for label in range(classes):
        table.add_column(f"{label} %", justify="right", no_wrap=True)
    table.add_column("")
    for each in readings:
        shares = [
            Text(_percent(share), "bold" if label == each.label else "") for label, share in enumerate(each.probabilities)
        ]
        table.add_row(*_named(each), _label(each), *(shares or [Text()] * classes), Text(each.note))
    console.print(table)


def print_disagreements(found: Sequence[Disagreement], images: int, console: Console) -> None:
    """A table with both answers, where there is one to look at, and how many images that are."""
    if found:
        table = _table()
        for name in ("ANN", "CNN"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("")
        for each in found:
            table.add_row(*_named(each.cnn), _sure(each.ann), _sure(each.cnn), Text(each.why))
        console.print(table)
    who = "ANN and CNN"
    text = (
        f"{len(found)} of {images} images need a look." if found else f"{who} read all {images} images alike, and are sure."
    )
    if images:
        console.print(text, highlight=False)


def _plain(value: Reading | Disagreement) -> dict[str, Any]:
    if isinstance(value, Disagreement):
        return {
            "source": value.cnn.source,
            "page": value.cnn.page,
            "why": value.why,
            "ann": _plain(value.ann),
            "cnn": _plain(value.cnn),
        }
    return {
        **asdict(value),
        "confidence": round(value.confidence, DECIMALS),
        "probabilities": [round(each, DECIMALS) for each in value.probabilities],
    }


def _table() -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("page", justify="right", no_wrap=True)
    return table


def _named(reading: Reading) -> tuple[Text, str]:
    return Text(reading.source), str(reading.page)


def _label(reading: Reading) -> Text:
    return Text("–" if reading.label is None else str(reading.label), "bold")


def _sure(reading: Reading) -> Text:
    return _label(reading) if reading.label is None else Text(f"{reading.label} ({_percent(reading.confidence)} %)")


def _percent(share: float) -> str:
    """Whole per cents; nothing where that would be 0, and 100 only where it is nearly that."""
    if share < 0.005:
        return ""
    return ">99" if 0.995 <= share < 0.9995 else f"{100 * share:.0f}"
