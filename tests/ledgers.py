"""What tests of promotions share: a weigher that asks no model, and registered versions that hold none."""

from __future__ import annotations

from types import ModuleType

from mlflow import MlflowClient

from digitsweep.comparison import Opening
from digitsweep.promotion.decision import Figures
from digitsweep.statistics import Difference, Share


def passing_weigher() -> ModuleType:
    """In place of digitsweep.promotion.weighing: every challenger passes the gate."""
    from dataclasses import dataclass
    from typing import Any

    @dataclass
    class Weighed:
        data: str
        challenger: Figures
        champion: Figures | None
        difference: Difference | None
        opening: Opening

    def weigh(challenger: Any, champion: Any, data: Any) -> Weighed:
        found = Figures(challenger.label, Share(990, 1000), 8, Share(97, 100), 0.001, 1000, "d" * 64, "c" * 40, False)
        apart = Difference("old", challenger.label, 1000, 30, 10, 5, 0.01, 0.03, 0.001, 0.01) if champion else None
        return Weighed("digits", found, found if champion else None, apart, Opening("promote", "2026-11-20", "d" * 64, 1))

    module = ModuleType("digitsweep.promotion.weighing")
    module.weigh = weigh  # type: ignore[attr-defined]
    return module


def versions(client: MlflowClient, name: str, count: int) -> None:
    """Registers `count` versions of a model that has no files."""
    experiment = client.get_experiment_by_name("ledgers")
    where = experiment.experiment_id if experiment else client.create_experiment("ledgers")
    model = client.create_logged_model(where, name="empty")
    client.finalize_logged_model(model.model_id, "READY")
    client.create_registered_model(name)
    for _ in range(count):
        client.create_model_version(name, f"models:/{model.model_id}", model_id=model.model_id, await_creation_for=0)
