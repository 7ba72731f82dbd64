"""Networks of every kind: with each layer that a family can draw, and of a family of another kind, trained or not."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from digitsweep.data import TrainingData
from digitsweep.families import Params, parse_params
from digitsweep.training.loop import train, trained_model

ACTIVATIONS = ("relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid")
NORMALIZATIONS = ("none", "batch", "layer")


def shuffled(model: Any, seed: int) -> Any:
    """The network with what training would have changed: running means and variances, gammas, betas and biases."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if len(weight.shape) == 1:
            spread = (
                random.uniform(0.5, 1.5, weight.shape)
                if "variance" in weight.path or "gamma" in weight.path
                else random.normal(0, 0.2, weight.shape)
            )
            weight.assign(spread)
    return model


def configurations() -> dict[str, Params]:
    """Networks that have every pooling, normalisation, activation and padding, each in several surroundings."""
    found: dict[str, Params] = {}
    for number, activation in enumerate(ACTIVATIONS):
        one, other = NORMALIZATIONS[number % 3], NORMALIZATIONS[(number + 1) % 3]
        found[f"dense {activation} {one} {other}"] = parse_params(
            "ann",
            {"hidden_layers": 2, "units": [24, 16], "activation": activation, "normalization": [one, other], "dropout": 0.2},
        )
        found[f"residual {activation}"] = parse_params(
            "resnet",
            {"stages": 2, "filters": [6, 10], "residual_blocks": [1, 2], "activation": activation,
             "normalization": ("batch", "layer")[number % 2], "dropout": 0.1},
        )  # fmt: skip
    combined = itertools.product(("max", "average", "stride"), NORMALIZATIONS, ("same", "valid"))
    for number, (pooling, normalization, padding) in enumerate(combined):
        found[f"convolutions {pooling} {normalization} {padding}"] = parse_params(
            "cnn",
            {"blocks": 2, "convolutions": [2, 1], "filters": [6, 8], "kernel_size": [3, (2, 3)[number % 2]],
             "pooling": pooling, "normalization": normalization, "padding": padding,
             "activation": ACTIVATIONS[number % 8], "dropout": 0.1,
             "dense_units": (0, 12)[number % 2], "dense_dropout": 0.1 * (number % 2)},
        )  # fmt: skip
    return found


def mixer(shape: tuple[int, int, int]) -> Any:
    """A network of another kind, as in docs/families.md: layers along other axes than the last."""
    from keras import Input, Model, layers

    image = Input(shape)
    x = layers.Reshape((-1, 8))(layers.Conv2D(8, 4, strides=4)(layers.Rescaling(1 / 255)(image)))
    mixed = layers.Dense(x.shape[1], activation="gelu")(layers.Permute((2, 1))(layers.LayerNormalization()(x)))
    x = layers.GlobalAveragePooling1D()(layers.Add()([x, layers.Permute((2, 1))(mixed)]))
    return Model(image, layers.Softmax()(layers.Dense(10)(x)))


COMMON = {"optimizer": "adamw", "learning_rate": 0.003, "schedule": "one_cycle", "batch_size": 64}
TRAINED = {
    "ANN": parse_params(
        "ann", {"hidden_layers": 2, "units": [64, 32], "normalization": ["batch", "layer"], "activation": "gelu", **COMMON}
    ),
    "CNN": parse_params(
        "cnn",
        {"blocks": 2, "filters": [8, 16], "padding": "same", "normalization": "batch", "pooling": ["max", "average"],
         "dense_units": 32, **COMMON},
    ),
    "ResNet": parse_params("resnet", {"stages": 2, "filters": [8, 16], **COMMON}),
}  # fmt: skip
"""A network of each family that learns in seconds."""


def fitted(params: Params, data: TrainingData, epochs: int) -> Any:
    """The network of a configuration after this many epochs."""
    generator = train(params, data, seed=0, epochs=epochs)
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return trained_model(params, data.shape, data.classes, end.value.weights)
