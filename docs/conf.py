"""The documentation site: `make docs` builds it into build/docs, without a network and with warnings as errors."""

from pathlib import Path
from typing import Any

from digitsweep import __version__

project = "digitsweep"
author = "The digitsweep authors"
copyright = "2026, the digitsweep authors"  # noqa: A001 -- Sphinx' name
version = release = __version__

extensions = [
    "myst_nb",  # the pages are Markdown, as they are read in the repository, and a notebook
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_click",  # the pages of `--help`
]
templates_path = ["templates"]

# The notebook is kept without outputs. It is executed, in two minutes, unless its text is that of the last time.
nb_execution_mode = "cache"
nb_execution_cache_path = str(Path(__file__).parent.parent / "build" / "notebooks")
nb_execution_timeout = 600  # seconds for a cell
nb_execution_raise_on_error = True

myst_heading_anchors = 3  # `page.md#heading` works here as it does in the repository

# TensorFlow takes seconds to import and prints about GPUs; nothing of it is needed to read docstrings.
autodoc_mock_imports = ["tensorflow", "keras", "ray", "grpc"]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
autosummary_generate = True
suppress_warnings = ["ref.python"]  # two modules may have a class of the same name
default_role = "code"  # docstrings write `name`, as Markdown does

smartquotes = False  # `--help` would become an en dash and `help`

html_theme = "furo"
html_title = f"digitsweep {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]


def _plain_aliases(app: Any, context: Any, lines: list[str]) -> None:
    """Keeps `NAME@ALIAS` in a help text from becoming an e-mail address."""
    lines[:] = [line.replace("NAME@", "NAME\\@") for line in lines]


def setup(app: Any) -> None:
    for part in ("description", "options"):
        app.connect(f"sphinx-click-process-{part}", _plain_aliases)
