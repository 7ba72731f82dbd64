"""The figures of the page, each with what it shows, in words for those who do not see it, and how to read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from digitsweep import plots
from digitsweep.comparison import Finalist
from digitsweep.cost import Cost, pareto
from digitsweep.evidence import ClassRecall, Evidence
from digitsweep.history import SearchHistory
from digitsweep.report.wording import percent, points, spread
from digitsweep.statistics import Difference

COLORS = {"first": plots.FIRST, "second": plots.SECOND}


@dataclass(frozen=True)
class Plot:
    """A figure for the page."""

    svg: str
    title: str
    how: str
    """A sentence on how to read it."""
    wide: bool = False
    """Scrolls in its own box on a phone instead of getting too small to be read."""


def _plot(figure: plots.Figure, name: str, alt: str, title: str, how: str, *, wide: bool = False) -> Plot:
    return Plot(plots.svg(figure, name, alt), title, how, wide)


def difference(found: Difference) -> Plot:
    return _plot(
        plots.difference_interval(found),
        "difference",
        f"{found.second} minus {found.first}: {points(found.accuracy)} points, 95 % interval {points(found.low)} to "
        f"{points(found.high)}; the least difference that could be shown is {points(found.smallest)}.",
        "The difference and its interval",
        "The dot is the difference in test accuracy, the bar its 95 % interval. A bar across the zero line means that "
        "these test images cannot tell the two apart; a difference inside the grey band is smaller than they can "
        "reliably show.",
    )


def finalists(shown: Sequence[Finalist]) -> Plot:
    told = "; ".join(f"{each.trial} search {percent(each.search)}, fresh seeds {spread(each.validation)}" for each in shown)
    return _plot(
        plots.finalists_on_seeds(shown),
        "finalists",
        f"Validation accuracy of each finalist: {told}.",
        "Finalists on fresh seeds",
        "Each dot is the same configuration trained again from another seed, the bar their mean. A diamond to the right "
        "of the dots is luck: the search picked that run because it happened to go well.",
    )


def recalls(classes: Sequence[ClassRecall], tones: Mapping[str, str]) -> Plot:
    names = list(classes[0].recalls)
    told = "; ".join(
        f"{each.label}: "
        + ", ".join(f"{name} {percent(share.accuracy)}" for name, share in each.recalls.items() if share.total)
        for each in classes
    )
    return _plot(
        plots.class_recalls(classes, {name: COLORS[tones[name]] for name in names}),
        "recalls",
        f"Share of each label's test images that is classified rightly. {told}.",
        "Each label by itself",
        "Further right is better; bars are 95 % intervals. Where the bars of a label overlap widely, the test set has "
        "too few of its images to tell the models apart on it.",
    )


def matrices(evidence: Evidence, tones: Mapping[str, str]) -> list[Plot]:
    """The confusion matrix of each model whose confused pairs are all of its errors; a shorter list would show too few."""
    found = []
    for number, (name, pairs) in enumerate(evidence.confused.items()):
        shares = {each.label: each.recalls[name] for each in evidence.classes if name in each.recalls}
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
            _plot(
                plots.error_matrix(matrix, COLORS[tones[name]]),
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
        f"{each.family.upper()} ends at {reached} after {path[-1][0]:.0f} seconds"
        for each in histories
        if (path := plots.best_so_far(each))
        and (reached := percent(path[-1][1]) if each.metric == "val_accuracy" else f"{path[-1][1]:.4g}")
    )
    return _plot(
        plots.equal_cost(histories),
        "equal-cost",
        f"The best of each search so far against its training seconds: {told or 'no trial was complete'}.",
        "The best so far, at equal cost",
        "Go up from any number of seconds: the lower line is the family that had the better network by then. A line that "
        "is still falling at its end would have used a larger budget.",
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
            _plot(
                plots.trade_off(costs, of, axis, {name: COLORS[tone] for name, tone in best.items()}),
                f"cost-{name}",
                f"Test error against {axis}. On the front: {', '.join(pareto(costs, of))}.",
                title,
                "Lower left is better. The dashed line is the Pareto front: nothing here is both cheaper and more "
                "accurate than a model on it.",
            )
        )
    return found


def search(history: SearchHistory) -> list[Plot]:
    """The trials in order, and their learning."""
    family, name = history.family, history.family.upper()
    states = [each.state for each in history.trials]
    counts = ", ".join(f"{states.count(state)} {state.lower()}" for state in dict.fromkeys(states))
    return [
        _plot(
            plots.search_history(history),
            f"{family}-history",
            f"What each of the {len(states)} trials of the {name} search reached, in the order of ending: {counts}.",
            "Trial by trial",
            "Each mark is a trial at its last epoch, the line the best complete one so far. Crosses were stopped early, "
            "so they stand higher than they might have ended.",
        ),
        _plot(
            plots.learning_values(history),
            f"{family}-learning",
            f"Validation after each epoch of every {name} trial; the pruned ones end early.",
            "Epoch by epoch",
            "Each line is a trial; a cross is where the pruner stopped it. Lines that cross late are what a pruner gets "
            "wrong.",
        ),
    ]


def importance(history: SearchHistory) -> Plot | None:
    if not history.importance:
        return None
    name = history.family.upper()
    told = ", ".join(f"{key} {share:.0%}" for key, share in history.importance.items())
    return _plot(
        plots.importance(history),
        f"{history.family}-importance",
        f"Importance of the parameters of the {name} search: {told}.",
        "What mattered",
        "How much each parameter decides whether a trial is among the best, by PED-ANOVA, within the ranges that were "
        "searched. With few trials this is a hint, not a finding.",
    )


def parameters(history: SearchHistory) -> Plot | None:
    if not any(each.params for each in plots.drawn_trials(history)):
        return None
    return _plot(
        plots.parallel_coordinates(history),
        f"{history.family}-parallel",
        f"Parallel coordinates of the {history.family.upper()} search: one line for each trial, one axis for each "
        "parameter.",
        "All parameters at once",
        "Follow a line from left to right: it crosses each axis at the trial's value and ends at what it reached, the "
        "best on top. The stronger the colour, the better the trial; pruned ones are thin and grey.",
        wide=True,
    )


def slices(history: SearchHistory) -> list[Plot]:
    shown = [
        name
        for name in plots.sliced(history)
        if any(each.state == "COMPLETE" and each.values and name in each.params for each in history.trials)
    ]
    return [
        _plot(
            plots.parameter_slice(history, name),
            f"{history.family}-slice-{number}",
            f"The objective of each complete {history.family.upper()} trial against {name}.",
            name,
            "",
        )
        for number, name in enumerate(shown)
    ]
