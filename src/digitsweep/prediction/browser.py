"""The page to draw on, of registered models: Keras networks become what the page computes, layer by layer.

Nothing here knows a family: a network of another one works as long as the page can compute its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from digitsweep.data.splits import default_names
from digitsweep.errors import InputError
from digitsweep.families import title_of
from digitsweep.prediction.predicting import UNSURE, RegisteredModel
from digitsweep.registry.models import DATA, champions, find
from digitsweep.registry.recipe import Recipe
from digitsweep.report.drawing import Examples, Network, Step, drawing_page

if TYPE_CHECKING:
    import keras

ACTIVATIONS = frozenset({"linear", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid"})
"""Those in ACTIVATIONS of `network.js`."""
UNCHANGED = frozenset({"Flatten", "Reshape", "Dropout"})
"""Layers that give what they get, in the same order."""


def draw(named: Sequence[str] = ()) -> bytes:
    """The page of registered models: NAME@ALIAS, NAME/VERSION or a model URI each; without any, all champions of one data
    set.

    Raises InputError if there is no such model, if one is named twice, if they are not of the same data, or if the page
    cannot compute one."""
    named = list(named) or list(champions())
    found = [find(each) for each in named]
    labels = [each.label for each in found]
    if twice := [each for each in dict.fromkeys(labels) if labels.count(each) > 1]:
        raise InputError(f"--model: models on one page must be different, but {twice[0]} is named twice")
    models = [RegisteredModel.load(each) for each in named]
    first = models[0]
    for tagged, model in zip(found, models, strict=True):
        same = replace(model.recipe, size=first.recipe.size) == first.recipe and model.class_names == first.class_names
        if not same or tagged.tags.get(DATA) != found[0].tags.get(DATA):
            both = f"{tagged.label} and {found[0].label}"
            raise InputError(f"--model: models on one page must be made for the same data, but {both} are not")
    networks = [network_of(model.network, each.label) for each, model in zip(found, models, strict=True)]
    families = [each.tags.get("family", "") for each in found]
    if all(families) and len(set(families)) == len(families):
        networks = [replace(each, name=title_of(family)) for each, family in zip(networks, families, strict=True)]
    class_names = first.class_names or default_names(networks[0].classes)
    return page_of(networks, class_names, first.recipe, found[0].tags.get(DATA, found[0].label))


def page_of(
    networks: Sequence[Network], class_names: Sequence[str], recipe: Recipe, data: str, examples: Examples | None = None
) -> bytes:
    """The page of networks that classify the same data, called `data`. Digits are drawn, other images shown."""
    fit = "" if recipe.kind == "digits" else recipe.fit
    return drawing_page(networks, class_names, data=data, unsure=UNSURE, fit=fit, examples=examples)


class _NotComputableError(Exception):
    """What the page cannot do about a layer."""


def network_of(model: keras.Model, name: str) -> Network:
    """What the page needs to compute a network from an image (height, width, channels) to class probabilities.

    Raises InputError, with the name, for a layer that the page cannot compute."""
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.inputs[0].shape) != 4:
        raise InputError(f"{name}: the drawing page takes a network from one image to the probabilities of classes")
    steps: list[Step] = []
    places = {id(model.inputs[0]): 0}
    """Of each value, by the tensor that stands for it."""
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "InputLayer":
            continue
        try:
            inputs = layer.input if isinstance(layer.input, list) else [layer.input]
            if kind in UNCHANGED:
                places[id(layer.output)] = places[id(inputs[0])]
                continue
            for number, step in enumerate(_steps_of(layer, kind)):
                given = (len(steps),) if number else tuple(places[id(each)] for each in inputs)
                steps.append(replace(step, inputs=given))
            places[id(layer.output)] = len(steps)
        except (_NotComputableError, AttributeError, KeyError, TypeError, ValueError) as error:  # of odd layers
            why = f" ({error})" if isinstance(error, _NotComputableError) and str(error) else ""
            raise InputError(
                f"{name}: the drawing page cannot compute its layer {layer.name}, {kind}{why}; leave this model out"
            ) from None
    if not steps or places.get(id(model.outputs[0])) != len(steps) or len(steps[-1].output_shape) != 1:
        raise InputError(f"{name}: the drawing page takes a network from one image to the probabilities of classes")
    height, width, channels = model.inputs[0].shape[1:]
    return Network(name, (height, width, channels), steps)


def _steps_of(layer: Any, kind: str) -> Iterator[Step]:
    """What a layer does, and then its own activation if it has one. The inputs are still missing."""
    if kind not in LAYERS:
        raise _NotComputableError
    config = layer.get_config()
    if config.get("data_format", "channels_last") != "channels_last":
        raise _NotComputableError("channels first")
    given = layer.input[0] if isinstance(layer.input, list) else layer.input
    shapes = tuple(given.shape[1:]), tuple(layer.output.shape[1:])
    step = LAYERS[kind](layer, config, *shapes)
    yield step
    activation = config.get("activation", "linear")
    if kind != "Activation" and activation != "linear":
        yield _activation(layer, config, shapes[1], shapes[1])


Shape = tuple[int, ...]


def _scale(layer: Any, config: Mapping[str, Any], given: Shape, made: Shape) -> Step:
    if not all(isinstance(config[each], int | float) for each in ("scale", "offset")):
        raise _NotComputableError("a scale for each channel")
    return Step("scale", (), given, made, {each: float(config[each]) for each in ("scale", "offset")})


def _crop(layer: Any, config: Mapping[str, Any], given: Shape, made: Shape) -> Step:
    (top, _), (left, _) = layer.cropping
    return Step("crop", (), given, made, {"top": top, "left": left})


def _dense(layer: Any, config: Mapping[str, Any], given: Shape, made: Shape) -> Step:
    return Step("dense", (), given, made, weights=_weights(layer, "kernel", "bias"))


def _conv(layer: Any, config: Mapping[str, Any], given: Shape, made: Shape) -> Step:
    if config["groups"] != 1 or tuple(config["dilation_rate"]) != (1, 1):
        raise _NotComputableError("groups or dilation")
    return Step(
        "conv", (), given, made, _window(config["kernel_size"], config, given, made), _weights(layer, "kernel", "bias")
    )


def _pool(operation: str) -> Callable[..., Step]:
    def pool(layer: Any, config: Mapping[str, Any], given: Shape, made: Shape) -> Step:
        return Step(operation, (), given, made, _window(config["pool_size"], config, given, made))

    return pool


def _mean(layer: Any, config: Mapping[str, Any], given: Shape, made: Shape) -> Step:
    if len(made) != 1:
        raise _NotComputableError("keepdims")
    return Step("mean", (), given, made)


def _batch_normalization(layer: Any, config: Mapping[str, Any], given: Shape, made: Shape) -> Step:
    """The running mean and variance, gamma and beta as a factor and a shift."""
    _check_last_axis(config["axis"], given)
    mean, variance = (each.numpy().astype(np.float64) for each in (layer.moving_mean, layer.moving_variance))
    learned = _weights(layer, "gamma", "beta")
    factor = learned.get("gamma", 1.0) / np.sqrt(variance + config["epsilon"])
    shift = learned.get("beta", 0.0) - mean * factor
    return Step("affine", (), given, made, weights={"factor": factor, "shift": shift})


def _layer_normalization(layer: Any, config: Mapping[str, Any], given: Shape, made: Shape) -> Step:
    _check_last_axis(config["axis"], given)
    if config.get("rms_scaling"):
        raise _NotComputableError("rms_scaling")
    learned, channels = _weights(layer, "gamma", "beta"), given[-1]
    weights = {"factor": learned.get("gamma", np.ones(channels)), "shift": learned.get("beta", np.zeros(channels))}
    return Step("layer_norm", (), given, made, {"epsilon": config["epsilon"]}, weights)


def _activation(layer: Any, config: Mapping[str, Any], given: Shape, made: Shape) -> Step:
    name = config["activation"]
    if name == "softmax":
        return Step("softmax", (), given, made)
    if name not in ACTIVATIONS:
        raise _NotComputableError(f"activation {name}")
    return Step("activation", (), given, made, {"name": name})


def _permute(layer: Any, config: Mapping[str, Any], given: Shape, made: Shape) -> Step:
    return Step("permute", (), given, made, {"axes": [axis - 1 for axis in config["dims"]]})


def _add(layer: Any, config: Mapping[str, Any], given: Shape, made: Shape) -> Step:
    if any(tuple(each.shape[1:]) != made for each in layer.input):
        raise _NotComputableError("different shapes")
    return Step("add", (), given, made)


def _softmax(layer: Any, config: Mapping[str, Any], given: Shape, made: Shape) -> Step:
    _check_last_axis(config["axis"], given)
    return Step("softmax", (), given, made)


LAYERS: Mapping[str, Callable[[Any, Mapping[str, Any], Shape, Shape], Step]] = {
    "Rescaling": _scale,
    "Cropping2D": _crop,
    "Dense": _dense,
    "Conv2D": _conv,
    "MaxPooling2D": _pool("maximum"),
    "AveragePooling2D": _pool("average"),
    "GlobalAveragePooling1D": _mean,
    "GlobalAveragePooling2D": _mean,
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "Activation": _activation,
    "Permute": _permute,
    "Add": _add,
    "Softmax": _softmax,
}
"""By Keras' names, what makes a step from a layer, its settings, and the shapes of what it gets and gives."""


def _window(size: tuple[int, int], config: Mapping[str, Any], given: Shape, made: Shape) -> dict[str, Any]:
    """The size of a window, its stride, and how far the first one begins above and left of the image."""
    stride = config["strides"]
    lengths = zip(given[:2], made[:2], size, stride, strict=True)
    padding = [0, 0]
    if config["padding"] == "same":  # as TensorFlow pads: what is odd is added below and on the right
        padding = [max((after - 1) * step + window - before, 0) // 2 for before, after, window, step in lengths]
    return {"size": list(size), "stride": list(stride), "padding": padding}


def _weights(layer: Any, *names: str) -> dict[str, Any]:
    """Those that a layer has."""
    return {name: value.numpy() for name in names if (value := getattr(layer, name, None)) is not None}


def _check_last_axis(axis: Any, given: Shape) -> None:
    axes = list(axis) if isinstance(axis, list | tuple) else [axis]
    if axes not in ([-1], [len(given)]):
        raise _NotComputableError("another axis than the last")
