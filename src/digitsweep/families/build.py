"""What the networks of all families share: raw uint8 images go in, class probabilities come out."""

from __future__ import annotations

from collections.abc import Callable

import keras

from digitsweep.families import FAMILIES, Params, Shape

BATCH_MOMENTUM = 0.9
"""Of batch normalisation's running mean and variance. With Keras' 0.99 they lag hundreds of steps behind the weights: after
its first epoch a network that is at 97 % validates at 80 %, which misleads a pruner."""


def network(params: Params, shape: Shape, classes: int, precision: str = "float32") -> keras.Model:
    """The untrained network of a configuration, as `Family.build` promises it.

    `precision` is the Keras dtype policy of its layers but the last ones; the weights are always float32.

    Raises ValueError if the last layer is no softmax: `logits_of` would cut off something else."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = FAMILIES[params.family].build(params, shape, classes)
    finally:
        keras.config.set_dtype_policy(before)
    last = model.layers[-1] if isinstance(model, keras.Model) else model
    if not isinstance(last, keras.layers.Softmax):
        raise ValueError(
            f"`build` must return a keras.Model whose last layer is a Softmax, but family {params.family} ends with "
            f"{type(last).__name__}; end it with `classifier` of digitsweep.families.build"
        )
    return model


def classifier(
    name: str, shape: Shape, classes: int, features: Callable[[keras.KerasTensor], keras.KerasTensor]
) -> keras.Model:
    """A network from uint8 images (n, height, width, channels), 0 to 255, to class probabilities, float32 (n, classes).

    Scaling to 0 to 1 is its first layer; `features` makes what the last dense layer and the softmax work on."""
    image = keras.Input(shape, dtype="uint8", name="image")
    scaled = keras.layers.Rescaling(1.0 / 255.0, name="scale")(image)
    made = features(scaled)  # first: a layer draws the seed of its initial weights when it is created
    logits = keras.layers.Dense(classes, dtype="float32", name="logits")(made)
    return keras.Model(image, keras.layers.Softmax(dtype="float32", name="probabilities")(logits), name=name)


def logits_of(model: keras.Model) -> keras.Model:
    """The same network, sharing every weight, without its softmax."""
    return keras.Model(model.input, model.layers[-1].input)


def normalized(features: keras.KerasTensor, kind: str, name: str) -> keras.KerasTensor:
    """The features after batch, layer or no normalisation."""
    match kind:
        case "batch":
            return keras.layers.BatchNormalization(momentum=BATCH_MOMENTUM, name=f"{name}_norm")(features)
        case "layer":
            return keras.layers.LayerNormalization(name=f"{name}_norm")(features)
        case _:
            return features


def dropped(features: keras.KerasTensor, rate: float, name: str) -> keras.KerasTensor:
    """The features with dropout if the rate is above 0."""
    return keras.layers.Dropout(rate, name=f"{name}_dropout")(features) if rate else features
