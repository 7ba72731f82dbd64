"""MNIST: checksums, cache and download."""

from __future__ import annotations

import gzip
import hashlib
import logging
import sys
import tempfile
import zlib
from pathlib import Path

from digitsweep.data.cache import cache_root
from digitsweep.data.splits import Split
from digitsweep.errors import DataUnavailableError

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
LARGEST = 47_040_016
"""Bytes of the largest of the four files."""
CONNECT_SECONDS = 5
READ_SECONDS = 60

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Of the decompressed files: a mirror may compress them in its own way."""


DIGESTS = (
    "c86b7e5aa093d811157b0670c40ddcf34838888cab07ad298144143f6d9cc4ad",
    "8236d72a9a31150b8b14203c14fc4c7a06d24d84b2130cebedb0da725db74b63",
)
"""`Split.digest` of MNIST's training and test images."""


def is_mnist(train: Split, test: Split) -> bool:
    """Whether these are MNIST's own images and labels, whatever file they came from."""
    return len(train) == 60_000 and (train.digest(), test.digest()) == DIGESTS


def cache_folder() -> Path:
    """The folder for downloaded files."""
    return cache_root() / "mnist"


def cached() -> dict[str, bool]:
    """The name of each file, and whether the cache holds an intact copy."""
    return {name: _is_whole(cache_folder() / name, sha256) for name, sha256 in SHA256.items()}


def fetch() -> Path:
    """The cache folder, after downloading the files that it lacks.

    Raises DataUnavailableError, with the reason for each mirror."""
    folder = cache_folder()
    for name, sha256 in SHA256.items():
        if not _is_whole(folder / name, sha256):
            _download(name, sha256, folder)
    return folder


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except OSError:
        return False


def _download(name: str, sha256: str, folder: Path) -> None:
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.ERROR)
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=(CONNECT_SECONDS, READ_SECONDS))
    failures = []
    for mirror in MIRRORS:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                zipped = pooch.retrieve(f"{mirror}{name}.gz", None, f"{name}.gz", scratch, downloader=downloader)
                with gzip.open(zipped) as stream:
                    content = stream.read(LARGEST + 1)
                if hashlib.sha256(content).hexdigest() != sha256:
                    raise ValueError("the file is not MNIST's")
                part = Path(scratch) / name
                part.write_bytes(content)
                part.replace(folder / name)
            return
        except requests.exceptions.ConnectionError:
            failures.append(f"{mirror} is unreachable")
        except (requests.exceptions.RequestException, OSError, EOFError, ValueError, zlib.error) as error:
            failures.append(f"{mirror} failed: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    raise DataUnavailableError(
        f"MNIST is not available: it is not in the cache ({folder}), and {'; '.join(failures)}. "
        "Put its four files into a folder and name that with --data PATH or DIGITSWEEP_DATA, "
        "or run `digitsweep data fetch` with a network connection."
    )
