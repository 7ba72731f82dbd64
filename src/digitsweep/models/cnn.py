"""The convolutional family."""

from __future__ import annotations

import keras

from digitsweep.models.layers import dropped, normalized
from digitsweep.params import CnnParams


def cnn_layers(params: CnnParams, image: keras.KerasTensor, precision: str) -> keras.KerasTensor:
    """For each block its convolutions and a pooling; then flatten and, where there is one, the dense layer.

    What no pooling looks at is cut off first: conv 32-64 on 28 pixels uses 26, which saves a sixth of its work."""
    side = image.shape[1]
    unused = side - params.used_side(side)
    features = keras.layers.Cropping2D(((0, unused), (0, unused)), dtype=precision, name="used")(image) if unused else image
    for block in range(params.blocks):
        features = _block(params, block, features, precision)
    features = keras.layers.Flatten(dtype=precision, name="flatten")(features)
    if params.dense_units:
        features = keras.layers.Dense(params.dense_units, dtype=precision, name="dense")(features)
        features = keras.layers.Activation(params.activation, dtype=precision, name="dense_activation")(features)
        features = dropped(features, params.dense_dropout, precision, "dense")
    return features


def _block(params: CnnParams, block: int, features: keras.KerasTensor, precision: str) -> keras.KerasTensor:
    """Convolution, normalisation, activation, once or twice; pooling comes right behind the last convolution.

    Pooling before normalisation and activation works on a quarter of the numbers; for maximum pooling and a rising
    activation without normalisation the function is the same either way round."""
    normalization, pooling = params.normalization[block], params.pooling[block]
    last = params.convolutions[block] - 1
    for index in range(params.convolutions[block]):
        name = f"block_{block + 1}_conv_{index + 1}"
        features = keras.layers.Conv2D(
            params.filters[block],
            params.kernel_size[block],
            strides=2 if pooling == "stride" and index == last else 1,
            padding=params.padding,
            use_bias=normalization == "none",
            dtype=precision,
            name=name,
        )(features)
        if index == last and pooling != "stride":
            layer = keras.layers.MaxPooling2D if pooling == "max" else keras.layers.AveragePooling2D
            features = layer(2, padding=params.padding, dtype=precision, name=f"block_{block + 1}_pool")(features)
        features = normalized(features, normalization, precision, name)
        features = keras.layers.Activation(params.activation, dtype=precision, name=f"{name}_activation")(features)
    return dropped(features, params.dropout[block], precision, f"block_{block + 1}")
