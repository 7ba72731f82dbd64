"""MNIST itself: its check sums, the cache, and the download."""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import sys
import tempfile
import zlib
from pathlib import Path

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
"""Of the decompressed bytes: mirrors compress anew."""


def is_mnist(train: Split, test: Split) -> bool:
    """Whether these are MNIST's own bytes, whatever file they came in."""
    if len(train) != 60_000 or len(test) != 10_000 or train.images.shape[1] != 28:
        return False
    headers = {3: (0x803).to_bytes(4, "big"), 1: (0x801).to_bytes(4, "big")}
    for prefix, split in (("train", train), ("t10k", test)):
        count = len(split).to_bytes(4, "big")
        side = (28).to_bytes(4, "big")
        images = hashlib.sha256(headers[3] + count + side + side + split.images.tobytes()).hexdigest()
        labels = hashlib.sha256(headers[1] + count + split.labels.tobytes()).hexdigest()
        if (images, labels) != (SHA256[f"{prefix}-images-idx3-ubyte"], SHA256[f"{prefix}-labels-idx1-ubyte"]):
            return False
    return True


def cache_folder() -> Path:
    """Where downloaded files are kept; DIGITSWEEP_CACHE moves it."""
    import pooch

    return Path(os.environ.get("DIGITSWEEP_CACHE") or pooch.os_cache("digitsweep")) / "mnist"


def cached() -> dict[str, bool]:
    """Each file's name, and whether a whole copy is in the cache."""
    return {name: _is_whole(cache_folder() / name, sha256) for name, sha256 in SHA256.items()}


def fetch() -> Path:
    """The cache folder with all four files in it, downloaded where they are missing.

    Raises DataUnavailableError, which says what was tried."""
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
                    raise ValueError("its bytes are not those of MNIST")
                part = Path(scratch) / name
                part.write_bytes(content)
                part.replace(folder / name)
            return
        except requests.exceptions.ConnectionError:
            failures.append(f"{mirror} cannot be reached")
        except (requests.exceptions.RequestException, OSError, EOFError, ValueError, zlib.error) as error:
            failures.append(f"{mirror} failed: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    raise DataUnavailableError(
        f"MNIST cannot be had: it is not in the cache ({folder}), and {'; '.join(failures)}. "
        "Put the four files into a folder and name it with --data PATH or DIGITSWEEP_DATA, "
        "or run `digitsweep data fetch` where there is a network."
    )
