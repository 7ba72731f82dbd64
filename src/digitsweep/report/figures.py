"""The figures of the page, each with what it shows, in words for those who do not see it, and how to read it."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

from digitsweep.evaluation.comparison import Finalist
from digitsweep.evaluation.cost import Cost, pareto
from digitsweep.evaluation.mistakes import ClassRecall, Mistakes
from digitsweep.evaluation.statistics import Difference
from digitsweep.families import title_of
from digitsweep.report import plots
from digitsweep.report.format import METRICS, mean, percent, plural, points, proposer, score, seconds
from digitsweep.report.plots.style import COLORS
from digitsweep.trial import DIRECTIONS, OUT_OF_TIME, OUTCOMES, SearchHistory


@dataclass(frozen=True, eq=False)
class Plot:
    """A figure, as SVG for a page and as PNG for a notebook."""

    figure: plots.Figure = field(repr=False)
    """Matplotlib's; sizes in inches."""
    name: str
    """Unique on a page."""
    alt: str = field(repr=False)
    """What it shows, in words."""
    title: str
    how: str = field(repr=False)
    """A sentence on how to read it."""

    @functools.cached_property
    def svg(self) -> str:
        """An `<svg>` element in a page's colours and typeface."""
        return plots.svg(self.figure, self.name, self.alt)

    @functools.cached_property
    def png(self) -> bytes:
        """A PNG file, 100 pixels an inch."""
        return plots.png(self.figure)

    def _repr_html_(self) -> str:
        """On white, which suits a notebook's light and dark themes."""
        image = f"data:image/png;base64,{base64.b64encode(self.png).decode()}"
        return (
            f'<figure style="margin: 0 0 1em"><div><b>{escape(self.title)}</b></div>'
            f'<img alt="{escape(self.alt)}" src="{image}" style="max-width: 100%">'
            f'<figcaption style="max-width: 45em">{escape(self.how)}</figcaption></figure>'
        )


def difference(found: Difference) -> Plot:
    def signed(fraction: float) -> str:
        return points(fraction, found.images, signed=True)

    return Plot(
        plots.difference_interval(found),
        "difference",
        f"{found.second} minus {found.first}: {signed(found.accuracy)} points, 95 % interval {signed(found.low)} to "
        f"{signed(found.high)}; the smallest difference that could be shown is {points(found.smallest, found.images)}.",
        "The difference and its interval",
        "The dot is the difference in test accuracy, the bar its 95 % interval. A bar across the zero line means that "
        "these test images cannot tell the two apart; a difference inside the grey band is smaller than they can "
        "reliably show.",
    )


def differences(found: Sequence[Difference]) -> Plot:
    def signed(fraction: float) -> str:
        return points(fraction, found[0].images, signed=True)

    told = "; ".join(
        f"{each.second} minus {each.first} {signed(each.accuracy)}, {signed(each.low)} to {signed(each.high)}"
        for each in found
    )
    return Plot(
        plots.difference_intervals(found),
        "differences",
        f"The difference of each pair in points, and its interval: {told}.",
        "The differences and their intervals",
        "A dot is a difference in test accuracy, the bar its interval. A grey bar, across the zero line, means that these "
        "test images cannot tell the two apart.",
    )


def finalists(shown: Sequence[Finalist]) -> Plot | None:
    """None if no fresh seed was trained but for a refit, which is not validated."""
    if not any(each.selection or each.confirmation for each in shown):
        return None
    by_selection, metric = any(each.selection for each in shown), shown[0].chosen_by.metric
    told = "; ".join(
        f"{each.trial} search {score(each.chosen_by.search, metric)}"
        + (f", selection seeds {mean(each.chosen_by.selection, metric)}" if each.selection else "")
        + (f", confirmation seeds {mean(each.chosen_by.confirmation, metric)}" if each.confirmation else "")
        for each in shown
    )
    side = "right" if DIRECTIONS[metric] == "maximize" else "left"
    search = (
        f"A diamond to the {side} of the dots was luck: the search picked that run because it happened to go well."
        if all(each.equally_long for each in shown)
        else "The diamond is the score in the search. Where the search trained for another number of epochs, its distance "
        "from the dots is more than luck."
    )
    dots = (
        "Hollow dots chose the winner; filled ones came after the choice, and the bar is their mean."
        if by_selection
        else "The dots came after the choice of the winner, and the bar is their mean."
    )
    return Plot(
        plots.finalists_on_seeds(shown),
        "finalists",
        f"Validation {METRICS[metric]} of each {'finalist' if by_selection else 'winner'}: {told}.",
        f"{'Finalists' if by_selection else 'Winners'} on fresh seeds",
        f"Each dot is the same configuration trained again from another seed. {dots} {search}",
    )


def recalls(classes: Sequence[ClassRecall], tones: Mapping[str, str], class_name: Callable[[int], str] = str) -> Plot:
    names = list(classes[0].recalls)
    told = "; ".join(
        f"{class_name(each.label)}: "
        + ", ".join(f"{name} {percent(share.accuracy)}" for name, share in each.recalls.items() if share.total)
        for each in classes
    )
    return Plot(
        plots.class_recalls(classes, {name: COLORS[tones[name]] for name in names}, class_name),
        "recalls",
        f"Share of each label's test images that each model gets right. {told}.",
        "Each label by itself",
        "Further right is better; bars are 95 % intervals. Where the bars of a label overlap widely, the test set has "
        "too few of its images to tell the models apart on it.",
    )


def matrices(mistakes: Mistakes, tones: Mapping[str, str], class_names: Sequence[str] = ()) -> list[Plot]:
    """The confusion matrix of each model whose confused pairs are all of its errors; a shorter list would show too few."""
    found = []
    for number, (name, pairs) in enumerate(mistakes.confused.items()):
        shares = {each.label: each.recalls[name] for each in mistakes.classes if name in each.recalls}
        wrong = sum(share.total - share.hits for share in shares.values())
        if not shares or sum(pair.count for pair in pairs) != wrong:
            continue
        size = max(*shares, *(pair.predicted for pair in pairs), 0) + 1
        matrix = np.zeros((size, size), dtype=np.int64)
        for label, share in shares.items():
            matrix[label, label] = share.hits
        for pair in pairs:
            matrix[pair.true, pair.predicted] = pair.count
        found.append(
            Plot(
                plots.error_matrix(matrix, COLORS[tones[name]], class_names),
                f"matrix-{number}",
                f"Confusion matrix of {name}: {wrong} of {matrix.sum()} test images are off the diagonal; the confused "
                "pairs are in the table.",
                name,
                "Rows are the labels, columns what the model says; grey numbers are right. A strong cell is an error "
                "that is frequent for its row.",
            )
        )
    return found


def equal_cost(histories: Sequence[SearchHistory]) -> Plot:
    told = "; ".join(
        f"{title_of(each.family)} ends at {reached} after {seconds(path[-1][0])}"
        for each in histories
        if (path := plots.best_so_far(each))
        and (reached := percent(path[-1][1]) if DIRECTIONS[each.metric] == "maximize" else f"{path[-1][1]:.4g}")
    )
    return Plot(
        plots.equal_cost(histories),
        "equal-cost",
        f"The best of each search so far against its training seconds: {told or 'no trial was complete'}.",
        "The best so far, at equal cost",
        "At any number of seconds, the lower line belongs to the family with the better network so far. A line that still "
        "falls at its end would have profited from a larger budget."
        + (
            " The best is the best of the highest rung so far, so a line may rise where a rung is first reached."
            if any(len(each.rungs()) > 1 for each in histories)
            else ""
        ),
    )


def trade_offs(costs: Sequence[Cost], best: Mapping[str, str]) -> list[Plot]:
    """Accuracy against each cost that is known of every model; `best` has the tones of those that were compared."""
    wanted: list[tuple[str, str, str, Callable[[Cost], float]]] = [
        ("weights", "weights", "Accuracy and size", lambda each: float(each.weights)),
        ("train-seconds", "training seconds", "Accuracy and training", lambda each: each.train_seconds),
    ]
    batches = set.intersection(*({latency.batch for latency in each.latencies} for each in costs))
    if batches:
        least = min(batches)
        axis = f"milliseconds for {'one image' if least == 1 else f'a batch of {least}'}, median"
        wanted.append(("latency", axis, "Accuracy and latency", lambda each: 1000 * (each.latency(least) or 0.0)))
    found = []
    for name, axis, title, of in wanted:
        found.append(
            Plot(
                plots.trade_off(costs, of, axis, {name: COLORS[tone] for name, tone in best.items()}),
                f"cost-{name}",
                f"Test error against {axis}. On the front: {', '.join(pareto(costs, of))}.",
                title,
                "Lower left is better. The dashed line is the Pareto front: nothing here is both cheaper and more "
                "accurate than a model on it.",
            )
        )
    return found


def search(history: SearchHistory, winner: str = "") -> list[Plot]:
    """The trials in order, and their learning; or, of a search with rungs, who was promoted.

    winner: family, hyphen and number of its trial."""
    if history.has_rungs:
        return [rungs(history, winner)]
    family, name = history.family, title_of(history.family)
    states = [each.state for each in history.trials]
    counts = ", ".join(f"{states.count(state)} {told}" for state, told in OUTCOMES.items() if state in states)
    return [
        Plot(
            plots.search_history(history),
            f"{family}-history",
            f"What each of the {len(states)} trials of the {name} search reached, in the order of ending: {counts}.",
            "Trial by trial",
            "Each mark is a trial at its last epoch, the line the best complete one so far. Crosses and other grey marks "
            "ended early, so they stand higher than they might have ended.",
        ),
        Plot(
            plots.learning_values(history),
            f"{family}-learning",
            f"Validation after each epoch of every {name} trial; those that were cut off end early.",
            "Epoch by epoch",
            f"Each line is a trial. {_cuts(states)}Lines that cross late are what a pruner gets wrong.",
        ),
    ]


def rungs(history: SearchHistory, winner: str = "") -> Plot:
    """What each configuration reached on each rung; winner: as in `search`."""
    reached = history.rungs()
    told = "; ".join(f"{len(each)} on rung {rung}" for rung, each in enumerate(reached))
    best = next((each for each in plots.configuration_paths(history, winner) if each.won), None)
    won = f" The winner is {best.trial}, proposed by {proposer(best.proposed_by)}." if best else ""
    started = sum(each.rung > 0 for each in history.configurations())
    at_once = f" {plural(started, 'configuration')} started on the highest rung." if started else ""
    unfinished = sum(each.state != "COMPLETE" for each in history.trials)
    left_out = (
        f" {plural(unfinished, 'training')} did not come to {'its' if unfinished == 1 else 'their'} end and "
        f"{'is' if unfinished == 1 else 'are'} not shown."
        if unfinished
        else ""
    )
    return Plot(
        plots.search_rungs(history, winner),
        f"{history.family}-rungs",
        f"What the {title_of(history.family)} configurations reached: trainings that were complete, {told}.{won}",
        f"{METRICS[history.metric][0].upper()}{METRICS[history.metric][1:]} on each rung",
        "Each mark is a whole training: across its work, in predicted seconds on digitsweep’s reference machine, upwards "
        "what it reached (lower is better). A line joins the trainings of one configuration: it was promoted, and trained "
        f"again from scratch for longer.{at_once} The shape tells who proposed it: the experiment (first), digitsweep "
        "(default), a small change to one of the best so far (neighbour), TPE, the priors or chance (random). The marks of "
        f"a rung are spread a little so that they can be told apart.{left_out}",
    )


def _cuts(states: Sequence[str]) -> str:
    """What the marks at the ends of lines say, as far as there are any."""
    marks = {
        "PRUNED": "A cross is where the pruner stopped it",
        OUT_OF_TIME: "a triangle is where the family's seconds ran out",
        "FAIL": "a plus is where it failed",
    }
    told = "; ".join(text for state, text in marks.items() if state in states)
    return f"{told[0].upper()}{told[1:]}. " if told else ""


def importance(history: SearchHistory) -> Plot | None:
    if not history.importance:
        return None
    name = title_of(history.family)
    told = ", ".join(f"{key} {percent(share, 0)}" for key, share in history.importance.items())
    where = f" on rung {history.comparable()[0].rung}" if history.has_rungs else ""
    return Plot(
        plots.importance(history),
        f"{history.family}-importance",
        f"Importance of the parameters of the {name} search{where}: {told}.",
        "What mattered",
        f"How much each parameter decides whether a trial is among the best{where}, by PED-ANOVA, within the ranges that "
        "were searched. With few trials this is a hint, not a finding.",
    )


def slices(history: SearchHistory) -> list[Plot]:
    return [
        Plot(
            plots.parameter_slice(history, name),
            f"{history.family}-slice-{number}",
            f"The objective of each complete {title_of(history.family)} trial against {name}.",
            name,
            "",
        )
        for number, name in enumerate(plots.sliced(history))
    ]
