"""No search: the experiment's first configurations, trained one after another. When all are trained and there is time left,
all of them are trained again, twice as long, and so on.

They are trained by digitsweep's own loop, each family on one core: what digitsweep reaches beyond them is then owed to its
search, not to faster training.

`python -m peers.portfolio EXPERIMENT DATA MINUTES SEED OUT`"""

from __future__ import annotations

import itertools
import os
import time
from multiprocessing import get_context

from digitsweep.families import Params
from digitsweep.trial import TrialResult, TrialState, trial_seed
from peers.task import Found, Network, Share, Task

ONE_THREAD = {
    **{f"TF_NUM_{name}_THREADS": "1" for name in ("INTRAOP", "INTEROP")},
    "OMP_NUM_THREADS": "1",
}


def search(share: Share) -> Found:
    trainings: list[tuple[float, float]] = []
    best: Network | None = None
    for number in itertools.count():
        round_, place = divmod(number, len(share.first))
        params = share.first[place]
        result = _trained(params, share, share.epochs * 2**round_, trial_seed(share.seed, share.family, number))
        if result.state is TrialState.PRUNED:
            return Found(trainings, best)
        if result.state is TrialState.COMPLETE and result.weights is not None:
            accuracy = result.last("val_accuracy")
            trainings.append((time.time(), accuracy))
            if best is None or accuracy > best.val_accuracy:
                best = Network(params, list(result.weights), accuracy)
    raise AssertionError


def _trained(params: Params, share: Share, epochs: int, seed: int) -> TrialResult:
    """PRUNED where the time was over before its end."""
    from digitsweep.training.loop import forget, train

    training = train(params, share.data, seed=seed, epochs=epochs, stopped=lambda: time.time() > share.ends)
    while True:
        try:
            next(training)
        except StopIteration as end:
            forget()
            result: TrialResult = end.value
            return result


def main() -> None:
    task = Task.given()
    shares = task.shares(at_once=True)
    for each in shares:
        if not each.first:
            raise SystemExit(f"{task.experiment}: families.{each.family} must have `first` configurations, but has none")
    os.environ |= ONE_THREAD  # for the processes that train
    with get_context("spawn").Pool(len(shares)) as pool:
        found = pool.map(search, shares, chunksize=1)
    task.answer(shares, found)


if __name__ == "__main__":
    main()
