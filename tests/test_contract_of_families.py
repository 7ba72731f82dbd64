"""Wrong families, each told in one line: those that cannot be loaded, and those that `check-family` finds to break their
contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest
from click.testing import CliRunner
from outside import EXPERIMENT, MIXER, write_experiment
from running import run_digitsweep
from support import made_split, only_line, write_npz

from digitsweep.cli import main
from digitsweep.config.experiment_file import load_experiment
from digitsweep.contract import multiplications, networks
from digitsweep.errors import InputError
from digitsweep.families import FAMILIES, parse_params
from digitsweep.families.build import network
from digitsweep.families.outside import find_family


def line_of(beginning: str) -> int:
    """The number of the line of my_models.py that begins so."""
    return next(number for number, line in enumerate(MIXER.splitlines(), start=1) if line.startswith(beginning))


BUILD = "    build: my_models.py:MIXER\n"
FAMILY = 'MIXER = Family(MixerParams, build, title="Mixer"'

FILES: dict[str, tuple[str, str, str]] = {
    # what is replaced in my_models.py, by what, and a part of the message
    "no such name": ("MIXER = ", "OTHER = ", "must have the family MIXER; the families in it: OTHER"),
    "not a Family": (FAMILY, "MIXER = dict(title=1", "must be a digitsweep.families.Family, but is of type dict"),
    "a syntax error": ("def build(params,", "def build((params,", f"my_models.py:{line_of('def build')}: not valid Python"),
    "an error in it": (
        "SPACE = {",
        "1 / 0\nSPACE = {",
        f"my_models.py:{line_of('SPACE')}: ZeroDivisionError: division by zero",
    ),
    "an import that fails": ("from typing", "import keraz\nfrom typing", "No module named 'keraz'"),
    "it exits": ("SPACE = {", "raise SystemExit(3)\nSPACE = {", f"my_models.py:{line_of('SPACE')}: SystemExit: 3"),
    "no build": (FAMILY, 'MIXER = Family(MixerParams, title="Mixer"', "missing 1 required positional argument: 'build'"),
    "build is no function": (FAMILY, 'MIXER = Family(MixerParams, None, title="Mixer"', "`build` must be a function of"),
    "build takes less": ("def build(params, shape, classes)", "def build(params, shape)", "`build` must be a function of"),
    "another name": ('= "mixer"', '= "blender"', "must be the name in the experiment, mixer, but is blender"),
    "a built-in name": ('= "mixer"', '= "cnn"', "`family` may not be cnn, which is built in"),
    "no name": ('    family: ClassVar[str] = "mixer"\n', "", "`params` must be a subclass of digitsweep.families.Params"),
    "no Params": ("(Params)", "", "`params` must be a subclass of digitsweep.families.Params"),
    "it can change": ("(Params):", "(Params, frozen=False):", "`model_config` must keep frozen=True"),
    "no operations": ("def operations", "def multiplications", "must define `operations(shape, classes)`"),
    "an unknown layer count": ("    depth:", '    layer_count: ClassVar[str] = "deep"\n    depth:', "deep"),
    "epochs": ("    depth:", "    epochs: int = 3\n    depth:", "may not have a field `epochs`"),
    "operations that fail": ("return width * (", "return width / 0 * (", "`operations` of MixerParams fails: ZeroDivision"),
    "no operations at all": (
        "return width * (",
        "return 0 * (",
        "`operations` of MixerParams must return a number of at least",
    ),
    "no title": ('title="Mixer"', 'title=""', "`title` must be 1 to 30 characters"),
    "another's title": ('title="Mixer"', 'title="ResNet"', "`title` must differ from that of resnet, ResNet"),
    "a mistake in the space": ('"depth": {"type"', '"dept": {"type"', "families.mixer.space.dept: is not a hyperparameter"),
}


@pytest.mark.parametrize(("old", "new", "said"), FILES.values(), ids=FILES)
def test_a_wrong_family_is_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    """A file without a valid family is refused when the experiment is loaded, with the experiment's file and key."""
    assert old in MIXER
    path = write_experiment(tmp_path, MIXER.replace(old, new, 1))
    path.write_text(EXPERIMENT.replace("    space: {depth: 1, width: {type: int, low: 16, high: 32}}\n", ""))
    with pytest.raises(InputError) as error:
        load_experiment(path)
    only_line(error, f"{path}:", "families.mixer", said)


KEYS = {
    # what stands in place of the family's `build`, and a part of the message
    "no such file": ("    build: models.py:MIXER\n", "models.py: cannot be read: No such file"),
    "a folder": ("    build: folder.py:MIXER\n", "folder.py: cannot be read: Is a directory"),
    "no name": ("    build: my_models.py\n", "must name a Python file and a family in it"),
    "no text": ("    build: [my_models.py]\n", "must name a Python file and a family in it"),
    "no Python file": ("    build: mixed.yaml:MIXER\n", "must name a Python file and a family in it"),
    "outside of the folder": ("    build: ../my_models.py:MIXER\n", "a relative path must stay in"),
    "nothing": (
        "",
        "mixed.yaml:10: families.mixer: a family must be one of ann, cnn, resnet, but is mixer; one of your own needs",
    ),
}


@pytest.mark.parametrize(("build", "said"), KEYS.values(), ids=KEYS)
def test_a_wrong_key_is_one_line(tmp_path: Path, build: str, said: str) -> None:
    """So is an experiment that does not name a family in a file beside it."""
    (tmp_path / "folder.py").mkdir()
    path = write_experiment(tmp_path)
    path.write_text(EXPERIMENT.replace(BUILD, build))
    with pytest.raises(InputError) as error:
        load_experiment(path)
    only_line(error, f"{path}:1", ": families.mixer", said)


@pytest.mark.parametrize(("content", "said"), [(b"\xff", "UTF-8"), (b"#" * 1_000_001, "at most 1,000,000 bytes")])
def test_a_file_that_is_no_text(tmp_path: Path, content: bytes, said: str) -> None:
    """Nor is a file run that is not text, or too large."""
    path = write_experiment(tmp_path)
    (tmp_path / "my_models.py").write_bytes(content)
    with pytest.raises(InputError) as error:
        load_experiment(path)
    only_line(error, f"{path}:11: families.mixer.build", said)


def test_a_built_in_family_takes_no_file(tmp_path: Path) -> None:
    """A family that is built in cannot be replaced."""
    path = write_experiment(tmp_path)
    path.write_text(EXPERIMENT.replace("  cnn:\n", f"  cnn:\n{BUILD}"))
    with pytest.raises(InputError) as error:
        load_experiment(path)
    only_line(error, f"{path}:9: families.cnn.build", "cnn is built in")


def test_the_commands_exit_code(tmp_path: Path) -> None:
    """A command ends with one line and exit code 2."""
    path = write_experiment(tmp_path, "raise ValueError('not today')")
    for arguments in (("sweep", str(path)), ("check-family", f"{tmp_path}/my_models.py:MIXER")):
        found = run_digitsweep(*arguments, cwd=tmp_path)
        assert (found.returncode, found.stdout) == (2, "")
        (line,) = found.stderr.splitlines()
        assert "my_models.py:1: ValueError: not today" in line


def checked(text: str, folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """The exit code of `check-family` for a text of my_models.py, and its findings that are not ok."""
    (folder / "my_models.py").write_text(text)
    found = CliRunner().invoke(main, ["check-family", f"{folder}/my_models.py:MIXER", *arguments])
    lines = found.output.splitlines()
    assert len(lines) > 1, found.output
    return found.exit_code, [line for line in lines[:-1] if not line.startswith("ok: ")]


def test_a_family_that_keeps_its_contract(tmp_path: Path) -> None:
    """The family of the documentation passes every check, on the images that are named."""
    data = write_npz(tmp_path / "images.npz", made_split(12, side=8), made_split(6, side=8))
    assert checked(MIXER, tmp_path, "--data", str(data)) == (0, [])


LAST = '    return classifier("mixer", shape, classes, features)'
FIRST = "    from keras import layers\n"
SUM = "x = layers.Add()([x, layers.Permute((2, 1))(mixed)])"
WIDE = 'layers.Dense(params.width, activation="gelu")'
OWN = "    class Mine(layers.Layer):\n        def call(self, x):\n            return x\n\n"
BREAKS = {
    # what is replaced in my_models.py, by what, the check that fails, and a part of what it says
    "logits": (LAST, "    import keras\n    image = keras.Input(shape, dtype='uint8')\n"
               "    return keras.Model(image, layers.Dense(classes)(layers.Flatten()(image)))", "build", "ends with Dense"),
    "no model": (LAST, "    return None", "build", "ends with NoneType"),
    "a corner that cannot be built": (FIRST, f"{FIRST}    assert params.width < 64, 'too wide'\n", "build", "too wide"),
    "another shape": (LAST, LAST.replace("shape", "(28, 28, 1)"), "input and output", "must take (None, 8, 8, 3)"),
    "other classes": (LAST, LAST.replace("classes", "7"), "input and output", "must return (None, 4)"),
    "half weights": (WIDE, WIDE.replace(")", ", dtype='float16')"), "weights", "is float16, but must be float32"),
    "a layer of its own": (FIRST, FIRST + OWN, "layers", "Mine"),
    "an operator": (SUM, "x = x + layers.Permute((2, 1))(mixed)", "layers", "Add"),
    "code in the file": (SUM, f"{SUM}\n            x = layers.Lambda(lambda y: y)(x)", "layers", "Lambda"),
    "too few operations": ("return width * (", "return 0.85 * width * (", "operations", "multiplications"),
    "operations that fail": ("patches, width =", "raise KeyError(1)\n        a, b =", "hyperparameters", "KeyError"),
    "a list": ("    depth:", "    sizes: tuple[int, ...] = (1, 2)\n    depth:", "hyperparameters", "cannot be read back"),
    "a loss without bound": ("(layers.Conv2D(", "(layers.Rescaling(1e25)(layers.Conv2D(", "training", "the loss was not"),
    "a space with a mistake": ('"depth": {"type"', '"dept": {"type"', "space", "dept: is not a hyperparameter"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "check", "said"), BREAKS.values(), ids=BREAKS)
def test_a_broken_contract_is_one_line(tmp_path: Path, old: str, new: str, check: str, said: str) -> None:
    """A family that breaks its contract is told so by one check, which names what is wrong; the exit code is 2."""
    assert old in MIXER
    text = MIXER.replace(old, new, 1)
    if new == FIRST + OWN:
        text = text.replace("return layers.Glob", "return Mine()(layers.Glob").replace("1D()(x)", "1D()(x))")
    if "Rescaling" in new:
        text = text.replace("strides=4)(image))", "strides=4)(image)))")
    code, lines = checked(text, tmp_path, "--shape", "8x8x3", "--classes", "4")
    assert code == 2, lines
    (line,) = lines
    assert line.startswith(f"wrong: {check}: "), line
    assert said in line


def test_layers_that_cannot_be_counted_are_named(tmp_path: Path) -> None:
    """Where multiplications cannot be counted, the check warns and names the layer."""
    text = MIXER.replace("return layers.Global", "x = layers.Attention()([x, x])\n        return layers.Global")
    (tmp_path / "my_models.py").write_text(text)
    name = find_family(f"{tmp_path}/my_models.py:MIXER")
    findings = networks([parse_params(name, {"depth": 1, "width": 4})], (8, 8, 1), 4)
    (finding,) = (each for each in findings if each.state != "ok")
    assert (finding.name, finding.state) == ("operations", "warning")
    assert "(Attention)" in finding.found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mixer"], "mixer: no such family; there are ann, cnn, resnet"),
        (["no.py:MIXER"], "no.py: cannot be read"),
        (["ann", "--shape", "28x32x1"], "--shape must be height, width and channels of square images"),
        (["ann", "--shape", "grey"], "--shape must be height, width and channels of square images"),
    ],
)
def test_a_family_that_is_not_there(arguments: list[str], said: str) -> None:
    """Words that name no family, or no shape, are one line and exit code 2."""
    found = CliRunner().invoke(main, ["check-family", *arguments])
    assert found.exit_code == 2
    (line,) = found.output.splitlines()
    assert said in line


SMALL: dict[str, dict[str, Any]] = {
    "ann": {"hidden_layers": 2, "units": [7, 5]},
    "cnn": {"blocks": 2, "filters": 3, "convolutions": 2, "pooling": ["stride", "max"], "dense_units": 6},
    "resnet": {"stages": 2, "filters": 4},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_operations_are_those_of_the_layers(family: str) -> None:
    """Each built-in family states the multiplications of its layers, on grey and on colour images."""
    params = parse_params(family, SMALL[family])
    for shape, classes in (((28, 28, 1), 10), ((29, 29, 3), 4)):
        counted, uncounted = multiplications(network(params, shape, classes))
        assert params.operations(shape, classes) == pytest.approx(counted, rel=0.1)
        assert not uncounted


LAYERS = {
    # a layer, the shape that it gets, and its multiplications with pencil and paper
    "dense on a sequence": (keras.layers.Dense(3), (5, 4), 5 * 4 * 3),
    "groups": (keras.layers.Conv2D(8, 3, groups=4), (6, 6, 4), 4 * 4 * 3 * 3 * 1 * 8),
    "strides": (keras.layers.Conv2D(2, 3, strides=2, padding="same"), (6, 6, 4), 3 * 3 * 3 * 3 * 4 * 2),
    "each channel": (keras.layers.DepthwiseConv2D(3), (6, 6, 4), 4 * 4 * 3 * 3 * 4),
    "each channel, then all": (keras.layers.SeparableConv2D(5, 3), (6, 6, 4), 4 * 4 * (3 * 3 * 4 + 4 * 5)),
    "transposed": (keras.layers.Conv2DTranspose(5, 3, strides=2), (6, 6, 4), 6 * 6 * 3 * 3 * 4 * 5),
    "einsum": (keras.layers.EinsumDense("abc,bcd->ad", output_shape=3), (5, 4), 5 * 4 * 3),
    "einsum with an ellipsis": (keras.layers.EinsumDense("...x,xy->...y", output_shape=3), (5, 6, 4), 5 * 6 * 4 * 3),
    "a model in a model": (keras.Sequential([keras.Input((5, 4)), keras.layers.Dense(3)]), (5, 4), 5 * 4 * 3),
    "nothing": (keras.layers.LayerNormalization(), (5, 4), 0),
}


@pytest.mark.parametrize(("layer", "shape", "expected"), LAYERS.values(), ids=LAYERS)
def test_multiplications(layer: keras.layers.Layer, shape: tuple[int, ...], expected: int) -> None:
    """The multiplications of a layer, also if it is used twice."""
    image = keras.Input(shape)
    assert multiplications(keras.Model(image, layer(image))) == (expected, [])
    other = keras.Input(shape)
    twice = keras.Model([image, other], keras.layers.Add()([layer(image), layer(other)]))
    assert multiplications(twice) == (2 * expected, [])


def test_multiplications_of_attention() -> None:
    """Four projections, the scores, and the values that they weigh."""
    image = keras.Input((5, 4))
    found, uncounted = multiplications(keras.Model(image, keras.layers.MultiHeadAttention(2, 3)(image, image)))
    projections = 4 * 5 * 4 * 2 * 3
    assert (found, uncounted) == (projections + 2 * 5 * 5 * 2 * 3, [])
