"""A folder of image files, sorted into a folder for each class, becomes arrays that are mapped from the cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
import PIL
from numpy.typing import NDArray

from digitsweep.config.experiment import SMALLEST
from digitsweep.data.cache import USED, DamagedError, cached
from digitsweep.data.image_file import (
    SUFFIXES,
    Pixels,
    Reason,
    chosen_size,
    quiet,
    read_image,
    read_size,
)
from digitsweep.data.preparation import FilesRead, LeftOut, Preparation
from digitsweep.data.splits import MOST_CLASSES, Split, stratified
from digitsweep.errors import InputError, printable

Result = TypeVar("Result")
Progress = Callable[[int, int], None]
"""Is told how many of how many image files have been read."""

SPLITS = {"train": "train", "test": "test", "validation": "validation", "val": "validation"}
"""What the folder of a split may be called, in small letters."""
TEST_SHARE = 0.2
"""Of the images, where a folder has no test split of its own."""
SHOWN = 10
"""Files named for each reason."""
CHUNK = 64
"""Files that a thread reads at once."""
MOST_THREADS = 16
VERSION = 1
"""Of the preparation: another number makes every entry of the cache again."""

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, eq=False)
class ReadFolder:
    """A folder's images, mapped into memory."""

    splits: Mapping[str, Split]
    """`train`, `test` and, if the folder has it, `validation`."""
    class_names: tuple[str, ...]
    """In the order of the labels."""
    preparation: Preparation
    files: FilesRead


class _File(NamedTuple):
    split: str
    """Empty in a folder that has only classes."""
    label: int
    name: str
    """Its path in the folder, with slashes."""
    size: int
    changed: int
    """Nanoseconds."""


@dataclass(frozen=True)
class _Layout:
    """What lies in a folder, by class."""

    files: Sequence[_File]
    others: Sequence[str]
    """Files that are no images by their names."""
    class_names: tuple[str, ...]


def is_image_folder(folder: Path) -> bool:
    """Whether a folder has other folders in it, which then are those of splits or classes."""
    return any(_folders(folder))


def read_image_folder(
    folder: Path, *, size: int | None, fit: str, classes: Sequence[str], strict: bool, progress: Progress
) -> ReadFolder:
    """The images of a folder: from the cache, or else decoded on all cores.

    classes: the names of the class folders in the order of their labels; if empty, they are in natural order. Raises
    InputError if files are not sorted into classes, or, if `strict`, for files that would be left out."""
    layout = _layout(folder, classes)
    key = hashlib.sha256(
        json.dumps([VERSION, PIL.__version__, size, fit, layout.class_names, layout.others, layout.files]).encode()
    ).hexdigest()[:32]
    read = cached(key, lambda entry: _write(entry, folder, layout, size, fit, progress), _load)
    if strict and read.files.left_out:
        raise InputError(f"{folder}: data.strict: {read.files.told()}; mend or remove these files, or leave out strict")
    return read


def in_class_order(names: Iterable[str]) -> list[str]:
    """Names in natural order, so that `2` comes before `10`; the English names of digits by their values."""
    wanted = list(names)
    if {each.lower() for each in wanted} <= set(_DIGITS):
        return sorted(wanted, key=lambda each: (_DIGITS.index(each.lower()), each))
    return sorted(wanted, key=_natural)


def _natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    parts = re.findall(r"\d+|\D+", name.lower(), re.ASCII)
    return [(0, int(each), "") if each[0] in "0123456789" else (1, 0, each) for each in parts], name


# What lies in a folder


def _layout(folder: Path, classes: Sequence[str]) -> _Layout:
    """Raises InputError if files are not sorted into splits and classes."""
    places = dict(_split_folders(folder))
    by_split = {split: {_shown(each.name): each for each in _folders(place)} for split, place in places.items()}
    trained = by_split.get("train", by_split.get("", {}))
    names = _class_names(folder, list(trained), classes)
    files: list[_File] = []
    others: list[str] = []
    for split, place in places.items():
        loose = [each for each in _entries(place) if each.is_file() and not _is_other(each.name)]
        if loose:
            raise InputError(
                f"{place}: image files must lie in a folder for each class, such as {place.name}/cat/1.png, but "
                f"{_shown(loose[0].name)} does not"
            )
        for name in in_class_order(by_split[split]):
            class_folder = by_split[split][name]
            if name not in names:
                raise InputError(f"{class_folder}: each class must have training images, but {name} has none")
            found = list(_files_below(class_folder, class_folder.relative_to(folder).as_posix()))
            images = [each for each in found if not _is_other(each[0])]
            if not images:
                raise InputError(
                    f"{class_folder}: the folder of a class must hold images ({', '.join(sorted(SUFFIXES))}), but this one "
                    "has none; add some, or remove the folder"
                )
            others += [each[0] for each in found if _is_other(each[0])]
            files += [_File(split, names.index(name), *each) for each in images]
    return _Layout(files, others, names)


def _split_folders(folder: Path) -> Iterator[tuple[str, Path]]:
    """The folders of the splits, by the values of SPLITS; or, in a folder of classes, that itself with an empty name."""
    found: dict[str, Path] = {}
    inside = list(_folders(folder))
    for each in inside:
        split = SPLITS.get(each.name.lower())
        if split and (any(_folders(each)) or all(other.name.lower() in SPLITS for other in inside)):
            if split in found:
                raise InputError(f"{folder}: {found[split].name} and {each.name} are the same split; remove one of them")
            found[split] = each
    if not found:
        yield "", folder
        return
    if "train" not in found:
        raise InputError(f"{folder}: needs a folder train/ beside {next(iter(found.values())).name}/")
    for split, place in found.items():
        if not any(_folders(place)):
            raise InputError(f"{place}: must hold a folder for each class, such as {place.name}/cat/, but has none")
        yield split, place


def _class_names(folder: Path, found: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    names = tuple(wanted) or tuple(in_class_order(found))
    if set(names) != set(found):
        unknown, missing = sorted(set(names) - set(found)), sorted(set(found) - set(names))
        said = f"{', '.join(unknown)} is no folder" if unknown else f"{', '.join(missing)} is not among them"
        raise InputError(f"data.classes: must be the names of the {len(found)} class folders in {folder}, but {said}")
    if not 2 <= len(names) <= MOST_CLASSES:
        raise InputError(f"{folder}: must have from 2 to {MOST_CLASSES} classes, but has {len(names)}")
    return names


def _files_below(place: Path, called: str) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of change of each file in a folder and those below it, without hidden ones, sorted.

    called: what the names begin with."""
    for each in sorted(_entries(place), key=lambda entry: entry.name):
        name = f"{called}/{each.name}"
        if each.is_dir(follow_symlinks=False):
            yield from _files_below(Path(each.path), name)
        else:
            try:
                about = each.stat()
                yield name, about.st_size, about.st_mtime_ns
            except OSError:  # a broken link, which will turn out to be unreadable
                yield name, 0, 0


def _folders(place: Path) -> Iterator[Path]:
    return (Path(each.path) for each in _entries(place) if each.is_dir())


def _entries(place: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, without hidden entries."""
    try:
        with os.scandir(place) as entries:
            return [each for each in entries if not each.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{place}: cannot be read: {error.strerror or error}") from None


def _is_other(name: str) -> bool:
    return os.path.splitext(name)[1].lower() not in SUFFIXES  # noqa: PTH122  called for each of many files


def _shown(name: str) -> str:
    """A file's name as text on one line; it need not be valid Unicode."""
    return printable(name.encode(errors="replace").decode())


# Reading


class _Stage:
    """The images that have been read, in a file, grey ones with one channel, others with three."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.read: list[int] = []
        """The numbers of the files whose images these are."""
        self.digests: list[bytes] = []
        self.channels = 1
        """The most that any of them has."""
        self._offsets: list[int] = []
        self._channels: list[int] = []

    def add(self, number: int, pixels: Pixels) -> None:
        content = pixels.tobytes()
        self.read.append(number)
        self._offsets.append(self._offsets[-1] + self._size**2 * self._channels[-1] if self._offsets else 0)
        self._channels.append(pixels.shape[2])
        self.channels = max(self.channels, pixels.shape[2])
        self.digests.append(hashlib.blake2b(content, digest_size=16).digest())
        self._file.write(content)

    def image(self, place: int) -> Pixels:
        """The image at a place, with as many channels as any of them needs."""
        self._file.seek(self._offsets[place])
        shape = (self._size, self._size, self._channels[place])
        pixels = np.frombuffer(self._file.read(shape[0] * shape[1] * shape[2]), np.uint8).reshape(shape)
        return np.broadcast_to(pixels, (*shape[:2], self.channels))


def _write(entry: Path, folder: Path, layout: _Layout, size: int | None, fit: str, progress: Progress) -> None:
    """Reads a folder into an entry of the cache: the arrays of each split, and what is known about them.

    Images are written to a file one after another while they are read, and from there, without copies and those in two
    classes, to the arrays. So only the names and digests of images take memory, not their pixels."""
    with quiet():
        side = size or _size_for(folder, layout)
        left_out: dict[int, Reason] = {}
        with (entry / "stage").open("w+b") as file:
            stage = _Stage(file, side)
            number, total = 0, len(layout.files)
            progress(0, total)
            for chunk in _in_parallel(layout.files, lambda file: read_image(folder / file.name, side, fit)):
                for each in chunk:
                    if isinstance(each, Reason):
                        left_out[number] = each
                    else:
                        stage.add(number, each)
                    number += 1
                progress(number, total)
            kept = np.flatnonzero(_unambiguous(layout, stage, left_out))
            splits = _split_up(layout, stage, kept, folder)
            for split, places in splits.items():
                labels = np.array([layout.files[stage.read[place]].label for place in places], np.uint8)
                np.save(entry / f"{split}_labels.npy", labels)
                _write_images(entry / f"{split}_images.npy", stage, places, side)
        (entry / "stage").unlink()
    about = {
        "class_names": layout.class_names,
        "preparation": asdict(Preparation(side, fit, stage.channels)),
        "files": asdict(
            FilesRead(
                files=len(layout.files) + len(layout.others),
                left_out=_told(layout, left_out),
                size_was_chosen=size is None,
                test_was_split="test" not in {each.split for each in layout.files},
            )
        ),
        "digests": {split: _mapped(entry, split).digest() for split in splits},
    }
    (entry / USED).write_text(json.dumps(about), encoding="utf-8")


def _size_for(folder: Path, layout: _Layout) -> int:
    """The size that is chosen if nobody gives one: the test images have no part in it."""
    training = [each for each in layout.files if each.split in ("", "train")]
    read = _in_parallel(training, lambda file: read_size(folder / file.name))
    sizes = [each for chunk in read for each in chunk if each is not None]
    return chosen_size(sizes) if sizes else SMALLEST


def _in_parallel(files: Sequence[_File], read: Callable[[_File], Result]) -> Iterator[list[Result]]:
    """The results for chunks of files, in order, from a thread for each core.

    Threads, because Pillow decodes without holding the interpreter's lock, and because processes take longer to start than
    thousands of small images to read. Small images take more of the lock than of anything else, which more threads than
    MOST_THREADS would only fight for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = min(cores, MOST_THREADS)
    waiting: deque[Future[list[Result]]] = deque()
    with ThreadPoolExecutor(cores, "digitsweep-reading") as threads:
        try:
            for start in range(0, len(files), CHUNK):
                chunk = files[start : start + CHUNK]
                waiting.append(threads.submit(lambda chunk: [read(file) for file in chunk], chunk))
                if len(waiting) > 4 * cores:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def _unambiguous(layout: _Layout, stage: _Stage, left_out: dict[int, Reason]) -> NDArray[np.bool_]:
    """Which images of the stage stay: of those that are equal pixel by pixel in a split, the first if all are of one class,
    and otherwise none. The others are added to `left_out`, by the numbers of their files."""
    equal: defaultdict[tuple[str, bytes], list[int]] = defaultdict(list)
    for place, (number, digest) in enumerate(zip(stage.read, stage.digests, strict=True)):
        equal[layout.files[number].split, digest].append(place)
    stays = np.ones(len(stage.read), bool)
    for places in equal.values():
        is_conflict = len({layout.files[stage.read[place]].label for place in places}) > 1
        for place in places if is_conflict else places[1:]:
            stays[place] = False
            left_out[stage.read[place]] = Reason.CONFLICT if is_conflict else Reason.DUPLICATE
    return stays


def _split_up(layout: _Layout, stage: _Stage, kept: NDArray[np.intp], folder: Path) -> Mapping[str, NDArray[np.intp]]:
    """The places on the stage of the images of each split. If there is no test split, a fixed part of the training images
    becomes one, with its share of each class.

    Raises InputError if a split is left without images, or a class with too few."""
    split_of = np.array([layout.files[stage.read[place]].split for place in kept])
    splits = {split or "train": kept[split_of == split] for split in dict.fromkeys(each.split for each in layout.files)}
    for split, places in splits.items():
        if not len(places):
            raise InputError(f"{folder}: none of the {split} images can be used")
    labels = np.array([layout.files[stage.read[place]].label for place in splits["train"]], np.uint8)
    counts = np.bincount(labels, minlength=len(layout.class_names))
    least = 2 if "test" in splits else 3
    if counts.min() < least:
        raise InputError(
            f"{folder}: each class must have at least {least} {'training ' * (least == 2)}images that can be used, but "
            f"{layout.class_names[int(counts.argmin())]} has {counts.min()}"
        )
    if "test" not in splits:
        stay, apart = stratified(labels, max(round(TEST_SHARE * len(labels)), len(counts)), seed=0)
        splits |= {"train": splits["train"][stay], "test": splits["train"][apart]}
    return splits


def _write_images(path: Path, stage: _Stage, places: NDArray[np.intp], size: int) -> None:
    """Writes with ordinary calls: a full disk is an OSError here, but would kill the process if it were mapped."""
    shape = (len(places), size, size, stage.channels)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for place in places:
            file.write(stage.image(int(place)).tobytes())


def _told(layout: _Layout, left_out: Mapping[int, Reason]) -> dict[str, LeftOut]:
    """What was left out, by reason, in the order of Reason."""
    named: defaultdict[Reason, list[str]] = defaultdict(list)
    named[Reason.OTHER] = list(layout.others)
    for number, reason in left_out.items():
        named[reason].append(layout.files[number].name)
    return {
        reason.value: LeftOut(len(named[reason]), tuple(map(_shown, named[reason][:SHOWN])))
        for reason in Reason
        if named[reason]
    }


# An entry of the cache


def _load(entry: Path) -> ReadFolder:
    """Raises DamagedError unless every byte is what was written."""
    try:
        about = json.loads((entry / USED).read_text(encoding="utf-8"))
        splits = {split: _mapped(entry, split) for split in about["digests"]}
        if about["digests"] != {split: each.digest() for split, each in splits.items()}:
            raise DamagedError
        files = about["files"]
        left_out = {reason: LeftOut(each["count"], tuple(each["first"])) for reason, each in files["left_out"].items()}
        read = FilesRead(**{**files, "left_out": left_out})
        return ReadFolder(splits, tuple(about["class_names"]), Preparation(**about["preparation"]), read)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError from error


def _mapped(entry: Path, split: str) -> Split:
    labels: NDArray[np.uint8] = np.load(entry / f"{split}_labels.npy")
    return Split(np.load(entry / f"{split}_images.npy", mmap_mode="r"), labels)
