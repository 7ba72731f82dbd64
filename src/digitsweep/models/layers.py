"""What both families put between their layers."""

from __future__ import annotations

import keras


def normalized(features: keras.KerasTensor, kind: str, precision: str, name: str) -> keras.KerasTensor:
    """The features after batch, layer or no normalisation."""
    match kind:
        case "batch":
            return keras.layers.BatchNormalization(dtype=precision, name=f"{name}_norm")(features)
        case "layer":
            return keras.layers.LayerNormalization(dtype=precision, name=f"{name}_norm")(features)
        case _:
            return features


def dropped(features: keras.KerasTensor, rate: float, precision: str, name: str) -> keras.KerasTensor:
    """The features with dropout where the rate is above 0."""
    return keras.layers.Dropout(rate, dtype=precision, name=f"{name}_dropout")(features) if rate else features
