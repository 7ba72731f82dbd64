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

from digitsweep.augmentation import augment
from digitsweep.data import Split, TrainingData
from digitsweep.models import build, logits_of
from digitsweep.optimizers import Optimizer
from digitsweep.params import Params
from digitsweep.processor import processor_flags, processor_precision
from digitsweep.results import Epoch, EpochMetrics, TrialResult, TrialState
from digitsweep.schedules import epoch_rates

EVALUATION_BATCH = 500
FIRST_SEGMENT = 8
SEGMENT_SECONDS = 0.5
"""The compiled loop comes back to Python about this often, to hear whether it should stop."""


def fastest_precision() -> str:
    """`mixed_bfloat16` where this processor computes in it, else `float32`. A GPU does from compute capability 8.0 on.

    Convolutions and wide dense layers become 1.6 times as fast (`make bench-step`); without the CPU's own instructions
    bfloat16 is emulated, and slow. Weights, losses and the optimizer stay in float32 whatever it is."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return "mixed_bfloat16" if capability >= (8, 0) else "float32"
    return processor_precision(processor_flags())


def train(
    params: Params,
    data: TrainingData,
    *,
    seed: int,
    epochs: int,
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[Epoch, None, TrialResult]:
    """Trains a configuration from scratch: yields after each epoch, returns how it ended.

    The same parameters, data, seed and machine give the same numbers. `stopped` is asked about twice a second; once it
    says yes, the result is PRUNED, as of the last whole epoch. A loss that is not finite ends the trial as FAIL."""
    begun = time.perf_counter()
    keras.utils.set_random_seed(seed)
    precision = fastest_precision()
    model = build(params, data.side, data.classes, precision)
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

    for epoch in range(1, epochs + 1):
        epoch_begun = time.perf_counter()
        watched = [each.val_loss if validated else each.train_loss for each in history]
        rates = epoch_rates(params, epoch, epochs, loop.steps, watched)
        trained = loop.epoch(rates, stopped)
        if trained is None:
            return result(TrialState.PRUNED, "stopped")
        train_loss, train_accuracy = trained
        val_loss, new_predictions = loop.evaluate(data.validation)
        if not (math.isfinite(train_loss) and (math.isfinite(val_loss) or not validated)):
            return result(TrialState.FAIL, f"the loss was not finite in epoch {epoch}")
        predictions = new_predictions
        metrics = EpochMetrics(
            epoch=epoch,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=val_loss,
            val_accuracy=float(np.mean(predictions == data.validation.labels)) if validated else math.nan,
            learning_rate=float(rates[-1]),
            epoch_seconds=time.perf_counter() - epoch_begun,
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
        # Whole batches only: every step then has one static shape. What is left over differs from epoch to epoch.
        self.steps = count // batch
        self._segment = min(self.steps, FIRST_SEGMENT)
        network = logits_of(model)  # losses from logits are exact where those from a softmax are clipped
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
                    logits = network(images, training=True)
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
            logits = network(images, training=False)
            loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
            return loss, tf.argmax(logits, 1, tf.int32)

        self._run, self._evaluate = run, evaluate

    def epoch(self, rates: NDArray[np.float32], stopped: Callable[[], bool]) -> tuple[float, float] | None:
        """One epoch: mean loss and accuracy over its steps; None if it was stopped on the way."""
        order = self._shuffle.permutation(len(self._labels)).astype(np.int32)
        # Sums go through the graph in the order of the steps: where segments end has no say in the figures.
        loss_sum = hits = tf.constant(0.0, tf.float64)
        done = 0
        while done < self.steps:
            if stopped():
                return None
            begun = time.perf_counter()
            end = min(done + self._segment, self.steps)
            chosen = tf.constant(order[done * self._batch : end * self._batch])
            loss_sum, hits = self._run(chosen, tf.constant(rates[done:end]), loss_sum, hits)
            if done and end < self.steps:  # the first segment also traced the graph
                pace = (end - done) / (time.perf_counter() - begun)
                self._segment = max(1, math.ceil(pace * SEGMENT_SECONDS))
            done = end
        return float(loss_sum) / self.steps, float(hits) / self.steps

    def evaluate(self, split: Split) -> tuple[float, NDArray[np.uint8]]:
        """Mean cross-entropy and predicted labels, uint8 (n,), of a split (of an empty one nan); batches fit the cache."""
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
    """Before a first trial: what the imports made stays for good, so that no collection ever walks over it again.

    Without it each collection takes a quarter of a second, and a trial has two of them and more."""
    gc.collect()
    gc.freeze()


def forget() -> None:
    """Lets go of the last trial's graphs and weights, which hold on to each other in circles; Keras keeps some more."""
    keras.backend.clear_session()  # collects them, too


def _tensors(split: Split) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.constant(split.images), tf.constant(split.labels.astype(np.int32))


def trained_model(params: Params, side: int, classes: int, weights: Sequence[NDArray[Any]]) -> keras.Model:
    """A network with learned weights, in float32 throughout, to be registered or asked; no optimizer in it."""
    model = build(params, side, classes)
    model.set_weights(list(weights))
    return model


def compiled(model: keras.Model) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """A model as it is served: one graph for batches of any size, uint8 (n, side, side, 1) to float32 (n, classes)."""
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)]
    graph = tf.function(lambda images: model(images, training=False), input_signature=signature, autograph=False)
    return lambda images: np.asarray(graph(images))


def probabilities(model: keras.Model, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a model says of images, uint8 (n, side, side, 1): float32 (n, classes)."""
    parts = (images[start : start + EVALUATION_BATCH] for start in range(0, len(images), EVALUATION_BATCH))
    # Called, not `predict`: that compiles a graph for each model first, which takes longer than a few thousand images.
    return np.concatenate([np.asarray(model(part, training=False), np.float32) for part in parts])
