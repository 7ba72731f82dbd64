"""One file a family: its hyperparameters, its cost and its network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from digitsweep.families.ann import AnnParams
from digitsweep.families.cnn import CnnParams

__all__ = ["FAMILIES", "AnnParams", "CnnParams", "Params", "parse_params"]

Params = AnnParams | CnnParams

FAMILIES: dict[str, type[AnnParams] | type[CnnParams]] = {"ann": AnnParams, "cnn": CnnParams}


def parse_params(family: str, values: Mapping[str, Any]) -> Params:
    """Checked hyperparameters of a family, from their names and values (layered ones as one value or a list).

    Raises `pydantic.ValidationError`; `config` turns that into lines for a person."""
    return FAMILIES[family].model_validate(dict(values))
