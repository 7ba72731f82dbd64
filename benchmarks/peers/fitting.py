"""Training as Keras' guides write it: `fit`, augmentation layers and callbacks, in float32."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from digitsweep.data import Split
from digitsweep.families import Params
from digitsweep.families.build import network
from digitsweep.training.schedules import step_rates
from peers.task import Found, Share, Task


def answer(search: Callable[[Share], Found]) -> None:
    """A peer's whole command: each family in turn, with all cores."""
    task = Task.given()
    keras.utils.set_random_seed(task.seed)
    shares = task.shares()
    task.answer(shares, [search(each) for each in shares])


def compiled(params: Params, share: Share) -> keras.Model:
    """The network behind augmentation layers, ready to be fitted."""
    inner = network(params, share.data.shape, share.data.classes)
    image = changed = keras.Input(share.data.shape)
    for layer in _augmentation(params.augmentation):
        changed = layer(changed)
    model = keras.Model(image, inner(changed))
    model.compile(
        _optimizer(params),
        keras.losses.CategoricalCrossentropy(label_smoothing=params.label_smoothing),
        metrics=["accuracy"],
        jit_compile=False,  # Keras' default, XLA, made CNNs three times as slow on a processor, and each compilation 10 s
    )
    return model


def fit(model: keras.Model, params: Params, share: Share, **options: Any) -> Mapping[str, list[float]]:
    """Trains for all of the share's epochs, or those of `options`, or until the share's time is over: the history."""
    callbacks = [Schedule(params, share.epochs), Deadline(share.ends), *options.pop("callbacks", [])]
    images, labels = _arrays(share.data.train, share.data.classes)
    history = model.fit(
        images,
        labels,
        batch_size=params.batch_size,
        validation_data=_arrays(share.data.validation, share.data.classes),
        callbacks=callbacks,
        **{"epochs": share.epochs, "verbose": 0, **options},
    )
    return dict(history.history)


def weights_of(model: keras.Model, params: Params) -> list[NDArray[np.float32]]:
    """The weights of the network behind the augmentation layers."""
    return [np.asarray(each) for each in model.get_layer(params.family).get_weights()]


class Schedule(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets the learning rate of each step. The schedule ends after `epochs`, also where a searcher stops earlier."""

    def __init__(self, params: Params, epochs: int) -> None:
        super().__init__()
        self._configuration, self._epochs = params, epochs
        self._val_losses: list[float] = []
        self._rates = np.zeros(0, np.float32)

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        steps = int(self.params["steps"])
        self._rates = step_rates(self._configuration, epoch * steps, steps, self._epochs * steps, self._val_losses)

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        self.model.optimizer.learning_rate = float(self._rates[batch])

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._val_losses.append((logs or {})["val_loss"])


class Deadline(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends a training when the time is over. It counts with the network that it has then."""

    def __init__(self, ends: float) -> None:
        super().__init__()
        self._ends = ends

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        if time.time() > self._ends:
            self.model.stop_training = True


def _augmentation(kind: str) -> list[keras.Layer]:
    """Keras' own layers that are nearest to the package's; their crops are all from the middle."""
    layers = keras.layers
    match kind:
        case "none":
            return []
        case "shift":
            return [layers.RandomTranslation(2 / 28, 2 / 28, fill_mode="constant")]
        case "affine":
            return [
                layers.RandomRotation(10 / 360, fill_mode="constant"),
                layers.RandomTranslation(2 / 28, 2 / 28, fill_mode="constant"),
                layers.RandomZoom(0.1, 0.1, fill_mode="constant"),
            ]
        case "flip":
            return [layers.RandomFlip("horizontal")]
        case "crop":
            return [layers.RandomFlip("horizontal"), layers.RandomZoom((-0.4, 0.0))]
        case _:
            raise ValueError(kind)


def _optimizer(params: Params) -> keras.optimizers.Optimizer:
    match params.optimizer:
        case "sgd":
            optimizer = keras.optimizers.SGD(momentum=params.momentum, weight_decay=params.weight_decay)
        case "adam":
            return keras.optimizers.Adam()
        case "adamw":
            optimizer = keras.optimizers.AdamW(weight_decay=params.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _arrays(split: Split, classes: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Images, float32 (n, side, side, 1), and one-hot labels, float32 (n, classes)."""
    return split.images.astype(np.float32), np.eye(classes, dtype=np.float32)[split.labels]
