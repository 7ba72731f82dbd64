"""The fused optimizer steps against those of Keras."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from digitsweep.families.ann import AnnParams
from digitsweep.training.optimizers import Optimizer

STEPS = 25


def keras_optimizer(params: AnnParams) -> keras.optimizers.Optimizer:
    match params.optimizer:
        case "sgd":
            return keras.optimizers.SGD(
                params.learning_rate, momentum=params.momentum, weight_decay=params.weight_decay or None
            )
        case "adam":
            return keras.optimizers.Adam(params.learning_rate)
        case "adamw":
            return keras.optimizers.AdamW(params.learning_rate, weight_decay=params.weight_decay)


@pytest.mark.parametrize(
    "params",
    [
        AnnParams(hidden_layers=0, units=(), optimizer="sgd", momentum=0.0, learning_rate=0.1),  # type: ignore[call-arg]
        AnnParams(hidden_layers=0, units=(), optimizer="sgd", momentum=0.9, learning_rate=0.1, weight_decay=0.01),  # type: ignore[call-arg]
        AnnParams(hidden_layers=0, units=(), optimizer="adam", learning_rate=0.01),  # type: ignore[call-arg]
        AnnParams(hidden_layers=0, units=(), optimizer="adamw", learning_rate=0.01, weight_decay=0.1),  # type: ignore[call-arg]
    ],
    ids=["sgd", "momentum", "adam", "adamw"],
)
def test_the_same_steps_as_keras(params: AnnParams) -> None:
    """After some steps every kernel is where Keras' optimizer of the same name takes it."""
    generator = np.random.default_rng(0)
    start = generator.normal(size=(5, 3)).astype(np.float32)
    gradients = [generator.normal(size=(5, 3)).astype(np.float32) for _ in range(STEPS)]
    ours, theirs = keras.Variable(start), keras.Variable(start)
    optimizer, reference = Optimizer(params, [ours]), keras_optimizer(params)

    @tf.function  # type: ignore[untyped-decorator]
    def step(gradient: tf.Tensor) -> None:
        optimizer.apply([gradient], tf.constant(params.learning_rate))

    for gradient in gradients:
        step(tf.constant(gradient))
        reference.apply([tf.constant(gradient)], [theirs])
    assert np.abs(theirs.numpy() - start).max() > 0.05
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=2e-4, atol=2e-5)


def test_biases_do_not_decay() -> None:
    """Weight decay shrinks kernels, and leaves biases and scales alone."""
    params = AnnParams(hidden_layers=0, units=(), optimizer="adamw", learning_rate=0.1, weight_decay=0.5)  # type: ignore[call-arg]
    kernel, bias = keras.Variable(np.ones((2, 2), np.float32)), keras.Variable(np.ones(2, np.float32))
    optimizer = Optimizer(params, [kernel, bias])
    optimizer.apply([tf.zeros((2, 2)), tf.zeros(2)], tf.constant(0.1))
    np.testing.assert_allclose(kernel.numpy(), 0.95)
    np.testing.assert_allclose(bias.numpy(), 1.0)
