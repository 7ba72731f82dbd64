"""A process that forks one child for each promotion, and may kill it before any of its writes. Run by test_ledger.py.

    python promotion_driver.py URI '[{"name": "digits-ann", "version": "2", "kill": 3}]' [together]

`kill: 3` is kill -9 right before the third write; `together` holds every child back until all have decided. Models are not
asked: every challenger gets figures that pass. Prints a list: what each child wrote, how it ended, and what it was told."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

WRITES = (
    "set_model_version_tag",
    "update_model_version",
    "create_registered_model",
    "create_model_version",
    "set_registered_model_alias",
)


def main(uri: str, jobs: list[dict[str, Any]], *, together: bool) -> None:
    import mlflow
    from ledgers import passing_weigher

    from digitsweep.registry.promote import promote  # before the fork: once for all

    mlflow.set_tracking_uri(uri)
    sys.modules["digitsweep.registry.compare"] = passing_weigher()
    folder = Path(tempfile.mkdtemp())
    barrier = multiprocessing.get_context("fork").Barrier(len(jobs)) if together else None
    children = []
    for index, job in enumerate(jobs):
        child = os.fork()
        if child == 0:
            _promote(promote, job, folder / str(index), barrier)
        children.append(child)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    told = [[json.loads(line) for line in (folder / str(index)).read_text().splitlines()] for index in range(len(jobs))]
    print(json.dumps([{"end": end, "told": each} for end, each in zip(ends, told, strict=True)]))


def _promote(promote: Any, job: dict[str, Any], log: Path, barrier: Any) -> None:
    from mlflow import MlflowClient

    count, waits = 0, barrier is not None

    def watched(name: str, write: Any) -> Any:
        @functools.wraps(write)
        def wrapper(*arguments: Any, **keywords: Any) -> Any:
            nonlocal count, waits
            count += 1
            if count == job.get("kill"):
                os.kill(os.getpid(), signal.SIGKILL)
            if waits and name == "create_model_version":
                waits = False
                barrier.wait(120)
            with log.open("a") as file:
                file.write(json.dumps(name) + "\n")
            return write(*arguments, **keywords)

        return wrapper

    for name in WRITES:
        setattr(MlflowClient, name, watched(name, getattr(MlflowClient, name)))
    code = 99
    try:
        log.touch()
        promote(job["name"], job["version"])
        code = 0
    except Exception as error:
        code = getattr(error, "exit_code", 99)
        with log.open("a") as file:
            file.write(json.dumps(str(error)) + "\n")
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), together="together" in sys.argv[3:])
