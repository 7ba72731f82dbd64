"""What is known of a family beforehand, and whether what has been trained speaks against it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain

from digitsweep.families import Params
from digitsweep.trial import CUT_OFF, INTERRUPTED, LATE, TrialRecord, TrialState, sign_of

ON_TOP = 4
"""So many known configurations are trained on the top rung without competing for it. These few take about half of the
search's time; any others are treated like drawn ones."""
UNTOLD = (INTERRUPTED, CUT_OFF, LATE)
"""Why a training ended, if that tells nothing about its configuration."""
INFORMED = ("prior", "neighbour")
"""Who proposes what owes something to what was known."""


class Knowledge:
    """The known configurations of a family, by who names them: the experiment, or digitsweep."""

    def __init__(self, known: Mapping[str, Sequence[Params]], metric: str, records: Sequence[TrialRecord]) -> None:
        """known: as of `Experiment.known`; records: everything that has been trained, which grows."""
        self._known, self._metric, self._records = known, metric, records
        self.doubted: frozenset[str] = frozenset()
        """Whose configurations are in doubt."""
        self._told: set[str] = set()

    def weigh(self, top: int) -> list[str]:
        """Finds out anew whose configurations are in doubt; who was not before. top: the highest rung."""
        self.doubted = frozenset(by for by in self._known if self._is_doubted(by, top))
        found = sorted(self.doubted - self._told)
        self._told |= self.doubted
        return found

    def used(self) -> Sequence[Params]:
        """The configurations that nothing speaks against: those of the experiment; if it names none, or they are in doubt,
        those of digitsweep, unless these are in doubt, too."""
        return next((known for by, known in self._known.items() if known and by not in self.doubted), ())

    def trusted(self) -> Sequence[Params]:
        """Those of them that need not compete for their promotion."""
        return self.used()[:ON_TOP]

    def typical(self) -> list[Params]:
        """What says how large good networks are: the configurations that are used; if all are in doubt, all of them."""
        return [*(self.used() or chain.from_iterable(self._known.values()))]

    def is_proven(self, by: str) -> bool:
        """Whether the best of the configurations that the experiment or digitsweep names is as good as all baselines."""
        baselines = [each for each in self._records if each.trial.baseline is not None]
        return self._best(self._named(by)) <= self._best(baselines)

    def _is_doubted(self, by: str, top: int) -> bool:
        """Whether on any rung the best of the configurations that the experiment or digitsweep names is worse than what took
        no longer: a baseline, or a configuration on a lower rung that owes nothing to this knowledge. The lowest rung raises
        no doubts, unless it is the only one: what is best after a long training need not be best after the shortest."""
        return any(self._is_beaten(by, rung) for rung in {each.trial.rung for each in self._named(by)} if rung or not top)

    def _is_beaten(self, by: str, rung: int) -> bool:
        known = [each for each in self._named(by) if each.trial.rung == rung]
        complete = [each for each in known if each.result.state is TrialState.COMPLETE]
        seconds = min(each.result.train_seconds for each in complete or known)  # a failure is often quick
        others = [
            each
            for each in self._records
            if each.result.train_seconds <= seconds
            and (each.trial.baseline is not None or each.trial.rung < rung)
            and each.trial.proposed_by not in (by, *INFORMED)
        ]
        return self._best(others) < self._best(known)

    def _named(self, by: str) -> list[TrialRecord]:
        """The trainings of configurations that the experiment or digitsweep names. One that failed tells as much as one that
        is bad; one that was interrupted tells nothing."""
        return [each for each in self._records if each.trial.proposed_by == by and each.result.reason not in UNTOLD]

    def _best(self, records: Sequence[TrialRecord]) -> float:
        """The best value, the smaller the better; inf if none is complete."""
        complete = (each.result for each in records if each.result.state is TrialState.COMPLETE)
        return min((sign_of(self._metric) * each.last(self._metric) for each in complete), default=math.inf)
