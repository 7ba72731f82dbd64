"""An experiment: one YAML file, one question, as a checked, frozen value.

experiment_file.py reads it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from digitsweep.distributions import as_meant
from digitsweep.errors import InputError
from digitsweep.explain import shown
from digitsweep.params import Params
from digitsweep.space import Space
from digitsweep.training_params import refuse_truth

FamilyName = Literal["ann", "cnn"]
MOST_EPOCHS = 100_000
Epochs = Annotated[int, Field(ge=1, le=MOST_EPOCHS)]


class _Part(BaseModel):
    """Abstract: a part of an experiment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth(cls, value: Any, info: ValidationInfo) -> Any:
        takes_truth = info.field_name is not None and cls.model_fields[info.field_name].annotation is bool
        return value if takes_truth else refuse_truth(value)


class DataSpec(_Part):
    """Which images."""

    source: Annotated[str, Field(min_length=1)]
    """`mnist`, `digits`, or a folder or npz file; a relative path starts at the experiment file's folder."""
    validation: int | float
    """Images set apart from the training images to select by: how many, or which share."""
    fallback: str | None = None
    """The experiment file to run instead where the data cannot be had."""

    @field_validator("validation", mode="before")
    @classmethod
    def _images_or_share(cls, value: Any) -> int | float:
        number = as_meant(refuse_truth(value))
        if isinstance(number, int | float):
            if 0 < number < 1:
                return float(number)
            if number >= 1 and float(number).is_integer():
                return int(number)
        raise ValueError(f"is a whole number of images, or a share above 0 and below 1, but is {shown(value)}")


class Budget(_Part):
    """What each family gets; never more for one than for the other. Baselines come on top."""

    trials: Annotated[int, Field(ge=0, le=1_000_000)]
    """0 trains the baselines only."""
    epochs: Epochs
    seconds: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    """Training seconds, added up over a family's trials, whatever the number of workers."""


class Objective(_Part):
    """What is selected by: the metric's value after a trial's last epoch."""

    metric: Literal["val_accuracy", "val_loss"] = "val_accuracy"
    direction: Literal["maximize", "minimize"] = "maximize"

    @model_validator(mode="after")
    def _check(self) -> Objective:
        better = "maximize" if self.metric == "val_accuracy" else "minimize"
        if self.direction != better:
            raise ValueError(f"`direction` of {self.metric} is {better}, but is {self.direction}")
        return self


class SamplerSpec(_Part):
    """How Optuna draws configurations."""

    type: Literal["tpe", "random"] = "tpe"
    startup_trials: Annotated[int, Field(ge=1)] = 8
    """Of tpe: as many are drawn at random first."""


class PrunerSpec(_Part):
    """When a trial that is behind the others is stopped."""

    type: Literal["successive_halving", "median", "hyperband", "none"] = "successive_halving"
    min_epochs: Annotated[int, Field(ge=1)] = 1
    """No trial is stopped before."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """Of successive_halving and hyperband: one in so many goes on at each rung."""
    startup_trials: Annotated[int, Field(ge=1)] = 4
    """Of median: trials that must be complete before one is stopped."""


class FinalistsSpec(_Part):
    """How the best configurations of each family are trained again, to find out how good they are without luck."""

    top: Annotated[int, Field(ge=1, le=100)] = 3
    """Configurations of each family."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 2
    """Fresh seeds that each of them is trained on."""
    epochs: dict[FamilyName, Epochs] = {}
    """Of each training; of a family that is not named, as many as in the search. A file may give one number for both."""
    refit: bool = True
    """Whether the winner is trained once more on training and validation images together, and that is registered; if not,
    what its first fresh seed gave."""

    @field_validator("epochs", mode="before")
    @classmethod
    def _of_both_or_each(cls, value: Any) -> Any:
        if value is None or isinstance(value, Mapping):
            return value or {}
        number = as_meant(refuse_truth(value))
        if not isinstance(number, int) or not 1 <= number <= MOST_EPOCHS:
            raise ValueError(
                f"is a whole number from 1 to {MOST_EPOCHS:,}, or one for each family as in {{ann: 16, cnn: 11}}, "
                f"but is {shown(value)}"
            )
        return dict.fromkeys(get_args(FamilyName), number)

    def epochs_of(self, family: str, searched: int) -> int:
        """Of each training of this family, where the search had so many."""
        return self.epochs.get(cast("FamilyName", family), searched)


class WorkersSpec(_Part):
    """How workers share a machine's processors."""

    per_gpu: Annotated[int, Field(ge=1, le=64)] = 1
    """Workers pinned to each GPU, where there are GPUs."""


class Baseline(_Part):
    """A published configuration: trained first, whole, and shown beside the best that is found."""

    params: Any
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Its own number of epochs, where that is not the budget's."""
    published_accuracy: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    note: str = ""
    """Where the figure is from, and what was chosen where the source does not say."""

    def typed(self) -> Params:
        assert not isinstance(self.params, Mapping), "load_experiment puts checked hyperparameters here"
        params: Params = self.params
        return params


class Family(BaseModel):
    """What is searched in one family."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    space: Space
    baselines: dict[str, Baseline] = {}


class Experiment(_Part):
    """One question, and all that is needed to answer it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=60)]
    question: Annotated[str, Field(min_length=1)]
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: DataSpec
    budget: Budget
    objective: Objective = Objective()
    sampler: SamplerSpec = SamplerSpec()
    pruner: PrunerSpec = PrunerSpec()
    finalists: FinalistsSpec | None = None
    """None where the best trial of the search is the winner."""
    workers: WorkersSpec = WorkersSpec()
    families: Annotated[dict[FamilyName, Family], Field(min_length=1)]
    register_models: bool = True
    """Whether the best model of each family becomes a version in the model registry."""
    path: Annotated[Path | None, Field(exclude=True)] = None
    """The file that this was read from."""
    text: Annotated[str, Field(exclude=True, repr=False)] = ""
    """The file's text."""

    def digest(self) -> str:
        """A short sha256 of all that decides what a sweep does; comments and the order of keys do not change it."""
        values = self.model_dump(mode="json", exclude={"families", "path", "text", "question", "workers"})
        values["families"] = {
            name: {
                **family.space.values(),
                "baselines": {
                    key: [each.typed().flat(), each.epochs or self.budget.epochs] for key, each in family.baselines.items()
                },
            }
            for name, family in self.families.items()
        }
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def changed(self, *, trials: int | None = None, seconds: float | None = None, seed: int | None = None) -> Experiment:
        """The same experiment with another budget or seed, where one is given."""
        if trials:
            for family, each in self.families.items():
                if not each.space.searched and not each.space.fixed:
                    raise InputError(
                        f"--trials must be 0 for {self.path}, but is {trials}: families.{family} has baselines only"
                    )
        if seconds is not None and not math.isfinite(seconds):
            raise InputError(f"--seconds must be a finite number above 0, but is {seconds}")
        budget = self.budget.model_copy(
            update={k: v for k, v in (("trials", trials), ("seconds", seconds)) if v is not None}
        )
        return self.model_copy(update={"budget": budget, "seed": self.seed if seed is None else seed})

    def beside(self, path: str, key: str) -> Path:
        """A path that the file names, from the file's own folder; it may not leave that folder unless absolute."""
        folder = (self.path.parent if self.path else Path()).resolve()
        try:
            found = (folder / path).resolve()
        except (OSError, RuntimeError):  # links that lead to themselves
            raise InputError(f"{self.path}: {key}: must lead somewhere, but {path} does not") from None
        if not Path(path).is_absolute() and not found.is_relative_to(folder):
            raise InputError(f"{self.path}: {key}: a relative path must stay in {folder}, but is {path}; write it absolute")
        return found
