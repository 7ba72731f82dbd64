"""The dense family."""

from __future__ import annotations

import keras

from digitsweep.models.layers import dropped, normalized
from digitsweep.params import AnnParams


def ann_layers(params: AnnParams, image: keras.KerasTensor, precision: str) -> keras.KerasTensor:
    """Flatten, then for each hidden layer: dense, normalisation, activation, dropout."""
    features = keras.layers.Flatten(dtype=precision, name="flatten")(image)
    for layer, (units, activation, normalization, dropout) in enumerate(
        zip(params.units, params.activation, params.normalization, params.dropout, strict=True), start=1
    ):
        name = f"hidden_{layer}"
        biased = normalization == "none"  # a normalisation has a bias of its own
        features = keras.layers.Dense(units, use_bias=biased, dtype=precision, name=name)(features)
        features = normalized(features, normalization, precision, name)
        features = keras.layers.Activation(activation, dtype=precision, name=f"{name}_{activation}")(features)
        features = dropped(features, dropout, precision, name)
    return features
