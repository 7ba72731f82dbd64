"""What commands print: tables, the sentences below them, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from digitsweep.config.experiment import Budget, Experiment, MinutesBudget
from digitsweep.evaluation.comparison import Comparison, Entry
from digitsweep.evaluation.statistics import Difference, FamilyDifference
from digitsweep.families import title_of
from digitsweep.registry.gate import Decision, Figures, Unmeasured, decision_from
from digitsweep.registry.ledger import Record
from digitsweep.registry.promote import History
from digitsweep.report.format import (
    by_metric,
    latency,
    listed,
    p_value,
    percent,
    plural,
    points,
    seconds,
    share_interval,
    the,
    times,
)
from digitsweep.report.sentences import (
    ORIGINS,
    cautions,
    counted_alike,
    earlier_openings,
    how_chosen,
    on_validation,
    overlap,
    search_told,
)

if TYPE_CHECKING:  # importing these imports TensorFlow, or takes long
    from digitsweep.doctor import Finding
    from digitsweep.prediction.predicting import Disagreement, Reading

WIDE, NARROW = 120, 90
"""Columns of a terminal from which intervals stand behind their accuracies, and below which some columns are left out."""
EXPLAINED = 0.005
"""A larger difference to a published accuracy is explained."""
DECIMALS = 6
"""Of probabilities, in JSON and CSV."""
STYLES = (
    {"ok": "green", "warning": "yellow", "wrong": "bold red"}  # findings of the doctor
    | {"passed": "green", "failed": "bold red", "skipped": "dim"}  # rules of the gate
    | {"done": "green", "pending": "yellow", "refused": "red", "lost": "dim", "void": "dim"}  # records of the ledger
)


def print_text(text: str, console: Console, style: str | None = None) -> None:
    """Prints plain text, unwrapped and without markup."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def print_findings(
    findings: Sequence[Finding], console: Console, fine: str = "a sweep can start", failed: str = "a sweep would fail"
) -> None:
    """Prints a line for each finding, then what follows: `fine` or `failed`."""
    for each in findings:
        console.print(Text(each.state, STYLES[each.state]).append(each.line().removeprefix(each.state)), soft_wrap=True)
    wrong, warned = (sum(each.state == state for each in findings) for state in ("wrong", "warning"))
    warnings = f" ({warned} with a warning)" if warned else ""
    passed = f"{len(findings)} checks passed{warnings}; {fine}."
    print_text(f"{wrong} of {len(findings)} checks failed; {failed}." if wrong else passed, console)


def print_plan(experiment: Experiment, workers: int, console: Console) -> None:
    """Prints an experiment's search space, its baselines, what the search costs at most, and what follows it."""
    print_text(f"{experiment.name}: {experiment.question}", console)
    for family, each in experiment.families.items():
        if each.space.searched or each.space.fixed:
            table = _table(f"{family}: space", "hyperparameter", "is", "values")
            for name, what in each.space.describe():
                table.add_row(name, "searched" if name in each.space.searched else "fixed", escape(what))
            console.print(table)
        for name, baseline in each.baselines.items():
            epochs = experiment.baseline_epochs(baseline)
            print_text(f"{family} baseline {name}: {baseline.params.describe()}, {epochs} epochs", console)
        for by, known in experiment.known(family).items():
            if known and experiment.budget.trials != 0:
                networks = "; ".join(params.describe() for params in known)
                print_text(f"{family} configurations {ORIGINS[by]}, tried early: {networks}", console)
    print_text(_cost(experiment, workers), console)


def _cost(experiment: Experiment, workers: int) -> str:
    budget, families = experiment.budget, len(experiment.families)
    if isinstance(budget, MinutesBudget):
        most = f", at most {plural(budget.trials, 'configuration')} of each family" if budget.trials is not None else ""
        return (
            f"The sweep: {plural(budget.minutes, 'minute')} from the command to the answer with {plural(workers, 'worker')}"
            f"{most}. The length of trainings, the number of promotions and the number of seeds are planned from these "
            "minutes."
        )
    minutes = families * budget.seconds / workers / 60
    return (
        f"The search: at most {families * budget.trials} trials, {families * budget.trials * budget.epochs:,} epochs and "
        f"{budget.seconds:g} training seconds for each family; about {minutes:.1f} min with {plural(workers, 'worker')} if "
        f"the seconds decide. The baselines come on top{_finalists_plan(experiment, budget)}."
    )


def _finalists_plan(experiment: Experiment, budget: Budget) -> str:
    spec = experiment.finalists
    if spec is None:
        return ""
    steps = [f"{plural(spec.top, 'finalist')} on {plural(spec.seeds, 'selection seed')}"] if spec.seeds else []
    steps += [f"the winner on {plural(spec.confirm, 'confirmation seed')}"] if spec.confirm else []
    steps += ["its refit"] if spec.refit else []
    each = listed(
        [f"{spec.epochs_of(family, budget.epochs):g} epochs for the {title_of(family)}" for family in experiment.families]
    )
    return f", and for each family {plural(spec.trainings, 'training')} ({each}): {', '.join(steps)}"


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Prints the best of each family beside the baselines, the verdict, and what else there is to say."""
    wide, narrow = console.width >= WIDE, console.width < NARROW
    rows = [_cells(comparison, each, " " if wide else "\n") for each in comparison.entries]
    shown = [name for name in rows[0] if any(row[name] for row in rows)] if rows else []
    shown = [name for name in shown if not (narrow and name in ("published", "train s"))]
    title = f"{comparison.experiment} on {comparison.data['name']}: {comparison.question}"
    table = _table(title, "", "network", right=shown)
    table.columns[0].no_wrap, table.columns[1].min_width = True, 12
    for each, cells in zip(comparison.entries, rows, strict=True):
        name, network = escape(comparison.name_of(each)), escape(each.network)
        table.add_row(name, network, *(cells[name] for name in shown), style="bold" if each.role == "best" else "")
    console.print(table)
    for found in (comparison.differences, comparison.family_differences):
        if found:
            console.print(_pairs(found))
    for line in sentences(comparison):
        print_text(line, console)


def _pairs(found: Sequence[Difference] | Sequence[FamilyDifference]) -> Table:
    """Each pair of three networks or more, or of their families."""
    corrected = found[0].comparisons > 1
    title = "each pair of networks" if isinstance(found[0], Difference) else "each pair of families"
    table = _table("", title, right=("points", "interval", *(("alone", "corrected") if corrected else ("p-value",))))
    table.add_column("better", overflow="fold")
    for each in found:
        low, middle, high = (points(end, each.images, signed=True) for end in (each.low, each.accuracy, each.high))
        values = (each.raw_p_value, each.p_value) if each.raw_p_value is not None else (each.p_value,)
        better = each.ranked[0] if each.significant else "undecided"
        pair = f"{each.second} minus {each.first}"
        table.add_row(escape(pair), middle, f"{low} to {high}", *map(p_value, values), escape(better))
    return table


def _cells(comparison: Comparison, entry: Entry, between: str) -> dict[str, str]:
    """By column. `between` stands between an accuracy and its interval."""
    return {
        by_metric("validation", comparison.metric).replace(" ", "\n", 1): on_validation(comparison, entry),
        "test": f"{percent(entry.test.accuracy)}{between}({share_interval(entry.test)})" if entry.test else "",
        "published": percent(entry.published_accuracy, 1) if entry.published_accuracy else "",
        "weights": f"{entry.weights:,}",
        "train s": f"{entry.train_seconds:.1f}",
    }


def sentences(comparison: Comparison) -> list[str]:
    """What stands below the table, the verdict first."""
    lines = [each for each in (comparison.verdict, comparison.family_verdict) if each]
    lines += [f"Caution: {each}" for each in cautions(comparison)]
    images = comparison.data["images"]
    chosen = f"Models were chosen on {images['validation']:,} validation images; t" if images["validation"] else "T"
    once = all(each.number == 1 for each in comparison.openings)
    opened = "once for each family, after the choice" if once else "more than once"
    lines.append(
        f"Brackets hold 95 % intervals; ± is the standard deviation over seeds. {chosen}he {images['test']:,} test images "
        f"were opened {opened}."
    )
    if comparison.opened_before:
        lines.append(earlier_openings(comparison))
    lines += [told for each in comparison.best() if (told := counted_alike(comparison, each))]
    best = comparison.best() if comparison.spent else []
    baselines = [each for each in comparison.entries if each.role == "baseline"]
    for each in best:
        other = next((one.trained_on for one in baselines), each.trained_on)
        less = f", a baseline on {other:,}" if other != each.trained_on else ""
        trained = f"The network evaluated here was trained on {each.trained_on:,} images{less}."
        lines.append(f"{how_chosen(comparison, each)} {trained}")
    if comparison.mistakes and comparison.mistakes.overlap:
        lines.append(overlap(comparison.mistakes.overlap))
    if found := comparison.difference:
        first, second = the(found.first), the(found.second)
        lines.append(
            f"Of the {found.first_wrong} test images that {first} gets wrong, {second} gets {found.only_first_wrong} right; "
            f"of the {found.second_wrong} that {second} gets wrong, {first} gets {found.only_second_wrong} right; "
            f"{found.both_wrong} both get wrong."
        )
    lines += [told for each in comparison.history.values() if (told := search_told(each))]
    for family, spent in comparison.spent.items():
        trials = plural(spent.search.trainings, "trial")
        limit = f" of at most {seconds(comparison.budget['seconds'])}" if "seconds" in comparison.budget else ""
        attempts = f", {seconds(spent.attempt_seconds)} of it in interrupted attempts" if spent.attempt_seconds else ""
        others = spent.beside_the_search().items()
        beside = "".join(f"; {plural(used.trainings, kind[:-1])}, {seconds(used.seconds)}" for kind, used in others)
        lines.append(
            f"{title_of(family)}: {trials} ({spent.ended}), {seconds(spent.budget_seconds)}{limit} of training"
            f"{attempts}{beside}."
        )
    for each in baselines:
        if each.test is None or each.published_accuracy is None:
            continue
        gap = each.test.accuracy - each.published_accuracy
        if abs(gap) > EXPLAINED:
            name, way = comparison.name_of(each), "above" if gap > 0 else "below"
            why = each.note or "the experiment does not say why"
            lines.append(f"{name} is {points(abs(gap), each.test.total)} points {way} its published figure: {why}.")
    return lines + [f"Registered as {each.model}, with the alias challenger." for each in best if each.model]


def print_decision(decision: Decision, console: Console) -> None:
    """Prints every rule with its requirement, the value and the verdict, then the figures of both models."""
    champion = f"champion {decision.champion.label}" if decision.champion else "no champion yet"
    table = _table(f"{decision.challenger.label}, {champion}", "rule", "must be", "is", "verdict")
    for each in decision.rules:
        table.add_row(each.name, escape(each.requirement), escape(each.value), each.verdict, style=STYLES[each.verdict])
    console.print(table)
    print_text(decision.counted, console)
    for figures in (decision.challenger, decision.champion):
        if figures is not None:
            print_text(_figures(figures), console)
    if decision.promotes:  # otherwise the error says it
        print_text(f"{decision.reason}.", console)


def _figures(figures: Figures | Unmeasured) -> str:
    if isinstance(figures, Unmeasured):
        return f"{figures.label}: not evaluated, since it {figures.why}."
    worst = figures.worst_recall
    return (
        f"{figures.label}: {percent(figures.accuracy.accuracy)} of {figures.accuracy.total:,} test images "
        f"(95 % interval {share_interval(figures.accuracy)}), {figures.worst_named} {percent(worst.accuracy)} of "
        f"{worst.total:,}, {figures.weights:,} weights, {latency(figures.latency_p95)}."
    )


def print_history(history: History, console: Console) -> None:
    """Prints every record: a line for what happened, below it who and why."""
    now = f"champion is version {history.champion}" if history.champion else "there is no champion"
    print_text(f"{history.name}: {now}", console, "bold")
    if history.openings.times:
        opened = times(history.openings.times, len(history.openings.models))
        print_text(f"Its test images were opened {opened}.", console)
    if not history.records:
        print_text(f"No record yet; `digitsweep promote {history.name}` writes the first.", console)
    for each in history.records:
        action = f"{each.action}{', forced' if each.forced else ''}"
        versions = f"{each.came_from or 'none'} to {each.to or 'none'}"
        at = each.at.replace("T", " ").replace("Z", " UTC")
        console.print(Text(f"{each.place:>4}  {at}  {action:<15}  {versions:<12}  ").append(each.state, STYLES[each.state]))
        why = f"{each.reason}; {each.note}" if each.note else each.reason
        console.print(Padding(Text(f"{each.who}: {why}{_counted(each)}"), (0, 0, 0, 6)))
    for note in history.notes:
        print_text(note, console)


def _counted(record: Record) -> str:
    """Which attempt it was, as a sentence after its reason."""
    try:
        return f". {decision_from(record.decision).counted}"
    except ValueError:  # no decision, or somebody else's text
        return ""


def print_readings(readings: Sequence[Reading], console: Console) -> None:
    """Prints a table with each image's note. For digits it has the label and the probability of each label in percent; for
    other images the name of the class with its probability."""
    if not readings:
        return
    if readings[0].class_names:
        table = _table("", "image", right=("page",))
        table.add_column("class", overflow="fold")
        table.add_column("")
        for each in readings:
            table.add_row(Text(each.source), str(each.page), _class(each), Text(each.note))
        console.print(table)
        return
    classes = max(len(each.probabilities) for each in readings)
    table = _table("", "image", right=("page", "digit", *(f"{label} %" for label in range(classes))))
    table.add_column("")
    for each in readings:
        shares = [Text(_whole(share), "bold" * (label == each.label)) for label, share in enumerate(each.probabilities)]
        cells = shares or [Text()] * classes
        table.add_row(Text(each.source), str(each.page), _label(each), *cells, Text(each.note))
    console.print(table)


def print_disagreements(found: Sequence[Disagreement], images: int, console: Console) -> None:
    """Prints the readings of each image that needs a look, and how many there are."""
    table = _table("", "image", right=("page",))
    for name in found[0].readings if found else ():
        table.add_column(Text(name), justify="right", overflow="fold")
    table.add_column("")
    for each in found:
        sure = [
            _label(one) if one.label is None else Text(f"{one.class_name} ({_whole(one.confidence)} %)")
            for one in each.readings.values()
        ]
        source, page = each.place
        table.add_row(Text(source), str(page), *sure, Text(each.why))
    if found:
        console.print(table)
    agreed = f"The models read all {images} images alike, without doubts."
    if images:
        print_text(f"{len(found)} of {images} images need a look." if found else agreed, console)


def _label(reading: Reading) -> Text:
    return Text("–" if reading.label is None else str(reading.label), "bold")


def _class(reading: Reading) -> Text:
    """`cat (97 %)`."""
    if reading.class_name is None:
        return Text("–", "bold")
    return Text(reading.class_name, "bold").append(f" ({_whole(reading.confidence)} %)", "not bold")


def _whole(share: float) -> str:
    """Whole percent: empty below 0.5 %, and 100 only from 99.95 %."""
    if share < 0.005:
        return ""
    return ">99" if 0.995 <= share < 0.9995 else f"{100 * share:.0f}"


def readings_as_csv(readings: Sequence[Reading]) -> str:
    """A row for each reading: source, page, label, confidence, p0 to p9, note. If classes have names, the name follows the
    label, and the columns of probabilities are p_cat and so on. All of these are empty without a label."""
    names = readings[0].class_names if readings else ()
    classes = len(names) or max((len(each.probabilities) for each in readings), default=0)
    columns = [f"p_{name}" for name in names] or [f"p{label}" for label in range(classes)]
    named = ["class"] if names else []
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["source", "page", "label", *named, "confidence", *columns, "note"])
    for each in readings:
        figures: list[float | str] = [""] * (len(named) + classes + 2)
        if each.label is not None and each.class_name is not None:
            shares = [round(share, DECIMALS) for share in (each.confidence, *each.probabilities)]
            figures = [each.label, *([each.class_name] if named else []), *shares]
        writer.writerow([each.source, each.page, *figures, each.note])
    return buffer.getvalue()


def readings_as_json(readings: Sequence[Reading]) -> str:
    """A JSON array with an object for each reading."""
    return json.dumps([_plain(each) for each in readings], indent=2, ensure_ascii=False)


def disagreements_as_json(found: Sequence[Disagreement]) -> str:
    """A JSON array with an object for each: where it is, the reason, and the readings by the model's name."""
    values = [
        {
            "source": each.place[0],
            "page": each.place[1],
            "why": each.why,
            "readings": {name: _plain(one) for name, one in each.readings.items()},
        }
        for each in found
    ]
    return json.dumps(values, indent=2, ensure_ascii=False)


def _plain(reading: Reading) -> dict[str, Any]:
    """The fields of a reading. If classes have names, its own follows the label."""
    named = {"class": reading.class_name} if reading.class_names else {}
    return {
        "source": reading.source,
        "page": reading.page,
        "label": reading.label,
        **named,
        "confidence": round(reading.confidence, DECIMALS),
        "probabilities": [round(each, DECIMALS) for each in reading.probabilities],
        "note": reading.note,
    }


def _table(title: str, *left: str, right: Sequence[str] = ()) -> Table:
    """An empty table with columns that are aligned to the left, then to the right."""
    table = Table(
        title=Text(title) if title else None, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False
    )
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table
