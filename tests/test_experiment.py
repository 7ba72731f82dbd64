"""Experiment files: those that come with the program, what is read from one, and when two are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import SMALL_EXPERIMENT, only_line

from digitsweep.distributions import FloatRange
from digitsweep.errors import InputError
from digitsweep.experiment import Experiment
from digitsweep.experiment_file import experiments_in, find_experiment, load_experiment
from digitsweep.params import AnnParams

FOLDER = Path(__file__).parent.parent / "experiments"


def small(folder: Path, *edits: tuple[str, str]) -> Experiment:
    """The small experiment with other text in some places."""
    text = SMALL_EXPERIMENT
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} must be once in the small experiment"
        text = text.replace(old, new)
    path = folder / "small.yaml"
    path.write_text(text)
    return load_experiment(path)


@pytest.mark.parametrize("path", experiments_in(FOLDER), ids=lambda path: path.stem)
def test_every_file_loads_and_says_what_it_asks(path: Path) -> None:
    """Each file of experiments/ loads, bears its own name, and begins with its question and its command."""
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
    """Each published model is a baseline of its family, with the hyperparameters that its source gives."""
    family, published = PUBLISHED[baseline]
    families: Any = load_experiment(FOLDER / f"{experiment}.yaml").families
    flat = families[family].baselines[baseline].typed().flat()
    assert {name: flat.get(name) for name in published} == published


def test_the_fallback_of_mnist_is_there() -> None:
    """The experiment that runs where MNIST cannot be had loads, and needs no download."""
    experiment = load_experiment(FOLDER / "mnist.yaml")
    assert experiment.data.fallback is not None
    assert load_experiment(experiment.beside(experiment.data.fallback, "data.fallback")).data.source == "digits"


def test_what_is_read(tmp_path: Path) -> None:
    """A file's values are typed and checked; what it does not say has its default."""
    experiment = small(tmp_path)
    assert (experiment.name, experiment.seed, experiment.register_models) == ("small", 0, True)
    assert experiment.data.validation == 0.25
    assert experiment.pruner.type == "successive_halving"
    assert experiment.path == tmp_path / "small.yaml"
    assert experiment.text == SMALL_EXPERIMENT
    dense = experiment.families["ann"].baselines["dense"]
    assert dense.epochs == 2
    assert isinstance(dense.typed(), AnnParams)
    assert dense.typed().describe() == "dense 64-64"
    assert set(experiment.families["ann"].space.searched) == {"hidden_layers", "units", "learning_rate", "schedule"}
    assert experiment.families["ann"].space.fixed == {"batch_size": 32}


@pytest.mark.parametrize(
    ("written", "meant"), [("10", 10), ("1e1", 10), ("10.0", 10), ("0.5", 0.5), ("5e-1", 0.5), ("1", 1)]
)
def test_validation_is_a_count_or_a_share(tmp_path: Path, written: str, meant: int | float) -> None:
    """From 1 on `validation` counts images and is an integer; below it is a share."""
    validation = small(tmp_path, ("validation: 0.25", f"validation: {written}")).data.validation
    assert validation == meant
    assert type(validation) is type(meant)


def test_a_number_that_yaml_reads_as_text_is_a_number(tmp_path: Path) -> None:
    """`1e-4` is text to YAML 1.1, and is taken as the number that it means, wherever it stands."""
    written = small(tmp_path, ("1.0e-3", "1e-3"), ("seconds: 20", "seconds: 2e1"), ("units: 64", "units: 64, dropout: 1e-4"))
    meant = small(tmp_path, ("units: 64", "units: 64, dropout: 0.0001"))
    learning_rate = written.families["ann"].space.searched["learning_rate"]
    assert isinstance(learning_rate, FloatRange)
    assert learning_rate.low == 0.001
    assert written.budget.seconds == 20.0
    assert written.families["ann"].baselines["dense"].typed().flat()["dropout_1"] == 0.0001
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
    """Comments, the order of keys, the question, and another way to write the same do not change the digest."""
    assert small(tmp_path, *edits).digest() == small(tmp_path).digest()


OTHER = [
    ("name: small", "name: smaller"),
    ("seed: 0", "seed: 1"),
    ("source: digits", "source: other.npz"),
    ("validation: 0.25", "validation: 0.2"),
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
    """All that decides what a sweep does changes the digest."""
    (tmp_path / "other.yaml").write_text("")
    assert small(tmp_path, (old, new)).digest() != small(tmp_path).digest()


def test_another_budget_or_seed(tmp_path: Path) -> None:
    """A budget or seed that is given takes the place of the file's, and 0 is a seed like any other."""
    experiment = small(tmp_path, ("seed: 0", "seed: 7"))
    assert experiment.changed() == experiment
    changed = experiment.changed(trials=0, seconds=1.5, seed=0)
    assert (changed.budget.trials, changed.budget.seconds, changed.seed) == (0, 1.5, 0)
    assert changed.budget.epochs == experiment.budget.epochs


def test_a_baselines_only_experiment_draws_no_trials(tmp_path: Path) -> None:
    """With no trials a family needs no space, and then no trials can be asked for."""
    start, end = SMALL_EXPERIMENT.index("    space:"), len(SMALL_EXPERIMENT)
    experiment = small(tmp_path, ("trials: 2", "trials: 0"), (SMALL_EXPERIMENT[start:end], ""))
    assert list(experiment.families["ann"].baselines) == ["softmax", "dense"]
    with pytest.raises(InputError) as error:
        experiment.changed(trials=3)
    only_line(error, tmp_path / "small.yaml", "families.ann", "--trials")


def test_finding_an_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An experiment is found by its path, or by its bare name in experiments/; else those that there are are named."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        find_experiment("small")
    only_line(error, "small: no such experiment file", f"there are none in {tmp_path / 'experiments'}")
    (tmp_path / "experiments").mkdir()
    small(tmp_path / "experiments")
    path = tmp_path / "experiments" / "small.yaml"
    for name in ("small", "small.yaml", "experiments/small.yaml", str(path)):
        assert find_experiment(name).resolve() == path.resolve()
    for name in ("smal", "other/small", "../small"):
        with pytest.raises(InputError) as error:
            find_experiment(name)
        only_line(error, f"{name}: no such experiment file", "there are small in experiments/")
    with pytest.raises(InputError) as error:
        find_experiment("experiments")
    only_line(error, "experiments: an experiment is a YAML file, but this is a folder")
