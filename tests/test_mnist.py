"""MNIST: how it is recognised, and how it is downloaded, here from real servers on this machine."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from support import IDX_FILES, idx_contents, made_split, only_line

from digitsweep.data import mnist
from digitsweep.data.sources import load_dataset, read_folder, whereabouts
from digitsweep.data.splits import Split
from digitsweep.errors import DataUnavailableError

CONTENTS = idx_contents(made_split(30, seed=1), made_split(9, seed=2))


class Mirror(ThreadingHTTPServer):
    """Serves the four files under /whole, wrong bytes under /wrong, no gzip under /plain, half of each under /broken."""

    requests: list[str]

    def address(self, kind: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{kind}/"


class _Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        _, kind, name = self.path.split("/")
        content = CONTENTS.get(name.removesuffix(".gz"))
        if content is None or kind not in ("whole", "wrong", "plain", "broken"):
            self.send_error(404)
            return
        body = content if kind == "plain" else gzip.compress(content + b"!" if kind == "wrong" else content)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if kind == "broken" else body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server gives it
        """Logs nothing."""


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A server on this machine, and the checksums of its small files in place of MNIST's."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(mnist, "SHA256", {name: hashlib.sha256(each).hexdigest() for name, each in CONTENTS.items()})
    with Mirror(("127.0.0.1", 0), _Handler) as server:
        server.requests = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("DIGITSWEEP_CACHE", str(tmp_path))
    return tmp_path / "mnist"


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address where nothing answers."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"


def assert_whole(cache: Path) -> None:
    """Asserts that the cache has the four files, and nothing half-written."""
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == CONTENTS


def test_what_is_missing_is_downloaded_once(mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache gets all four files; later only a missing or damaged one is downloaded."""
    monkeypatch.setattr(mnist, "MIRRORS", (mirror.address("whole"),))
    assert mnist.fetch() == cache
    assert_whole(cache)
    assert mirror.requests == [f"/whole/{name}.gz" for name in IDX_FILES]
    (cache / IDX_FILES[0]).unlink()
    (cache / IDX_FILES[3]).write_bytes(b"damaged")
    mnist.fetch()
    assert_whole(cache)
    assert mirror.requests[4:] == [f"/whole/{IDX_FILES[0]}.gz", f"/whole/{IDX_FILES[3]}.gz"]


@pytest.mark.parametrize("kind", ["wrong", "plain", "broken", "absent"])
def test_the_second_mirror_helps(mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """If a mirror serves wrong bytes or none, the next one is used; if there is none, the cache stays empty."""
    monkeypatch.setattr(mnist, "MIRRORS", (mirror.address(kind),))
    with pytest.raises(DataUnavailableError) as error:
        mnist.fetch()
    only_line(error, mirror.address(kind))
    assert not list(cache.iterdir())
    assert not any(mnist.cached().values())
    monkeypatch.setattr(mnist, "MIRRORS", (mirror.address(kind), mirror.address("whole")))
    mnist.fetch()
    assert_whole(cache)
    assert mirror.requests[1:3] == [f"/{kind}/{IDX_FILES[0]}.gz", f"/whole/{IDX_FILES[0]}.gz"]


def test_without_a_network(cache: Path, closed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no mirror answers, one line names the cache, the mirrors and both remedies."""
    monkeypatch.setattr(mnist, "MIRRORS", (f"{closed}one/", f"{closed}two/"))
    with pytest.raises(DataUnavailableError) as error:
        load_dataset("mnist", validation=6, seed=0)
    only_line(error, cache, f"{closed}one/", f"{closed}two/", "--data PATH", "DIGITSWEEP_DATA", "digitsweep data fetch")


def test_a_cache_that_cannot_be_written(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the cache is not a folder, that is one line too."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DIGITSWEEP_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(mnist, "MIRRORS", (mirror.address("whole"),))
    with pytest.raises(DataUnavailableError) as error:
        mnist.fetch()
    only_line(error, tmp_path / "file")


@pytest.mark.usefixtures("cache")
def test_a_whole_cache_needs_no_network(mirror: Mirror, closed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cached files are read without a network, and listed as present."""
    monkeypatch.setattr(mnist, "MIRRORS", (mirror.address("whole"),))
    mnist.fetch()
    monkeypatch.setattr(mnist, "MIRRORS", (closed,))
    assert len(load_dataset("mnist", validation=6, seed=0).test) == 9
    assert sum("present" in line for line in whereabouts()) == 4


@pytest.fixture(scope="module")
def real_mnist() -> Path:
    """A folder with MNIST itself."""
    given = os.environ.get("DIGITSWEEP_TEST_MNIST")
    if not given:
        pytest.skip("DIGITSWEEP_TEST_MNIST names no folder with MNIST")
    return Path(given)


def test_mnist_is_recognised(real_mnist: Path) -> None:
    """MNIST's own images are called `mnist` in any folder, and split 50,000, 10,000 and 10,000, stratified."""
    data = load_dataset(real_mnist, validation=10_000, seed=0)
    train, validation, test = data.training.train, data.training.validation, data.test.open("a test")
    assert data.name == "mnist"
    assert data.training.classes == 10
    for split, count in ((train, 50_000), (validation, 10_000), (test, 10_000)):
        assert split.images.shape == (count, 28, 28, 1)
        assert split.images.dtype == np.uint8
        assert split.labels.shape == (count,)
    counts, apart = np.bincount(train.labels), np.bincount(validation.labels)
    np.testing.assert_array_less(np.abs(apart - (counts + apart) / 6), 1)


def test_one_pixel_makes_it_another_dataset(real_mnist: Path) -> None:
    """MNIST with a single pixel changed is not MNIST."""
    train, test = read_folder(real_mnist)
    assert mnist.is_mnist(train, test)
    images = test.images.copy()
    images[0, 14, 14, 0] ^= 1
    assert not mnist.is_mnist(train, Split(images, test.labels))
