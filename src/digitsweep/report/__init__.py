"""The comparison as a page that people read, and in short for a pull request or a chat."""

from __future__ import annotations

import base64
import hashlib

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from digitsweep.comparison import Comparison
from digitsweep.report.contents import page_of
from digitsweep.report.wording import FILTERS

PAGE, SHORT, SCRIPT = "report.html", "report.md", "framed.js"


def report(comparison: Comparison, images: NDArray[np.uint8]) -> dict[str, bytes]:
    """`report.html`, which needs nothing else to be shown, and `report.md`, by file name.

    `images` are the test images, (n, side, side, 1); only those of the galleries are looked at. What the comparison does not
    have, the page does not have either."""
    environment = Environment(
        loader=PackageLoader("digitsweep", "templates"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= FILTERS
    page = page_of(comparison, images)
    script = environment.get_template(SCRIPT).render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    values = {"comparison": comparison, "page": page, "script": script, "script_digest": digest}
    return {name: environment.get_template(f"{name}.jinja").render(values).encode() for name in (PAGE, SHORT)}
