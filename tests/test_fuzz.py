"""Whatever a file holds, reading it gives a value or one clear line for each mistake: never a traceback, never a hang.

A small sample runs with every test; `make test-faults` feeds a thousand of each kind. A new kind of file joins by a line in
READERS.
"""

from __future__ import annotations

import gzip
import io
import os
import signal
import string
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console
from running import EXPERIMENTS, ROOT
from support import IDX_FILES, PROPERTY, SMALL_EXPERIMENT, idx_contents, made_split, outcome, write_idx_folder

from digitsweep.cli.tables import print_plan
from digitsweep.config.experiment_file import load_experiment
from digitsweep.data.sources import Wanted, load_dataset
from digitsweep.errors import InputError
from digitsweep.prediction.forms import forms_of
from digitsweep.prediction.images import Unreadable, read_pages
from digitsweep.prediction.reference import LEAST, Reference
from digitsweep.registry.gate import load_gate
from digitsweep.registry.recipe import Recipe

SAMPLE, MANY = 100, 1000
HANG = 60
"""Seconds after which a reader has hung; the slowest file takes two of an idle machine."""


@contextmanager
def bounded() -> Iterator[None]:
    """Whatever takes longer than HANG fails."""

    def rung(_: int, __: FrameType | None) -> None:
        raise AssertionError(f"still reading after {HANG} s")

    before = signal.signal(signal.SIGALRM, rung)
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def changed(whole: bytes, pieces: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """A right file in which a few places were cut out and others put in; or cut off, repeated, or with a bit turned over."""
    at, cut = st.integers(0, len(whole)), st.integers(0, 40)

    def put(edits: list[tuple[int, int, bytes]]) -> bytes:
        content = whole
        for place, length, piece in edits:
            content = content[:place] + piece + content[place + length :]
        return content

    def turned(places: list[int]) -> bytes:
        content = bytearray(whole)
        for place in places:
            content[place // 8 % len(content)] ^= 1 << place % 8
        return bytes(content)

    return st.one_of(
        st.lists(st.tuples(at, cut, pieces), min_size=1, max_size=6).map(put),
        st.lists(st.integers(0, 8 * len(whole) - 1), min_size=1, max_size=4).map(turned),
        at.map(lambda length: whole[:length]),
        st.tuples(at, st.integers(0, 3)).map(lambda where: whole[: where[0]] + whole * where[1]),
    )


# Experiment files: what YAML can do to a reader, and what a person types.
TYPED = [
    *("{}", "[]", "[", "{", "]", "}", ": ", "- ", "\n", "\t", "'", '"', "|", ">", "%", "@", "`", "? ", "---\n", "\0"),
    *("&a ", "*a", "<<: *a", "&a [*a]", "!!python/object/apply:os.system [ls]", "!!binary =", "!!set {a}", "!!omap [a: 1]"),
    *("true", "null", "~", ".nan", "-.inf", "1e999", "0x" + "f" * 99, "9" * 99, "1:1:1", "2026-11-20", "2026-99-99", "-1"),
    *("[" * 500, "{a: " * 100, "a: {b: " * 30, "- " * 200, "[a, " * 90, "9" * 5000, "x" * 5000, "1" + ":1" * 3000),
    *('"\\0"', '"\\e[2J"', '"\\ud800"', '"\\x9b"', "../../etc/passwd", "/dev/zero", "~nobody/x", "mnist", "x" * 300),
    *("{type: int, low: 0, high: 1}", "{type: float, low: 1, high: .inf}", "{type: categorical, choices: [[1]]}"),
]  # fmt: skip
EXPERIMENT_TEXTS = [SMALL_EXPERIMENT.encode(), (EXPERIMENTS / "smoke.yaml").read_bytes()]
VALUE = st.sampled_from([each.encode() for each in TYPED]) | st.binary(max_size=8) | st.text(max_size=8).map(
    lambda text: text.encode(errors="replace")
)  # fmt: skip


def with_another_value(text: bytes, number: int, value: bytes) -> bytes:
    """The file with another value behind one of its keys."""
    colons = [index for index in range(len(text)) if text[index : index + 2] in (b": ", b":\n")]
    at = colons[number % len(colons)] + 2
    ends = [text.find(sign, at) for sign in (b",", b"}", b"\n") if text.find(sign, at) >= 0]
    return text[:at] + value + text[min(ends, default=len(text)) :]


GATE = (ROOT / "experiments" / "gate.yaml").read_bytes()
gates = changed(GATE, VALUE) | st.builds(with_another_value, st.just(GATE), st.integers(0, 200), VALUE)
experiments = st.one_of(
    st.sampled_from(EXPERIMENT_TEXTS).flatmap(lambda text: changed(text, VALUE)),
    st.builds(with_another_value, st.sampled_from(EXPERIMENT_TEXTS), st.integers(0, 200), VALUE),
    st.binary(max_size=200),
    st.lists(VALUE, max_size=12).map(b"".join),
)


def read_experiment(path: Path, content: bytes) -> object:
    """As `validate` does."""
    path.write_bytes(content)
    experiment = load_experiment(path)
    print_plan(experiment, 2, Console(file=io.StringIO()))
    return experiment


def read_gate(path: Path, content: bytes) -> object:
    """As `promote` does."""
    path.write_bytes(content)
    return load_gate(path)


# Images: four IDX files of which one is not right, and one npz file.
TRAIN, TEST = made_split(12), made_split(6)
RIGHT = idx_contents(TRAIN, TEST)
SIZE = st.sampled_from([0, 1, 4, 6, 12, 255, 2**16, 2**31, 2**32 - 1]).map(lambda size: size.to_bytes(4, "big"))
HEADER = st.tuples(st.sampled_from([b"\0\0\x08", b"\0\0\x0d", b"\x1f\x8b\x08", b"PK\x03"]), st.sampled_from([b"\1", b"\3"]),
                   st.lists(SIZE, max_size=4).map(b"".join), st.binary(max_size=200)).map(b"".join)  # fmt: skip
BOMB = b"\0\0\x08\x03" + (2**16 - 1).to_bytes(4, "big") + (2**4).to_bytes(4, "big") * 2 + bytes(2**20)


def idx_file(name: str) -> st.SearchStrategy[tuple[str, bytes]]:
    plain = changed(RIGHT[name], SIZE | st.binary(max_size=20)) | HEADER | st.just(BOMB) | st.binary(max_size=60)
    zipped = plain.map(gzip.compress) | changed(gzip.compress(RIGHT[name], mtime=0), st.binary(max_size=9))
    return plain.map(lambda content: (name, content)) | zipped.map(lambda content: (name, content))


def read_idx_folder(path: Path, content: tuple[str, bytes]) -> object:
    """As `sweep --data` does."""
    write_idx_folder(path, TRAIN, TEST)
    name, changed_content = content
    (path / name).write_bytes(changed_content)
    return load_dataset(path, validation=3, seed=0)


def npy(values: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(values))
    return stream.getvalue()


def zipped(members: list[tuple[str, bytes]], method: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in dict(members).items():
            archive.writestr(name, content)
    return stream.getvalue()


ARRAYS = {
    "x_train": npy(TRAIN.images[..., 0]),
    "y_train": npy(TRAIN.labels),
    "x_test": npy(TEST.images[..., 0]),
    "y_test": npy(TEST.labels),
}
WHOLE = zipped([(f"{key}.npy", content) for key, content in ARRAYS.items()], zipfile.ZIP_DEFLATED)
ODD = [
    *(np.zeros(0), np.float64(1), np.zeros((12, 4, 4)), np.array(["a"]), np.zeros(12, "M8[s]")),
    *(np.zeros(12, [("\n", "u1")]), np.full(12, 300, np.int16)),
    *(np.arange(12) - 1, np.full(12, 2**63, np.uint64), np.zeros((12, 4, 5), np.uint8), np.zeros((2, 2, 2, 2, 2), np.uint8)),
]  # fmt: skip
ARRAY_HEADER = st.builds(
    lambda kind, order, shape, body: (
        b"\x93NUMPY\x01\x00v\x00"
        + f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}".encode().ljust(117)[:117] + b"\n" + body
    ),
    st.sampled_from(["'|u1'", "'<i8'", "'|O'", "'|V9'", "'<U2'", "[('a', '|u1')]", "'x'", "3", "[[[[[["]),
    st.sampled_from(["False", "True", "1"]),
    st.sampled_from(["(12, 4, 4)", "(12,)", "()", "(-1,)", f"({2**62},)", f"({2**31}, {2**31})", "(True,)", "None"]),
    st.binary(max_size=200),
)  # fmt: skip
MEMBER = st.sampled_from([npy(each) for each in ODD]) | ARRAY_HEADER | changed(ARRAYS["x_train"], st.binary(max_size=9))
npz_files = st.one_of(
    changed(WHOLE, st.binary(max_size=20)),
    st.builds(
        lambda key, member, more, method: zipped(
            [*((f"{each}.npy", content) for each, content in ARRAYS.items()), (f"{key}.npy", member), *more], method
        ),
        st.sampled_from(sorted(ARRAYS)),
        MEMBER,
        st.lists(st.tuples(st.text(string.printable, min_size=1, max_size=9), st.binary(max_size=9)), max_size=2),
        st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
    ),
    st.binary(max_size=100),
)


def read_npz_file(path: Path, content: bytes) -> object:
    """As `sweep --data` does."""
    path.write_bytes(content)
    return load_dataset(path, validation=3, seed=0)


def image_file(kind: str) -> bytes:
    """A right image of a kind, 12 by 10 pixels."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(4).integers(0, 256, (10, 12), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()


def read_image(path: Path, content: bytes) -> object:
    """As `predict` does for digits, which tells of what cannot be read beside the rest."""
    path.write_bytes(content)
    pages = list(read_pages(path))
    for page in pages:
        if isinstance(page, Unreadable):
            raise InputError(str(page))
    return pages


def read_whole_image(path: Path, content: bytes) -> object:
    """As `predict` does for other images."""
    path.write_bytes(content)
    recipe = Recipe("images", 8, "letterbox", 3)
    unreadable: dict[Recipe, list[Unreadable]] = {recipe: []}
    (form,) = forms_of([path], unreadable)
    for each in unreadable[recipe]:
        raise InputError(str(each))
    assert form[2][recipe].image.shape == recipe.shape
    return form


IMAGES = {kind: image_file(kind) for kind in ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP")}
images = st.sampled_from(sorted(IMAGES)).flatmap(lambda kind: changed(IMAGES[kind], st.binary(max_size=12)))


def read_class_folders(path: Path, content: bytes) -> object:
    """As `sweep --data` does with a folder of image files, which must all be right."""
    for number, kind in enumerate(sorted(IMAGES)):
        file = path / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, format=kind)
    (path / "a" / "changed.png").write_bytes(content)
    with mock.patch.dict(os.environ, {"DIGITSWEEP_CACHE": f"{path}-cache"}):
        return load_dataset(path, validation=2, seed=0, wanted=Wanted(strict=True))


SAMPLED = Reference(np.random.default_rng(5).integers(0, 256, (LEAST, 8, 8), dtype=np.uint8)).png()
sheets = changed(SAMPLED, st.binary(max_size=12))


def read_sheet(path: Path, content: bytes) -> object:
    """As `predict` does with the file beside a model."""
    try:
        return Reference.from_png(content, 8)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


@dataclass(frozen=True)
class Reader:
    """A kind of file that people give."""

    contents: st.SearchStrategy[object]
    read: Callable[[Path, object], object]
    """Writes the content to a path of its own, and reads it."""
    lines: int | None = 1
    """That may be said of one file; None: one for each mistake."""


READERS: dict[str, Reader] = {
    "experiment.yaml": Reader(experiments, read_experiment, None),  # type: ignore[arg-type]
    "gate.yaml": Reader(gates, read_gate, None),  # type: ignore[arg-type]
    "idx-files": Reader(st.sampled_from(IDX_FILES).flatmap(idx_file), read_idx_folder),  # type: ignore[arg-type]
    "images.npz": Reader(npz_files, read_npz_file),  # type: ignore[arg-type]
    "image.png": Reader(images, read_image),  # type: ignore[arg-type]
    "class-folders": Reader(images, read_class_folders),  # type: ignore[arg-type]
    "photo.png": Reader(images, read_whole_image),  # type: ignore[arg-type]
    "training_images.png": Reader(sheets, read_sheet),  # type: ignore[arg-type]
}


def feed(name: str, path: Path, examples: int) -> None:
    """That nothing else comes of so many files than a value, or lines that name the file and can be printed."""
    reader = READERS[name]

    @settings(PROPERTY, max_examples=examples, database=None)
    @given(content=reader.contents)
    def fed(content: object) -> None:
        with bounded():
            found = outcome(lambda: reader.read(path, content))
        if isinstance(found, str):
            lines = found.splitlines()
            assert lines
            assert reader.lines is None or len(lines) == reader.lines, found
            for line in lines:
                assert str(path) in line or line.startswith("data.validation: "), line
                assert not any(unicodedata.category(sign) in ("Cc", "Cs") for sign in line), repr(line)

    fed()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning", "ignore:.*metadata.*:UserWarning")
@pytest.mark.parametrize("name", READERS)
def test_a_sample_of_files(name: str, tmp_path: Path) -> None:
    """A hundred files of each kind."""
    feed(name, tmp_path / name, SAMPLE)


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning", "ignore:.*metadata.*:UserWarning")
@pytest.mark.parametrize("name", READERS)
def test_a_thousand_files(name: str, tmp_path: Path) -> None:
    """A thousand files of each kind."""
    feed(name, tmp_path / name, MANY)
