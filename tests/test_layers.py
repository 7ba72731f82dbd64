"""The walls of docs/architecture.md: who may import whom, and which module may import which library."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from digitsweep.workers.placement import Place

PACKAGE = Path(__file__).parent.parent / "src" / "digitsweep"

# From the top down: a module may import only from the lines below its own (and from its own folder).
LAYERS = [
    {"__main__"},
    {"cli"},
    {"doctor"},
    {"sweep"},
    {"coordinator"},
    {"promotion.table"},
    {"promotion.promoting"},
    {"judging", "comparing", "promotion.weighing", "progress", "summary", "reading.readings"},
    {"workers"},
    {"winners", "pictures", "asking", "testset", "promotion.publishing", "reading.predicting"},
    {"finalists"},
    {"study"},
    {"promotion.ledger"},
    {"tracking.mlflow_tracker", "registry", "tracking.reconciling"},
    {"tracking.opening"},
    {"lookup", "tracking.sweep_run"},
    {"tracking.recovery", "tracking.writer", "tracking.unfinished"},
    {"tracking.trial_record"},
    {"tracking.records"},
    {"store"},
    {"tracking.lock"},
    {"tracking.spool"},
    {"search"},
    {"source", "tracker", "pace", "spending"},
    {"report"},
    {"plots"},
    {"reading.preparing"},
    {"reading.ink"},
    {"reading.images"},
    {"reading.grey"},
    {"cautions", "promotion.decision"},
    {"comparison"},
    {"evidence", "cost", "history", "verdict"},
    {"statistics"},
    {"training"},
    {"models", "optimizers", "augmentation", "schedules"},
    {"evaluation", "data", "provenance", "processor", "model_file", "quiet"},
    {"options", "promotion.lineage"},
    {"experiment_file"},
    {"experiment"},
    {"space"},
    {"promotion.gate"},
    {"distributions", "explain", "yaml_file"},
    {"results"},
    {"params"},
    {"training_params"},
    {"errors"},
    {"promotion", "reading", "tracking"},  # what these rooms are, in words
]

# Library: the only modules that may import it.
OWNERS = {
    "mlflow": {
        "tracking.mlflow_tracker",
        "tracking.opening",
        "registry",
        "lookup",
        "tracking.reconciling",
        "tracking.sweep_run",
        "tracking.recovery",
        "tracking.writer",
        "tracking.unfinished",
        "tracking.records",
        "store",
        "doctor",
        "promotion.ledger",
        "promotion.publishing",
    },
    "optuna": {"search", "space", "distributions"},
    "tensorflow": {"training", "models", "optimizers", "augmentation", "quiet"},
    "keras": {
        "training",
        "models",
        "optimizers",
        "augmentation",
        "registry",
        "lookup",
        "asking",
        "testset",
        "promotion.weighing",
        "reading.predicting",
    },
    "matplotlib": {"plots"},
    "jinja2": {"report"},
    "sklearn": {"evaluation", "data"},
    "scipy": {"statistics", "reading.preparing", "reading.ink"},
    "PIL": {"reading.images", "reading.grey", "reading.preparing", "reading.ink"},
    "pandas": {"comparison"},
    "click": {"cli"},
    "rich": {"cli", "doctor", "progress", "summary", "promotion.table", "reading.readings"},
}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            inside = (node.module or "").split(".")[0] == "digitsweep"
            yield from ([f"{node.module}.{each.name}" for each in node.names] if inside else [node.module or ""])


RANK = {name: index for index, layer in enumerate(LAYERS) for name in layer}


def module(parts: Sequence[str]) -> str:
    """What has a layer: `tracking.spool`, or the whole folder, as `data` of `data.idx`."""
    inner = ".".join(parts[:2])
    return inner if inner in RANK else parts[0]


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE)


def own_module(path: Path) -> str:
    return module(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_below(path: Path) -> None:
    """A module imports only from the layers below its own."""
    own = own_module(path)
    assert own in RANK, f"{own} has no layer: give it one here and in docs/architecture.md"
    for name in imports(path):
        package, *parts = name.split(".")
        if package == "digitsweep" and parts != ["__version__"] and module(parts) != own:
            assert RANK[module(parts)] > RANK[own], f"{own} may not import {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_library_has_its_owners(path: Path) -> None:
    """MLflow, Optuna, TensorFlow and the others are imported only where the architecture says."""
    for name in imports(path):
        library = name.split(".")[0]
        assert own_module(path) in OWNERS.get(library, {own_module(path)}), f"{path.name} may not import {library}"


def test_every_layer_is_inhabited() -> None:
    """Every module that the layers name is there."""
    assert {name for layer in LAYERS for name in layer} == {own_module(path) for path in FILES}


def loaded_after(code: str, **environment: str) -> set[str]:
    """The libraries that a fresh interpreter has loaded after some code, with some variables more."""
    script = f"import sys\n{code}\nprint(' '.join(sys.modules))"
    variables = {**os.environ, **environment}
    found = subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in found.stdout.splitlines()[-1].split()}


def test_help_is_light() -> None:
    """`digitsweep --help` imports none of the heavy libraries, nor pydantic, pandas or rich."""
    code = "from digitsweep.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    heavy = {"tensorflow", "keras", "mlflow", "optuna", "matplotlib", "sklearn", "pandas", "pydantic", "rich", "numpy"}
    assert loaded_after(code).isdisjoint(heavy)


def test_the_coordinator_does_without_tensorflow() -> None:
    """The coordinator does not import TensorFlow before the search is over."""
    assert loaded_after("import digitsweep.sweep, digitsweep.doctor").isdisjoint({"tensorflow", "keras"})


PRELOADED = """
import os
import digitsweep.workers.preloaded, digitsweep.workers.process
if os.path.isdir("/proc/self/task"):
    assert len(os.listdir("/proc/self/task")) == 1, "a thread was started"
"""


def test_a_worker_does_without_the_coordinators_libraries() -> None:
    """What workers are forked from imports neither MLflow nor Optuna, nor what Keras would take along, and starts no thread:
    forking it is safe."""
    loaded = loaded_after(PRELOADED, **Place(None).environment())
    assert {"tensorflow", "keras"} <= loaded
    assert loaded.isdisjoint({"mlflow", "optuna", "matplotlib", "pandas", "scipy", "sklearn"})
