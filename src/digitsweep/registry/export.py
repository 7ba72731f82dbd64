"""Registered models in other formats: ONNX, and LiteRT for phones and microcontrollers.

Keras converts a network. The format's own runtime then classifies the test images with it, and the probabilities are
compared with those of Keras. The file takes raw uint8 images and gives class probabilities, as the registered model does."""

from __future__ import annotations

import functools
import importlib.util
import json
import logging
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from digitsweep import __version__
from digitsweep.errors import DigitsweepError, InputError, printable
from digitsweep.registry.compare import dataset_of, load_for
from digitsweep.registry.models import DATA, NamedModel, find, load
from digitsweep.registry.recipe import tagged_class_names, tagged_recipe
from digitsweep.report.format import count
from digitsweep.tracking.client import TEST_DIGEST, first_line
from digitsweep.training.loop import EVALUATION_BATCH, probabilities
from digitsweep.training.startup import standard_error_away

if TYPE_CHECKING:
    import keras

INPUT, OUTPUT = "image", "probabilities"
"""The names of the input and the output: uint8 (n, height, width, channels), 0 to 255, and float32 (n, classes)."""
CLASS_NAMES = "classes"
"""In a file's metadata: the names of the classes in the order of the labels, a JSON list."""
TOLERANCE = 0.001
"""The largest difference of a probability that is accepted. Adding in another order changes one by about 1e-6."""
NOISE = 1000
"""How many random images replace test images that cannot be found."""
TAGS = (DATA, TEST_DIGEST, "digitsweep.sweep", "digitsweep.commit", "family", "network", "test_accuracy")
"""The tags of a version that the file repeats."""

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Format:
    """A format, by the name of its extra."""

    title: str
    packages: Mapping[str, str]
    """What the extra installs: the packages, by the modules that are imported."""
    convert: Callable[[keras.Model, Mapping[str, str]], bytes]
    """The file of a network, with metadata."""
    runner: Callable[[bytes], Run]
    """The network in a file, computed by the format's own runtime."""


@dataclass(frozen=True)
class Exported:
    """A model in another format."""

    label: str
    """Of the registered model: `NAME 3`."""
    title: str
    """Of the format."""
    content: bytes
    images: int
    """How many images both networks classified."""
    other_class: int
    """For how many of them the classes differ."""
    difference: float
    """The largest one of a probability."""
    no_test_images: str
    """Why random images replaced the test images; empty if they did not."""

    def __str__(self) -> str:
        size = f"{len(self.content) / 1e6:.2f} MB"
        images = f"{count(self.images)} {'random' if self.no_test_images else 'test'} images"
        same = "the same class for each" if not self.other_class else f"a different class for {self.other_class}"
        return (
            f"{self.label} as {self.title}, {size}. {images}: {same}; probabilities differ by at most {self.difference:.1e}."
        )


def export(named: str, to: str, data: Path | None) -> Exported:
    """A registered model as a file of the format `to`, one of FORMATS, checked on the test images that it was made for.

    Raises InputError if the format's extra is not installed, if there is no such model, if its network cannot be converted,
    or if `data` is given and does not hold its test images; DigitsweepError if the file gives other probabilities."""
    form = FORMATS[to]
    missing = [package for module, package in form.packages.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(f"export {to} needs {', '.join(missing)}; run `pip install 'digitsweep[{to}]'`")
    found = find(named)
    metadata = _metadata(found)
    model, images, no_test_images = _model_and_images(found, data)
    try:
        with standard_error_away(), warnings.catch_warnings(action="ignore"):  # of the converters
            content = form.convert(model, metadata)
            run = form.runner(content)
            starts = range(0, len(images), EVALUATION_BATCH)
            converted = np.concatenate([run(images[start : start + EVALUATION_BATCH]) for start in starts])
    except Exception as error:  # converters raise errors of any type
        raise InputError(
            f"{found.label}: its network cannot be converted to {form.title}: {first_line(error)}; name another model"
        ) from None
    registered = probabilities(model, images)
    difference = float(np.abs(converted - registered).max())
    if not difference <= TOLERANCE:  # also true for nan
        raise DigitsweepError(
            f"{found.label}: its probabilities as {form.title} differ by up to {difference:.2g}, more than {TOLERANCE}; "
            "nothing was written"
        )
    other_class = int((converted.argmax(axis=1) != registered.argmax(axis=1)).sum())
    return Exported(found.label, form.title, content, len(images), other_class, difference, no_test_images)


def _metadata(found: NamedModel) -> dict[str, str]:
    """The metadata of a file. Raises InputError if the model's tags are damaged."""
    class_names, recipe = tagged_class_names(found), tagged_recipe(found)
    return {
        "model": found.uri.removeprefix("models:/"),
        "digitsweep": __version__,
        **({CLASS_NAMES: json.dumps(class_names)} if class_names else {}),
        **({"preparation": json.dumps(asdict(recipe))} if recipe else {}),
        **{name.removeprefix("digitsweep."): found.tags[name] for name in TAGS if name in found.tags},
    }


def _model_and_images(found: NamedModel, data: Path | None) -> tuple[keras.Model, NDArray[np.uint8], str]:
    """A model, images to compare on, uint8 (n, height, width, channels), and why these are not its test images, if so."""
    try:
        dataset = dataset_of([found], data)
    except InputError as error:
        if data is not None:
            raise
        model, random = load(found.uri), np.random.default_rng(0)
        return model, random.integers(0, 256, (NOISE, *model.input_shape[1:]), np.uint8), str(error)
    return load_for(found, dataset), dataset.test.unlabelled(), ""


def _exported(model: keras.Model, kind: str, path: Path) -> Path:
    """The network as Keras exports it, for any number of images, with INPUT and OUTPUT as names."""
    import keras

    named = keras.Model(model.inputs[0], {OUTPUT: model.outputs[0]})
    signature = [keras.InputSpec(shape=(None, *model.input_shape[1:]), dtype="uint8", name=INPUT)]
    named.export(path, format=kind, verbose=False, input_signature=signature)
    return path


def _to_onnx(model: keras.Model, metadata: Mapping[str, str]) -> bytes:
    import onnx

    _teach_erfc()
    with tempfile.TemporaryDirectory(prefix="digitsweep-") as folder:
        converted = onnx.load(_exported(model, "onnx", Path(folder, "model.onnx")))
    converted.producer_name, converted.producer_version = "digitsweep", __version__
    onnx.helper.set_model_props(converted, dict(metadata))
    return bytes(converted.SerializeToString())


@functools.cache
def _teach_erfc() -> None:
    """Adds an operation that tf2onnx lacks and Keras' GELU needs: erfc(x) = 1 - erf(x)."""
    from tf2onnx.handler import tf_op
    from tf2onnx.utils import make_name

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # the runtime refuses what could not be converted

    @tf_op("Erfc")
    class Erfc:
        @classmethod
        def version_9(cls, graph: Any, node: Any, **_: Any) -> None:
            made = {"outputs": node.output, "shapes": node.output_shapes, "dtypes": node.output_dtypes}
            given = node.input
            graph.remove_node(node.name)
            erf = graph.make_node("Erf", given)
            one = graph.make_const(make_name("one"), np.ones((), np.float32))
            graph.make_node("Sub", [one.output[0], erf.output[0]], **made)


def _run_onnx(content: bytes) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run([OUTPUT], {INPUT: images})[0])


def _to_litert(model: keras.Model, metadata: Mapping[str, str]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="digitsweep-") as folder:
        path = _exported(model, "litert", Path(folder, "model.tflite"))
        with zipfile.ZipFile(path, "a") as archive:  # where TensorFlow Lite keeps files that belong to a model
            archive.writestr("metadata.json", json.dumps(metadata, indent=2))
            archive.writestr(
                "labels.txt", "".join(f"{printable(name)}\n" for name in json.loads(metadata.get(CLASS_NAMES, "[]")))
            )
        return path.read_bytes()


def _run_litert(content: bytes) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=content).get_signature_runner()
    return lambda images: np.asarray(runner(**{INPUT: images})[OUTPUT])


FORMATS: Mapping[str, Format] = {
    "onnx": Format("ONNX", {"onnx": "onnx", "tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime"}, _to_onnx, _run_onnx),
    "litert": Format("LiteRT", {"ai_edge_litert": "ai-edge-litert"}, _to_litert, _run_litert),
}
