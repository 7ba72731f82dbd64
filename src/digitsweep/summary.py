"""A comparison on a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from digitsweep.cautions import cautions
from digitsweep.comparison import Comparison, Entry, Finalist
from digitsweep.experiment import Experiment
from digitsweep.statistics import Share, Spread
from digitsweep.verdict import the

WIDE, NARROW = 120, 90
"""Columns of a terminal from which on intervals stand behind their accuracies, and below which some columns are left out."""

EXPLAINED = 0.005
"""From here on a difference to a published accuracy is explained."""


def print_summary(comparison: Comparison, console: Console) -> None:
    """The best of each family beside the baselines, the verdict, and what else there is to say."""
    data = comparison.data
    table = Table(
        title=f"{comparison.experiment} on {data['name']}: {escape(comparison.question)}",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    wide, narrow = console.width >= WIDE, console.width < NARROW
    rows = [_cells(each, " " if wide else "\n") for each in comparison.entries]
    filled = [column for column in _COLUMNS if any(row[column] for row in rows)]
    shown = [column for column in filled if not (narrow and column in _LEFT_OUT)]
    table.add_column("", no_wrap=True)
    table.add_column("network", min_width=12)
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    for each, cells in zip(comparison.entries, rows, strict=True):
        table.add_row(
            escape(comparison.name_of(each)),
            escape(each.network),
            *(cells[name] for name in shown),
            style="bold" if each.role == "best" else "",
        )
    console.print(table)
    for line in sentences(comparison):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def print_plan(experiment: Experiment, workers: int, console: Console) -> None:
    """An experiment's space, what its search would cost at most, and what comes on top."""
    budget = experiment.budget
    console.print(f"{experiment.name}: {experiment.question}", markup=False, highlight=False)
    for family, each in experiment.families.items():
        if each.space.searched or each.space.fixed:
            table = Table(title=f"{family}: space", title_justify="left", title_style="bold", pad_edge=True)
            table.add_column("hyperparameter")
            table.add_column("is")
            table.add_column("values")
            for name, what in each.space.describe():
                table.add_row(name, "searched" if name in each.space.searched else "fixed", escape(what))
            console.print(table)
        for name, baseline in each.baselines.items():
            epochs = baseline.epochs or budget.epochs
            text = f"{family} baseline {name}: {baseline.typed().describe()}, {epochs} epochs"
            console.print(text, markup=False, highlight=False)
    families = len(experiment.families)
    epochs = families * budget.trials * budget.epochs
    console.print(
        f"The search: at most {families * budget.trials} trials and {epochs:,} epochs, {budget.seconds:g} training seconds "
        f"for each family: with {workers} worker{'s' if workers != 1 else ''} about "
        f"{families * budget.seconds / workers / 60:.1f} min where the seconds decide. On top of it come the baselines"
        f"{_finalists_plan(experiment)}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _finalists_plan(experiment: Experiment) -> str:
    spec = experiment.finalists
    if spec is None:
        return ""
    trainings = f"{spec.top} configurations on {spec.seeds} fresh seeds{' and a refit' if spec.refit else ''}"
    each = " and ".join(
        f"{spec.epochs_of(family, experiment.budget.epochs)} epochs for the {family.upper()}"
        for family in experiment.families
    )
    return f", and then for each family {trainings}, each of them {each}"


def sentences(comparison: Comparison) -> list[str]:
    """What stands below the table, the verdict first."""
    lines = [comparison.verdict] if comparison.verdict else []
    lines += [f"Mind: {each}" for each in cautions(comparison)]
    images = comparison.data["images"]
    chosen = f"Chosen on {images['validation']:,} validation images; t" if images["validation"] else "T"
    once = all(each.number == 1 for each in comparison.openings)
    opened = "once for each, after the choice" if once else "more than once"
    lines.append(f"In brackets 95 % intervals. {chosen}he {images['test']:,} test images were opened {opened}.")
    if comparison.earlier_sweeps:
        sweeps = "other sweep" if comparison.earlier_sweeps == 1 else "other sweeps"
        lines.append(f"{comparison.earlier_sweeps} {sweeps} recorded there had opened the same test images before.")
    lines += [_on_fresh_seeds(each, comparison) for each in comparison.finalists if each.won]
    if differing := comparison.difference:
        first, second = the(differing.first), the(differing.second)
        lines.append(
            f"Of the {differing.first_wrong} test images that {first} gets wrong, {second} gets "
            f"{differing.only_first_wrong} right; of the {differing.second_wrong} that {second} gets wrong, "
            f"{first} gets {differing.only_second_wrong} right; {differing.both_wrong} both get wrong."
        )
    for family, each in comparison.spent.items():
        states = ", ".join(f"{count} {state.lower()}" for state, count in sorted(each.trials.items())) or "none"
        lines.append(
            f"{family.upper()}: trials {states}, {each.seconds:.0f} training seconds of the "
            f"{comparison.budget['seconds']:g} allowed; {each.baselines} baselines, {each.baseline_seconds:.0f} s"
            f"{f'; {each.finalists} finalists, {each.finalist_seconds:.0f} s' if each.finalists else ''}."
        )
    lines += [line for each in comparison.entries if (line := _against_published(each))]
    if comparison.spent:
        lines += [f"Registered {each.model}, alias challenger." for each in comparison.best() if each.model]
    return lines


def _on_fresh_seeds(finalist: Finalist, comparison: Comparison) -> str:
    """How much of the winner's score was luck."""
    rivals = [each for each in comparison.finalists if each.family == finalist.family]
    spread = f" ± {100 * finalist.std:.2f}" if finalist.std is not None else ""
    test = Spread(finalist.test)
    tested = f"; their networks get {test.mean:.2%} of the test images" if finalist.test else ""
    return (
        f"The {finalist.family.upper()} of {finalist.trial} won among {len(rivals)} on {len(finalist.seeds)} fresh seeds: "
        f"{finalist.search:.2%} in the search, {finalist.mean:.2%}{spread} on the seeds{tested}."
    )


def _against_published(entry: Entry) -> str:
    """A sentence on a baseline that is further from its published figure than EXPLAINED."""
    if entry.role != "baseline" or entry.published_accuracy is None or entry.test is None:
        return ""
    difference = entry.test.accuracy - entry.published_accuracy
    if abs(difference) <= EXPLAINED:
        return ""
    name, way = entry.trial.partition(" ")[2], "above" if difference > 0 else "below"
    return f"{name} is {100 * abs(difference):.1f} points {way} its published figure: {entry.note or 'nobody has said why'}."


_COLUMNS = ("validation", "test", "published", "weights", "train s")
_LEFT_OUT = ("published", "train s")
"""On a narrow terminal."""


def _cells(entry: Entry, between: str) -> dict[str, str]:
    return {
        "validation": _share(entry.validation, between) if entry.validation else "",
        "test": _share(entry.test, between) if entry.test else "",
        "published": f"{entry.published_accuracy:.1%}" if entry.published_accuracy else "",
        "weights": f"{entry.weights:,}",
        "train s": f"{entry.train_seconds:.1f}",
    }


def _share(share: Share, between: str) -> str:
    """Accuracy and 95 % interval, behind or below each other."""
    low, high = share.interval
    return f"{share.accuracy:.2%}{between}({100 * low:.2f} to {100 * high:.2f})"
