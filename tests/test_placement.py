"""Where workers run, on machines that are not here."""

from __future__ import annotations

from pathlib import Path

import pytest

from digitsweep.workers.placement import Place, places, visible_gpus


@pytest.mark.parametrize(
    ("workers", "gpus", "per_gpu", "expected"),
    [
        (None, [], 1, [None, None, None, None]),
        (2, [], 3, [None, None]),
        (None, ["0", "1"], 1, ["0", "1"]),
        (None, ["0", "1"], 2, ["0", "1", "0", "1"]),
        (3, ["GPU-a", "GPU-b"], 1, ["GPU-a", "GPU-b", "GPU-a"]),
        (1, ["0", "1"], 4, ["0"]),
    ],
)
def test_places(workers: int | None, gpus: list[str], per_gpu: int, expected: list[str | None]) -> None:
    """Workers are dealt out over the GPUs in turn, or get a core each where there is none."""
    assert [place.gpu for place in places(workers, gpus, per_gpu, cores=4)] == expected


def test_a_place_shows_one_device_only() -> None:
    """A worker on a GPU sees that one and lets its memory grow; one on the CPU sees none and has one thread."""
    assert Place("1").environment()["CUDA_VISIBLE_DEVICES"] == "1"
    assert Place("1").environment()["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert Place(None).environment()["CUDA_VISIBLE_DEVICES"] == "-1"
    assert Place(None).environment()["TF_NUM_INTRAOP_THREADS"] == "1"


def test_the_gpus_there_are(tmp_path: Path) -> None:
    """The driver's folder has an entry for each GPU; what the person chose goes before it."""
    for name in ("0000:3b:00.0", "0000:86:00.0"):
        (tmp_path / name).mkdir()
    assert visible_gpus(None, tmp_path) == ["0", "1"]
    assert visible_gpus(None, tmp_path / "none") == []
    assert visible_gpus("1", tmp_path) == ["1"]
    assert visible_gpus("-1", tmp_path) == []
    assert visible_gpus("", tmp_path) == []
