"""Comparisons as a sweep makes them, made up: for tests of what is done with a comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from digitsweep.data import Duplicates
from digitsweep.evaluation.comparison import Comparison, Entry, Finalist, Opening, Spent, Used
from digitsweep.evaluation.cost import Cost, Latency
from digitsweep.evaluation.mistakes import (
    ClassifiedImage,
    ClassRecall,
    ConfusedPair,
    Galleries,
    Mistakes,
    Prediction,
    find_mistakes,
)
from digitsweep.evaluation.statistics import Difference, FamilyDifference, Share, differences, family_differences
from digitsweep.families import FAMILIES, title_of
from digitsweep.families.hyperparameters import Scalar
from digitsweep.report.sentences import family_verdict, verdict
from digitsweep.trial import SearchHistory, TrialPoint

TEST = 10_000
NETWORKS = {"ann": ("dense 896-640-512", 1_621_258), "cnn": ("conv 32-64-96 k3, dense 128", 186_186)}
BASELINES = (
    # family, name, network, weights, wrong test images, training seconds, published, note
    ("ann", "softmax", "softmax", 7_850, 742, 8.1, 0.91, "about 91 % is what a few epochs give"),
    ("ann", "dense-100", "dense 100", 79_510, 223, 10.7, 0.975, ""),
    ("ann", "dense-128-32", "dense 128-32", 104_938, 231, 11.9, None, "no figure is published"),
    ("ann", "dense-two", "dense 64-64", 55_050, 262, 10.2, 0.97, "the source says one or two relu layers: two of 64"),
    ("ann", "dense-30-epochs", "dense 128", 101_770, 218, 9.0, None, "the source shows its figure in a picture only"),
    ("cnn", "conv-32", "conv 32 k3, dense 100", 542_230, 128, 61.0, 0.986, ""),
    ("cnn", "conv-pool", "conv 16-32 k3, dense 64", 56_714, 104, 48.9, 0.98, "98 % is reached in the first epoch"),
    ("cnn", "conv-0.01", "conv 32 k3, dense 128", 693_962, 171, 34.4, None, "the source gives no widths"),
)


def images(count: int = TEST, side: int = 8) -> NDArray[np.uint8]:
    """Blots in place of digits, (count, side, side, 1)."""
    values = np.random.default_rng(5).integers(0, 256, (16, side, side, 1), dtype=np.uint8)
    return np.resize(values, (count, side, side, 1))


def labels(count: int = TEST) -> NDArray[np.uint8]:
    return np.random.default_rng(6).integers(0, 10, count).astype(np.uint8)


def comparison(*, trials: int = 24, true: NDArray[np.uint8] | None = None) -> Comparison:
    """A whole one, of MNIST's size: the CNN is better, and some of everything went as it does go."""
    histories = {family: history(family, trials) for family in NETWORKS}
    families = FamilyDifference("ANN", "CNN", TEST, (3, 3), 0.0049, 0.0031, 0.0067, 0.004, (0.0004, 0.0003))
    return Comparison(
        experiment="mnist",
        question="Does a convolutional network beat a dense one on handwritten digits, and by how much?",
        digest="6f3a5abb61c68125",
        metric="val_accuracy",
        state="COMPLETE",
        data={
            "name": "mnist",
            "source": "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "digests": {split: f"{number}" * 64 for number, split in enumerate(("train", "validation", "test"), start=1)},
            "images": {"train": 50_000, "validation": 10_000, "test": TEST},
        },
        budget={"trials": trials, "epochs": 9, "seconds": 450.0},
        spent={family: spent(histories[family]) for family in NETWORKS},
        entries=(*(best(family, wrong) for family, wrong in (("ann", 92), ("cnn", 41))), *(map(baseline, BASELINES))),
        verdict="This CNN is better than this ANN by 0.51 points, 95 % interval 0.33 to 0.69, p < 0.0001.",
        difference=Difference("ANN", "CNN", TEST, 92, 41, 25, 0.0033, 0.0069, 2.6e-8, 0.0026),
        family_verdict=family_verdict(families),
        family_difference=families,
        finalists=tuple([each for family in NETWORKS for each in finalists(family, histories[family])]),
        mistakes=mistakes(labels() if true is None else true),
        costs=(
            cost("best ANN", "ann", 0.9908, 1_621_258, 31.5, 0.00021, 0.0031),
            cost("best CNN", "cnn", 0.9959, 186_186, 44.8, 0.00052, 0.0174),
            *(
                cost(name, family, 1 - wrong / TEST, weights, seconds, 0.0001 + weights * 9e-11, 0.001 + weights * 3e-9)
                for family, name, _, weights, wrong, seconds, _, _ in BASELINES
            ),
        ),
        history=histories,
        openings=tuple(
            [
                Opening(f"sweep 3f2a9c: best {family.upper()}", f"2026-11-20T12:0{number}:31+00:00", "3" * 64, 1)
                for number, family in enumerate(NETWORKS)
            ]
        ),
        duplicates=Duplicates(0, 0, 3),
        run_id="3f2a9c0d51b84e6d8a7f",
        seconds=684.2,
    )


def alone(whole: Comparison, family: str = "cnn") -> Comparison:
    """The same as a sweep of one family has it."""
    found = whole.mistakes
    assert found is not None
    name = family.upper()
    wrong = found.galleries.only_first_wrong
    return dataclasses.replace(
        whole,
        verdict="",
        difference=None,
        family_verdict="",
        family_difference=None,
        spent={family: whole.spent[family]},
        entries=tuple([each for each in whole.entries if each.family == family]),
        finalists=tuple([each for each in whole.finalists if each.family == family]),
        mistakes=Mistakes(
            tuple(ClassRecall(each.label, {name: each.recalls[name]}) for each in found.classes),
            {name: found.confused[name]},
            Galleries(
                tuple(ClassifiedImage(each.index, each.true, {name: each.predictions[name]}) for each in wrong),
                (),
                (),
                (),
                0,
            ),
        ),
        costs=tuple([each for each in whole.costs if each.family == family]),
        history={family: whole.history[family]},
        openings=tuple([each for each in whole.openings if name in each.by]),
    )


MANY = ("ann", "cnn", "resnet", "mixer", "capsule", "vit")
"""Families of `many`; the last three are known only where `MADE_UP` is registered."""
MADE_UP = {name: dataclasses.replace(FAMILIES["cnn"], title=name.capitalize()) for name in MANY[3:]}
WRONG = (0.0092, 0.0041, 0.0042, 0.0058, 0.0047, 0.0071)
"""Shares of the test images that these families get wrong."""


def many(whole: Comparison, count: int, true: NDArray[np.uint8] | None = None) -> Comparison:
    """The same as a sweep of so many families has it, three or more: what is said of pairs and mistakes is computed from
    made predictions, and the other families' searches are those of the CNN under other names."""
    true = labels() if true is None else true
    draw = np.random.default_rng(11)
    families = MANY[:count]
    names = [title_of(family) for family in families]
    hard = draw.random(len(true)) < 0.03
    said, right = dict[str, NDArray[np.float32]](), dict[str, NDArray[np.bool_]]()
    for name, share in zip(names, WRONG, strict=False):
        networks = [~(hard & (draw.random(len(true)) < share / 0.03)) for _ in range(4)]
        predicted = np.where(networks[0], true, (true + draw.integers(1, 3, len(true))) % 10)
        sure = draw.uniform(0.55, 1.0, len(true)).astype(np.float32)
        said[name] = np.repeat(((1 - sure) / 9)[:, None], 10, axis=1)
        said[name][np.arange(len(true)), predicted] = sure
        right[name] = np.stack(networks[1:])
    found = differences(true, {name: each.argmax(axis=1).astype(np.uint8) for name, each in said.items()})
    between = family_differences(right)

    def of(family: str) -> str:
        return family if family in NETWORKS else "cnn"

    best = {each.family: each for each in whole.best()}
    wrong = {each.first: each.first_wrong for each in found} | {each.second: each.second_wrong for each in found}
    shares = {family: Share(len(true) - wrong[name], len(true)) for family, name in zip(families, names, strict=True)}
    costs = {each.family: each for each in whole.costs if each.name.startswith("best ")}
    return dataclasses.replace(
        whole,
        question=f"Which of {count} families is best, and which differences are real?",
        verdict=verdict(*found),
        difference=None,
        differences=found,
        family_verdict=family_verdict(*between),
        family_difference=None,
        family_differences=between,
        spent={family: whole.spent[of(family)] for family in families},
        entries=(
            *(
                dataclasses.replace(
                    best[of(family)],
                    family=family,
                    trial=best[of(family)].trial.replace(of(family), family),
                    model=f"models:/mnist-{family}/4",
                    test=shares[family],
                )
                for family in families
            ),
            *(each for each in whole.entries if each.role == "baseline"),
        ),
        finalists=tuple(
            [
                dataclasses.replace(each, family=family, trial=each.trial.replace(of(family), family))
                for family in families
                for each in whole.finalists
                if each.family == of(family)
            ]
        ),
        mistakes=find_mistakes(true, said, 10, shown=6),
        costs=(
            *(
                dataclasses.replace(
                    costs[of(family)],
                    name=f"best {name}",
                    family=family,
                    accuracy=shares[family].accuracy,
                    weights=round(costs[of(family)].weights * 1.7**place),
                )
                for place, (family, name) in enumerate(zip(families, names, strict=True))
            ),
            *(each for each in whole.costs if not each.name.startswith("best ")),
        ),
        history={family: dataclasses.replace(whole.history[of(family)], family=family) for family in families},
        openings=tuple([dataclasses.replace(whole.openings[0], by=f"sweep 3f2a9c: best {name}") for name in names]),
    )


def registered(whole: Comparison) -> Comparison:
    """The same as a comparison of two registered models has it: no search, no budget, no finalists; other names."""
    found = whole.mistakes
    assert found is not None
    assert whole.difference is not None
    names = {"ANN": "models:/mnist-cnn/3", "CNN": "models:/mnist-cnn@champion"}

    def judged(shown: Sequence[ClassifiedImage]) -> tuple[ClassifiedImage, ...]:
        return tuple(
            ClassifiedImage(each.index, each.true, {names[key]: each.predictions[key] for key in names}) for each in shown
        )

    one, two, both, odd = (
        judged(each)
        for each in (
            found.galleries.only_first_wrong,
            found.galleries.only_second_wrong,
            found.galleries.both_wrong,
            found.galleries.suspicious,
        )
    )
    return dataclasses.replace(
        whole,
        question="Is the newer model better?",
        family_verdict="",
        family_difference=None,
        budget={},
        spent={},
        history={},
        finalists=(),
        costs=(),
        openings=(),
        duplicates=None,
        entries=tuple(
            [
                dataclasses.replace(each, family="cnn", trial=name, model=name, search_val_accuracy=None)
                for each, name in zip(whole.best(), names.values(), strict=True)
            ]
        ),
        difference=dataclasses.replace(whole.difference, first=names["ANN"], second=names["CNN"]),
        mistakes=Mistakes(
            tuple(ClassRecall(each.label, {names[key]: each.recalls[key] for key in names}) for each in found.classes),
            {names[key]: pairs for key, pairs in found.confused.items()},
            Galleries(one, two, both, odd, found.galleries.suspicious_count),
        ),
    )


def in_minutes(whole: Comparison, configurations: int = 20) -> Comparison:
    """The same as a sweep whose budget is in minutes has it: searches with rungs, and winners without selection seeds."""
    histories = {family: history_of_rungs(family, configurations) for family in whole.history}
    winners = {family: winner_of_rungs(each) for family, each in histories.items()}
    return dataclasses.replace(
        whole,
        budget={"minutes": 15.0},
        spent={family: dataclasses.replace(spent(each), finalists=Used(0, 0.0)) for family, each in histories.items()},
        entries=tuple(
            [
                dataclasses.replace(each, trial=trial_of(winners[each.family], each.family), epochs=12.5)
                if each.role == "best"
                else each
                for each in whole.entries
            ]
        ),
        finalists=tuple(
            [
                dataclasses.replace(
                    each,
                    trial=trial_of(winners[each.family], each.family),
                    search_epochs=12.5,
                    epochs=12.5,
                    search_val_accuracy=winners[each.family].values[-1],
                    selection_seeds=(),
                    selection_val_accuracies=(),
                    proposed_by=winners[each.family].proposed_by,
                )
                for each in whole.finalists
                if each.won
            ]
        ),
        history=histories,
    )


def winner_of_rungs(searched: SearchHistory) -> TrialPoint:
    """The best of the highest rung."""
    return max(searched.rungs()[-1], key=lambda each: each.values[-1])


def trial_of(point: TrialPoint, family: str) -> str:
    """The name of its trial."""
    return f"{family}-{point.number:03d}" + (f" rung {point.rung}" if point.rung else "")


def history_of_rungs(family: str, configurations: int = 20, rungs: int = 3) -> SearchHistory:
    """Two configurations that start on the highest rung; others, of which a third is promoted, and a third of these, each
    after every third that has ended; the last training ran out of time."""
    draw = np.random.default_rng(len(family) + ord(family[0]))
    floor, used, points = {"ann": 0.0088, "cnn": 0.0042}[family], 0.0, list[TrialPoint]()
    works = [1.6 * 4**rung for rung in range(rungs)]

    def trained(number: int, rung: int, params: Mapping[str, Scalar], proposed_by: str, skill: float) -> None:
        nonlocal used
        used += works[rung]
        error = round(0.8 * floor * (1 + skill) * (1 + 4 * np.exp(-1.5 * rung)) * (1 + 0.05 * float(draw.normal())), 4)
        points.append(
            TrialPoint(number, "COMPLETE", params, (1.0 - 3 * error, 1.0 - error), used, rung, works[rung], proposed_by)
        )

    skills: dict[int, float] = {}
    for number in range(configurations):
        by = ("first", "first", "prior", "random", "neighbour", "tpe")[number if number < 4 else 4 + number % 2]
        skills[number] = abs(float(draw.normal())) / (1 if by == "random" else 1.5)
        start = rungs - 1 if by == "first" else 0
        trained(number, start, ann_params(draw) if family == "ann" else cnn_params(draw), by, skills[number])
        for rung in range(1, rungs):
            below = [each for each in points if each.rung == rung - 1]
            promoted = {each.number for each in points if each.rung == rung} & {each.number for each in below}
            if len(promoted) < len(below) // 3:
                best = max((each for each in below if each.number not in promoted), key=lambda each: each.values[-1])
                trained(best.number, rung, best.params, best.proposed_by, skills[best.number])
    if configurations > 3:
        points.append(dataclasses.replace(points[-1], number=configurations, state="OUT_OF_TIME", rung=0, proposed_by="tpe"))
    names = sorted(points[0].params if points else (), key=lambda name: name != "learning_rate")
    weights = {name: (rank + 1) ** -1.6 for rank, name in enumerate(names)}
    importance = {name: value / sum(weights.values()) for name, value in weights.items()}
    return SearchHistory(family, "val_accuracy", tuple(points), importance, ("learning_rate", "weight_decay"), too_slow=3)


def best(family: str, wrong: int) -> Entry:
    network, weights = NETWORKS[family]
    return Entry(
        family=family,
        role="best",
        trial=f"{family}-017",
        network=network,
        params={"learning_rate": 0.0031, "batch_size": 128},
        seed=7,
        epochs=9,
        trained_on=60_000,
        weights=weights,
        train_seconds=31.5,
        search_val_accuracy=0.9912 if family == "ann" else 0.9957,
        test=Share(TEST - wrong, TEST),
        model=f"models:/mnist-{family}/4",
    )


def baseline(row: tuple[str, str, str, int, int, float, float | None, str]) -> Entry:
    family, name, network, weights, wrong, seconds, published, note = row
    return Entry(
        family=family,
        role="baseline",
        trial=f"{family}-000 {name}",
        network=network,
        params={"learning_rate": 0.001},
        seed=3,
        epochs=9,
        trained_on=50_000,
        weights=weights,
        train_seconds=seconds,
        validation=Share(TEST - wrong - 12, TEST),
        test=Share(TEST - wrong, TEST),
        published_accuracy=published,
        note=note,
    )


def history(family: str, trials: int = 24, seed: int = 1) -> SearchHistory:
    """Trials that learn, some of them badly, which are pruned after the first or third of nine epochs; one failed."""
    draw = np.random.default_rng(seed + len(family) + ord(family[0]))
    floor, used, points = {"ann": 0.0088, "cnn": 0.0042}[family], 0.0, []
    for number in range(trials):
        params = ann_params(draw) if family == "ann" else cnn_params(draw)
        ease = abs(np.log(float(params["learning_rate"]) / 0.003)) + (0.35 if params.get("schedule") == "cosine" else 0.0)
        luck = float(draw.normal(0, 0.08))
        errors = [floor * (1 + 0.5 * ease + luck) * (1 + 5 * np.exp(-0.7 * epoch)) for epoch in range(1, 10)]
        kept = 9 if ease < 0.75 or number < 4 else int(draw.choice([1, 3]))
        used += kept * float(draw.uniform(1.8, 3.0))
        state = "COMPLETE" if kept == 9 else "PRUNED"
        values = tuple(round(1.0 - float(error), 4) for error in errors[:kept])
        points.append(TrialPoint(number, state, params, values, used))
    if trials > 6:
        points[5] = dataclasses.replace(points[5], state="FAIL", values=())
        last = next(place for place in range(trials - 1, 6, -1) if points[place].state == "PRUNED")
        points[last] = dataclasses.replace(points[last], state="OUT_OF_TIME")
    names = sorted(points[0].params if points else (), key=lambda name: name != "learning_rate")
    weights = {name: (rank + 1) ** -1.6 for rank, name in enumerate(names)}
    importance = {name: value / sum(weights.values()) for name, value in weights.items()}
    return SearchHistory(family, "val_accuracy", tuple(points), importance, ("learning_rate", "weight_decay"))


def ann_params(draw: np.random.Generator) -> Mapping[str, Scalar]:
    layers = int(draw.integers(2, 4))
    return {
        "hidden_layers": layers,
        **{f"units_{layer}": int(draw.integers(4, 17)) * 64 for layer in range(1, layers + 1)},
        "activation": str(draw.choice(["relu", "gelu"])),
        "normalization": str(draw.choice(["none", "batch"])),
        "dropout": float(draw.uniform(0.0, 0.2)),
        "learning_rate": float(10 ** draw.uniform(-3.0, -2.2)),
        "weight_decay": float(10 ** draw.uniform(-2.0, -0.7)),
        "schedule": str(draw.choice(["cosine", "one_cycle"])),
        "label_smoothing": float(draw.choice([0.0, 0.05])),
    }


def cnn_params(draw: np.random.Generator) -> Mapping[str, Scalar]:
    dense = int(draw.choice([0, 128]))
    return {
        "filters_1": int(draw.choice([16, 32])),
        "filters_2": int(draw.choice([32, 48, 64])),
        "filters_3": int(draw.choice([64, 96])),
        "pooling": str(draw.choice(["max", "stride"])),
        "normalization": str(draw.choice(["none", "batch"])),
        "dense_units": dense,
        **({"dense_dropout": float(draw.uniform(0.0, 0.4))} if dense else {}),
        "learning_rate": float(10 ** draw.uniform(-2.7, -2.0)),
        "weight_decay": float(10 ** draw.uniform(-2.0, -0.7)),
        "schedule": str(draw.choice(["cosine", "one_cycle"])),
        "label_smoothing": float(draw.choice([0.0, 0.05])),
    }


def spent(searched: SearchHistory) -> Spent:
    states = [each.state for each in searched.trials]
    seconds = searched.trials[-1].ended if searched.trials else 0.0
    trials = {state: states.count(state) for state in dict.fromkeys(states)}
    return Spent(trials, Used(len(states), seconds), Used(5, 49.9), Used(6, 190.0), Used(3, 96.0), Used(1, 31.5))


def finalists(family: str, searched: SearchHistory) -> list[Finalist]:
    """The three best of the search on two selection seeds, the best of them on three confirmation seeds, each a little worse
    than when it was picked. The CNN's were trained longer than in the search."""
    draw = np.random.default_rng(len(family) + ord(family[0]))
    complete = [each for each in searched.trials if each.state == "COMPLETE"]
    found = []
    for rank, trial in enumerate(sorted(complete, key=lambda each: -each.values[-1])[:3]):

        def seeds(count: int, value: float) -> tuple[float, ...]:
            return tuple(round(value + float(draw.normal(0, 0.0004)), 4) for _ in range(count))

        confirmed = seeds(3, trial.values[-1] - 0.0006) if rank == 0 else ()
        network, weights = NETWORKS[family]
        found.append(
            Finalist(
                family,
                f"{family}-{trial.number:03d}",
                network,
                weights,
                search_epochs=9,
                epochs=9 if family == "ann" else 14,
                search_val_accuracy=trial.values[-1],
                selection_seeds=(101, 102),
                selection_val_accuracies=seeds(2, trial.values[-1] - 0.0004 - 0.0003 * rank),
                confirmation_seeds=(201, 202, 203)[: len(confirmed)],
                confirmation_val_accuracies=confirmed,
                confirmation_test_accuracies=tuple(round(value - 0.0002, 4) for value in confirmed),
                won=rank == 0,
            )
        )
    return found


def mistakes(true: NDArray[np.uint8], page: int = 12) -> Mistakes:
    """Recalls and pairs that fit together (92 and 41 errors), and images for each gallery."""
    draw = np.random.default_rng(9)
    totals = np.bincount(true, minlength=10)
    pairs = {"ANN": confused(draw, 92), "CNN": confused(draw, 41)}
    wrong = {
        name: [sum(pair.count for pair in found if pair.true == label) for label in range(10)]
        for name, found in pairs.items()
    }
    classes = tuple(
        ClassRecall(label, {name: Share(int(totals[label]) - wrong[name][label], int(totals[label])) for name in pairs})
        for label in range(10)
    )
    picked = iter(draw.permutation(len(true))[: 4 * page].tolist())

    def prediction(label: int, *, right: bool, other: int) -> Prediction:
        return Prediction(label if right else (label + other) % 10, round(float(draw.uniform(0.55, 1.0)), 3))

    def gallery(*, first: bool, second: bool, same: bool = False, count: int = page) -> tuple[ClassifiedImage, ...]:
        shown = []
        for index in (next(picked) for _ in range(count)):
            label, other = int(true[index]), int(draw.integers(1, 10))
            another = other if same else int(draw.integers(1, 10))
            predictions = {
                "ANN": prediction(label, right=first, other=other),
                "CNN": prediction(label, right=second, other=another),
            }
            shown.append(ClassifiedImage(index, label, predictions))
        return tuple(shown)

    galleries = Galleries(
        gallery(first=False, second=True),
        gallery(first=True, second=False),
        gallery(first=False, second=False),
        gallery(first=False, second=False, same=True, count=min(page, 6)),
        6,
    )
    return Mistakes(classes, pairs, galleries)


def confused(draw: np.random.Generator, total: int) -> tuple[ConfusedPair, ...]:
    """All confused pairs of a model with so many errors, a few of them frequent."""
    cells = [(row, column) for row in range(10) for column in range(10) if row != column]
    odds = draw.dirichlet(np.full(len(cells), 0.25))
    counts = draw.multinomial(total, odds)
    found = [ConfusedPair(row, column, int(count)) for (row, column), count in zip(cells, counts, strict=True) if count]
    return tuple(sorted(found, key=lambda pair: -pair.count))


def cost(name: str, family: str, accuracy: float, weights: int, seconds: float, single: float, batch: float) -> Cost:
    latencies = (Latency(1, single, single * 1.3), Latency(256, batch, batch * 1.15))
    return Cost(name, family, accuracy, weights, seconds, latencies)
