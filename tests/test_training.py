"""The training loop, on a few real images and real networks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from digitsweep.data import TrainingData
from digitsweep.data.sources import load_dataset
from digitsweep.families import Params, parse_params
from digitsweep.training.loop import probabilities, train, trained_model
from digitsweep.trial import EpochMetrics, Trial, TrialResult, TrialState


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return load_dataset("digits", validation=0.25, seed=0).training


def run(
    params: Params, data: TrainingData, *, seed: int = 1, epochs: float = 3, **options: Any
) -> tuple[list[EpochMetrics], TrialResult]:
    """The epochs that were yielded, and the result."""
    yielded = []
    generator = train(params, data, seed=seed, epochs=epochs, **options)
    while True:
        try:
            yielded.append(next(generator).metrics)
        except StopIteration as end:
            return yielded, end.value


def numbers(result: TrialResult) -> list[tuple[float, ...]]:
    """The metrics without the seconds, which nothing repeats."""
    return [(each.train_loss, each.train_accuracy, each.val_loss, each.val_accuracy) for each in result.epochs]


ANN = parse_params("ann", {"hidden_layers": 1, "units": 64, "dropout": 0.2, "augmentation": "affine"})
CNN = parse_params(
    "cnn",
    {"blocks": 2, "filters": [8, 16], "convolutions": [1, 2], "padding": "same", "normalization": ["batch", "layer"],
     "pooling": ["stride", "average"], "dropout": 0.1, "dense_units": 16, "dense_dropout": 0.1, "optimizer": "sgd",
     "learning_rate": 0.05, "schedule": "one_cycle", "label_smoothing": 0.1, "augmentation": "shift"},
)  # fmt: skip


@pytest.mark.parametrize("params", [ANN, CNN], ids=["ann", "cnn"])
def test_the_same_seed_gives_the_same_numbers(params: Params, data: TrainingData) -> None:
    """Parameters, data and seed decide every figure and every weight to the last bit; another seed gives others."""
    (_, first), (_, second), (_, other) = (run(params, data, seed=seed) for seed in (1, 1, 2))
    assert numbers(first) == numbers(second)
    assert first.weights is not None
    assert second.weights is not None
    assert all(np.array_equal(a, b) for a, b in zip(first.weights, second.weights, strict=True))
    assert numbers(first) != numbers(other)


@pytest.mark.parametrize("params", [ANN, CNN], ids=["ann", "cnn"])
def test_it_learns(params: Params, data: TrainingData) -> None:
    """A few epochs bring either family well above chance, and the yielded epochs are those of the result."""
    yielded, result = run(params, data, epochs=8)
    assert result.state is TrialState.COMPLETE
    assert tuple(yielded) == result.epochs
    assert [each.epoch for each in yielded] == list(range(1, 9))
    assert yielded[-1].val_accuracy > 0.7


@pytest.mark.parametrize("steps", [1, 4, 20])
@pytest.mark.parametrize(("epochs", "count"), [(0.3, 1), (0.001, 1), (1.0, 1), (2.3, 3), (2.5, 3), (3.0, 3)])
def test_a_part_of_an_epoch(epochs: float, count: int, steps: int, data: TrainingData) -> None:
    """Epochs need not be whole: the last one may be a part of one, and the schedule is annealed to the end of that part. It
    has a step at least, however few steps there are in an epoch."""
    params = parse_params(
        "ann",
        {"hidden_layers": 0, "schedule": "cosine", "batch_size": len(data.train) // steps, "learning_rate": 0.01},
    )
    yielded, result = run(params, data, epochs=epochs)
    assert result.state is TrialState.COMPLETE
    assert [each.epoch for each in yielded] == list(range(1, count + 1))
    total = math.ceil(epochs * steps)
    last = 0.01 * (1 + math.cos(math.pi * (total - 1) / total)) / 2
    assert yielded[-1].learning_rate == pytest.approx(last, rel=1e-3)
    assert Trial(0, params, 0, epochs).epoch_count == count


def test_a_refit_follows_the_plateaus_of_an_earlier_training(data: TrainingData) -> None:
    """Without validation images, the rate is halved where an earlier training's validation loss stood still."""
    params = parse_params("ann", {"hidden_layers": 0, "schedule": "plateau", "learning_rate": 0.01})
    yielded, _ = run(params, data.joined(), epochs=7, val_losses=(1.0, 0.5, 0.5, 0.5, 0.4, 0.4, 0.4))
    assert [each.learning_rate for each in yielded] == pytest.approx([0.01, 0.01, 0.01, 0.01, 0.005, 0.005, 0.005])


def test_the_weights_are_those_of_the_last_epoch(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model made of the result's weights gives the predictions and the accuracy that the last epoch reported.

    To the last image in float32; in bfloat16 the trial's own figures may be off by an image on the edge."""
    monkeypatch.setattr("digitsweep.training.loop.fastest_precision", lambda: "float32")
    _, result = run(ANN, data)
    assert result.precision == "float32"
    assert result.weights is not None
    model = trained_model(ANN, data.shape, data.classes, result.weights)
    assert result.predictions is not None
    predicted = probabilities(model, data.validation.images).argmax(axis=1)
    assert np.array_equal(predicted, result.predictions)
    labels = data.validation.labels
    assert float(np.mean(predicted == labels)) == result.last("val_accuracy")
    assert result.last("val_balanced_accuracy") == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert result.last("val_macro_f1") == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert model.count_params() == result.weight_count


def test_a_loss_that_is_not_finite_fails_the_trial(data: TrainingData) -> None:
    """A diverged network ends as FAIL with the epoch in its reason, and with predictions for its report."""
    params = parse_params(
        "ann", {"hidden_layers": 6, "units": 64, "activation": "leaky_relu", "optimizer": "sgd", "learning_rate": 10.0}
    )
    yielded, result = run(params, data, epochs=20)
    assert result.state is TrialState.FAIL
    assert result.reason == f"the loss was not finite in epoch {len(yielded) + 1}"
    assert result.predictions is not None
    assert result.weights is None


def test_it_stops_within_an_epoch(data: TrainingData) -> None:
    """Told to stop, the loop ends as of the last whole epoch, PRUNED, with predictions for its report."""
    asked: list[int] = []
    generator = train(ANN, data, seed=1, epochs=50, stopped=lambda: bool(asked))
    next(generator)
    asked.append(1)
    with pytest.raises(StopIteration) as end:
        next(generator)
    result: TrialResult = end.value.value
    assert result.state is TrialState.PRUNED
    assert len(result.epochs) == 1
    assert result.predictions is not None


def test_where_it_pauses_has_no_say_in_the_numbers(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures do not depend on how many steps the compiled loop makes at a time."""
    _, usual = run(ANN, data)
    monkeypatch.setattr("digitsweep.training.loop.FIRST_SEGMENT", 3)
    monkeypatch.setattr("digitsweep.training.loop.SEGMENT_SECONDS", 0.0)
    _, often = run(ANN, data)
    assert numbers(usual) == numbers(often)


@pytest.mark.parametrize("batch_size", [7, 1000, 5000])
def test_batches_of_any_size(batch_size: int, data: TrainingData) -> None:
    """A batch may leave a rest, or be larger than all there is."""
    params = parse_params("ann", {"hidden_layers": 0, "batch_size": batch_size})
    _, result = run(params, data, epochs=1)
    assert result.state is TrialState.COMPLETE


def test_a_refit_is_trained_on_everything_and_validates_nothing(data: TrainingData) -> None:
    """With training and validation joined an epoch has the steps of both, no validation figures, and learns."""
    joined = data.joined()
    assert len(joined.train) == len(data.train) + len(data.validation)
    assert joined.train.images[len(data.train)].tobytes() == data.validation.images[0].tobytes()
    params = parse_params("ann", {"hidden_layers": 1, "units": 32, "batch_size": 32, "learning_rate": 0.01})
    epochs, result = run(params, joined)
    assert epochs[-1].train_accuracy > 0.8
    assert not {"val_loss", "val_accuracy"} & epochs[-1].metrics().keys()
    assert result.state is TrialState.COMPLETE
    assert result.predictions is None
