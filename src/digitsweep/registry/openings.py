"""How often a test set has been opened, and for how many models, as the tracking server knows it.

A gate spends its level over these models (`gate.Attempt`), and every report shows both numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlflow.entities.model_registry import ModelVersion

from digitsweep.registry.models import versions_of, versions_where
from digitsweep.tracking.client import OPENED, TEST_DIGEST, all_runs, open_store, server_errors


@dataclass(frozen=True)
class Openings:
    """All openings of one test set that the tracking server knows, without what was deleted there."""

    times: int = 0
    """Each family of a sweep, each comparison, each promotion and each dry run."""
    models: frozenset[str] = frozenset()
    """The models that were evaluated, each once, whatever its names: a challenger may have been picked among them by their
    answers."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """The key in `models` of each registered version, by its `models:/` URI."""

    def key(self, uri: str) -> str:
        """The key of a model in `models`."""
        return _key(self.keys, uri)

    def attempt(self, challenger: str, champion: str | None) -> int:
        """How many models could have been picked to replace the champion: all of `models` and the challenger, without the
        champion. Both are `models:/` URIs."""
        others = self.models - {self.key(champion or "")} - {self.key(challenger)}
        return len(others) + 1


def openings_of(digest: str, name: str | None = None, *, apart_from: str = "") -> Openings:
    """Counts the openings of the test images with a digest (SHA-256), apart from those of one sweep's run.

    Versions of the registered model `name` count even if they do not say which images they were made for. Raises
    DigitsweepError if the store does not answer."""
    if not digest.isalnum():  # somebody's own text in the tag
        return Openings()
    condition = f"tags.`{TEST_DIGEST}` = '{digest}'"
    with server_errors("could not be asked"):
        client = open_store()
        runs = [run for run in all_runs(client, condition) if run.info.run_id != apart_from]
        versions = versions_where(condition) + (versions_of(name) if name else [])
    keys = _keys(versions)
    times, models = 0, set[str]()
    for run in runs:
        tags = run.data.tags
        for tag in tags:
            if tag.startswith(OPENED):
                winner = f"{run.info.run_id} {tag.removeprefix(OPENED)}"
                models.add(winner)
                counted = re.search(r"opening (\d+)$", tags[tag])
                times += int(counted[1]) if counted else 1
        if OPENED.rstrip(".") in tags:
            times += 1
            models |= {_key(keys, uri) for uri in tags.get("digitsweep.models", "").split()}
    for uri, tags in {_uri(each): each.tags for each in versions}.items():
        opened = [tag for tag, value in tags.items() if tag.startswith(OPENED) and value.endswith(f"sha256 {digest}")]
        times += len(opened)
        models |= {keys[uri]} if opened else set()
    return Openings(times, frozenset(models), keys)


def _key(keys: Mapping[str, str], uri: str) -> str:
    return keys.get(uri, uri.removeprefix("models:/"))


def _keys(versions: list[ModelVersion]) -> dict[str, str]:
    """The key of each version and of its source: the sweep and the family whose winner it is, since the sweep's run has only
    these; otherwise the logged model, or the version, that it was made from."""
    keys: dict[str, str] = {}
    for each in sorted(versions, key=lambda version: ("digitsweep.sweep" not in version.tags, version.creation_timestamp)):
        tags, source = each.tags, each.source or ""
        if "digitsweep.sweep" in tags:
            key = f"{tags['digitsweep.sweep']} {tags.get('family', '')}"
        else:
            key = _key(keys, source if source.startswith("models:/") else _uri(each))
        keys |= {source: key, _uri(each): key}
    return keys


def _uri(version: ModelVersion) -> str:
    return f"models:/{version.name}/{version.version}"
