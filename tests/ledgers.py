"""What tests of promotions share: an evaluation without models, and registered versions without files."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
from mlflow import MlflowClient

from digitsweep.evaluation.comparison import Opening
from digitsweep.evaluation.statistics import Difference, Share
from digitsweep.registry import ledger
from digitsweep.registry.gate import Figures
from digitsweep.registry.models import NamedModel


def passing_weigher() -> ModuleType:
    """In place of digitsweep.registry.compare, which imports TensorFlow: every challenger passes the gate."""

    def weigh(challenger: NamedModel, champion: NamedModel | None, data: object) -> SimpleNamespace:
        found = Figures(challenger.label, Share(990, 1000), 8, Share(97, 100), 0.001, 1000, "d" * 64, "c" * 40, False)
        apart = Difference("old", challenger.label, 1000, 30, 10, 5, 0.01, 0.03, 0.001, 0.01) if champion else None
        opening = Opening("promote", "2026-11-20", "d" * 64, 1)
        beside = {"champion": found if champion else None, "difference": apart}
        return SimpleNamespace(data="digits", challenger=found, opening=opening, **beside)

    module = ModuleType("digitsweep.registry.compare")
    module.weigh = weigh  # type: ignore[attr-defined]
    return module


def without_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promotions evaluate no model, and wait only 0.3 s for each other."""
    monkeypatch.setitem(sys.modules, "digitsweep.registry.compare", passing_weigher())
    monkeypatch.setattr(ledger, "PATIENCE", 0.3)


def versions(client: MlflowClient, name: str, count: int) -> None:
    """Registers `count` versions of a model that has no files."""
    experiment = client.get_experiment_by_name("ledgers")
    where = experiment.experiment_id if experiment else client.create_experiment("ledgers")
    model = client.create_logged_model(where, name="empty")
    client.finalize_logged_model(model.model_id, "READY")
    client.create_registered_model(name)
    for _ in range(count):
        client.create_model_version(name, f"models:/{model.model_id}", model_id=model.model_id, await_creation_for=0)
