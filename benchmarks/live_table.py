"""Draws the live table of a real sweep, as it is on a terminal in the middle of its minutes: docs/live-table.svg, the first
picture of the README.

    python benchmarks/live_table.py [EXPERIMENT [MINUTES]]

The records go where MLflow's settings say, as those of any sweep. It measures nothing."""

from __future__ import annotations

import io
import re
import sys
import time
from collections import deque
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from digitsweep.config.experiment_file import find_experiment
from digitsweep.config.options import Options
from digitsweep.sweeping.progress import Display
from digitsweep.sweeping.run import sweep

PICTURE = Path(__file__).parent.parent / "docs" / "live-table.svg"
WIDTH, LINES = 112, 8
"""Columns of the terminal, and lines above the table."""
EARLIEST, LATEST = 0.4, 0.7
"""Of the minutes: the last moment between them at which every running trial has finished an epoch is drawn."""
# The picture is self-contained: GitHub loads no font for it.
FORMAT = re.sub(r" *@font-face \{\{.*?\n    \}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


class Drawn(Display):
    """A display that also draws itself."""

    def __init__(self, command: str, seconds: float) -> None:
        super().__init__(Console(file=io.StringIO(), force_terminal=True, width=WIDTH))
        self._command = command
        self._earliest, self._latest = (time.monotonic() + share * seconds for share in (EARLIEST, LATEST))
        self._lines: deque[str] = deque(maxlen=LINES)

    def note(self, text: str) -> None:
        super().note(text)
        self._lines.extend(text.split("\n"))
        print(text, file=sys.__stderr__)  # sys.stderr is the table's while it is live

    def progressed(self, seconds_left: float, workers: str = "") -> None:
        super().progressed(seconds_left, workers)
        running = list(self._running.values())
        in_time = self._earliest < time.monotonic() < self._latest
        if not in_time or len(running) < 2 or not all(epoch for _, epoch in running):
            return
        console = Console(file=io.StringIO(), record=True, force_terminal=True, width=WIDTH)
        console.print(Text(f"$ {self._command}", "bold"), Text("..."), sep="\n")
        for line in self._lines:
            console.print(line, markup=False, highlight=False)
        console.print(self)
        PICTURE.write_text(console.export_svg(title=self._command, code_format=FORMAT, unique_id="live"), encoding="utf-8")


def main(experiment: str = "mnist", minutes: str = "15") -> None:
    command = f"digitsweep sweep {experiment} --minutes {minutes}"
    with Drawn(command, 60 * float(minutes)) as display:
        sweep(find_experiment(experiment), Options(minutes=float(minutes)), display)


if __name__ == "__main__":
    main(*sys.argv[1:])
