"""A gate's decision and a ledger's history on a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from digitsweep.promoting import History
from digitsweep.promotion import Decision, Figures, Verdict

_STYLES = {Verdict.PASSED: "green", Verdict.FAILED: "bold red", Verdict.SKIPPED: "dim"}


def print_decision(decision: Decision, console: Console) -> None:
    """Every rule with what it asks, what was found, and its verdict."""
    champion = f"champion {decision.champion.label}" if decision.champion else "no champion yet"
    table = Table(
        title=f"{escape(decision.challenger.label)}, {escape(champion)}",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in ("rule", "must be", "is", "verdict"):
        table.add_column(name)
    for each in decision.rules:
        table.add_row(each.name, escape(each.requirement), escape(each.value), each.verdict, style=_STYLES[each.verdict])
    console.print(table)
    for figures in (decision.challenger, decision.champion):
        if figures is not None:
            console.print(_line(figures), markup=False, highlight=False, soft_wrap=True)
    if decision.promotes:  # else the refusal says it
        console.print(f"{decision.reason}.", markup=False, highlight=False, soft_wrap=True)


def print_history(history: History, console: Console) -> None:
    """Every record in its order, and what there is to know besides."""
    now = f"champion is version {history.champion}" if history.champion else "there is no champion"
    table = Table(
        title=f"{escape(history.name)}: {now}",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in ("record", "when (UTC)", "who", "what", "from", "to", "outcome"):
        table.add_column(name, no_wrap=name != "who")
    table.add_column("why", ratio=1)
    for each in history.standings:
        record = each.record
        what = f"{record.action}{', forced' if record.forced else ''}"
        why = f"{record.reason}; {each.note}" if each.note else record.reason
        at = record.at.replace("T", " ").removesuffix("Z")
        cells = (str(record.place), at, record.who, what, record.came_from or "none", record.to or "none", each.outcome, why)
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)
    for note in history.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def _line(figures: Figures) -> str:
    low, high = figures.accuracy.interval
    worst = figures.worst_recall
    return (
        f"{figures.label}: {figures.accuracy.accuracy:.2%} of {figures.accuracy.total:,} test images "
        f"(95 % interval {low:.2%} to {high:.2%}), "
        f"digit {figures.worst_class} {worst.accuracy:.2%} of {worst.total:,}, {figures.weights:,} weights, "
        f"{1000.0 * figures.latency_p95:.2f} ms."
    )
