"""How often a test set was opened, and for how many models, as the tracking store tells it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from mlflow import MlflowClient

from digitsweep.registry.openings import openings_of
from digitsweep.tracking.client import TEST_DIGEST

DIGEST, OTHER = "3" * 64, "4" * 64
THESE = {TEST_DIGEST: DIGEST, "digitsweep.data": "mnist"}


class Store:
    """A store into which sweeps, comparisons and promotions are written as digitsweep writes them."""

    def __init__(self) -> None:
        self.client = MlflowClient()
        self.experiment = self.client.create_experiment("here")

    def sweep(self, *families: str, opening: int = 1, **tags: str) -> str:
        opened = {f"digitsweep.test.opened.{each}": f"2026 by me for sweep: best, opening {opening}" for each in families}
        return str(self.run({"digitsweep.kind": "sweep", **THESE, **opened, **tags}))

    def comparison(self, *models: str) -> str:
        opened = {"digitsweep.models": " ".join(models), "digitsweep.test.opened": "2026 for compare"}
        return str(self.run({"digitsweep.kind": "comparison", **THESE, **opened}))

    def run(self, tags: Mapping[str, str]) -> str:
        return str(self.client.create_run(self.experiment, tags=dict(tags)).info.run_id)

    def logged(self) -> str:
        """The id of a logged model of its own."""
        made = self.client.create_logged_model(self.experiment, name="m")
        self.client.finalize_logged_model(made.model_id, "READY")
        return str(made.model_id)

    def version(self, name: str, model_id: str = "", **tags: str) -> str:
        """A registered version: its URI."""
        if not self.client.search_registered_models(f"name = '{name}'"):
            self.client.create_registered_model(name)
        model_id = model_id or self.logged()
        given = {**THESE, **{key.replace("__", "."): value for key, value in tags.items()}}
        made = self.client.create_model_version(name, f"models:/{model_id}", model_id=model_id, tags=given)
        return f"models:/{name}/{made.version}"

    def promoted(self, uri: str, attempt: str, digest: str = DIGEST) -> None:
        """As `promote` and its dry run note it."""
        _, name, version = uri.split("/")
        key = f"digitsweep.test.opened.{attempt}"
        self.client.set_model_version_tag(name, version, key, f"2026 for promote, sha256 {digest}")


@pytest.fixture
def store(made_store: Path) -> Store:
    return Store()


def test_what_counts_nothing(store: Store) -> None:
    """Versions that were never evaluated, a sweep without an opening, deleted runs and versions, and text that is no digest
    count nothing. The challenger is then the first attempt."""
    store.sweep()
    uri = store.version("mnist-cnn")
    store.promoted(store.version("mnist-gone"), "a")
    store.client.delete_model_version("mnist-gone", "1")
    store.client.delete_run(store.sweep("ann"))
    known = openings_of(DIGEST)
    assert (known.times, known.models) == (0, frozenset())
    assert known.attempt(uri, None) == 1
    store.sweep("ann")
    assert openings_of(f"{DIGEST}' OR '1' = '1").times == 0


def test_what_counts_as_a_model(store: Store) -> None:
    """The winner of a sweep's family, its version, and another version of the same files are one model; a repeated dry run
    is one more opening and no further model; other images do not count."""
    sweep = store.sweep("ann", "cnn")
    model = store.logged()
    cnn = store.version("mnist-cnn", model, digitsweep__sweep=sweep, family="cnn")
    again = store.version("mnist-best", model)
    assert (openings_of(DIGEST).times, len(openings_of(DIGEST).models)) == (2, 2)
    for attempt in ("a", "b"):
        store.promoted(cnn, attempt)
    store.promoted(again, "c")
    store.promoted(again, "d", digest=OTHER)
    store.run({"digitsweep.kind": "sweep", TEST_DIGEST: OTHER, "digitsweep.test.opened.ann": "opening 1"})
    known = openings_of(DIGEST)
    assert (known.times, len(known.models)) == (5, 2)
    assert known.attempt(cnn, None) == known.attempt(again, None) == 2
    assert openings_of(OTHER).times == 1, "versions are found by the images that they were made for"
    assert openings_of(OTHER, "mnist-best").times == 2, "and by their name"


def test_the_champion_is_no_rival_of_itself(store: Store) -> None:
    """Every model that is known counts but the champion, whether the challenger is one of them already or new."""
    first, second, third = (store.version("mnist-cnn") for _ in range(3))
    for uri in (first, second):
        store.promoted(uri, "a")
    known = openings_of(DIGEST)
    assert known.attempt(second, first) == 1
    assert known.attempt(first, second) == 1
    assert known.attempt(third, first) == 2
    assert known.attempt(third, None) == 3


def test_comparisons_count(store: Store) -> None:
    """A comparison is one opening, and each model that it names is known from then on: versions and logged models."""
    version, loose = store.version("mnist-cnn"), store.logged()
    store.comparison(version, f"models:/{loose}")
    known = openings_of(DIGEST)
    assert (known.times, len(known.models)) == (1, 2)
    registered = store.version("mnist-cnn", loose)
    assert openings_of(DIGEST).attempt(registered, version) == 1, "the logged model is the version that it became"
    store.comparison(registered, version)
    assert (openings_of(DIGEST).times, len(openings_of(DIGEST).models)) == (2, 2)


def test_a_sweep_that_opened_twice(store: Store) -> None:
    """A sweep that judged again after it was resumed counts both openings; its own are left out where it asks itself."""
    sweep = store.sweep("ann", opening=2)
    assert openings_of(DIGEST).times == 2
    assert openings_of(DIGEST, apart_from=sweep).times == 0


def test_more_than_a_page(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs, experiments and versions are counted beyond the first page of an answer."""
    for count in range(3):
        store.experiment = store.client.create_experiment(f"more {count}")
        store.sweep("ann")
        store.promoted(store.version("mnist-cnn"), "a")
    for name in ("search_runs", "search_experiments", "search_model_versions"):
        real = getattr(MlflowClient, name)

        def paged(self: MlflowClient, *given: object, real: object = real, **named: object) -> object:
            return real(self, *given, **{**named, "max_results": 1})  # type: ignore[operator]

        monkeypatch.setattr(MlflowClient, name, paged)
    known = openings_of(DIGEST)
    assert (known.times, len(known.models)) == (6, 6)
