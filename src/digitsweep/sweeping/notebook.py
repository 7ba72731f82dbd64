"""The output of a notebook's cell: what a sweep shows there in place of a terminal."""

from __future__ import annotations

import io
import sys
import time
from html import escape
from typing import Any

from rich.console import Console, RenderableType

from digitsweep.errors import printable

NEWEST = 6
"""Lines above the table while a sweep runs."""
PAUSE = 0.25
"""Seconds between two drawings at least."""
COLUMNS = 110
PRE = '<pre style="margin: 0; white-space: pre-wrap; line-height: 1.35">{}</pre>'


class Cell:
    """Lines, and a table below them that is redrawn in place. It needs no widgets: any notebook shows it, and a saved
    notebook keeps what stands there at the end."""

    def __init__(self) -> None:
        from IPython import display  # only in a notebook, which has it

        untyped: Any = display
        self._lines: list[str] = []
        self._drawn = 0.0
        self._handle = untyped.display({"text/plain": ""}, raw=True, display_id=True)

    @classmethod
    def here(cls) -> Cell | None:
        """The cell of a notebook that this code runs in; None elsewhere."""
        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython else None
        return cls() if hasattr(shell, "kernel") else None

    def note(self, text: str) -> None:
        """Adds the lines of a text, which the next drawing shows."""
        self._lines += map(printable, text.split("\n"))

    def draw(self, table: RenderableType, *, now: bool = False) -> None:
        """Shows the newest lines and the table; unless `now`, only if that was not done a moment ago."""
        if now or time.monotonic() - self._drawn >= PAUSE:
            self._show(self._lines[-NEWEST:], table)

    def end(self, table: RenderableType) -> None:
        """Shows all lines, folded, and the table; nothing if there are no lines."""
        if self._lines:
            self._show(self._lines, table, folded=True)

    def _show(self, lines: list[str], table: RenderableType, *, folded: bool = False) -> None:
        console = Console(file=io.StringIO(), record=True, width=COLUMNS, force_jupyter=False)
        console.print(table)
        drawn = console.export_html(code_format="{code}", inline_styles=True, clear=False)
        told = PRE.format("\n".join(map(escape, lines)))
        if folded:
            told = f"<details><summary>{len(lines)} lines</summary>{told}</details>"
        text = "\n".join([*lines, console.export_text()])
        self._handle.update({"text/html": told + PRE.format(drawn), "text/plain": text}, raw=True)
        self._drawn = time.monotonic()
