"""Images as people have them: every mode, depth and number of pages; each kind of bad file is one clear line."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support import only_line

from digitsweep.errors import InputError
from digitsweep.prediction import images
from digitsweep.prediction.images import MOST_SIDE, Page, Unreadable, files_of, is_folder, pages_of, read_pages

GRADIENT = np.linspace(0, 255, 24 * 16).round().astype(np.uint8).reshape(16, 24)


def read_all(path: Path) -> list[NDArray[np.float32]]:
    """The grey levels of each page, all of which can be read."""
    found = list(read_pages(path))
    assert all(isinstance(each, Page) for each in found), found
    return [each.pixels for each in found if isinstance(each, Page)]


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.png", "L"), ("a.png", "RGB"), ("a.png", "P"), ("a.png", "LA"), ("a.png", "RGBA"), ("a.bmp", "RGB"), ("a.tif", "L"),
     ("a.tif", "CMYK"), ("a.tif", "F"), ("a.gif", "P"), ("a.png", "I;16"), ("a.webp", "RGB"), ("a.pgm", "L")],
)  # fmt: skip
def test_every_mode_gives_the_same_grey(name: str, mode: str, tmp_path: Path) -> None:
    """A gradient comes back as the same grey levels from each format and mode, but for their own rounding."""
    grey = Image.fromarray(GRADIENT)
    image = Image.fromarray(GRADIENT.astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    options = {"lossless": True} if name.endswith("webp") else {}
    (pixels,) = read_all(saved(tmp_path / name, image, **options))
    assert pixels.dtype == np.float32
    assert np.abs(pixels - GRADIENT).max() <= 1.01


def test_jpeg_and_bilevel(tmp_path: Path) -> None:
    """A JPEG is nearly the gradient; a bilevel image is black and white."""
    (pixels,) = read_all(saved(tmp_path / "a.jpg", Image.fromarray(GRADIENT), quality=95))
    assert np.abs(pixels - GRADIENT).max() < 12
    (pixels,) = read_all(saved(tmp_path / "a.png", Image.fromarray(GRADIENT).convert("1")))
    assert set(np.unique(pixels)) == {0, 255}


def test_twelve_bits_in_sixteen_keep_their_contrast(tmp_path: Path) -> None:
    """An image that fills 12 of its 16 bits is not black."""
    (pixels,) = read_all(saved(tmp_path / "a.png", Image.fromarray(GRADIENT.astype(np.uint16) * 16)))
    assert np.abs(pixels - GRADIENT).max() <= 1.01


@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (255, 0)])
def test_transparent_ground_is_the_inks_opposite(ink: int, paper: int, tmp_path: Path) -> None:
    """Dark ink on transparent ground lies on white, light ink on black, whatever colour the transparent pixels have."""
    levels = np.full((20, 20, 2), ink, np.uint8)
    levels[..., 1] = 0
    levels[5:15, 9:12, 1] = 255
    (pixels,) = read_all(saved(tmp_path / "a.png", Image.fromarray(levels).convert("RGBA")))
    assert pixels[10, 10] == ink
    assert pixels[0, 0] == paper


def test_transparent_corners_take_the_paper(tmp_path: Path) -> None:
    """A white card with transparent round corners has no black ones."""
    levels = np.full((40, 40, 4), 240, np.uint8)
    levels[..., 3] = 255
    levels[:4, :4] = 0
    (pixels,) = read_all(saved(tmp_path / "a.png", Image.fromarray(levels)))
    assert pixels.min() == 240


def test_a_turned_photo_is_upright(tmp_path: Path) -> None:
    """A photo is rotated as its EXIF data says."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter to the left
    (pixels,) = read_all(saved(tmp_path / "a.png", Image.fromarray(GRADIENT), exif=exif))
    np.testing.assert_array_equal(pixels, np.rot90(GRADIENT, -1))


def test_each_page_is_one(tmp_path: Path) -> None:
    """A scan of several pages gives a page each, in order, of their own sizes."""
    pages = [Image.new("L", (20 + 9 * each, 30), 60 * each) for each in range(4)]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    found = list(read_pages(tmp_path / "scan.tif"))
    assert [each.page for each in found] == [1, 2, 3, 4]
    assert [each.pixels.mean() for each in found if isinstance(each, Page)] == pytest.approx([0, 60, 120, 180], abs=2)
    assert [each.pixels.shape[1] for each in found if isinstance(each, Page)] == [20, 29, 38, 47]


def test_what_moves_is_its_first_frame(tmp_path: Path) -> None:
    """A GIF of several frames is one image."""
    frames = [Image.new("L", (20, 30), 60 * each) for each in (1, 2, 3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    (pixels,) = read_all(tmp_path / "a.gif")
    assert pixels.mean() == pytest.approx(60, abs=2)


def test_a_page_that_is_damaged_leaves_the_others(tmp_path: Path) -> None:
    """Of a scan whose second page cannot be decoded the others are read, and that one is a line that names it."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 30, 20), np.uint8)
    pages = [Image.fromarray(each) for each in noise]
    path = tmp_path / "scan.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_adobe_deflate")
    with Image.open(path) as scan:
        scan.seek(1)
        (begin,) = scan.tag_v2[273]  # type: ignore[attr-defined]  # where the page's bytes lie
    content = bytearray(path.read_bytes())
    content[begin : begin + 100] = bytes(100)
    path.write_bytes(content)
    found = list(read_pages(path))
    assert sum(isinstance(each, Page) for each in found) == 2
    (bad,) = (each for each in found if isinstance(each, Unreadable))
    assert str(bad).startswith(f"{path} (page 2): an image must be complete")


def test_a_scan_that_ends_in_rubbish(tmp_path: Path) -> None:
    """Where a scan's list of pages is damaged, that is one line, after the pages that come before."""
    pages = [Image.new("L", (20, 30), 60 * each) for each in range(3)]
    path = tmp_path / "scan.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    with Image.open(path) as scan:
        scan.seek(1)
        (begin,) = scan.tag_v2[273]  # type: ignore[attr-defined]
    path.write_bytes(path.read_bytes()[:begin])
    first, *others = read_pages(path)
    assert isinstance(first, Page)
    assert others
    assert all(isinstance(each, Unreadable) for each in others)
    assert len(others) <= 2


def test_a_large_page_is_read_smaller(tmp_path: Path) -> None:
    """No page is larger than MOST_SIDE, and its aspect is kept, whatever the mode."""
    for name, mode in (("a.png", "L"), ("a.png", "I;16"), ("a.png", "RGBA"), ("a.jpg", "RGB")):
        (pixels,) = read_all(saved(tmp_path / name, Image.new(mode, (4800, 1200), "white" if mode == "RGB" else 0)))
        assert max(pixels.shape) <= MOST_SIDE
        assert pixels.shape[1] == pytest.approx(4 * pixels.shape[0], abs=4)


def bomb(width: int, height: int) -> bytes:
    """A complete PNG file of some hundred bytes that claims to have this size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def damaged(kind: str) -> bytes:
    content = bytearray(encoded(kind))
    content[len(content) // 3 : len(content) // 2] = b"\x55" * (len(content) // 2 - len(content) // 3)
    return bytes(content)


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "is empty"),
    "text": (lambda: b"seven", "must be PNG, JPEG"),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "must be PNG, JPEG"),
    "half a PNG": (lambda: encoded("PNG")[:1800], "damaged or cut short"),
    "half a JPEG": (lambda: encoded("JPEG")[:900], "damaged or cut short"),
    "half a TIFF": (lambda: encoded("TIFF")[:1000], "save it"),
    "a damaged PNG": (lambda: damaged("PNG"), "damaged or cut short"),
    "a bomb": (lambda: bomb(50_000, 50_000), "at most 100,000,000 pixels"),
    "a small bomb": (lambda: bomb(11_000, 10_000), "11,000 x 10,000"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A bad file gives one line that names it, the rule and what to do, and no other output."""
    make, expected = BAD[name]
    path = tmp_path / "given.png"
    path.write_bytes(make())
    (error,) = read_pages(path)
    assert isinstance(error, Unreadable)
    assert len(str(error).splitlines()) == 1
    assert str(error).startswith(f"{path}: an image ")
    assert expected in str(error)
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """A huge file is refused by its size, before it is opened."""
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(images.MOST_BYTES + 1)
    (error,) = read_pages(path)
    assert "at most 256 MiB" in str(error)


def test_a_scan_of_too_many_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a scan with more pages than MOST_PAGES so many are read, and that is said."""
    monkeypatch.setattr(images, "MOST_PAGES", 2)
    page = Image.new("L", (9, 9), 255)
    page.save(tmp_path / "scan.tif", save_all=True, append_images=[page] * 3)
    found = list(read_pages(tmp_path / "scan.tif"))
    assert [type(each) for each in found] == [Page, Page, Unreadable]
    assert "2 pages" in str(found[-1])


def test_what_is_no_file(tmp_path: Path) -> None:
    """A path that is not there, and one that is no file, are a line each."""
    for path, expected in ((tmp_path / "none.png", "no such file"), (Path("/dev/null"), "must be a regular file")):
        (error,) = read_pages(path)
        assert expected in str(error)


def test_a_path_that_nothing_can_have(tmp_path: Path) -> None:
    """A name that no file system takes, and one that is no text, are a line each that can be printed."""
    undecodable = tmp_path / os.fsdecode(b"\xff.png")
    undecodable.write_bytes(b"")
    for path in (tmp_path / ("n" * 300), undecodable):
        (error,) = [each for file in ([path] if is_folder(path) else files_of(path)) for each in read_pages(file)]
        assert str(error).encode()


def test_a_folder_gives_its_images_by_name(tmp_path: Path) -> None:
    """Of a folder images are taken, in order, without hidden and other files; one without images is refused."""
    with pytest.raises(InputError) as error:
        files_of(tmp_path)
    only_line(error, "must hold images", ".png")
    for name in ("b.PNG", "a.jpeg", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder").mkdir()
    assert [each.name for each in files_of(tmp_path)] == ["a.jpeg", "b.PNG"]
    assert files_of(tmp_path / "b.PNG") == [tmp_path / "b.PNG"]


@pytest.mark.parametrize("shape", [(16, 24), (16, 24, 1), (16, 24, 3), (5, 16, 24), (5, 16, 24, 1), (5, 16, 24, 4)])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "int64"])
def test_arrays(shape: tuple[int, ...], kind: str) -> None:
    """An array is one image or a stack of such, of whole levels or of shares; all give the same grey."""
    levels = GRADIENT.reshape(16, 24, *[1] * (len(shape) - (3 if shape[0] == 5 else 2)))
    array = np.broadcast_to(levels, shape).copy()
    if shape[-1] == 4:
        array[..., 3] = 255
    scaled: NDArray[Any] = array.astype(kind)
    if kind == "uint16":
        scaled = scaled * 257
    elif kind == "float32":
        scaled = scaled / np.float32(255)
    found = pages_of(scaled, "array")
    assert len(found) == (5 if shape[0] == 5 else 1)
    for each in found:
        assert np.abs(each.pixels - GRADIENT).max() <= 1.01


@pytest.mark.parametrize(
    "array", [np.zeros(4), np.zeros((0, 3)), np.zeros((2, 3, 4, 5)), np.zeros((3, 3), complex), np.zeros((9, 9, 2))]
)
def test_what_is_no_image(array: NDArray[np.generic]) -> None:
    """An array of another shape or type is refused in one line."""
    with pytest.raises(InputError) as error:
        pages_of(array, "array 0")
    only_line(error, "array 0", "an image")
