"""Networks of stock Keras layers: raw uint8 images go in, class probabilities come out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from digitsweep.models.ann import ann_layers
from digitsweep.models.cnn import cnn_layers
from digitsweep.params import Params

_LAYERS: dict[str, Callable[[Any, keras.KerasTensor, str], keras.KerasTensor]] = {"ann": ann_layers, "cnn": cnn_layers}

LOGITS = "logits"


def build(params: Params, side: int, classes: int, precision: str = "float32") -> keras.Model:
    """The untrained network: uint8 (n, side, side, 1), 0 to 255, to float32 (n, classes) that add up to 1.

    Scaling is its first layer, softmax its last; `precision` is the Keras dtype policy of those between (the weights are
    float32 whatever it is). Only stock layers, so that a saved model loads where digitsweep is not installed."""
    image = keras.Input((side, side, 1), dtype="uint8", name="image")
    scaled = keras.layers.Rescaling(1.0 / 255.0, dtype=precision, name="scale")(image)
    features = _LAYERS[params.family](params, scaled, precision)
    logits = keras.layers.Dense(classes, dtype="float32", name=LOGITS)(features)
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(logits)
    return keras.Model(image, probabilities, name=params.family)


def logits_of(model: keras.Model) -> keras.Model:
    """The same network, sharing every weight, without its softmax."""
    return keras.Model(model.input, model.get_layer(LOGITS).output)
