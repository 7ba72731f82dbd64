"""Experiment files: the ones in the repository, what is read from one, and when two are the same."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running import EXPERIMENTS
from support import MINUTES_EXPERIMENT, SMALL_EXPERIMENT, only_line

from digitsweep.config.experiment import Budget, Experiment, MinutesBudget
from digitsweep.config.experiment_file import experiments_in, find_experiment, load_experiment
from digitsweep.config.space import FloatRange
from digitsweep.errors import InputError
from digitsweep.families.ann import AnnParams

FOLDER = Path(__file__).parent.parent / "experiments"


def small(folder: Path, *edits: tuple[str, str]) -> Experiment:
    """The small experiment with some of its text replaced."""
    text = SMALL_EXPERIMENT
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} must be once in the small experiment"
        text = text.replace(old, new)
    path = folder / "small.yaml"
    path.write_text(text)
    return load_experiment(path)


@pytest.mark.parametrize("path", experiments_in(FOLDER), ids=lambda path: path.stem)
def test_every_file_loads_and_says_what_it_asks(path: Path) -> None:
    """Each file in experiments/ loads, has its file's name, and begins with its question and command."""
    assert load_experiment(path).name == path.stem
    head: list[str] = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        head.append(line.removeprefix("#").strip())
    assert head[0].startswith("Question:")
    assert any(line.startswith("Command:") for line in head)


PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("ann", {"hidden_layers": 0}),
    "dense-100": ("ann", {"hidden_layers": 1, "units_1": 100, "activation_1": "relu"}),
    "dense-128-32": ("ann", {"hidden_layers": 2, "units_1": 128, "units_2": 32, "activation_1": "relu"}),
    "dense-two": ("ann", {"hidden_layers": 2, "activation_1": "relu", "activation_2": "relu"}),
    "dense-30-epochs": ("ann", {"hidden_layers": 1, "activation_1": "relu", "batch_size": 50}),
    "conv-32": ("cnn", {"blocks": 1, "filters_1": 32, "kernel_size_1": 3, "dense_units": 100}),
    "conv-pool": ("cnn", {"blocks": 2, "pooling_1": "max", "pooling_2": "max"}),
    "conv-0.01": ("cnn", {"learning_rate": 0.01, "batch_size": 100}),
}


@pytest.mark.parametrize("experiment", ["mnist", "digits"])
@pytest.mark.parametrize("baseline", PUBLISHED)
def test_the_published_models_are_baselines(experiment: str, baseline: str) -> None:
    """Each published model is a baseline of its family, with the hyperparameters of its source."""
    family, published = PUBLISHED[baseline]
    families: Any = load_experiment(FOLDER / f"{experiment}.yaml").families
    flat = families[family].baselines[baseline].params.flat()
    assert {name: flat.get(name) for name in published} == published


def test_the_fallback_of_mnist_loads() -> None:
    """The experiment that runs when MNIST is not available loads, and needs no download."""
    experiment = load_experiment(FOLDER / "mnist.yaml")
    assert experiment.data.fallback is not None
    assert load_experiment(experiment.beside(experiment.data.fallback, "data.fallback")).data.source == "digits"


def test_what_is_read(tmp_path: Path) -> None:
    """Values are typed and checked; what a file leaves out has its default."""
    experiment = small(tmp_path)
    assert (experiment.name, experiment.seed, experiment.register_models) == ("small", 0, True)
    assert experiment.data.validation == 0.25
    assert experiment.pruner.type == "successive_halving"
    assert experiment.path == tmp_path / "small.yaml"
    assert experiment.text == SMALL_EXPERIMENT
    dense = experiment.families["ann"].baselines["dense"]
    assert dense.epochs == 2
    assert isinstance(dense.params, AnnParams)
    assert dense.params.describe() == "dense 64-64"
    assert set(experiment.families["ann"].space.searched) == {"hidden_layers", "units", "learning_rate", "schedule"}
    assert experiment.families["ann"].space.fixed == {"batch_size": 32}


@pytest.mark.parametrize(
    ("written", "meant"), [("10", 10), ("1e1", 10), ("10.0", 10), ("0.5", 0.5), ("5e-1", 0.5), ("1", 1)]
)
def test_validation_is_a_count_or_a_share(tmp_path: Path, written: str, meant: int | float) -> None:
    """From 1 on, `validation` is a number of images; below, it is a share."""
    validation = small(tmp_path, ("validation: 0.25", f"validation: {written}")).data.validation
    assert validation == meant
    assert type(validation) is type(meant)


def test_a_number_that_yaml_reads_as_text_is_a_number(tmp_path: Path) -> None:
    """`1e-4`, which YAML 1.1 reads as text, is a number everywhere in a file."""
    written = small(tmp_path, ("1.0e-3", "1e-3"), ("seconds: 20", "seconds: 2e1"), ("units: 64", "units: 64, dropout: 1e-4"))
    meant = small(tmp_path, ("units: 64", "units: 64, dropout: 0.0001"))
    learning_rate = written.families["ann"].space.searched["learning_rate"]
    assert isinstance(learning_rate, FloatRange)
    assert learning_rate.low == 0.001
    assert isinstance(written.budget, Budget)
    assert written.budget.seconds == 20.0
    assert written.families["ann"].baselines["dense"].params.flat()["dropout_1"] == 0.0001
    assert written.digest() == meant.digest()


SAME = {
    "a comment": [("seed: 0", "seed: 0   # any other\n# comment")],
    "the order of keys": [("seed: 0\n", ""), ("trials: 2, epochs: 3", "epochs: 3, trials: 2"), ("fam", "seed: 0\nfam")],
    "the question": [("Does it load?", "Does it really?")],
    "a default that is written out": [("seed: 0", "seed: 0\nregister_models: true\nsampler: {type: tpe}")],
    "a value for each layer": [("units: 64", "units: [64, 64]")],
    "1e-1": [("1.0e-1", "1e-1")],
}  # fmt: skip


@pytest.mark.parametrize("edits", SAME.values(), ids=SAME.keys())
def test_what_does_not_change_the_digest(tmp_path: Path, edits: list[tuple[str, str]]) -> None:
    """Comments, the order of keys, the question, and other spellings of the same value do not change the digest."""
    assert small(tmp_path, *edits).digest() == small(tmp_path).digest()


OTHER = [
    ("name: small", "name: smaller"),
    ("seed: 0", "seed: 1"),
    ("source: digits", "source: other.npz"),
    ("validation: 0.25", "validation: 0.2"),
    ("validation: 0.25", "validation: 0.25, size: 16"),
    ("validation: 0.25", "validation: 0.25, fit: crop"),
    ("validation: 0.25", "validation: 0.25, classes: [a, b]"),
    ("validation: 0.25", "validation: 0.25, strict: true"),
    ("validation: 0.25", "validation: 0.25, fallback: other.yaml"),
    ("trials: 2", "trials: 3"),
    ("epochs: 3", "epochs: 4"),
    ("seconds: 20", "seconds: 21"),
    ("{metric: val_accuracy, direction: maximize}", "{metric: val_loss, direction: minimize}"),
    ("seed: 0", "seed: 0\nregister_models: false"),
    ("seed: 0", "seed: 0\nsampler: {type: random}"),
    ("seed: 0", "seed: 0\npruner: {type: none}"),
    ("softmax:", "logistic:"),
    ("hidden_layers: 0, batch_size: 32", "hidden_layers: 0, batch_size: 64"),
    ("}, epochs: 2", "}, epochs: 1"),
    ("low: 16, high: 64", "low: 16, high: 65"),
    ("log: true, per: hidden_layers", "log: true"),
    ("1.0e-1, log: true", "1.0e-1"),
    ("[constant, cosine]", "[constant, step]"),
    ("      batch_size: 32", "      batch_size: 16"),
    ("      batch_size: 32\n", ""),
    ("families:\n", "families:\n  cnn: {space: {blocks: 1, filters: 8}}\n"),
]


@pytest.mark.parametrize(("old", "new"), OTHER, ids=[new for _, new in OTHER])
def test_what_changes_the_digest(tmp_path: Path, old: str, new: str) -> None:
    """Everything that determines what a sweep does changes the digest."""
    (tmp_path / "other.yaml").write_text("")
    assert small(tmp_path, (old, new)).digest() != small(tmp_path).digest()


def test_how_images_are_prepared(tmp_path: Path) -> None:
    """Size, fit, names and strictness of the data; numbers in names are text. Validation has a default."""
    edit = ("validation: 0.25", "size: 32, fit: crop, classes: [cat, 7, 'no'], strict: true")
    data = small(tmp_path, edit).data
    assert (data.size, data.fit, data.classes, data.strict) == (32, "crop", ("cat", "7", "no"), True)
    assert data.validation == 0.2
    plain = small(tmp_path).data
    assert (plain.size, plain.fit, plain.classes, plain.strict) == (None, "letterbox", (), False)


def test_the_digest_is_that_of_earlier_versions(tmp_path: Path) -> None:
    """An experiment that does not say how images are prepared has the digest that older stores know."""
    assert small(tmp_path).digest() == "a1dafba1a52c7426"


def test_another_budget_or_seed(tmp_path: Path) -> None:
    """A given budget or seed replaces the file's; 0 is a seed like any other."""
    experiment = small(tmp_path, ("seed: 0", "seed: 7"))
    assert experiment.changed() == experiment
    changed = experiment.changed(trials=0, seconds=1.5, seed=0)
    assert isinstance(experiment.budget, Budget)
    assert isinstance(changed.budget, Budget)
    assert (changed.budget.trials, changed.budget.seconds, changed.seed) == (0, 1.5, 0)
    assert changed.budget.epochs == experiment.budget.epochs


def in_minutes(folder: Path, *edits: tuple[str, str]) -> Experiment:
    """The experiment in minutes, edited."""
    text = MINUTES_EXPERIMENT
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "minutes.yaml").write_text(text)
    return load_experiment(folder / "minutes.yaml")


def test_a_budget_in_minutes(tmp_path: Path) -> None:
    """Minutes stand for the whole sweep; what is drawn is a mixture, unless the file says otherwise."""
    experiment = in_minutes(tmp_path)
    assert experiment.budget == MinutesBudget(minutes=0.5)
    assert experiment.sampler.type == "mixture"
    assert in_minutes(tmp_path, ("seed: 0", "seed: 0\nsampler: {type: tpe}")).sampler.type == "tpe"
    assert small(tmp_path).sampler.type == "tpe"
    assert [each.flat()["units_1"] for each in experiment.families["ann"].first] == [32, 64]
    changed = experiment.changed(minutes=60, trials=5, seed=3)
    assert changed.budget == MinutesBudget(minutes=60, trials=5)
    assert changed.seed == 3


@pytest.mark.parametrize(
    ("load", "given", "said"),
    [
        (in_minutes, {"seconds": 5.0}, "--seconds does not go with"),
        (small, {"minutes": 5.0}, "--minutes does not go with"),
        (in_minutes, {"minutes": math.inf}, "--minutes must be a finite number"),
    ],
)
def test_a_budget_of_the_other_kind(load: Any, given: dict[str, Any], said: str, tmp_path: Path) -> None:
    """`--seconds` is refused where the budget is in minutes, and `--minutes` where it is in seconds, in one line."""
    experiment = load(tmp_path)
    with pytest.raises(InputError) as error:
        experiment.changed(**given)
    only_line(error, said)


OTHER_MINUTES = [
    ("minutes: 0.5", "minutes: 0.6"),
    ("minutes: 0.5", "minutes: 0.5, patience: 9"),
    ("minutes: 0.5", "minutes: 0.5, trials: 9"),
    ("seed: 0", "seed: 0\nsampler: {type: tpe}"),
    ("high: 3, prior: 2", "high: 3, prior: 1"),
    ("high: 3, prior: 2", "high: 3"),
    ("sure: high", "sure: low"),
    ("learning_rate: 0.003, schedule: constant", "learning_rate: 0.004, schedule: constant"),
    ("      - {hidden_layers: 2, units: [64, 32], learning_rate: 0.003, schedule: constant, batch_size: 64}\n", ""),
]


@pytest.mark.parametrize(("old", "new"), OTHER_MINUTES, ids=[new for _, new in OTHER_MINUTES])
def test_what_changes_the_digest_in_minutes(tmp_path: Path, old: str, new: str) -> None:
    """Minutes, patience, the sampler, priors and known configurations change what a sweep does, and so the digest."""
    assert in_minutes(tmp_path, (old, new)).digest() != in_minutes(tmp_path).digest()
    same = in_minutes(tmp_path, ("seed: 0", "seed: 0\nsampler: {type: mixture}"), ("prior: 2", "prior: {value: 2}"))
    assert same.digest() == in_minutes(tmp_path).digest()


def test_what_digitsweep_knows(tmp_path: Path) -> None:
    """A search in minutes has digitsweep's own configurations, moved into its space, unless the experiment wants none or
    names one of them itself."""
    experiment = in_minutes(tmp_path)
    for family in experiment.families.values():
        assert len(family.defaults) >= 1
        assert {family.space.outside(each) for each in family.defaults} == {""}
    none = in_minutes(tmp_path, ("      batch_size: 64\n", "      batch_size: 64\n    first: []\n"))
    assert none.families["cnn"].defaults == ()
    assert none.digest() != experiment.digest()
    for name in ("mnist", "digits", "images"):
        shipped = load_experiment(EXPERIMENTS / f"{name}.yaml")
        assert all(each.first and not each.defaults for each in shipped.families.values())
    assert not any(each.defaults for each in small(tmp_path).families.values())


def test_who_tries_what_digitsweep_knows(tmp_path: Path) -> None:
    """Only the sampler `mixture`, and only in a search."""
    experiment = in_minutes(tmp_path)
    spec = experiment.families["ann"]
    assert experiment.known("ann") == {"first": spec.first, "default": spec.defaults}
    assert experiment.changed(trials=0).known("ann")["default"] == ()
    drawn = in_minutes(tmp_path, ("seed: 0", "seed: 0\nsampler: {type: tpe}"))
    assert drawn.known("ann") == {"first": spec.first, "default": ()}


def test_a_baselines_only_experiment_draws_no_trials(tmp_path: Path) -> None:
    """Without trials a family needs no space, and then `--trials` must be 0."""
    start, end = SMALL_EXPERIMENT.index("    space:"), len(SMALL_EXPERIMENT)
    experiment = small(tmp_path, ("trials: 2", "trials: 0"), (SMALL_EXPERIMENT[start:end], ""))
    assert list(experiment.families["ann"].baselines) == ["softmax", "dense"]
    with pytest.raises(InputError) as error:
        experiment.changed(trials=3)
    only_line(error, tmp_path / "small.yaml", "families.ann", "--trials")


def test_finding_an_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An experiment is found by its path or its name: in ./experiments first, then among those that come with digitsweep."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        find_experiment("small")
    only_line(error, "small: no such experiment file; there are digits, images, mnist, published, smoke, three")
    assert find_experiment("digits").read_text() == (EXPERIMENTS / "digits.yaml").read_text()
    (tmp_path / "experiments").mkdir()
    small(tmp_path / "experiments")
    path = tmp_path / "experiments" / "small.yaml"
    for name in ("small", "small.yaml", "experiments/small.yaml", str(path)):
        assert find_experiment(name).resolve() == path.resolve()
    for name in ("smal", "other/small", "../small"):
        with pytest.raises(InputError) as error:
            find_experiment(name)
        only_line(
            error, f"{name}: no such experiment file", "there are digits, images, mnist, published, small, smoke, three"
        )
    with pytest.raises(InputError) as error:
        find_experiment("experiments")
    only_line(error, "experiments: an experiment must be a YAML file, but this is a folder")
    (tmp_path / "experiments" / "digits.yaml").write_text(path.read_text())
    assert find_experiment("digits") == Path("experiments", "digits.yaml")


def test_what_the_experiments_know_is_what_the_table_teaches() -> None:
    """Priors and known configurations, of the experiments and in defaults.yaml, are those that `make portfolio` writes."""
    benchmarks = FOLDER.parent / "benchmarks"
    found = subprocess.run(
        [sys.executable, "portfolio.py", "check"], cwd=benchmarks, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
