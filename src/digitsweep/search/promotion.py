"""A family's search if the budget is in minutes: many configurations are trained briefly, the best of them for longer.

Each rung is a whole training from scratch, with a schedule annealed to the end of that training. A point in the middle of a
longer training would say little about how it ends. Rungs are measured in predicted work, so small networks get more epochs
for the same cost. The best configuration of the top rung is the winner. It is trained again, for as long as the rest of the
time allows.

A configuration is promoted once it is among the best of its rung: the best quarter, if trainings of the next rung take four
times as long. So new configurations take about the same time on every rung, and no trial waits for another (asynchronous
successive halving, Li et al. 2020, arXiv 1810.05934, here with whole trainings). Configurations that are known to be good,
the first few in `first`, need not compete. Once one of them is better than the baselines, which shows on the lowest rung
if it is good, they are trained on the top rung at once. So a good network is there early, whatever the search finds. But if
the best of them is worse than a baseline, or than a configuration on a lower rung that owes nothing to them, whose training
took no longer, they are doubtful for these images. Then they compete like all others, nothing is drawn near them, and priors
count for half. Those that digitsweep knows take their place; until then, they compete like drawn ones.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from digitsweep.config.experiment import Experiment, FinalistsSpec, MinutesBudget
from digitsweep.families import Params, Shape, title_of
from digitsweep.search.budget import OVERDUE, START_SECONDS, Speed, SweepTime
from digitsweep.search.knowledge import Knowledge
from digitsweep.search.proposals import Proposer
from digitsweep.search.scheduler import HOPELESS, Failures, SchedulerDecision
from digitsweep.trial import (
    INTERRUPTED,
    LATE,
    EpochMetrics,
    Kind,
    SearchHistory,
    Trial,
    TrialLog,
    TrialPoint,
    TrialRecord,
    TrialResult,
    TrialState,
    best_of,
    in_order,
    trial_seed,
)

FACTOR, LEAST_FACTOR = 4.0, 2.0
"""How many times as long a rung trains as the one below it; the least if the lowest rung would otherwise be too short."""
LEAST_WORK = 1.0
"""The least predicted seconds of a training on the lowest rung: half of a shorter one would be overhead."""
USUAL_RUNGS, WORTH_A_RUNG = 2, 4.0
"""If there are more rungs than this, the lowest trains for at least so many predicted seconds: shorter trainings do not
preserve the order."""
FINAL_SHARE = 0.5
"""The share of the time for the final trainings. The other half is for the search."""
LONGER = 2.0
"""How much longer than a training of the top rung a final one is planned to be. Longer final trainings improve the winner.
But if they are four times as long, the top rung prefers networks that learn fast to better ones (experiments/LOG.md)."""
IN_A_ROW = 3.0
"""This many final trainings must fit one after another, which limits their length if there are many workers."""
LEAST_ON_TOP = 1.0
"""The least epochs of the top rung for a typical known configuration, if the final trainings have as many."""
CONFIRM = 3
"""Networks of the winner that are trained after the choice, beside its refit."""
MOST_LONGER = 8.0
"""How much longer than in the search a final training may be, if it is cheaper than predicted or the search ended early."""
SLACK = 1.05
"""How much longer than predicted the final trainings may take."""
LEAST_BASELINE = 0.02
"""The least fraction of its epochs that a baseline is trained for."""
LEAST_EPOCHS = 1.0
"""A configuration is left out if the top rung would train it for fewer epochs than this; or for fewer than half of the
epochs of a known configuration, if that is less."""
LEAST_ON_A_RUNG = 0.5
"""The least epochs of the lowest rung for a typical known configuration. With fewer, batch normalisation has too few
steps, and the order on it says little about the order on the top rung (experiments/LOG.md)."""
MOST_EPOCHS = 300.0
"""No training takes longer than this many epochs of the dearest known configuration: more configurations gain more than
longer trainings."""
BASELINE_SHARE = 0.1
"""The share of all training seconds for the baselines, which train for fewer epochs in a sweep of few minutes."""
REPLAN = 1.3
"""If the prediction of the first trainings is wrong by this factor, the rungs are planned again."""
MOST_REPLANS = 4
"""After so many trainings of the search, the rungs are not planned again."""


@dataclass(frozen=True)
class Ladder:
    """The rungs of a family."""

    works: tuple[float, ...]
    """Predicted seconds on the reference machine of each rung's trainings, from the lowest."""

    @classmethod
    def under(cls, top: float, least: float = 0.0) -> Ladder:
        """As many rungs below one of so much work as are worth their overhead, none of less than `least`."""
        works = [top]
        while True:
            lower = max(works[0] / FACTOR, least, LEAST_WORK if len(works) < USUAL_RUNGS else WORTH_A_RUNG)
            if lower > works[0] / LEAST_FACTOR:
                return cls(tuple(works))
            works.insert(0, lower)

    @property
    def top(self) -> int:
        return len(self.works) - 1

    def factor(self, rung: int) -> float:
        """How many times as long a rung trains as the one below it."""
        return self.works[rung] / self.works[rung - 1]


FINALISTS = FinalistsSpec(top=1, seeds=0, confirm=CONFIRM, refit=True)
"""What follows the search: the best of the top rung is trained on seeds that choose nothing, and on all images."""


def finalists_spec(experiment: Experiment) -> FinalistsSpec | None:
    """What follows the search of each family; None if nothing does."""
    return FINALISTS if isinstance(experiment.budget, MinutesBudget) else experiment.finalists


class PromotionStudy:
    """The scheduler of a family's search where the budget is in minutes. Baselines come first."""

    def __init__(
        self,
        experiment: Experiment,
        family: str,
        shape: Shape,
        images: int,
        validation: int,
        sweep_time: SweepTime,
        proposer: Proposer | None = None,
        ladder: Ladder | None = None,
    ) -> None:
        """shape: of an image; images, validation: how many there are for training and for validation; ladder: None to plan
        it from the time there is."""
        assert isinstance(experiment.budget, MinutesBudget)
        self.family, self.shape = family, shape
        self._seed, self._budget, self._metric = experiment.seed, experiment.budget, experiment.objective.metric
        self._log = TrialLog(self._metric)
        self.records = self._log.records
        self._images, self.sweep_time = images, sweep_time
        self.refit = (images + validation) / images
        """How long a refit takes, compared with another training: it has the validation images, too."""
        self._proposer = proposer or Proposer(experiment, family, lambda params: params.smallest_image() <= shape[0])
        self._typical_epoch = median([self._epoch_seconds(each) for each in self._proposer.typical()] or [math.inf])
        """Predicted seconds of an epoch of a typical draw from the priors."""
        self._speed = Speed(lambda: min(sweep_time.slowness.values(), default=1.0))  # at first, as of the other families
        self._ladder, self._is_planned = ladder, ladder is None
        self._history: list[TrialPoint] = []
        self._running: dict[str, Trial] = {}
        self._stopped: set[str] = set()
        self._lost: set[str] = set()
        """Trials that are trained again, as they were."""
        self._whole: set[str] = set()
        """Those of them that are never stopped: complete trials whose weights are needed, and lost."""
        self._number = 0
        self._is_over = False
        self._is_exhausted = False
        """Whether the space has no configuration left."""
        self._failures = Failures(family)
        self._notices: list[str] = []
        fitting = {
            by: [each for each in known if each.smallest_image() <= shape[0]] for by, known in self._proposer.known.items()
        }
        self.knowledge = Knowledge(fitting, self._metric, self.records)
        self._known_epochs = list(map(self._epoch_seconds, self.knowledge.typical()))
        """Predicted seconds of an epoch of each known configuration that nothing speaks against."""
        self._without_gain = 0
        """Trainings in a row that were not the best of their rung."""
        self._attempt_seconds = 0.0
        self._planned: list[Trial] = []
        """What is to be trained before anything is drawn. A stack."""
        share = BASELINE_SHARE if self._budget.trials != 0 else 1.0 / (1.0 + CONFIRM)
        self._longest_baseline = share * 60.0 * sweep_time.minutes
        """The most seconds of one baseline, by the clock: more workers do not make it shorter."""
        self._baseline_seconds = self._longest_baseline * sweep_time.workers / sweep_time.families
        """What is left for baselines."""
        self.source_epochs: dict[str, float] = {}
        """The epochs of each baseline, by its name, from its source or from the experiment."""
        for name, baseline in experiment.families[family].baselines.items():
            self._proposer.seen(baseline.params)
            self.source_epochs[name] = experiment.baseline_epochs(baseline)
            self._planned.append(self._trial(baseline.params, self.source_epochs[name], baseline=name))
        self._planned.sort(key=self.predicted, reverse=True)
        self._count_waiting()

    def _count_waiting(self) -> None:
        """Tells the sweep's time what the baselines that wait will take."""
        waiting = sum(self.predicted(each) for each in self._planned if each.baseline is not None)
        self.sweep_time.waiting[self.family] = min(waiting, self._left_for_baselines())

    def _left_for_baselines(self) -> float:
        running = sum(self.predicted(each) for each in self._running.values() if each.baseline is not None)
        return max(0.0, self._baseline_seconds - running)

    def _shortened(self, baseline: Trial) -> Trial:
        """A baseline with the part of its epochs that the minutes pay for, if they do not pay for all that wait, or if it
        would take too long alone."""
        waiting = sum(self.predicted(each) for each in (baseline, *self._planned) if each.baseline is not None)
        paid = min(self._left_for_baselines() / waiting, self._longest_baseline / self.predicted(baseline))
        share = max(paid, LEAST_BASELINE)
        return baseline if share >= 1.0 else dataclasses.replace(baseline, epochs=_rounded(share * baseline.epochs))

    def restore(
        self, ended: Sequence[TrialRecord], cut: Sequence[Trial], lost: Sequence[Trial] = (), attempt_seconds: float = 0.0
    ) -> None:
        """Goes on from what an interrupted sweep had done; `Search.restore` says what the parts are."""
        self._attempt_seconds += attempt_seconds
        self.sweep_time.add(self.family, attempt_seconds)
        self._lost, self._whole = {each.name for each in (*cut, *lost)}, {each.name for each in lost}
        again = sorted((*cut, *lost), key=lambda each: (each.number, each.rung), reverse=True)
        begun = [*(each.trial for each in ended), *again]
        searched = sorted((each for each in begun if each.baseline is None), key=lambda each: (each.number, each.rung))
        for trial in searched:
            self._proposer.began(trial)
        self._proposer.resume(max((each.left_out for each in searched), default=0))
        if searched:  # a training above the lowest rung fixes the rungs; until then the latest number has the newest
            self._ladder = Ladder(max(searched, key=lambda each: (each.rung > 0, each.number)).ladder)
        self._number = max([self._number, *(each.number + 1 for each in begun)])
        known = {each.name for each in begun}
        waiting = [each for each in self._planned if each.name not in known]
        self._planned = [each for each in again if each.baseline is None]
        self._planned += waiting + [each for each in again if each.baseline is not None]
        is_planned, self._is_planned = self._is_planned, False
        for record in ended:
            self.sweep_time.end(record.trial, record.result.train_seconds)
            self._count_baseline(record.trial, record.result.train_seconds)
            self._add(record)
        self._count_waiting()
        self._is_planned = is_planned

    def all_restored(self) -> None:
        """Plans the rungs again, if all trainings so far had the same; once every family has been restored, since what the
        others have used says how much time there is."""
        begun = [*(each.trial for each in self.records), *self._planned]
        if len({each.ladder for each in begun if each.baseline is None}) == 1:
            self._replan()

    def is_over(self) -> bool:
        """Whether nothing runs and nothing more is trained."""
        return (
            not self._running and not self._planned and (self._is_over or self._budget.trials == 0 or not self._has_time())
        )

    def end_search(self) -> None:
        """Draws and promotes nothing more; what is planned is still trained."""
        self._is_over = True

    def next_trial(self) -> Trial | None:
        """What is planned; then a promotion or a new configuration, if it can still reach the top rung. Nothing until a
        first training has ended: it shows how fast this machine is, and so how long the others may be."""
        if self._running and not self.records:
            return None
        if self._planned:
            trial = self._planned.pop()
            if trial.baseline is not None and trial.name not in self._lost:
                trial = self._shortened(trial)
        else:
            found = self._promoted_or_new()
            if found is None:
                self._is_over |= not self._running  # as time goes on, there is less to begin, not more
                return None
            trial = found
        self._running[trial.name] = trial
        self.sweep_time.begin(trial, self.predicted(trial))
        self._count_waiting()
        return trial

    def _count_baseline(self, trial: Trial, seconds: float) -> None:
        """Counts training seconds that have been used, if they were a baseline's."""
        if trial.baseline is not None:
            self._baseline_seconds -= seconds

    def _promoted_or_new(self) -> Trial | None:
        """The highest promotion that is due; else a new configuration; where there is none, the highest promotion."""
        if self._is_over or self._budget.trials == 0 or not self._has_time():
            return None
        self._ladder = self._ladder or self._planned_ladder()
        promotions = [*self._promotions()]
        due = next((self._promoted(record, rung) for record, rung, is_due in promotions if is_due), None)
        new = self._new() if due is None and self._has_time_for_new() else None
        return due or new or next((self._promoted(record, rung) for record, rung, _ in promotions), None)

    def _promotions(self) -> Iterator[tuple[TrialRecord, int, bool]]:
        """What can be promoted, to which rung, and whether it is good enough to be promoted now; the highest rungs first. Of
        each rung it is the best that was not promoted yet. A known configuration is always good enough: for the top rung if
        one of them has reached the best baseline, else for the next rung."""
        assert self._ladder is not None
        top = self._ladder.top
        searched = [each for each in self.records if each.trial.baseline is None]
        begun = [*(each.trial for each in searched), *self._running.values()]
        highest = {each.number: each.rung for each in sorted(begun, key=lambda each: each.rung)}
        complete = [each for each in searched if each.result.state is TrialState.COMPLETE]
        trusted = self.knowledge.trusted()
        known = [each for each in complete if each.trial.params in trusted and each.trial.rung == highest[each.trial.number]]
        left = self.sweep_time.left() - self._final_seconds()
        for rung in range(top, 0, -1):
            if left < self._speed.seconds(self._ladder.works[rung]):
                continue
            for each in known:
                is_below = each.trial.rung == rung - 1
                if is_below or (each.trial.rung < rung == top and self.knowledge.is_proven(each.trial.proposed_by)):
                    yield each, rung, True
            below = in_order([each for each in complete if each.trial.rung == rung - 1], self._metric)
            for place, record in enumerate(below, start=1):
                if highest[record.trial.number] < rung:
                    yield record, rung, place * self._ladder.factor(rung) <= len(below)
                    break

    def _new(self) -> Trial | None:
        if self._budget.trials is not None and self._proposer.count >= self._budget.trials:
            return None
        ladder = self._ladder
        assert ladder is not None
        proposal = (
            None
            if self._is_exhausted
            else self._proposer.draw(
                self._number,
                self.records,
                self._epoch_seconds,
                ladder.works[-1] / self._least_epochs(),
                doubted=self.knowledge.doubted,
            )
        )
        if proposal is None:
            self._is_exhausted = True
            return None
        is_measured = not self._is_planned or any(each.state == "COMPLETE" for each in self._history)
        by = proposal.proposed_by
        is_sure = proposal.params in self.knowledge.trusted() and self.knowledge.is_proven(by)
        rung = ladder.top if is_measured and is_sure else 0
        trial = dataclasses.replace(
            self._trial(proposal.params, self._epochs(proposal.params, rung)),
            rung=rung,
            drawn=proposal.drawn,
            proposed_by=by,
            ladder=ladder.works,
            left_out=self._proposer.too_slow,
        )
        self._proposer.began(trial)
        return trial

    def _longest_epoch(self) -> float:
        """Predicted seconds of an epoch of the dearest known configuration; if there is none, of a typical draw from the
        priors."""
        return max(self._known_epochs, default=self._typical_epoch)

    def _least_epochs(self) -> float:
        """That a configuration must have on the top rung."""
        assert self._ladder is not None
        known = self._known_epochs
        return min([LEAST_EPOCHS, *([self._ladder.works[-1] / min(known) / 2] if known else [])])

    def _promoted(self, record: TrialRecord, rung: int) -> Trial:
        assert self._ladder is not None
        trial, epochs = record.trial, self._epochs(record.trial.params, rung)
        seed = trial_seed(self._seed, self.family, f"{trial.number} rung {rung}")  # a lucky one must not decide twice
        return dataclasses.replace(trial, rung=rung, seed=seed, epochs=epochs, ladder=self._ladder.works)

    def _planned_final(self) -> float:
        """Predicted seconds of one final training, on the reference machine: the longest that the family's share and the
        time pay for."""
        time = self.sweep_time
        wall = time.share(self.family) * time.families / time.workers
        seconds = min(FINAL_SHARE * wall / self.final_rounds(), wall / IN_A_ROW)
        return max(0.05, min((seconds - START_SECONDS) / self._speed.factor(), MOST_EPOCHS * self._longest_epoch()))

    def final_rounds(self) -> float:
        """How many final trainings, of all families, follow one another on each worker."""
        families, workers = self.sweep_time.families, self.sweep_time.workers
        return math.ceil(families * (CONFIRM + 1) / workers) + (self.refit - 1.0) * math.ceil(families / workers)

    def _planned_ladder(self) -> Ladder:
        """The rungs. A final training is LONGER times as long as one of the top rung; less, if the top rung would otherwise
        be too short."""
        final = self._planned_final()
        usual = median(self._known_epochs) if self._known_epochs else 0.0
        return Ladder.under(max(final / LONGER, min(final, LEAST_ON_TOP * usual)), LEAST_ON_A_RUNG * usual)

    def _epoch_seconds(self, params: Params) -> float:
        """Predicted seconds of an epoch on the reference machine."""
        return params.epoch_seconds(self.shape, self._images)

    def _epochs(self, params: Params, rung: int) -> float:
        assert self._ladder is not None
        return _rounded(self._ladder.works[rung] / self._epoch_seconds(params))

    def _final_seconds(self) -> float:
        """Seconds, by the clock, that the final trainings of all families take."""
        assert self._ladder is not None
        top = self._ladder.works[-1]
        each = self._speed.seconds(min(LONGER * top, max(top, self._planned_final())))
        return SLACK * each * self.final_rounds()

    def _has_time(self) -> bool:
        """Whether a training of the top rung can still end before the final ones must begin; or nothing is complete yet,
        nothing runs, and there is time or little was tried."""
        if not (self._running or self._has_answer()):
            return self.sweep_time.left() > 0.0 or len(self.records) < HOPELESS
        if self._ladder is None:
            return self.sweep_time.left() > 0.0
        return self.sweep_time.left() - self._final_seconds() >= self._speed.seconds(self._ladder.works[-1])

    def _has_time_for_new(self) -> bool:
        """Whether a new configuration can still get to the top; the first one is trained in any case."""
        assert self._ladder is not None
        whole = sum(map(self._speed.seconds, self._ladder.works))
        is_first = not any(each.trial.baseline is None for each in self.records) or not self._has_answer()
        return is_first or self.sweep_time.left() - self._final_seconds() >= whole

    def _has_answer(self) -> bool:
        """Whether any training is complete, a baseline's included."""
        return any(each.result.state is TrialState.COMPLETE for each in self.records)

    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> SchedulerDecision:
        return SchedulerDecision.CONTINUE

    def out_of_time(self) -> list[Trial]:
        """What the final trainings can no longer wait for."""
        if (
            self._ladder is None
            or not self._has_answer()
            or self.sweep_time.left() - self._final_seconds() > -OVERDUE * 60.0 * self.sweep_time.minutes
        ):
            return []
        found = [each for each in self._running.values() if each.name not in self._stopped | self._whole]
        self._stopped |= {each.name for each in found}
        return found

    def attempt_ended(self, trial: Trial, seconds: float) -> None:
        self.sweep_time.end(trial, seconds)
        self._attempt_seconds += seconds * (trial.baseline is None)
        del self._running[trial.name]
        self._planned.append(trial)
        self._lost.add(trial.name)
        self._count_baseline(trial, seconds)
        self._count_waiting()

    def needs_weights(self, trial: Trial, result: TrialResult) -> bool:
        return self._log.keeps_weights(TrialRecord(trial, result))

    def trial_ended(self, trial: Trial, result: TrialResult) -> TrialRecord:
        del self._running[trial.name]
        self.sweep_time.end(trial, result.train_seconds)
        self._count_baseline(trial, result.train_seconds)
        if result.state is TrialState.PRUNED:
            stopped = trial.name in self._stopped
            state = TrialState.PRUNED if stopped else TrialState.FAIL
            result = dataclasses.replace(result, state=state, reason=LATE if stopped else INTERRUPTED)
        return self._add(TrialRecord(trial, result))

    def _add(self, record: TrialRecord) -> TrialRecord:
        trial, result = record.trial, record.result
        work = self._work(trial)
        if result.state is TrialState.COMPLETE:
            self._speed.add(trial, work, result.train_seconds)
            self.sweep_time.slowness[self.family] = self._speed.factor()
        if trial.baseline is not None:
            kept = self._log.add(record)
            self._weigh_knowledge()
            return kept
        self._is_over |= self._failures.end_search(result)
        if record.used is None:
            record = dataclasses.replace(record, used=self.sweep_time.used(self.family))
        self._history.append(
            TrialPoint(
                number=trial.number,
                state=result.outcome,
                params=trial.drawn,
                values=tuple(float(getattr(each, self._metric)) for each in result.epochs),
                ended=record.used or 0.0,
                rung=trial.rung,
                work=work,
                proposed_by=trial.proposed_by,
            )
        )
        rivals = [each for each in self.records if each.trial.baseline is None and each.trial.rung == trial.rung]
        kept = self._log.add(record)
        self._without_gain = 0 if best_of([*rivals, record], self._metric) is record else self._without_gain + 1
        if self._budget.patience is not None and self._without_gain >= self._budget.patience:
            self._is_over = True
        self._weigh_knowledge()
        self._replan()
        return kept

    def _weigh_knowledge(self) -> None:
        doubted = self.knowledge.weigh(self._ladder.top if self._ladder else 0)
        self._known_epochs = list(map(self._epoch_seconds, self.knowledge.typical()))
        for by in doubted:
            named = "named in the experiment" if by == "first" else "named by digitsweep"
            self._notices.append(
                f"The {title_of(self.family)} configurations {named} do worse on these images than a shorter training; the "
                "search relies less on them."
            )

    def _replan(self) -> None:
        """Plans the rungs again if trainings are much faster or slower than predicted, until one above the
        lowest rung begins."""
        is_fixed = any(each.rung for each in (*self._running.values(), *self._planned))
        is_fixed |= any(each.rung for each in self._history)
        if self._ladder and self._is_planned and not is_fixed and len(self._history) <= MOST_REPLANS:
            planned = self._planned_ladder()
            if abs(math.log(planned.works[-1] / self._ladder.works[-1])) > math.log(REPLAN):
                self._ladder = planned
                self._weigh_knowledge()

    def priority(self) -> float:
        """The shortest baseline comes first: there is soon something to compare with."""
        if not self._planned or self._planned[-1].baseline is None:
            return 0.0
        return 1.0 / self.predicted(self._planned[-1])

    def progress(self) -> float:
        """The used part of the family's share, 0 to 1."""
        return min(1.0, self.sweep_time.used(self.family) / max(self.sweep_time.share(self.family), 1e-9))

    def seconds_left(self) -> float:
        """Training seconds until the sweep's time is over."""
        return max(0.0, self.sweep_time.left()) * self.sweep_time.workers / self.sweep_time.families

    def notices(self) -> list[str]:
        found, self._notices = [*self._failures.notices(), *self._notices], []
        return found

    def attempt_seconds(self) -> float:
        """Training seconds of the searched trials' attempts that did not end."""
        return self._attempt_seconds

    def history(self) -> SearchHistory:
        """What the search has done so far."""
        proposer = self._proposer
        importance = proposer.importance(self.records)
        return SearchHistory(
            self.family, self._metric, tuple(self._history), importance, proposer.log_scaled(), proposer.too_slow
        )

    def _trial(self, params: Params, epochs: float, baseline: str | None = None) -> Trial:
        number = self._number
        self._number += 1
        return Trial(number, params, trial_seed(self._seed, self.family, number), epochs, baseline)

    def _work(self, trial: Trial) -> float:
        return trial.epochs * self._epoch_seconds(trial.params)

    def predicted(self, trial: Trial) -> float:
        """Seconds that a training will take on this machine."""
        seconds = self._speed.seconds(self._work(trial))
        return seconds * self.refit if trial.kind is Kind.REFIT else seconds

    def most_epochs(self, params: Params) -> float:
        """Of a training of a configuration, however much time there is."""
        return MOST_EPOCHS * self._longest_epoch() / self._epoch_seconds(params)


class FinalPace:
    """The pace of the final trainings: they end with the sweep's minutes."""

    def __init__(self, study: PromotionStudy) -> None:
        self._study, self._time = study, study.sweep_time

    def epochs(self, record: TrialRecord) -> float:
        """As many as there is time for, but at least those of the search, and at most MOST_LONGER times as many. A baseline
        gets no more than its source says."""
        trial = record.trial
        study, baseline = self._study, trial.baseline
        most = study.most_epochs(trial.params) if baseline is None else study.source_epochs[baseline]
        each = self._time.left() / (SLACK * study.final_rounds())
        longer = min(MOST_LONGER, each / self.seconds(trial))
        return max(trial.epochs, min(most, _rounded(longer * trial.epochs)))

    def seconds(self, trial: Trial) -> float:
        """As predicted, corrected by how long the configuration took in the search."""
        same = [each for each in self._study.records if each.trial.number == trial.number]
        known = [each for each in same if each.result.state is TrialState.COMPLETE]
        taken = known[-1].result.train_seconds / self._study.predicted(known[-1].trial) if known else 1.0
        return self._study.predicted(trial) * taken

    def pays_for(self, trial: Trial, *, extra: bool = False) -> bool:
        """A refit is always paid for, since it is what is registered."""
        late = 0.0 if extra else OVERDUE * 60.0 * self._time.minutes
        return trial.kind is Kind.REFIT or self._time.left() + late >= self.seconds(trial)

    def left(self) -> float:
        """Until the sweep's time is over; once nothing more of any family can begin, until all that trains has ended."""
        wall = self._time.left() if any(self._time.has_more.values()) else self._time.running()
        return max(0.0, wall) * self._time.workers / self._time.families

    def begins(self, trial: Trial) -> None:
        self._time.begin(trial, self.seconds(trial))

    def ended(self, trial: Trial, seconds: float) -> None:
        self._time.end(trial, seconds)

    def waiting(self, *, planned: bool, more: bool) -> None:
        self._time.has_plan[self._study.family] = planned
        self._time.has_more[self._study.family] = more

    def may_exceed_plan(self) -> bool:
        """Once all planned trainings of all families have begun. Otherwise one family would take the time of another, whose
        search ends later."""
        return not any(self._time.has_plan.values())

    def is_overdue(self) -> bool:
        return self._time.is_overdue()

    def priority(self, trial: Trial) -> float:
        """None before the others': a family that has ended its search early leaves the others their share."""
        return 0.0

    def progress(self, begun: float) -> float:
        return self._study.progress()


def _rounded(epochs: float) -> float:
    """To two digits."""
    return float(f"{epochs:.2g}")
