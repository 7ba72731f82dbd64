"""READ FIRST: a sweep, from its experiment file to its answer. The loop that keeps the workers busy is in coordinator.py.

This process is the only one that talks to Optuna and MLflow. It imports TensorFlow only when a worker has nothing left to
train, or will soon have nothing left.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from digitsweep.config.experiment import Experiment, MinutesBudget
from digitsweep.config.experiment_file import load_experiment
from digitsweep.config.options import Options
from digitsweep.data import Dataset, TrainingData
from digitsweep.data.sources import Wanted, load_dataset
from digitsweep.errors import DataUnavailableError, DigitsweepError, InputError
from digitsweep.evaluation.comparison import Comparison
from digitsweep.search.budget import SweepTime
from digitsweep.search.finalists import KINDS, Finalists, Pace, Search, Succession, Unhurried, Winner, winner_of
from digitsweep.search.promotion import FinalPace, PromotionStudy, finalists_spec
from digitsweep.search.study import Study
from digitsweep.sweeping.coordinator import Coordinator, Interruption
from digitsweep.sweeping.processes import LocalWorkers, places_for
from digitsweep.sweeping.workers import Workers
from digitsweep.tracking.mlflow_tracker import MlflowTracker
from digitsweep.tracking.provenance import current_commit
from digitsweep.tracking.resume import Unfinished
from digitsweep.tracking.tracker import Listener, Past, Tracker
from digitsweep.training.startup import import_tensorflow_quietly
from digitsweep.trial import Kind

AFTER_SECONDS, NETWORK_SECONDS, VALUE_SECONDS, CELL_SECONDS = 6.0, 0.4, 5e-8, 5e-4
"""What evaluation takes: altogether, for each network that is compared, for each value of the test images that a network
classifies (those of confirmation seeds classify them, too), and for each cell of a family's matrix of errors, which has one
for each pair of classes."""


def sweep(
    wanted: Path | Unfinished,
    options: Options,
    display: Listener,
    *,
    begun: float | None = None,
    start_workers: Callable[[TrainingData, Experiment, Options], Workers] | None = None,
    open_tracker: Callable[..., Tracker] = MlflowTracker,
) -> Comparison:
    """Runs an experiment: searches each family within its budget, registers the best of each and compares them.

    wanted: an experiment file; or a sweep that was interrupted, which keeps what had ended and trains the rest. begun: when
    the command was given, by the monotonic clock; now if None. Its minutes count from then.

    Raises InputError, before anything is recorded, if the experiment, the data or an option is wrong, and DigitsweepError if
    no trial was completed or the records cannot be kept."""
    begun = time.monotonic() if begun is None else begun
    if isinstance(wanted, Unfinished):
        experiment, dataset, options = prepare_again(wanted, options, display)
        params, run_id = {}, wanted.run_id
    else:
        experiment, dataset = prepare(wanted, options, display)
        params, run_id = {"experiment": wanted, **options.recorded()}, None
    commit, shape = current_commit(), dataset.training.shape
    interruption, evaluation = Interruption(), EvaluationImport()
    with (
        # They import TensorFlow while the records are opened.
        closing((start_workers or workers_for)(dataset.training, experiment, options)) as workers,
        interruption.listening(),
        open_tracker(experiment, dataset, commit, params, run_id) as tracker,
    ):
        listeners = [tracker, display, evaluation]
        for listener in listeners:
            listener.sweep_started(experiment, dataset, workers.count())
        searches = restored_searches(experiment, dataset, tracker.past, workers.count, begun)
        for record in (each for search in searches.values() for each in search.records):
            for listener in listeners:
                listener.trial_restored(record)
        families = {family: with_finalists(experiment, search, tracker.past) for family, search in searches.items()}
        after = partial(after_now, searches, after_seconds(experiment, dataset))
        with Coordinator(workers, shape, tracker, listeners, interruption, after) as coordinator:
            coordinator.run(families)
        tracker.settle()
        for notice in tracker.notices():
            display.note(notice)
        if interruption.asked:
            tracker.state = "INTERRUPTED"
            for each in families.values():
                each.end_search()
        winners = choose_winners(experiment, families, tracker.state)
        display.note("Registering the best of each family and opening the test set.")
        evaluation.finish()
        from digitsweep.sweeping import judge

        searched = judge.Searched(experiment, dataset, families, winners, tracker, commit)
        registered = judge.register_winners(searched)
        judged = judge.evaluate_winners(searched, registered)
        comparison = judge.compare(searched, judged, seconds=time.monotonic() - begun + tracker.past.elapsed)
        judge.describe_versions(judged, comparison)
        files = judge.report_files(searched, judged, comparison) | judge.drawing_files(searched, judged, display.note)
        tracker.compared(comparison, files)
    return comparison


def workers_for(data: TrainingData, experiment: Experiment, options: Options) -> Workers:
    """The workers that an experiment asks for: processes of this machine, or actors of a Ray cluster.

    Raises InputError if there cannot be such workers, and DigitsweepError if they cannot be started."""
    if experiment.workers.engine == "ray":
        from digitsweep.sweeping.ray import RayWorkers

        return RayWorkers(data, experiment.workers, options.workers)
    return LocalWorkers(data, places_for(experiment, options))


class EvaluationImport(Listener):
    """Imports what evaluation needs, TensorFlow above all, in a thread, as soon as a worker's core is free for it."""

    _importing = threading.Lock()
    """Of all sweeps in this process: after an interruption, a sweep may begin while the one before still imports, and
    TensorFlow cannot be imported by two threads at once."""

    def __init__(self) -> None:
        self._thread = threading.Thread(target=self._import, name="digitsweep-evaluation", daemon=True)

    def nearly_done(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Returns when everything is imported."""
        if self._thread.ident is None:
            self._thread.start()
        self._thread.join()

    def _import(self) -> None:
        with self._importing:
            import_tensorflow_quietly()
            import digitsweep.sweeping.judge  # noqa: F401


def restored_searches(
    experiment: Experiment, dataset: Dataset, past: Past, workers: Callable[[], int], begun: float
) -> dict[str, Search]:
    """Each family's search, with what the sweep had done.

    workers: how many there are now; begun: when the command was given, by the monotonic clock."""
    families, shape = list(map(str, experiment.families)), dataset.training.shape
    searches: dict[str, Search] = {}
    if isinstance(experiment.budget, MinutesBudget):
        elapsed = time.monotonic() - begun + past.elapsed
        sweep_time = SweepTime(experiment.budget.minutes, workers, families, after_seconds(experiment, dataset), elapsed)
        counts = len(dataset.training.train), len(dataset.training.validation)
        searches = {family: PromotionStudy(experiment, family, shape, *counts, sweep_time) for family in families}
    else:
        searches = {family: Study(experiment, family, shape) for family in families}
    for family, search in searches.items():
        search.restore(*past.of(family, Kind.TRIAL), past.attempt_seconds.get(family, 0.0))
        if past.has_finalists(family):
            search.end_search()
    for search in searches.values():
        if isinstance(search, PromotionStudy):
            search.all_restored()
    return searches


def with_finalists(experiment: Experiment, search: Search, past: Past) -> Succession:
    """A family's search, followed by its finalists if it is to have any, with what the sweep had done."""
    spec = finalists_spec(experiment)
    if spec is None:
        return Succession(search, None)
    pace: Pace = FinalPace(search) if isinstance(search, PromotionStudy) else Unhurried(search.shape)

    def begin() -> Finalists:
        finalists = Finalists(experiment, search.family, spec, search.records, pace)
        finalists.restore(past.of(search.family, *KINDS)[0])
        return finalists

    return Succession(search, begin)


def after_now(searches: Mapping[str, Search], usual: float) -> float:
    """How long registering, evaluating and reporting take, as far as that is known now; usual: on the reference machine."""
    first = next(iter(searches.values()))
    return first.sweep_time.after() if isinstance(first, PromotionStudy) else usual


def after_seconds(experiment: Experiment, dataset: Dataset) -> float:
    """About how long registering, evaluating and reporting take on the reference machine, once everything is trained."""
    families = len(experiment.families)
    networks = sum(1 + len(each.baselines) for each in experiment.families.values())
    spec = finalists_spec(experiment)
    confirmed = families * (spec.confirm if spec else 0)
    values = len(dataset.test) * math.prod(dataset.training.shape)
    cells = families * dataset.training.classes**2
    seconds = networks * NETWORK_SECONDS + (networks + confirmed) * VALUE_SECONDS * values
    return AFTER_SECONDS + seconds + CELL_SECONDS * cells


def choose_winners(experiment: Experiment, families: Mapping[str, Succession], state: str) -> dict[str, Winner]:
    """The winner of each family that has one, by validation.

    Raises DigitsweepError, or KeyboardInterrupt if the sweep was interrupted, if no family has one."""
    metric = experiment.objective.metric
    chosen = {family: winner_of(each.search.records, each.finalists, metric) for family, each in families.items()}
    winners = {family: winner for family, winner in chosen.items() if winner is not None}
    if winners:
        return winners
    if state == "INTERRUPTED":
        raise KeyboardInterrupt
    trained = [records for each in families.values() for records in (each.search.records, each.followed)]
    reasons = {each.result.reason for records in trained for each in records if each.result.reason}
    raise DigitsweepError(f"no trial was completed ({'; '.join(sorted(reasons)) or 'none was started'})")


def prepare(path: Path, options: Options, display: Listener) -> tuple[Experiment, Dataset]:
    """The experiment with its data; or its fallback with that one's, if its own data is not available.

    Raises InputError if either is wrong or they do not fit each other."""
    experiment = options.applied(load_experiment(path))
    try:
        dataset = load_for(experiment, options.data, display)
    except DataUnavailableError as unavailable:
        if experiment.data.fallback is None:
            raise
        instead = experiment.beside(experiment.data.fallback, "data.fallback")
        fallback = options.applied(load_experiment(instead))
        display.note(f"{unavailable} Until then {instead.name} runs instead, on other data: {fallback.question}")
        experiment, dataset = fallback, load_for(fallback, None, display)
    for family, each in experiment.families.items():
        for name, baseline in each.baselines.items():
            needed = baseline.params.smallest_image()
            if needed > dataset.training.side:
                raise InputError(
                    f"{experiment.path}: families.{family}.baselines.{name}: needs images of at least {needed} pixels, "
                    f"but those of {dataset.name} have {dataset.training.side}; use smaller kernels or padding: same"
                )
    return experiment, dataset


def prepare_again(unfinished: Unfinished, options: Options, display: Listener) -> tuple[Experiment, Dataset, Options]:
    """The experiment and data of a sweep that was interrupted, and its options, of which a resumed sweep may change some.

    Raises InputError if the data is not the sweep's."""
    options = unfinished.options.updated(options)
    experiment = options.placed(unfinished.experiment)
    dataset = load_for(experiment, options.data, display)
    if dataset.digest() != unfinished.data_digest:
        raise InputError(
            f"sweep {unfinished.run_id} was started on other data than {dataset.source} holds; name the original folder or "
            "file with --data"
        )
    if unfinished.options.data is None:  # `--data` says now where its own images are
        experiment = experiment.model_copy(update={"images": Path(dataset.source)})
    return experiment, dataset, options


def load_for(experiment: Experiment, data: Path | None, display: Listener) -> Dataset:
    """The data of an experiment, or what `--data` names in its place, prepared as the experiment says."""
    spec = experiment.data
    return load_dataset(
        experiment.source() if data is None else data,
        validation=spec.validation,
        seed=experiment.seed,
        wanted=Wanted(spec.size, spec.fit, spec.classes, spec.strict),
        progress=display.images_read,
    )
