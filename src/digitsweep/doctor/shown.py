"""Findings as a person reads them, a table on a terminal and lines elsewhere, or as a program does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from digitsweep.doctor.finding import Finding, State

STYLES = {State.OK: "green", State.WARNING: "yellow", State.WRONG: "bold red"}


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """One row or line for each finding, and one that sums them up."""
    if console.is_terminal:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for each in findings:
            mend = f"\n[bold]{escape(each.mend)}[/]" if each.mend else ""
            table.add_row(f"[{STYLES[each.state]}]{each.state}[/]", each.name, f"{escape(each.found)}{mend}")
        console.print(table)
    else:
        for each in findings:
            console.print(each.line(), markup=False, highlight=False, soft_wrap=True)
    console.print(summed_up(findings), markup=False, highlight=False, soft_wrap=True)


def summed_up(findings: Sequence[Finding]) -> str:
    """One sentence."""
    counts = {state: sum(each.state is state for each in findings) for state in State}
    if counts[State.WRONG]:
        return f"{counts[State.WRONG]} of {len(findings)} checks found something wrong; a sweep would fail."
    warned = f", {counts[State.WARNING]} with a warning" if counts[State.WARNING] else ""
    return f"{len(findings)} checks{warned}: a sweep can start."


def findings_json(findings: Sequence[Finding]) -> str:
    """A list of objects with name, state, found and mend."""
    return json.dumps([dataclasses.asdict(each) for each in findings], indent=2)
