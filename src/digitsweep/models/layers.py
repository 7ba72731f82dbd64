"""What both families put between their layers."""

from __future__ import annotations

import keras

BATCH_MOMENTUM = 0.9
"""Of batch normalisation's running mean and variance. With Keras' 0.99 they lag hundreds of steps behind the weights: after
a first epoch validation says 80 % of a network that is at 97, and a pruner believes it."""


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
    """The features with dropout where the rate is above 0."""
    return keras.layers.Dropout(rate, dtype=precision, name=f"{name}_dropout")(features) if rate else features
