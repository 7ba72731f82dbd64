"""Seconds and memory for reading a folder of 50,000 PNG files, the first time and from the cache."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from common import folder, report, run
from PIL import Image

COUNTS = (5_000, 50_000)
"""Files: if memory is flat, ten times as many take no more of it."""
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
READ = """
import json, resource, sys, time
from pathlib import Path
from digitsweep.data.sources import load_dataset

def private():
    "Mebibytes of memory that no file stands behind."
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines["RssAnon"].split()[0]) / 1024

before, most = private(), 0.0
def watch(done, total):
    global most
    most = max(most, private())

begun, processor = time.perf_counter(), time.process_time()
data = load_dataset(Path(sys.argv[1]), validation=0.1, progress=watch)
seconds, processor = time.perf_counter() - begun, time.process_time() - processor
assert len(data.training.train) + len(data.training.validation) + len(data.test) == int(sys.argv[2])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([seconds, processor, max(most, private()) - before, peak]))
"""


def write_files(place: Path, count: int) -> None:
    """PNG files of sides from 20 to 36 pixels, as many of each class, a sixth of them in `test`; no two are equal."""
    numbers = np.random.default_rng(0)
    for number in range(count):
        split = "test" if number % 6 == 0 else "train"
        where = place / split / CLASSES[number % 10]
        where.mkdir(parents=True, exist_ok=True)
        height, width = numbers.integers(20, 37, 2)
        ink = numbers.integers(0, 256, (height, width), np.uint8) * (numbers.random((height, width)) > 0.7)
        Image.fromarray(ink).save(where / f"{number}.png")


def main() -> None:
    rows, took = [], {}
    with folder() as place:
        for count in COUNTS:
            files = place / str(count)
            write_files(files, count)
            for reading in ("first", "second"):
                said = run(sys.executable, "-c", READ, str(files), str(count), cwd=place, DIGITSWEEP_CACHE=f"{place}/cache")[
                    1
                ]
                seconds, processor, private, peak = json.loads(said)
                took[count, reading] = seconds
                rows.append([f"{count:,}", reading, f"{seconds:.2f}", f"{processor:.2f}", f"{private:.0f}", f"{peak:.0f}"])
    most = COUNTS[-1]
    report(
        "image-folder",
        f"image-folder: {most:,} PNG files in {took[most, 'first']:.1f} s, from the cache in {took[most, 'second']:.2f} s",
        [
            "files",
            "reading",
            "seconds",
            "processor seconds",
            "MiB of memory of its own",
            "MiB resident at most, with mapped files",
        ],
        rows,
    )


if __name__ == "__main__":
    main()
