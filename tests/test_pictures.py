"""The pictures beside a comparison's page."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from digitsweep.report import plots
from digitsweep.sweeping.judge import pictures


def test_no_prediction_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the test images lack the last class, what a model takes for it still stands in its matrix."""
    drawn: dict[str, NDArray[np.int64]] = {}
    monkeypatch.setattr(plots, "training_curves", lambda *_: None)
    monkeypatch.setattr(plots, "confusion_matrices", lambda matrices, *_: drawn.update(matrices))
    monkeypatch.setattr(plots, "png", lambda _: b"")
    labels, predicted = np.array([0, 1, 1, 0], np.uint8), np.array([0, 1, 2, 0], np.uint8)
    pictures("digits", [], (), labels, {"CNN": predicted}, "012")
    assert drawn["best CNN, 75.00 %"].tolist() == [[2, 0, 0], [0, 1, 1], [0, 0, 0]]
