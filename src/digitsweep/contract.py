"""Whether a family keeps its contract: what the search, the workers and the registry rely on.

findings = check_family("mixer", (28, 28, 1), 10)
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from digitsweep.config.space import Space, parse_space
from digitsweep.data import Split, TrainingData
from digitsweep.doctor import Finding, ok, warning, wrong
from digitsweep.families import FAMILIES, Params, Shape, parse_params
from digitsweep.families.build import network
from digitsweep.families.outside import broken_method, said
from digitsweep.registry.models import foreign_parts
from digitsweep.training.loop import train
from digitsweep.trial import TrialState

MOST_NETWORKS = 60
"""At most this many corners of a space are built."""
IMAGES = 32
"""Number of images in the single training step."""
TOLERANCE = 0.1
"""How far `operations` may be from the counted multiplications, as a share of them."""
LOAD = """
import sys
sys.modules["digitsweep"] = None  # an import of it fails
import keras, numpy
images = numpy.load(sys.argv[1])
for path in sys.argv[2:]:
    numpy.save(path + ".npy", keras.saving.load_model(path, compile=False)(images, training=False))
"""
LOAD_SECONDS = 300.0


def check_family(name: str, shape: Shape, classes: int) -> list[Finding]:
    """All checks of a registered family, on made-up images of this shape.

    It builds networks at the corners of the default space, and saves and trains the first and the last of them."""
    space, problems = parse_space(name, FAMILIES[name].space)
    if problems:
        lines = "; ".join(f"{'.'.join(path)}: {text}" if path else text for path, text in problems)
        return [wrong("space", lines, "correct the default space, or the hyperparameters")]
    corners = corners_of(space)
    if not corners:
        return [wrong("space", "no configuration at its corners is valid", "correct the default space")]
    findings = [hyperparameters(corners, shape)]
    if findings[0].state == "wrong":
        return findings
    configurations = [each for each in corners if each.smallest_image() <= shape[0]]
    larger = len(corners) - len(configurations)
    if not configurations:
        found = f"all {larger} configurations need larger images than {shape[0]} pixels"
        return [wrong("space", found, "name other images with --shape or --data, or allow smaller networks")]
    found = f"{len(configurations)} configurations at its corners"
    findings.insert(0, ok("space", f"{found}; {larger} more need larger images" if larger else found))
    findings += networks(configurations, shape, classes)
    if all(each.state != "wrong" for each in findings):
        few = configurations[:2]
        findings += [saved(few, shape, classes), trained(few, shape, classes)]
    return findings


def corners_of(space: Space) -> list[Params]:
    """Configurations whose networks differ, evenly chosen, about MOST_NETWORKS at most. The first two have every
    hyperparameter at its first and at its last value."""
    found: dict[object, Params] = {}
    for each in space.corners():
        own = tuple((name, value) for name, value in each if name not in Params.model_fields)
        found.setdefault(own, each)
    corners = list(found.values())
    step = max(1, math.ceil(len(corners) / MOST_NETWORKS))
    return [*corners[:2], *corners[2::step]]


def hyperparameters(configurations: Sequence[Params], shape: Shape) -> Finding:
    """Whether configurations can be recorded and read back with the same key, and their methods return valid values."""
    for each in configurations:
        if said_of := broken_method(each, shape):
            return wrong("hyperparameters", said_of, "correct the method")
        try:
            again = parse_params(each.family, each.model_dump(mode="json"))
        except ValidationError as error:
            found = f"{each.describe()} cannot be read back from its record: {said(error)}"
            return wrong("hyperparameters", found, "make each a number or a string")
        if again != each or again.key() != each.key():
            found = f"{each.describe()} has another key when it is read back"
            return wrong("hyperparameters", found, "derive `key` from the values only")
    return ok("hyperparameters", "read back from a record, they have the same key")


def networks(configurations: Sequence[Params], shape: Shape, classes: int) -> list[Finding]:
    """The findings of the checks of untrained networks. Once a network fails a check, later checks skip it. A check that has
    skipped a network and found no mistake gives no finding."""
    failed: dict[str, str] = {}
    ran = Counter[str]()
    uncounted: set[str] = set()
    for params in configurations:
        keras.backend.clear_session()
        ran["build"] += 1
        try:
            model = network(params, shape, classes)
            mixed = network(params, shape, classes, "mixed_bfloat16")
        except Exception as error:
            failed.setdefault("build", f"{params.describe()}: {said(error)}")
            continue
        for name, check in CHECKS.items():
            ran[name] += 1
            if problem := check(params, model, mixed, shape, classes):
                failed.setdefault(name, f"{params.describe()}: {problem}")
                break
        else:
            uncounted |= set(multiplications(model)[1])
    keras.backend.clear_session()
    findings = []
    for name, text in FINE.items():
        if name in failed:
            findings.append(wrong(name, failed[name], MEND[name]))
        elif name == "operations" and uncounted:
            what = f"cannot be checked, because the multiplications of {', '.join(sorted(uncounted))} cannot be counted"
            findings.append(warning(name, what, "count them by hand; plans for a budget in minutes rely on them"))
        elif ran[name] == len(configurations):
            findings.append(ok(name, text))
    return findings


def _ends(params: Params, model: keras.Model, mixed: keras.Model, shape: Shape, classes: int) -> str:
    """What is wrong with the network's input and output; empty if nothing is."""
    for each in (model, mixed):
        if each.input_shape != (None, *shape):
            return f"takes images {each.input_shape}, but must take {(None, *shape)}"
        if each.input.dtype != "uint8":
            return f"takes {each.input.dtype}, but must take raw uint8 images"
        if each.output_shape != (None, classes):
            return f"returns {each.output_shape}, but must return {(None, classes)}"
        if each.output.dtype != "float32":
            return f"returns {each.output.dtype}, but must return float32"
        found = np.asarray(each(_images(2, shape), training=False))
        if not (np.isfinite(found).all() and np.allclose(found.sum(axis=1), 1.0, atol=1e-3) and (found >= 0).all()):
            return "does not return probabilities: they must be finite, at least 0, and add up to 1"
    return ""


def _weights(params: Params, model: keras.Model, mixed: keras.Model, shape: Shape, classes: int) -> str:
    for each in (model, mixed):
        for weight in each.weights:
            if weight.dtype != "float32":
                return f"{weight.path} is {weight.dtype}, but must be float32"
    kinds = [[tuple(weight.shape) for weight in each.weights] for each in (model, mixed)]
    return "" if kinds[0] == kinds[1] else "has other weights in mixed_bfloat16 than in float32"


def _layers(params: Params, model: keras.Model, mixed: keras.Model, shape: Shape, classes: int) -> str:
    try:
        foreign = foreign_parts(model.to_json())
    except Exception as error:
        return f"cannot be saved: {said(error)}"
    return f"has {', '.join(dict.fromkeys(foreign))}, but may only have Keras' own layers" if foreign else ""


def _operations(params: Params, model: keras.Model, mixed: keras.Model, shape: Shape, classes: int) -> str:
    claimed = params.operations(shape, classes)
    counted, uncounted = multiplications(model)
    if uncounted or abs(claimed - counted) <= TOLERANCE * counted:
        return ""
    return f"`operations` returns {claimed:,}, but the layers need {counted:,} multiplications"


Check = Callable[[Params, keras.Model, keras.Model, Shape, int], str]
CHECKS: Mapping[str, Check] = {
    "input and output": _ends,
    "weights": _weights,
    "layers": _layers,
    "operations": _operations,
}
"""Each takes a configuration, its network in float32 and in mixed_bfloat16, the shape of an image and the number of classes.
It returns what is wrong; an empty string if nothing is."""
FINE = {
    "build": "every network is built, and ends with a softmax",
    "input and output": "raw uint8 images in, float32 probabilities out",
    "weights": "float32, also where layers compute in bfloat16",
    "layers": "Keras' own only",
    "operations": "within a tenth of the multiplications of the layers",
}
MEND = {
    "build": "correct `build`, or narrow the space",
    "input and output": "begin and end with `classifier` of digitsweep.families.build",
    "weights": "leave dtypes to Keras",
    "layers": "use layers of keras.layers instead of functions and layers of your own: keras.layers.Add, not `+`",
    "operations": "count the multiplications of one image in `operations`",
}


def saved(configurations: Sequence[Params], shape: Shape, classes: int) -> Finding:
    """Whether saved networks load in a new Python process without digitsweep, and predict the same there."""
    with tempfile.TemporaryDirectory(prefix="digitsweep-") as folder:
        images = _images(4, shape)
        np.save(Path(folder, "images.npy"), images)
        paths = [Path(folder, f"{index}.keras") for index, _ in enumerate(configurations)]
        expected = []
        for params, path in zip(configurations, paths, strict=True):
            model = network(params, shape, classes)
            model.save(path)
            expected.append(np.asarray(model(images, training=False)))
        command = [sys.executable, "-I", "-c", LOAD, f"{folder}/images.npy", *map(str, paths)]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        loaded = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LOAD_SECONDS)
        if loaded.returncode:
            last = loaded.stderr.strip().splitlines()[-1:] or [f"exit code {loaded.returncode}"]
            return wrong("file", f"does not load without digitsweep: {last[0][:300]}", MEND["layers"])
        for params, path, wanted in zip(configurations, paths, expected, strict=True):
            if not np.allclose(np.load(f"{path}.npy"), wanted, atol=1e-5):
                return wrong("file", f"{params.describe()}: predicts something else after loading", MEND["layers"])
    return ok("file", "a saved network loads without digitsweep, and predicts the same")


def trained(configurations: Sequence[Params], shape: Shape, classes: int) -> Finding:
    """Whether networks can be trained for one step."""
    labels = (np.arange(IMAGES) % classes).astype(np.uint8)
    split = Split(_images(IMAGES, shape), labels)
    data = TrainingData(split, split.take(np.arange(8)), classes)
    for params in configurations:
        steps = train(params.model_copy(update={"batch_size": IMAGES}), data, seed=0, epochs=1)
        try:
            next(steps)
            with suppress(StopIteration):
                next(steps)
        except StopIteration as end:
            if end.value.state is not TrialState.COMPLETE:
                return wrong("training", f"{params.describe()}: {end.value.reason}", "keep activations and weights small")
        except Exception as error:
            return wrong("training", f"{params.describe()}: {said(error)}", "correct `build`")
    return ok("training", "one step gives a finite loss")


def multiplications(model: keras.Model) -> tuple[int, list[str]]:
    """Multiplications of one image by the kernels of a network, and the layers for which they cannot be counted."""
    total, uncounted = 0, []
    layers = model.get_config()["layers"]
    uses = {each["config"]["name"]: len(each.get("inbound_nodes") or [()]) for each in layers}
    for layer in model.layers:
        try:
            counted, unknown = multiplications(layer) if isinstance(layer, keras.Model) else (_multiplications(layer), [])
        except LookupError:
            counted, unknown = 0, [f"{layer.name} ({type(layer).__name__})"]
        total += counted * uses.get(layer.name, 1)
        uncounted += unknown
    return total, uncounted


def _multiplications(layer: keras.layers.Layer) -> int:
    """The multiplications of one layer, used once. Raises LookupError if they cannot be counted."""
    kernels = [tuple(each.shape) for each in layer.weights if each.name.endswith("kernel")]
    kind = type(layer).__name__
    if not kernels and kind not in ("Dot", "Attention", "AdditiveAttention"):
        return 0
    if kind == "Dense":
        return int(math.prod(layer.output.shape[1:-1]) * math.prod(kernels[0]))
    if re.fullmatch(r"(Depthwise|Separable)?Conv[123]D(Transpose)?", kind):
        shape = (layer.input if kind.endswith("Transpose") else layer.output).shape
        positions = shape[1:-1] if layer.data_format == "channels_last" else shape[2:]
        return int(math.prod(positions) * sum(map(math.prod, kernels)))
    if kind == "EinsumDense":
        return _einsum(layer.equation, tuple(layer.input.shape), kernels[0])
    if kind == "MultiHeadAttention":
        return _attention(layer, *kernels)
    raise LookupError(kind)


def _einsum(equation: str, values: Sequence[int | None], kernel: Sequence[int]) -> int:
    """The multiplications of `abc,cd->abd` and the like: the product of the sizes of all letters but the batch, which has
    None."""
    left, right = equation.partition("->")[0].split(",")
    spread = len(values) - len(left.replace("...", ""))
    left = left.replace("...", "?" * spread)
    sizes = dict(zip(right, kernel, strict=True))
    whole = [size for letter, size in zip(left, values, strict=True) if letter not in sizes and size is not None]
    return math.prod([*whole, *sizes.values()])


def _attention(layer: keras.layers.Layer, *kernels: tuple[int, ...]) -> int:
    """The multiplications of the projections (query, key, value, output), the scores and the weighted sums of values."""
    given = [each.shape for each in layer.input] if isinstance(layer.input, list) else [layer.input.shape] * 2
    asking, asked = math.prod(given[0][1:-1]), math.prod(given[1][1:-1])
    query, key, value, output = map(math.prod, kernels)
    scores, weighed = (math.prod(each[1:]) for each in (kernels[0], kernels[2]))  # heads by their size
    return int(asking * (query + output) + asked * (key + value) + asking * asked * (scores + weighed))


def _images(count: int, shape: Shape) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)
