"""One optimizer step as fused kernels: what Keras' optimizers compute, in one operation a variable."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from digitsweep.families import Params

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
"""Keras' defaults for Adam."""


class Optimizer:
    """sgd with Nesterov-free momentum, adam, or adamw; the learning rate is given at each step.

    Adam is Kingma and Ba 2015 in the form of its section 2's last paragraph, as in Keras; weight decay is decoupled
    (Loshchilov and Hutter 2019: each kernel shrinks by learning rate times decay), and biases and scales have none."""

    def __init__(self, params: Params, variables: Sequence[keras.Variable]) -> None:
        self._name = params.optimizer
        self._momentum = params.momentum
        self._decay = params.weight_decay if params.applies("weight_decay", {"optimizer": params.optimizer}) else 0.0
        self._variables = [each.value for each in variables]
        self._first = [tf.Variable(tf.zeros_like(each)) for each in self._variables]
        adam = self._name != "sgd"
        self._second = [tf.Variable(tf.zeros_like(each)) for each in self._variables] if adam else []
        self._step = tf.Variable(0.0)

    def apply(self, gradients: Sequence[tf.Tensor], learning_rate: tf.Tensor) -> None:
        """Changes every variable by its gradient; inside a `tf.function`."""
        if self._decay:
            for variable in self._variables:
                if variable.shape.rank > 1:
                    variable.assign_sub(variable * (learning_rate * self._decay))
        if self._name == "sgd":
            for variable, velocity, gradient in zip(self._variables, self._first, gradients, strict=True):
                tf.raw_ops.ResourceApplyKerasMomentum(
                    var=variable.handle,
                    accum=velocity.handle,
                    lr=learning_rate,
                    grad=gradient,
                    momentum=self._momentum,
                )
            return
        self._step.assign_add(1.0)
        beta_1_power, beta_2_power = tf.pow(BETA_1, self._step), tf.pow(BETA_2, self._step)
        for variable, first, second, gradient in zip(self._variables, self._first, self._second, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=first.handle,
                v=second.handle,
                beta1_power=beta_1_power,
                beta2_power=beta_2_power,
                lr=learning_rate,
                beta1=BETA_1,
                beta2=BETA_2,
                epsilon=EPSILON,
                grad=gradient,
            )
