"""The family of docs/families.md, and an experiment with it, for tests."""

from __future__ import annotations

import re
from pathlib import Path

from running import ROOT

_BLOCK = re.search(r"```python\n(.*?)^```", (ROOT / "docs" / "families.md").read_text(), re.DOTALL | re.MULTILINE)
assert _BLOCK is not None
MIXER = _BLOCK[1]
"""The text of `my_models.py`."""

EXPERIMENT = """\
name: mixed
question: Does an MLP-mixer beat a convolutional network?
data: {source: digits, validation: 0.25}
budget: {trials: 2, epochs: 1, seconds: 60}
pruner: {type: none}
finalists: {top: 1, seeds: 1, confirm: 1}
families:
  cnn:
    space: {blocks: 1, filters: {type: int, low: 4, high: 8}, padding: same, batch_size: 64}
  mixer:
    build: my_models.py:MIXER
    space: {depth: 1, width: {type: int, low: 16, high: 32}}
"""


def write_experiment(folder: Path, text: str = MIXER) -> Path:
    """`mixed.yaml` in a folder, with `my_models.py` beside it."""
    (folder / "my_models.py").write_text(text)
    path = folder / "mixed.yaml"
    path.write_text(EXPERIMENT)
    return path
