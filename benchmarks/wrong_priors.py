"""Writes an experiment whose knowledge is wrong: what a search then finds shows what wrong knowledge costs.

    wrong_priors.py EXPERIMENT > wrong.yaml; digitsweep sweep wrong.yaml --data FOLDER --minutes 30

Priors and first configurations have tiny learning rates and one narrow layer; everything else stays as it is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

NARROW: dict[str, dict[str, Any]] = {
    "ann": {"hidden_layers": 1, "units": 64},
    "cnn": {"blocks": 1, "convolutions": 1, "filters": 8},
}
RATE = 1e-4
"""The lowest of the spaces."""


def misled(experiment: dict[str, Any]) -> dict[str, Any]:
    """The experiment, with wrong knowledge, and without its fallback, which would have to lie beside it."""
    experiment["data"].pop("fallback", None)
    for name, family in experiment["families"].items():
        wrong = {**NARROW[name], "learning_rate": RATE}
        for key, value in wrong.items():
            family["space"][key]["prior"] = {"value": value, "sure": "high"}
        for place, known in enumerate(family["first"]):  # the rates differ, so that the configurations do
            known |= {**wrong, "learning_rate": round(RATE * (1.0 + 0.3 * place), 5)}
    return experiment


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", type=Path)
    print(yaml.safe_dump(misled(yaml.safe_load(parser.parse_args().experiment.read_text())), sort_keys=False))
