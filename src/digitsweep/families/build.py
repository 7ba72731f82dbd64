"""Networks of stock Keras layers: raw uint8 images go in, class probabilities come out."""

from __future__ import annotations

import keras

from digitsweep.families import Params

LOGITS = "logits"
BATCH_MOMENTUM = 0.9
"""Of batch normalisation's running mean and variance. With Keras' 0.99 they lag hundreds of steps behind the weights: after
its first epoch a network that is at 97 % validates at 80 %, which misleads a pruner."""


def build(params: Params, side: int, classes: int, precision: str = "float32") -> keras.Model:
    """The untrained network: uint8 (n, side, side, 1), 0 to 255, to float32 (n, classes) that add up to 1.

    Scaling is its first layer, softmax its last; `precision` is the Keras dtype policy of those between (the weights are
    always float32). Only stock layers, so that a saved model loads where digitsweep is not installed."""
    image = keras.Input((side, side, 1), dtype="uint8", name="image")
    scaled = keras.layers.Rescaling(1.0 / 255.0, dtype=precision, name="scale")(image)
    features = params.features(scaled, precision)
    logits = keras.layers.Dense(classes, dtype="float32", name=LOGITS)(features)
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(logits)
    return keras.Model(image, probabilities, name=params.family)


def logits_of(model: keras.Model) -> keras.Model:
    """The same network, sharing every weight, without its softmax."""
    return keras.Model(model.input, model.get_layer(LOGITS).output)


def normalized(features: keras.KerasTensor, kind: str, precision: str, name: str) -> keras.KerasTensor:
    """The features after batch, layer or no normalisation."""
    match kind:
        case "batch":
            return keras.layers.BatchNormalization(momentum=BATCH_MOMENTUM, dtype=precision, name=f"{name}_norm")(features)
        case "layer":
            return keras.layers.LayerNormalization(dtype=precision, name=f"{name}_norm")(features)
        case _:
            return features


def dropped(features: keras.KerasTensor, rate: float, precision: str, name: str) -> keras.KerasTensor:
    """The features with dropout if the rate is above 0."""
    return keras.layers.Dropout(rate, dtype=precision, name=f"{name}_dropout")(features) if rate else features
