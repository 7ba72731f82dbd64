"""What a comparison says, in sentences that page, terminal, Markdown and MLflow share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from digitsweep.evaluation.comparison import Comparison, Entry, Finalist
from digitsweep.evaluation.statistics import LEVEL, SEEDS_ADVISED, SEEDS_NEEDED, Difference, FamilyDifference
from digitsweep.report.format import mean, p_value, percent, plural, points, seconds, the, times
from digitsweep.trial import SearchHistory

_OVER_BOTH = "Over training seeds and test images together,"
_ADVICE = {False: f"set finalists.confirm to {SEEDS_ADVISED}", True: "give the sweep more minutes"}
"""How to get more seeds, by whether the budget is in minutes."""


def verdict(difference: Difference) -> str:
    """One sentence: which of these two trained models is better and by how much, or that this test set cannot tell.

    It is about these two networks; `family_verdict` is about what other seeds would give. If the second model was the best
    of several rivals, the sentence names the correction."""
    first, second = the(difference.first, "this"), the(difference.second, "this")
    ahead, behind = (second, first) if difference.accuracy >= 0.0 else (first, second)
    images, gap, figures = difference.images, points(abs(difference.accuracy), difference.images), _figures(difference)
    if difference.rivals > 1:
        figures += f"; Bonferroni's correction for {difference.rivals} comparisons"
    if difference.significant:
        subject = ahead.replace("this ", "This ", 1) if ahead.startswith("this ") else ahead
        return f"{subject} is better than {behind} by {gap} points on {images:,} test images ({figures})."
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


def family_verdict(found: FamilyDifference | None, *, in_minutes: bool = False) -> str:
    """One or two sentences about the families, over seeds and images together: which is better and by how much, that they
    cannot be told apart, or that there are too few networks to say.

    in_minutes: whether the budget is in minutes, from which the number of seeds follows."""
    if found is None or not found.enough_seeds:
        return (
            "A single network does not show what another seed would change, so nothing can be said about the families. "
            f"Train each winner on at least {SEEDS_NEEDED} fresh seeds, better on {SEEDS_ADVISED}: {_ADVICE[in_minutes]}."
        )
    ahead, behind = (found.second, found.first) if found.accuracy >= 0.0 else (found.first, found.second)
    gap, networks = points(abs(found.accuracy), found.images), f"{found.seeds[0]} networks of each"
    if found.seeds[0] != found.seeds[1]:
        networks = f"{found.seeds[0]} networks of {the(found.first)}, {found.seeds[1]} of {the(found.second)}"
    figures = f"{networks}, {_figures(found)}"
    if found.p_value < LEVEL:
        return f"{_OVER_BOTH} {the(ahead)} is better than {the(behind)} by {gap} points ({figures})."
    seen = f"{the(ahead)} is ahead by {gap} points" if found.accuracy else "their mean accuracies are equal"
    more = "" if min(found.seeds) >= SEEDS_ADVISED else f" More seeds would tell more: {_ADVICE[in_minutes]}."
    return f"{_OVER_BOTH} {the(found.first)} and {the(found.second)} cannot be told apart: {seen} ({figures}).{more}"


def _figures(found: Difference | FamilyDifference) -> str:
    """Interval, seen from whoever is ahead, and p-value."""
    low, high = (found.low, found.high) if found.accuracy >= 0.0 else (-found.high, -found.low)
    return f"95 % interval {points(low, found.images)} to {points(high, found.images)}, {p_value(found.p_value)}"


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
    return found


def _are_also(images: int) -> str:
    return f"{images:,} test {'image is' if images == 1 else 'images are'} also"


def earlier_openings(comparison: Comparison) -> str:
    """How often the test images had been opened before."""
    told = times(comparison.opened_before, comparison.models_before)
    return f"The tracking server knows of earlier openings of the same test images: {told}."


def how_chosen(comparison: Comparison, best: Entry) -> str:
    """How a best was chosen on the validation images, and what it is worth on seeds that chose nothing; empty for a model
    that was named rather than found by a sweep."""
    name, finalist, score = best.family.upper(), comparison.finalist_of(best), best.search_val_accuracy
    if finalist is None:
        if score is None:
            return ""
        return (
            f"The {name}, {best.trial}, got {percent(score)} of the validation images and was chosen by that score, which "
            "is therefore too optimistic: no fresh seed was trained."
        )
    searched = (
        f"The {name}, {finalist.trial}, got {percent(finalist.search_val_accuracy)} of the validation images in the search "
        f"({plural(finalist.search_epochs, 'epoch')})"
    )
    if finalist.selection_seeds:
        rivals = sum(each.family == best.family for each in comparison.finalists)
        chosen = (
            f"{searched} and {mean(finalist.selection_val_accuracies)} on "
            f"{plural(len(finalist.selection_seeds), 'selection seed')} ({plural(finalist.epochs, 'epoch')}), "
            f"{f'the best of {rivals} finalists' if rivals > 1 else 'the only finalist'}."
        )
        flatters = "the mean over the seeds that chose a winner is a little too high" if rivals > 1 else ""
    else:
        origin = f" Its configuration was {ORIGINS[finalist.proposed_by]}." if finalist.proposed_by in ORIGINS else ""
        chosen = f"{searched}, {_place(comparison.history.get(finalist.family), finalist)}.{origin}"
        flatters = "the score that chose a winner is too high"
    if finalist.confirmation is None:
        return f"{chosen} No confirmation seed was trained, and {flatters}." if flatters else chosen
    networks = "this network gets" if len(finalist.confirmation_seeds) == 1 else "these networks get"
    return (
        f"{chosen} On {plural(len(finalist.confirmation_seeds), 'confirmation seed')}, which chose nothing, it got "
        f"{mean(finalist.confirmation_val_accuracies)}; {networks} {mean(finalist.confirmation_test_accuracies)} of "
        f"the test images right. {optimism(finalist)}"
    )


ORIGINS = {
    "first": "named in the experiment",
    "neighbour": "drawn near one of the best at the time",
    "tpe": "drawn by TPE",
    "prior": "drawn near the priors",
    "random": "drawn at random",
}
"""Where a configuration comes from, by what `proposed_by` says."""


def _place(history: SearchHistory | None, winner: Finalist) -> str:
    """What a winner that the search alone chose was the best of."""
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
    """What a search with rungs has tried: how many configurations, from where, and how many were promoted."""
    if not history.has_rungs:
        return ""
    tried = Counter(each.proposed_by for each in history.trials if not each.rung)
    origins = ": " + ", ".join(f"{tried[by]:,} {told}" for by, told in ORIGINS.items() if by in tried)
    if len(tried) == 1:
        origins = f", {'all ' if tried.total() > 1 else ''}{ORIGINS[next(iter(tried))]}"
    told = f"The {history.family.upper()} search tried {plural(tried.total(), 'configuration')}{origins}."
    promoted = Counter(each.rung for each in history.trials if each.rung)
    if promoted:
        first, *others = sorted(promoted)
        parts = [f"{promoted[first]:,} {'was' if promoted[first] == 1 else 'were'} promoted to rung {first}"]
        parts += [f"{promoted[rung]:,} to rung {rung}" for rung in others]
        told += f" Of these, {_listed(parts)}."
    if history.too_slow:
        are = "another configuration was" if history.too_slow == 1 else f"{history.too_slow:,} other configurations were"
        told += f" {are[0].upper()}{are[1:]} too slow for these minutes and not trained."
    return told


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else parts[0]


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
    """What limited the searches; empty where no sweep was."""
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
    """The validation accuracy of networks that were not chosen by it: the confirmation networks of a best, the one network
    of a baseline. Empty if there is none."""
    finalist = comparison.finalist_of(entry)
    if finalist is not None and finalist.confirmation is not None:
        return f"{mean(finalist.confirmation_val_accuracies)} ({plural(len(finalist.confirmation_seeds), 'seed')})"
    return percent(entry.validation.accuracy) if entry.validation else ""


def optimism(finalist: Finalist) -> str:
    """By how much the search overrated a winner, or why that is not known."""
    name = finalist.family.upper()
    if finalist.optimism is not None and abs(finalist.optimism) < 1e-9:
        return f"The search scored the {name} exactly as high as its mean over the confirmation seeds."
    if finalist.optimism is not None:
        gap, way = points(abs(finalist.optimism)), "above" if finalist.optimism >= 0.0 else "below"
        return f"The search scored the {name} {gap} points {way} its mean over the confirmation seeds."
    if finalist.confirmation is None:
        return f"How far the search overrated the {name} was not measured: that takes confirmation seeds."
    return (
        f"How far the search overrated the {name} was not measured: the search trained "
        f"{plural(finalist.search_epochs, 'epoch')}, the finalists {finalist.epochs:g}."
    )
