"""What a comparison says, in sentences that page, terminal, Markdown and MLflow share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from digitsweep.evaluation.comparison import Comparison, Entry, Finalist
from digitsweep.evaluation.imbalance import misleading_class
from digitsweep.evaluation.mistakes import Overlap
from digitsweep.evaluation.statistics import SEEDS_ADVISED, SEEDS_NEEDED, Difference, FamilyDifference
from digitsweep.families import title_of
from digitsweep.report.format import (
    METRICS,
    estimate,
    listed,
    mean,
    p_value,
    percent,
    plural,
    points,
    score,
    seconds,
    the,
    times,
)
from digitsweep.trial import DIRECTIONS, SearchHistory

_OVER_BOTH = "Over training seeds and test images together,"
_ADVICE = {False: f"set finalists.confirm to {SEEDS_ADVISED}", True: "give the sweep more minutes"}
"""How to get more seeds, by whether the budget is in minutes."""


def verdict(*found: Difference) -> str:
    """One sentence about trained networks that were compared in pairs: which are better, or that this test set cannot tell.
    Empty without a comparison.

    It is about these networks; `family_verdict` is about what other seeds would give."""
    if len(found) < 2:
        return _difference_told(found[0]) if found else ""
    better, apart = _standing(found, lambda name: name)
    unknown = ", or ".join(f"{group[0]} from {group[1]}" if len(group) == 2 else f"{listed(group)} apart" for group in apart)
    told = [f"of these networks, {better}"] if better else []
    told += [f"this test set cannot tell {unknown}"] if apart else []
    return f"{_capital('; '.join(told))} ({found[0].images:,} test images; {_corrected(found)})."


def _difference_told(difference: Difference) -> str:
    """Which of two networks is better and by how much, or that the test set cannot tell."""
    first, second = the(difference.first, "this"), the(difference.second, "this")
    ahead, behind = (the(each, "this") for each in difference.ranked)
    images, gap, figures = difference.images, points(abs(difference.accuracy), difference.images), _figures(difference)
    if difference.significant:
        return f"{_capital(ahead)} is better than {behind} by {gap} points on {images:,} test images ({figures})."
    if difference.accuracy:
        seen = f"{ahead} is ahead by {gap} points ({figures})"
    elif difference.discordant:
        seen = f"both get {difference.first_wrong:,} of {images:,} images wrong ({figures})"
    else:
        seen = f"both are right on the same images ({figures})"
    could = (
        f"a difference of {points(difference.smallest, images)} points or more would probably have shown"
        if difference.smallest < 1.0
        else f"with {images:,} images no difference would have shown"
    )
    return f"This test set cannot tell {first} from {second}: {seen}; {could}."


def family_verdict(*found: FamilyDifference, alone: Sequence[str] = (), in_minutes: bool = False) -> str:
    """What can be said about the families, over seeds and images together: which is better, that they cannot be told apart,
    or that there are too few networks to say.

    alone: the titles of families with too few networks to be compared. in_minutes: whether the budget is in minutes, which
    decides what the advice on more seeds is."""
    if not any(each.enough_seeds for each in found):
        return (
            "A single network does not show what another seed would change, so nothing can be said about the families. "
            f"Train each winner on at least {SEEDS_NEEDED} fresh seeds, better on {SEEDS_ADVISED}: {_ADVICE[in_minutes]}."
        )
    told = [_family_difference_told(found[0]) if len(found) == 1 else _families_told(found)]
    if alone:
        names = listed([the(each) for each in alone])
        told.append(f"Nothing can be said about {names}: a single network does not show what another seed would change.")
    few = min(seeds for each in found for seeds in each.seeds) < SEEDS_ADVISED
    if alone or (few and not all(each.significant for each in found)):
        told.append(f"More seeds would tell more: {_ADVICE[in_minutes]}.")
    return " ".join(told)


def _family_difference_told(found: FamilyDifference) -> str:
    ahead, behind = map(the, found.ranked)
    gap, networks = points(abs(found.accuracy), found.images), f"{found.seeds[0]} networks of each"
    if found.seeds[0] != found.seeds[1]:
        networks = f"{found.seeds[0]} networks of {the(found.first)}, {found.seeds[1]} of {the(found.second)}"
    figures = f"{networks}, {_figures(found)}"
    if found.significant:
        return f"{_OVER_BOTH} {ahead} is better than {behind} by {gap} points ({figures})."
    seen = f"{ahead} is ahead by {gap} points" if found.accuracy else "their mean accuracies are equal"
    return f"{_OVER_BOTH} {the(found.first)} and {the(found.second)} cannot be told apart: {seen} ({figures})."


def _families_told(found: Sequence[FamilyDifference]) -> str:
    better, apart = _standing(found, the)
    told = [*([better] if better else []), *(f"{listed(group)} cannot be told apart" for group in apart)]
    fewest, most = (pick(seeds for each in found for seeds in each.seeds) for pick in (min, max))
    networks = f"{fewest} networks" if fewest == most else f"{fewest} to {most} networks"
    return f"{_OVER_BOTH} {'; '.join(told)} ({networks} of each; {_corrected(found)})."


def _standing(
    found: Sequence[Difference] | Sequence[FamilyDifference], called: Callable[[str], str]
) -> tuple[str, list[list[str]]]:
    """From the comparisons of all pairs: which are better than which, the best first (empty if none is); and the groups
    within which none is better than another (Piepho 2004, "An algorithm for a letter-based representation of all-pairwise
    comparisons", Journal of Computational and Graphical Statistics 13)."""
    lead = dict.fromkeys((name for each in found for name in (each.first, each.second)), 0.0)
    for each in found:
        lead[each.first] -= each.accuracy
        lead[each.second] += each.accuracy
    names = sorted(lead, key=lambda name: -lead[name])
    decided = [each.ranked for each in found if each.significant]
    winners: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        if beaten := tuple(each for each in names if (name, each) in decided):
            winners.setdefault(beaten, []).append(name)
    groups = [names]
    for pair in decided:
        parts = [
            [name for name in group if name != left_out]
            for group in groups
            for left_out in (pair if {*pair} <= {*group} else ("",))
        ]
        groups = [each for each in parts if not any({*each} < {*other} for other in parts)]
    places = sorted({tuple(map(names.index, group)) for group in groups if len(group) > 1})
    better = [
        f"{listed([*map(called, group)])} {'is' if len(group) == 1 else 'are'} better than {listed([*map(called, beaten)])}"
        for beaten, group in winners.items()
    ]
    return "; ".join(better), [[called(names[place]) for place in group] for group in places]


def _corrected(found: Sequence[Difference] | Sequence[FamilyDifference]) -> str:
    return f"Holm's correction for {len(found)} comparisons"


def _capital(text: str) -> str:
    """The text with a capital letter, unless it begins with the name of a registered model."""
    return text[0].upper() + text[1:] if text.startswith(("this ", "of ")) else text


def _figures(found: Difference | FamilyDifference) -> str:
    """The interval of the lead of the one that is ahead, and the p-value."""
    low, high = (found.low, found.high) if found.accuracy >= 0.0 else (-found.high, -found.low)
    return f"95 % interval {points(low, found.images)} to {points(high, found.images)}, {p_value(found.p_value)}"


def overlap(found: Overlap) -> str:
    """How many test images three or more models all get right, all get wrong, and each of them alone gets wrong."""
    alone = listed([f"{the(name)} {count:,}" for name, count in found.only_wrong.items()])
    return (
        f"Of {found.images:,} test images, all models get {found.all_right:,} right and {found.all_wrong:,} wrong. Images "
        f"that only one of them gets wrong: {alone}."
    )


def cautions(comparison: Comparison) -> list[str]:
    """What a reader should know before the figures."""
    found = []
    if comparison.state == "INTERRUPTED":
        found.append("The sweep was interrupted before its budget was spent: this compares what was finished by then.")
    elif comparison.state != "COMPLETE":
        found.append(f"The sweep is {comparison.state}, not COMPLETE: this compares what there was.")
    again = max((each.number for each in comparison.openings), default=0)
    if again > 1:
        found.append(
            f"The test set was opened {again} times for the same family. Anything chosen after the first time may depend on "
            "it, which makes its test accuracy too optimistic."
        )
    same = comparison.duplicates
    if same and same.train_test:
        unsplit = same.validation_test is None
        found.append(
            f"{_are_also(same.train_test)} among the training {'and validation ' if unsplit else ''}images, pixel by pixel. "
            f"A model may have memorized them{', or have been chosen by them' if unsplit else ''}, which makes its test "
            "accuracy too optimistic."
        )
    if same and same.validation_test:
        found.append(
            f"{_are_also(same.validation_test)} among the validation images, which chose the models, pixel by pixel."
        )
    if len(comparison.precisions) > 1:
        found.append(
            f"The trainings ran on different processors, in {listed(comparison.precisions)}. The same configuration and "
            "seed give other values on another processor, so small differences may come from the processor."
        )
    if comparison.mistakes and (unequal := misleading_class(comparison.mistakes.classes)):
        label, share = unequal
        found.append(
            f"The classes are so unequal that accuracy misleads: always answering {comparison.class_name(label)} would be "
            f"right on {percent(share.accuracy)} of the test images, so that is the accuracy to beat."
        )
    return found


def _are_also(images: int) -> str:
    return f"{images:,} test {'image is' if images == 1 else 'images are'} also"


def earlier_openings(comparison: Comparison) -> str:
    """How often the test images had been opened before."""
    told = times(comparison.opened_before, comparison.models_before)
    return f"The tracking server knows of earlier openings of the same test images: {told}."


def counted_alike(comparison: Comparison, best: Entry) -> str:
    """Balanced accuracy and macro F1 of a family's best on the test images; empty if accuracy does not mislead and the
    objective is neither of the two."""
    averages, mistakes = best.averages, comparison.mistakes
    chosen_so = comparison.metric in ("val_balanced_accuracy", "val_macro_f1")
    if averages is None or not (chosen_so or (mistakes and misleading_class(mistakes.classes))):
        return ""
    name = f"The {comparison.name_of(best)}" if comparison.spent else comparison.name_of(best)
    return (
        f"{name} has a balanced accuracy of {estimate(averages.balanced_accuracy)} on the test images and a macro F1 of "
        f"{estimate(averages.macro_f1)}."
    )


def how_chosen(comparison: Comparison, best: Entry) -> str:
    """How a best was chosen on the validation images, and what it is worth on seeds that chose nothing; empty for a model
    that was named rather than found by a sweep."""
    name, finalist, metric = title_of(best.family), comparison.finalist_of(best), comparison.metric
    if finalist is None:
        value = best.search_val_accuracy if best.score is None else best.score
        if value is None:
            return ""
        return (
            f"The {name}, {best.trial}, got {_reached(value, metric)} and was chosen by that score, which "
            "is therefore too optimistic: no fresh seed was trained."
        )
    scores = finalist.chosen_by
    searched = (
        f"The {name}, {finalist.trial}, got {_reached(scores.search, metric)} in the search "
        f"({plural(finalist.search_epochs, 'epoch')})"
    )
    if finalist.selection_seeds:
        rivals = sum(each.family == best.family for each in comparison.finalists)
        chosen = (
            f"{searched} and {mean(scores.selection, metric)} on "
            f"{plural(len(finalist.selection_seeds), 'selection seed')} ({plural(finalist.epochs, 'epoch')}), "
            f"{f'the best of {rivals} finalists' if rivals > 1 else 'the only finalist'}."
        )
        flatters = f"the mean over the seeds that chose a winner is a little too {_flattering(metric)}" if rivals > 1 else ""
    else:
        origin = f" Its configuration was {ORIGINS[finalist.proposed_by]}." if finalist.proposed_by in ORIGINS else ""
        chosen = f"{searched}, {_place(comparison.history.get(finalist.family), finalist)}.{origin}"
        flatters = f"the score that chose a winner is too {_flattering(metric)}"
    if finalist.confirmation is None:
        return f"{chosen} No confirmation seed was trained, and {flatters}." if flatters else chosen
    networks = "this network gets" if len(finalist.confirmation_seeds) == 1 else "these networks get"
    return (
        f"{chosen} On {plural(len(finalist.confirmation_seeds), 'confirmation seed')}, which chose nothing, it got "
        f"{mean(scores.confirmation, metric)}; {networks} {mean(finalist.confirmation_test_accuracies)} of "
        f"the test images right. {optimism(finalist)}"
    )


def _reached(value: float, metric: str) -> str:
    """A value of the objective, as the object of a sentence."""
    if metric == "val_accuracy":
        return f"{percent(value)} of the validation images right"
    return f"a {METRICS[metric]} of {score(value, metric)} on the validation images"


def _flattering(metric: str) -> str:
    return "high" if DIRECTIONS[metric] == "maximize" else "low"


ORIGINS = {
    "first": "named in the experiment",
    "default": "named by digitsweep",
    "neighbour": "drawn near one of the best at the time",
    "tpe": "drawn by TPE",
    "prior": "drawn near the priors",
    "random": "drawn at random",
}
"""Where a configuration comes from, by what `proposed_by` says."""


def _place(history: SearchHistory | None, winner: Finalist) -> str:
    """Among which trainings a winner that was chosen by the search alone was the best."""
    if history is None or not history.has_rungs:
        return "the best of the search" if history is None or history.trials else "the best of the baselines"
    if not winner.proposed_by:
        return "the best of the baselines and the highest rung"
    rungs = history.rungs()
    rivals = len(rungs[-1])
    if len(rungs) == 1:
        return f"the best of {rivals} configurations" if rivals > 1 else "the only configuration"
    return f"the best of {rivals} on the highest rung" if rivals > 1 else "the only one on the highest rung"


def search_told(history: SearchHistory) -> str:
    """What a search with rungs has tried: how many configurations, from where, how many started above the lowest rung, and
    how many were promoted."""
    if not history.has_rungs:
        return ""
    configurations = history.configurations()
    tried = Counter(each.proposed_by for each in configurations)
    origins = ": " + ", ".join(f"{tried[by]:,} {told}" for by, told in ORIGINS.items() if by in tried)
    if len(tried) == 1:
        origins = f", {'all ' if tried.total() > 1 else ''}{ORIGINS[next(iter(tried))]}"
    told = f"The {title_of(history.family)} search tried {plural(tried.total(), 'configuration')}{origins}."
    started = Counter(each.rung for each in configurations if each.rung)
    promoted = Counter(each.rung for each in history.trials if each.rung) - started
    if tried.total() == 1:
        told += f" It started on rung {next(iter(started))}." if started else ""
        told += f" It was promoted to {listed([f'rung {rung}' for rung in sorted(promoted)])}." if promoted else ""
    elif started or promoted:
        parts = [f"{started[rung]:,} started on rung {rung}" for rung in sorted(started)]
        for place, rung in enumerate(sorted(promoted)):
            were = f" {'was' if promoted[rung] == 1 else 'were'} promoted" if place == 0 else ""
            parts.append(f"{promoted[rung]:,}{were} to rung {rung}")
        told += f" Of these, {listed(parts)}."
    if history.too_slow:
        are = "another configuration was" if history.too_slow == 1 else f"{history.too_slow:,} other configurations were"
        told += f" {are[0].upper()}{are[1:]} too slow for these minutes and not trained."
    return told


def fresh_seeds(comparison: Comparison) -> str:
    """What the finalists' seeds are for, and what their means are worth."""
    won = [each for each in comparison.finalists if each.won]
    told = "The best score of a search is partly luck. So "
    unbiased = "which chose nothing: their means, given with the standard deviation over the networks, are unbiased."
    unknown = "No confirmation seed was trained, so no unbiased mean is known."
    is_confirmed = any(each.confirmation for each in won)
    if won and not any(each.selection for each in comparison.finalists):
        return f"{told}the winner of each search was trained again" + (
            f" on confirmation seeds, {unbiased}" if is_confirmed else f". {unknown}"
        )
    told += "the best few configurations of each search were trained again on fresh seeds"
    if not won:
        return f"{told}, but none of them finished all of its seeds: the best of the search was taken."
    told += ". These selection seeds chose the winner: the best mean won, so it is partly luck too."
    return f"{told} {f'Then the winner was trained on confirmation seeds, {unbiased}' if is_confirmed else unknown}"


def limits(comparison: Comparison) -> str:
    """What limited the searches; empty if there was no sweep."""
    budget = comparison.budget
    if "minutes" in budget:
        had = f"The sweep had {plural(budget['minutes'], 'minute')} from the command to the answer."
        aside = ", apart from the baselines" if any(each.role == "baseline" for each in comparison.entries) else ""
        return f"{had} The families shared them equally{aside}." if len(comparison.spent) > 1 else had
    if not budget.get("trials"):
        return ""
    return (
        f"The search of each family had the same limits: at most {plural(budget['trials'], 'trial')}, "
        f"{plural(budget['epochs'], 'epoch')} a trial and {seconds(budget['seconds'])} of training. Everything else comes "
        "on top."
    )


def on_validation(comparison: Comparison, entry: Entry) -> str:
    """The objective's value for networks that were not chosen by it: the confirmation networks of a best, the one network
    of a baseline. Empty if there is none."""
    finalist = comparison.finalist_of(entry)
    if finalist is not None and finalist.confirmation is not None:
        confirmed = mean(finalist.chosen_by.confirmation, comparison.metric)
        return f"{confirmed} ({plural(len(finalist.confirmation_seeds), 'seed')})"
    if entry.validation is None:
        return ""
    return score(entry.validation.accuracy if entry.score is None else entry.score, comparison.metric)


def optimism(finalist: Finalist) -> str:
    """By how much the search overrated a winner by the objective, or why that is not known."""
    name = title_of(finalist.family)
    if finalist.optimism is not None and abs(finalist.optimism) < 1e-9:
        return f"The search scored the {name} exactly as high as its mean over the confirmation seeds."
    if finalist.optimism is not None:
        gap, way = abs(finalist.optimism), "above" if finalist.optimism >= 0.0 else "below"
        told = f"{gap:.4f}" if finalist.chosen_by.metric == "val_loss" else f"{points(gap)} points"
        return f"The search scored the {name} {told} {way} its mean over the confirmation seeds."
    if finalist.confirmation is None:
        return f"How far the search overrated the {name} was not measured: that takes confirmation seeds."
    return (
        f"How far the search overrated the {name} was not measured: the search trained "
        f"{plural(finalist.search_epochs, 'epoch')}, the finalists {finalist.epochs:g}."
    )
