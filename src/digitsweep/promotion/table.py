"""A gate's decision and a ledger's history on a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from digitsweep.promotion.decision import Decision, Figures, Verdict
from digitsweep.promotion.lineage import Outcome
from digitsweep.promotion.promoting import History

_STYLES = {Verdict.PASSED: "green", Verdict.FAILED: "bold red", Verdict.SKIPPED: "dim"}
_OUTCOMES = {
    Outcome.DONE: "green",
    Outcome.PENDING: "yellow",
    Outcome.REFUSED: "red",
    Outcome.LOST: "dim",
    Outcome.VOID: "dim",
}


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
    """Every record in its order: a line, below it who and why; then what there is to know besides."""
    now = f"champion is version {history.champion}" if history.champion else "there is no champion"
    console.print(f"{history.name}: {now}", style="bold", markup=False, highlight=False)
    if not history.standings:
        console.print(f"No record yet; `digitsweep promote {history.name}` writes the first.", markup=False, highlight=False)
    for each in history.standings:
        record = each.record
        what = f"{record.action}{', forced' if record.forced else ''}"
        way = f"{record.came_from or 'none'} to {record.to or 'none'}"
        at = record.at.replace("T", " ").replace("Z", " UTC")
        head = Text(f"{record.place:>4}  {at}  {what:<15}  {way:<12}  ").append(each.outcome, _OUTCOMES[each.outcome])
        why = f"{record.reason}; {each.note}" if each.note else record.reason
        console.print(head)
        console.print(Padding(Text(f"{record.who}: {why}"), (0, 0, 0, 6)))
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
