"""One file a family: its hyperparameters, its cost and its network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from digitsweep.families.ann import ANN
from digitsweep.families.cnn import CNN
from digitsweep.families.family import Family
from digitsweep.families.hyperparameters import Params, Shape
from digitsweep.families.resnet import RESNET

__all__ = ["FAMILIES", "Family", "Params", "Shape", "parse_params", "title_of"]

FAMILIES: dict[str, Family] = {each.name: each for each in (ANN, CNN, RESNET)}


def parse_params(family: str, values: Mapping[str, Any]) -> Params:
    """Checked hyperparameters of a family, from their names and values (layered ones as one value or a list).

    Raises `pydantic.ValidationError`; `config` turns that into lines for a person."""
    return FAMILIES[family].params.model_validate(dict(values))


def title_of(family: str) -> str:
    """What people read for a family's name, also for that of a family that is not known here."""
    return FAMILIES[family].title if family in FAMILIES else family.upper()
