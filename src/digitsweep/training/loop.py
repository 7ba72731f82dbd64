"""Training of one configuration: a compiled loop over the steps, as a generator that yields each epoch's metrics.

The reasons for its form stand beside each choice; the measurements are in experiments/LOG.md.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from digitsweep.data import Split, TrainingData
from digitsweep.families import Params, Shape
from digitsweep.families.build import logits_of, network
from digitsweep.training.augmentation import augment
from digitsweep.training.class_averages import balanced_accuracy, class_counts, macro_f1
from digitsweep.training.optimizers import Optimizer
from digitsweep.training.schedules import step_rates
from digitsweep.training.startup import processor_precision
from digitsweep.trial import Epoch, EpochMetrics, TrialResult, TrialState

EVALUATION_BATCH = 500
FIRST_SEGMENT = 8
SEGMENT_SECONDS = 0.5
"""About how often the compiled loop returns to Python to check whether it should stop."""


def fastest_precision() -> str:
    """`mixed_bfloat16` if the hardware computes in it, else `float32`. A GPU does from compute capability 8.0 on.

    It makes convolutions and wide dense layers 1.6 times as fast (`make bench-step`). Weights, losses and the optimizer are
    always in float32."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return "mixed_bfloat16" if capability >= (8, 0) else "float32"
    return processor_precision()


def train(
    params: Params,
    data: TrainingData,
    *,
    seed: int,
    epochs: float,
    val_losses: Sequence[float] = (),
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[Epoch, None, TrialResult]:
    """Trains a configuration from scratch: yields after each epoch, returns how it ended.

    `epochs` need not be whole: 2.5 yields three times, the last time after half an epoch. The schedule is annealed to its
    end. val_losses: after each epoch, for the schedule `plateau` where there are no validation images; without them it
    watches the training loss.

    The same parameters, data, seed and machine give the same numbers. `stopped` is called about twice a second; once it
    returns True, the result is PRUNED, as of the last whole epoch. A loss that is not finite ends the trial as FAIL."""
    begun = time.perf_counter()
    keras.utils.set_random_seed(seed)
    precision = fastest_precision()
    model = network(params, data.shape, data.classes, precision)
    loop = _Loop(params, model, data, seed)
    validated = len(data.validation) > 0
    history: list[EpochMetrics] = []
    predictions: NDArray[np.uint8] | None = None

    def result(state: TrialState, reason: str = "") -> TrialResult:
        complete = state is TrialState.COMPLETE
        return TrialResult(
            state=state,
            epochs=tuple(history),
            predictions=(predictions if predictions is not None else loop.evaluate(data.validation)[1])
            if validated
            else None,
            weights=tuple(np.asarray(each) for each in model.get_weights()) if complete else None,
            weight_count=model.count_params(),
            train_seconds=time.perf_counter() - begun,
            precision=precision,
            reason=reason,
        )

    total = math.ceil(epochs * loop.steps)  # a part of an epoch has one step at least
    for epoch, first in enumerate(range(0, total, loop.steps), start=1):
        epoch_begun = time.perf_counter()
        watched = [each.val_loss if validated else each.train_loss for each in history]
        if val_losses and not validated:
            watched = list(val_losses[: len(history)])
        rates = step_rates(params, first, min(loop.steps, total - first), total, watched)
        trained = loop.epoch(rates, stopped)
        if trained is None:
            return result(TrialState.PRUNED, "stopped")
        train_loss, train_accuracy = trained
        val_loss, new_predictions = loop.evaluate(data.validation)
        if not (math.isfinite(train_loss) and (math.isfinite(val_loss) or not validated)):
            return result(TrialState.FAIL, f"the loss was not finite in epoch {epoch}")
        predictions = new_predictions
        hits, true, predicted = class_counts(data.validation.labels, predictions, data.classes)
        metrics = EpochMetrics(
            epoch=epoch,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=val_loss,
            val_accuracy=float(np.mean(predictions == data.validation.labels)) if validated else math.nan,
            learning_rate=float(rates[-1]),
            epoch_seconds=time.perf_counter() - epoch_begun,
            val_balanced_accuracy=float(balanced_accuracy(hits, true)),
            val_macro_f1=float(macro_f1(hits, true, predicted)),
        )
        history.append(metrics)
        yield Epoch(metrics, predictions)
    return result(TrialState.COMPLETE)


class _Loop:
    """The compiled functions of one configuration, and the images they gather from."""

    def __init__(self, params: Params, model: keras.Model, data: TrainingData, seed: int) -> None:
        self._images, self._labels = _tensors(data.train)
        self._shuffle = np.random.default_rng(seed)
        count = len(data.train)
        batch = min(params.batch_size, count)
        self._batch = batch
        # Whole batches only, so that every step has the same static shape. The images left over differ from epoch to epoch.
        self.steps = count // batch
        self._segment = min(self.steps, FIRST_SEGMENT)
        forward = logits_of(model)  # losses from logits are exact where those from a softmax are clipped
        variables = model.trainable_variables
        optimizer = Optimizer(params, variables)
        step = tf.Variable(0)
        smoothing, classes = params.label_smoothing, data.classes

        def losses(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
            if not smoothing:
                return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            targets = tf.one_hot(labels, classes, 1.0 - smoothing + smoothing / classes, smoothing / classes)
            return tf.nn.softmax_cross_entropy_with_logits(targets, logits)

        # One graph with a loop inside, not a graph for a step: no Python, no dispatch between steps.
        # Traced once, for segments of any length.
        @tf.function(  # type: ignore[untyped-decorator]
            input_signature=[
                tf.TensorSpec((None,), tf.int32),
                tf.TensorSpec((None,), tf.float32),
                tf.TensorSpec((), tf.float64),
                tf.TensorSpec((), tf.float64),
            ],
            autograph=False,
        )
        def run(order: tf.Tensor, rates: tf.Tensor, loss_sum: tf.Tensor, hits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            def body(index: tf.Tensor, loss_sum: tf.Tensor, hits: tf.Tensor) -> tuple[tf.Tensor, ...]:
                chosen = tf.ensure_shape(order[index * batch : (index + 1) * batch], (batch,))
                # Images stay uint8 in memory, a quarter of float32; the batch is scaled inside the network.
                images = augment(tf.gather(self._images, chosen), params.augmentation, tf.stack([seed, step]))
                labels = tf.gather(self._labels, chosen)
                with tf.GradientTape() as tape:
                    logits = forward(images, training=True)
                    loss = tf.reduce_mean(losses(labels, logits))
                optimizer.apply(tape.gradient(loss, [each.value for each in variables]), rates[index])
                step.assign_add(1)
                correct = tf.reduce_mean(tf.cast(tf.argmax(logits, 1, tf.int32) == labels, tf.float32))
                return index + 1, loss_sum + tf.cast(loss, tf.float64), hits + tf.cast(correct, tf.float64)

            _, loss_sum, hits = tf.while_loop(
                lambda index, *_: index < tf.shape(rates)[0],
                body,
                (tf.constant(0), loss_sum, hits),
                parallel_iterations=1,
            )
            return loss_sum, hits

        @tf.function(  # type: ignore[untyped-decorator]
            input_signature=[tf.TensorSpec((None, *self._images.shape[1:]), tf.uint8), tf.TensorSpec((None,), tf.int32)],
            autograph=False,
        )
        def evaluate(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            logits = forward(images, training=False)
            loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
            return loss, tf.argmax(logits, 1, tf.int32)

        self._run, self._evaluate = run, evaluate

    def epoch(self, rates: NDArray[np.float32], stopped: Callable[[], bool]) -> tuple[float, float] | None:
        """Trains one step for each rate, at most an epoch: the mean loss and accuracy, or None if it was stopped."""
        order = self._shuffle.permutation(len(self._labels)).astype(np.int32)
        # The graph continues the sums step by step, so that the figures do not depend on where segments end.
        loss_sum = hits = tf.constant(0.0, tf.float64)
        done, steps = 0, len(rates)
        while done < steps:
            if stopped():
                return None
            begun = time.perf_counter()
            end = min(done + self._segment, steps)
            chosen = tf.constant(order[done * self._batch : end * self._batch])
            loss_sum, hits = self._run(chosen, tf.constant(rates[done:end]), loss_sum, hits)
            if done and end < steps:  # the first segment also traced the graph
                pace = (end - done) / (time.perf_counter() - begun)
                self._segment = max(1, math.ceil(pace * SEGMENT_SECONDS))
            done = end
        return float(loss_sum) / steps, float(hits) / steps

    def evaluate(self, split: Split) -> tuple[float, NDArray[np.uint8]]:
        """Mean cross-entropy, nan for an empty split, and predicted labels, uint8 (n,). Batches fit into the cache."""
        if not len(split):
            return math.nan, np.zeros(0, np.uint8)
        loss_sum = 0.0
        predictions = []
        for start in range(0, len(split), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            loss, predicted = self._evaluate(
                tf.constant(split.images[part]), tf.constant(split.labels[part].astype(np.int32))
            )
            loss_sum += float(loss)
            predictions.append(predicted.numpy().astype(np.uint8))
        return loss_sum / len(split), np.concatenate(predictions)


def settle() -> None:
    """Takes all objects that imports made out of garbage collection; called before the first trial.

    Otherwise each collection takes a quarter of a second, and a trial has at least two."""
    gc.collect()
    gc.freeze()


def forget() -> None:
    """Frees the last trial's graphs and weights, which refer to each other in cycles, and Keras' global state."""
    keras.backend.clear_session()  # also runs a garbage collection


def _tensors(split: Split) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.constant(split.images), tf.constant(split.labels.astype(np.int32))


def trained_model(params: Params, shape: Shape, classes: int, weights: Sequence[NDArray[Any]]) -> keras.Model:
    """A network with these weights, in float32 throughout and without an optimizer, to be registered or evaluated."""
    model = network(params, shape, classes)
    model.set_weights(list(weights))
    return model


def compiled(model: keras.Model) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """A model as it is served: one graph for batches of any size.

    It takes images, uint8 (n, height, width, channels), and returns float32 (n, classes)."""
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)]
    graph = tf.function(lambda images: model(images, training=False), input_signature=signature, autograph=False)
    return lambda images: np.asarray(graph(images))


def probabilities(model: keras.Model, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A model's class probabilities, float32 (n, classes), of images, uint8 (n, height, width, channels)."""
    parts = (images[start : start + EVALUATION_BATCH] for start in range(0, len(images), EVALUATION_BATCH))
    # Not `model.predict`: it first compiles a graph, which takes longer than a few thousand images.
    return np.concatenate([np.asarray(model(part, training=False), np.float32) for part in parts])
