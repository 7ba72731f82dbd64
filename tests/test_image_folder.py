"""Folders of image files: what is read, how classes are ordered, what is left out, and what is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support import PROPERTY, only_line

from digitsweep.data import Dataset
from digitsweep.data.folder import in_class_order
from digitsweep.data.sources import Wanted, load_dataset
from digitsweep.errors import InputError

SIZE = 12
PLAIN = Wanted()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("DIGITSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


def write_image(path: Path, *, seed: int, colour: bool = False, width: int = SIZE, height: int = SIZE) -> None:
    """An image file of random pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height, width, 3) if colour else (height, width)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(path)


def write_folder(folder: Path, counts: Mapping[str, int], *, seed: int = 0) -> Path:
    """A folder with so many different images in each folder below it, such as `train/cat`: 0.png, 1.png and so on."""
    for number, (name, count) in enumerate(counts.items()):
        for image in range(count):
            write_image(folder / name / f"{image}.png", seed=seed + 1000 * number + image)
    return folder


PETS = {"train/cat": 6, "train/dog": 5, "test/cat": 2, "test/dog": 3}


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A valid folder, for tests to damage."""
    return write_folder(tmp_path / "pets", PETS)


def load(folder: Path, *, validation: int | float | None = 2, wanted: Wanted = PLAIN) -> Dataset:
    return load_dataset(folder, validation=validation, wanted=wanted)


def refused(folder: Path, *parts: object, wanted: Wanted = PLAIN, validation: int | None = None) -> str:
    """The error for a folder."""
    with pytest.raises(InputError) as error:
        load(folder, validation=validation, wanted=wanted)
    return only_line(error, *parts)


def left_out(dataset: Dataset) -> dict[str, tuple[int, tuple[str, ...]]]:
    """How many files were left out by reason, and the first of them."""
    assert dataset.files is not None
    return {reason: (each.count, each.first) for reason, each in dataset.files.left_out.items()}


def test_a_folder_with_splits(pets: Path) -> None:
    """train/CLASS and test/CLASS give their images, pixel by pixel, with the classes in order as labels."""
    data = load(pets, validation=None)
    assert (data.name, data.source, data.class_names) == ("pets", str(pets), ("cat", "dog"))
    assert data.training.train.labels.tolist() == [0] * 6 + [1] * 5
    first = np.asarray(Image.open(pets / "train/cat/0.png"))[..., np.newaxis]
    np.testing.assert_array_equal(data.training.train.images[0], first, strict=True)
    assert data.test.open("a test").labels.tolist() == [0] * 2 + [1] * 3
    assert data.files is not None
    assert (data.files.files, data.files.left_out, data.files.test_was_split) == (16, {}, False)


@pytest.mark.parametrize("name", ["validation", "val"])
def test_a_validation_split_of_its_own(pets: Path, name: str) -> None:
    """A folder's own validation split is used as it is, whatever share the experiment sets apart."""
    write_folder(pets, {f"{name}/cat": 1, f"{name}/dog": 3}, seed=9000)
    data = load(pets, validation=0.5)
    assert (len(data.training.train), data.training.validation.labels.tolist()) == (11, [0, 1, 1, 1])
    assert "validation split is the data's own" in data.prepared()


def test_a_folder_of_classes_only(tmp_path: Path) -> None:
    """Without a test split, a fifth of each class becomes the test set, the same whatever the seed of the sweep, and this is
    said."""
    folder = write_folder(tmp_path / "pets", {"cat": 20, "dog": 10})
    first, second = (load_dataset(folder, validation=6, seed=seed) for seed in (0, 1))
    assert np.bincount(first.test.open("a test").labels).tolist() == [4, 2]
    assert first.test.digest == second.test.digest
    assert first.digests()["validation"] != second.digests()["validation"]
    assert first.files is not None
    assert first.files.test_was_split
    assert "fixed fifth" in first.prepared()
    assert first.duplicates().train_test == 0


def test_a_train_folder_without_a_test_folder(tmp_path: Path) -> None:
    """The test set is taken from the training images, not from the folder's validation split."""
    data = load(write_folder(tmp_path / "pets", {"train/a": 10, "train/b": 10, "val/a": 3, "val/b": 2}))
    assert (len(data.training.train), len(data.training.validation), len(data.test)) == (16, 5, 4)


def test_folders_below_a_class_belong_to_it(tmp_path: Path) -> None:
    """Images of a class may lie in folders below its own; hidden files and folders are not seen."""
    folder = write_folder(tmp_path, {"cat/2020/may": 4, "cat": 3, "dog": 7, "cat/.thumbnails": 2, ".git": 1})
    (folder / "cat" / ".DS_Store").write_bytes(b"")
    data = load(folder)
    assert data.class_names == ("cat", "dog")
    assert data.files is not None
    assert (data.files.files, data.files.left_out) == (14, {})


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        ("10 9 2", "2 9 10"),
        ("one zero nine", "zero one nine"),
        ("Three four ONE", "ONE Three four"),
        ("one zero other", "one other zero"),
        ("b10 a b9", "a b9 b10"),
        ("x 2", "2 x"),
        ("02 2 1", "1 02 2"),
    ],
)
def test_classes_are_in_natural_order(names: str, ordered: str) -> None:
    """Numbers in names are ordered by their values, and so are the names of digits if there are no others."""
    assert in_class_order(names.split()) == ordered.split()


def test_classes_in_the_order_of_the_experiment(pets: Path) -> None:
    """`classes` decides which label a class folder has."""
    data = load(pets, wanted=Wanted(classes=("dog", "cat")), validation=None)
    assert data.class_names == ("dog", "cat")
    assert np.bincount(data.training.train.labels).tolist() == [5, 6]


def test_the_size_is_chosen(tmp_path: Path) -> None:
    """Without a size, images have the median of the shorter sides of the training images, as a multiple of 4."""
    folder = write_folder(tmp_path / "pets", PETS)
    for number in range(6):
        write_image(folder / f"train/cat/{number}.png", seed=number, width=50, height=31)
        write_image(folder / f"train/dog/{number}.png", seed=50 + number, width=33, height=40)
    data = load(folder)
    assert data.training.shape == (32, 32, 1)
    assert "32x32 pixels, grey" in data.prepared()
    assert "size was chosen" in data.prepared()


@pytest.mark.parametrize(("size", "chosen"), [(9, 9), (64, 64), (90, 64), (4, 8)])
def test_a_common_size_is_kept(tmp_path: Path, size: int, chosen: int) -> None:
    """Images that are the same square of 8 to 64 pixels keep their size."""
    for name in ("a", "b"):
        for number in range(3):
            write_image(tmp_path / name / f"{number}.png", seed=number + 10 * (name == "b"), width=size, height=size)
    assert load(tmp_path).training.side == chosen


def test_the_test_images_do_not_choose_the_size(pets: Path) -> None:
    """Training images alone choose the size."""
    before = load(pets).training.side
    for number in range(20):
        write_image(pets / f"test/cat/{number}.png", seed=700 + number, width=60, height=60)
    assert load(pets).training.side == before == SIZE


def test_a_given_size(pets: Path) -> None:
    """Images are brought to the size of the experiment."""
    data = load(pets, wanted=Wanted(size=8))
    assert (data.training.shape, len(data.test)) == ((8, 8, 1), 5)
    assert "size was chosen" not in data.prepared()


def test_any_colour_gives_three_channels(pets: Path) -> None:
    """One image in colour, of the test set or not, gives all images three channels; grey ones have them equal."""
    write_image(pets / "test/dog/9.png", seed=1, colour=True)
    data = load(pets, validation=None)
    assert data.training.shape == (SIZE, SIZE, 3)
    train = data.training.train.images
    assert (train == train[..., :1]).all()
    np.testing.assert_array_equal(train[0, ..., 0], np.asarray(Image.open(pets / "train/cat/0.png")))


def test_grey_images_in_a_colour_format_are_grey(tmp_path: Path) -> None:
    """What counts is whether there is any colour, not how a file stores its pixels."""
    folder = write_folder(tmp_path / "pets", PETS)
    for path in folder.rglob("*.png"):
        Image.open(path).convert("RGBA").save(path)
    assert load(folder).training.shape == (SIZE, SIZE, 1)
    assert load(folder).test.digest == load(write_folder(tmp_path / "grey" / "pets", PETS)).test.digest


# What is left out


def test_files_that_cannot_be_used_are_named(pets: Path) -> None:
    """Broken, empty, huge and other files are left out, counted by reason and named, and the others are read."""
    before = load(pets)
    cat = pets / "train" / "cat"
    whole = (cat / "0.png").read_bytes()
    for number in range(12):
        (cat / f"broken-{number}.png").write_bytes(whole[: 40 + number])
    (cat / "empty.jpg").write_bytes(b"")
    (cat / "text.png").write_text("not an image")
    (cat / "notes.txt").write_text("kitten")
    (cat / "lost.png").symlink_to(pets / "nowhere.png")
    Image.new("1", (9_500, 9_500)).save(cat / "huge.png")
    data = load(pets)
    assert data.digests() == before.digests()
    assert left_out(data) == {
        "of another kind": (1, ("train/cat/notes.txt",)),
        "unreadable": (1, ("train/cat/lost.png",)),
        "empty": (1, ("train/cat/empty.jpg",)),
        "damaged": (13, tuple(sorted(f"train/cat/broken-{number}.png" for number in range(12))[:10])),
        "too large": (1, ("train/cat/huge.png",)),
    }
    assert "17 of 33 files are left out" in data.prepared()


def test_a_copy_in_the_same_class_is_left_out(pets: Path) -> None:
    """Of images that are equal pixel by pixel, whatever their format, a class keeps the first."""
    before = load(pets)
    Image.open(pets / "train/cat/0.png").save(pets / "train/cat/x.tiff")
    shutil.copy(pets / "train/cat/1.png", pets / "train/cat/y.png")
    data = load(pets)
    assert left_out(data) == {"duplicate": (2, ("train/cat/x.tiff", "train/cat/y.png"))}
    assert data.digests() == before.digests()


def test_an_image_in_two_classes_is_left_out_of_both(pets: Path) -> None:
    """If an image is in two classes of one split, one of its labels is wrong: no copy of it stays."""
    shutil.copy(pets / "train/cat/4.png", pets / "train/dog/x.png")
    data = load(pets, validation=None)
    assert left_out(data) == {"in two classes": (2, ("train/cat/4.png", "train/dog/x.png"))}
    assert np.bincount(data.training.train.labels).tolist() == [5, 5]


def test_copies_in_two_splits_stay_and_are_counted(pets: Path) -> None:
    """An image in train and test is a leak, which is counted and not hidden, whatever its class."""
    shutil.copy(pets / "train/cat/4.png", pets / "test/cat/x.png")
    shutil.copy(pets / "train/cat/3.png", pets / "test/dog/x.png")
    data = load(pets, validation=None)
    assert left_out(data) == {}
    assert data.duplicates().train_test == 2


def test_strict_refuses_what_would_be_left_out(pets: Path) -> None:
    """With `strict`, a file that would be left out is an error that names it, also if the cache has the images."""
    assert load(pets, wanted=Wanted(strict=True)).class_names == ("cat", "dog")
    (pets / "train/cat/bad.png").write_bytes(b"bad")
    load(pets)
    refused(pets, "data.strict", "1 of 17 files", "train/cat/bad.png", wanted=Wanted(strict=True))


@PROPERTY
@given(st.data())
def test_every_file_is_read_or_counted(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Images and files left out add up to all files, and each image has the label of its folder."""
    folder = write_folder(tmp_path_factory.mktemp("pets"), PETS)
    copies = data.draw(st.lists(st.sampled_from(["copy", "other class", "empty", "broken", "text"]), max_size=6))
    for number, what in enumerate(copies):
        here = folder / ("train/dog" if what == "other class" else "train/cat")
        if what in ("copy", "other class"):
            shutil.copy(folder / f"train/cat/{data.draw(st.integers(0, 2))}.png", here / f"x{number}.png")
        else:
            (here / f"x{number}.{'txt' if what == 'text' else 'png'}").write_bytes(b"x" * (what != "empty"))
    read = load(folder, validation=None)
    assert read.files is not None
    gone = sum(each.count for each in read.files.left_out.values())
    assert len(read.training.train) + len(read.test) + gone == read.files.files == sum(PETS.values()) + len(copies)
    dogs = np.asarray(Image.open(folder / "train/dog/0.png"))
    place = next(i for i, each in enumerate(read.training.train.images) if (each[..., 0] == dogs).all())
    assert read.training.train.labels[place] == 1


# What is refused


def empty(path: Path) -> None:
    """Deletes the files in a folder."""
    for each in path.iterdir():
        each.unlink()


def keep_one(path: Path) -> None:
    """Deletes all files in a folder but one."""
    for each in sorted(path.iterdir())[1:]:
        each.unlink()


def spoil(path: Path) -> None:
    """Damages every image below a folder."""
    for each in path.rglob("*.png"):
        each.write_bytes(b"x")


def remove_class(folder: Path) -> None:
    for split in ("train", "test"):
        shutil.rmtree(folder / split / "dog")


def remove_classes(folder: Path) -> None:
    """Leaves images without class folders in both splits."""
    for split in ("train", "test"):
        shutil.rmtree(folder / split)
        write_image(folder / split / "1.png", seed=1)


MISTAKES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "a class folder without images": (lambda folder: empty(folder / "train/dog"), ("train/dog", "must hold images")),
    "a test class folder without images": (lambda folder: empty(folder / "test/dog"), ("test/dog", "must hold images")),
    "one class": (remove_class, ("from 2 to 256 classes, but has 1",)),
    "a class that only the test set has": (
        lambda folder: write_folder(folder, {"test/cow": 2}),
        ("test/cow", "cow has none"),
    ),
    "too few images of a class": (lambda folder: keep_one(folder / "train/dog"), ("at least 2", "dog has 1")),
    "no image that can be used": (lambda folder: spoil(folder / "test"), ("none of the test images",)),
    "images beside the class folders": (
        lambda folder: write_image(folder / "train/1.png", seed=1),
        ("train/cat/1.png", "1.png does not"),
    ),
    "no training images": (lambda folder: shutil.rmtree(folder / "train"), ("needs a folder train/",)),
    "splits without classes": (remove_classes, ("must hold a folder for each class",)),
    "two validation splits": (lambda folder: write_folder(folder, {"val/cat": 1, "validation/cat": 1}), ("same split",)),
    "a folder that cannot be opened": (lambda folder: (folder / "train/cat").chmod(0), ("train/cat", "Permission denied")),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_folder_is_refused(pets: Path, mistake: str) -> None:
    """One line names the folder or class that is wrong and states the rule."""
    damage, parts = MISTAKES[mistake]
    if "opened" in mistake and os.geteuid() == 0:
        pytest.skip("root may open every folder")
    damage(pets)
    refused(pets, pets, *parts)


def test_too_many_classes_are_refused(tmp_path: Path) -> None:
    """Labels are stored in a byte."""
    for number in range(257):
        write_image(tmp_path / f"class-{number}" / "1.png", seed=number, width=8, height=8)
    refused(tmp_path, tmp_path, "has 257")


def test_a_folder_of_loose_images_is_refused(tmp_path: Path) -> None:
    """Images without class folders say where images belong."""
    write_image(tmp_path / "1.png", seed=1)
    refused(tmp_path, tmp_path, "train/CLASS/1.png")


@pytest.mark.parametrize(
    ("classes", "said"),
    [(("cat",), "dog is not among them"), (("cat", "dog", "cow"), "cow is no folder"), (("Cat", "dog"), "Cat is no folder")],
)
def test_classes_that_are_not_the_folders_are_refused(pets: Path, classes: tuple[str, ...], said: str) -> None:
    """`classes` must name each class folder."""
    refused(pets, "data.classes", "the 2 class folders", pets, said, wanted=Wanted(classes=classes))


def test_too_few_images_for_a_test_split(tmp_path: Path) -> None:
    """A class of two images cannot be in training, validation and test."""
    refused(write_folder(tmp_path, {"cat": 9, "dog": 2}), "at least 3 images", "dog has 2")


def test_a_class_name_cannot_steer_a_terminal(tmp_path: Path) -> None:
    """Control characters in the names of folders and files are shown as escapes."""
    folder = write_folder(tmp_path, {"c\x1bat": 4, "d\nog": 4})
    (folder / "d\nog" / "b\x1bad.png").write_bytes(b"x")
    data = load(folder)
    assert data.class_names == (r"c\x1bat", r"d\nog")
    assert data.prepared().isprintable()
    assert r"b\x1bad.png" in data.prepared()


# The cache


def test_the_second_reading_reads_no_image(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that has not changed comes from the cache, with the same facts."""
    (pets / "train/cat/bad.png").write_bytes(b"bad")
    first = load(pets)
    calls: list[tuple[int, int]] = []
    second = load_dataset(pets, validation=2, progress=lambda done, total: calls.append((done, total)))
    assert (calls, second.digests(), second.files) == ([], first.digests(), first.files)
    assert (second.class_names, second.preparation) == (first.class_names, first.preparation)


def test_progress_is_told(pets: Path) -> None:
    """Reading begins with none of the files and ends with all of them."""
    calls: list[tuple[int, int]] = []
    load_dataset(pets, validation=2, progress=lambda done, total: calls.append((done, total)))
    assert (calls[0], calls[-1]) == ((0, 16), (16, 16))


@pytest.mark.parametrize("change", ["content", "new", "gone", "size", "fit", "classes"])
def test_a_change_is_seen(pets: Path, change: str) -> None:
    """Another file, another preparation or another order of classes is read again."""
    wanted = {"size": Wanted(size=8), "fit": Wanted(fit="crop"), "classes": Wanted(classes=("dog", "cat"))}
    write_image(pets / "train/cat/wide.png", seed=77, width=SIZE + 1)
    before = load(pets)
    if change == "content":
        write_image(pets / "train/cat/0.png", seed=99)
    elif change == "new":
        write_image(pets / "train/cat/9.png", seed=99)
    elif change == "gone":
        (pets / "train/cat/0.png").unlink()
    assert load(pets, wanted=wanted.get(change, Wanted())).digests() != before.digests()


def entries(cache: Path) -> list[Path]:
    return sorted(cache.iterdir())


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "nonsense", "empty"])
@pytest.mark.parametrize("file", ["train_images.npy", "test_labels.npy", "about.json"])
def test_a_damaged_entry_is_made_again(pets: Path, cache: Path, file: str, damage: str) -> None:
    """Whatever happens to a file of the cache, the images are what they were, and the entry is whole again."""
    before = load(pets)
    (entry,) = entries(cache)
    content = (entry / file).read_bytes()
    if damage == "gone":
        (entry / file).unlink()
    else:
        place = len(content) - 3
        changed = {"cut": content[:place], "nonsense": b"[1]", "empty": b""}
        flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        (entry / file).write_bytes(changed.get(damage, flipped))
    assert load(pets).digests() == before.digests()
    assert entries(cache) == [entry]
    calls: list[int] = []
    load_dataset(pets, validation=2, progress=lambda done, total: calls.append(done))
    assert calls == []


def test_the_oldest_entries_make_room(pets: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the entry that was used longest ago is deleted, never the one in use, and its images stay mapped."""
    first = load(pets, wanted=Wanted(size=8), validation=None)
    (oldest,) = entries(cache)
    load(pets, wanted=Wanted(size=10))
    for each in entries(cache):
        os.utime(each / "about.json", (1, 1) if each == oldest else (2, 2))
    load(pets, wanted=Wanted(size=8))  # now the other one is older
    monkeypatch.setattr("digitsweep.data.cache.MOST_BYTES", sum(each.stat().st_size for each in oldest.iterdir()) + 1)
    load(pets, wanted=Wanted(size=8))
    assert entries(cache) == [oldest]
    monkeypatch.setattr("digitsweep.data.cache.MOST_BYTES", 1)
    load(pets, wanted=Wanted(size=9))
    assert len(entries(cache)) == 1
    assert oldest not in entries(cache)
    assert first.training.train.digest() == load(pets, wanted=Wanted(size=8), validation=None).training.train.digest()


def test_what_a_killed_process_left_is_deleted(pets: Path, cache: Path) -> None:
    """Unfinished entries are deleted after a day, not while another process may still write them."""
    for name, age in ((".new-old", 48 * 3600), (".new-young", 60)):
        (cache / name).mkdir(parents=True)
        changed = (cache / name).stat().st_mtime - age
        os.utime(cache / name, (changed, changed))
    load(pets)
    assert [each.name for each in entries(cache) if each.name.startswith(".")] == [".new-young"]


def test_a_cache_that_cannot_be_written(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the folder and the variable that names another one."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("DIGITSWEEP_CACHE", str(tmp_path / "file"))
    refused(pets, tmp_path / "file", "DIGITSWEEP_CACHE")


def test_two_sweeps_read_at_once(pets: Path, cache: Path) -> None:
    """A process that makes an entry while another one finishes the same has its images, and one entry stays."""
    raced: list[Dataset] = []

    def other(done: int, total: int) -> None:
        if done == total and not raced:
            raced.append(load(pets))

    mine = load_dataset(pets, validation=2, progress=other)
    assert mine.digests() == raced[0].digests()
    assert len(entries(cache)) == 1
    assert mine.digests() == load(pets).digests()
