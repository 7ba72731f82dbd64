"""An experiment: one YAML file, one question, as a checked, frozen value.

experiment_file.py reads it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from digitsweep.config.space import Space
from digitsweep.config.yaml_file import shown
from digitsweep.errors import InputError
from digitsweep.families import FAMILIES, Params
from digitsweep.families.outside import BUILT_IN, Origin
from digitsweep.trial import DIRECTIONS, Metric


def _known(name: str) -> str:
    if name not in FAMILIES:
        raise ValueError(f"a family must be one of {', '.join(BUILT_IN)}, but is {name}; one of your own needs `build`")
    return name


SOURCES = ("mnist", "digits")
"""The data sources that are known by name; any other source is a path."""
SMALLEST, LARGEST = 8, 512
"""Pixels: the limits of `data.size`."""
FamilyName = Annotated[str, AfterValidator(_known)]
MOST_EPOCHS = 100_000
Epochs = Annotated[int, Field(ge=1, le=MOST_EPOCHS)]


class _Part(BaseModel):
    """Abstract: a part of an experiment."""

    # Strict: otherwise true would be taken for 1.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)


class DataSpec(_Part):
    """Which images, and how they are prepared."""

    source: Annotated[str, Field(min_length=1)]
    """`mnist`, `digits`, or a folder or npz file; a relative path starts at the experiment file's folder."""
    validation: int | float = 0.2
    """Images set apart from the training images to select by: how many, or which share. Data with a validation split of its
    own keeps that."""
    fallback: str | None = None
    """The experiment file to run instead if the data is not available."""
    size: Annotated[int, Field(ge=SMALLEST, le=LARGEST)] | None = None
    """Width and height in pixels that images are brought to. None: arrays keep theirs if they are square; for image files it
    is chosen, see `chosen_size` in data/image_file.py."""
    fit: Literal["letterbox", "crop"] = "letterbox"
    """How an image that is not square becomes square: letterbox keeps all of it and fills the rest with the colour of its
    border; crop keeps the largest square in its middle."""
    classes: tuple[str, ...] = ()
    """The names of the classes in the order of their labels. Empty: as the data names them."""
    strict: bool = False
    """Whether image files that would be left out are an error instead."""

    @field_validator("validation", mode="before")
    @classmethod
    def _images_or_share(cls, value: Any) -> int | float:
        if isinstance(value, float) and (0 < value < 1 or (value >= 1 and value.is_integer())):
            return value if value < 1 else int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return value
        raise ValueError(f"is a whole number of images, or a share above 0 and below 1, but is {shown(value)}")

    @field_validator("classes", mode="before")
    @classmethod
    def _names(cls, value: Any) -> tuple[str, ...]:
        given = list(value) if isinstance(value, list | tuple) else [None]
        whole = [str(each) if isinstance(each, int) and not isinstance(each, bool) else each for each in given]
        names = tuple(each.strip() for each in whole if isinstance(each, str) and each.strip() and each.isprintable())
        if len(names) != len(whole) or len(set(names)) != len(names):
            raise ValueError(f"is a list of different names, with words such as yes and no in quotes, but is {shown(value)}")
        return names


PREPARATION = ("size", "fit", "classes", "strict")
"""The fields of DataSpec that are about preparing images."""


class MinutesBudget(_Part):
    """Minutes for the whole sweep, from the command to the answer. How long each network trains, how many go on and how
    often the winner is trained again is planned from them; see search/promotion.py."""

    minutes: Annotated[float, Field(ge=0.5, le=100_000.0)]
    patience: Annotated[int, Field(ge=1)] | None = None
    """A family's search ends after so many trainings in a row that were not the best of their rung so far; None: when its
    time is over."""
    trials: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Configurations of each family, at most; 0 trains the baselines only. None: as many as the minutes pay for."""


class Budget(_Part):
    """The search budget of each family, the same for all. Baselines and finalists are extra."""

    trials: Annotated[int, Field(ge=0, le=1_000_000)]
    """0 trains the baselines only."""
    epochs: Epochs
    seconds: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    """Training seconds, added up over a family's trials, whatever the number of workers."""


def _kind_of_budget(value: Any) -> str:
    given = value if isinstance(value, Mapping) else vars(value) if isinstance(value, BaseModel) else {}
    return "[seconds]" if given.keys() & Budget.model_fields.keys() and "minutes" not in given else "[minutes]"


AnyBudget = Annotated[
    Annotated[MinutesBudget, Tag("[minutes]")] | Annotated[Budget, Tag("[seconds]")], Discriminator(_kind_of_budget)
]
BASELINE_EPOCHS = 6
"""Of a baseline without a number of its own, where the budget is in minutes."""


class Objective(_Part):
    """What selects: the metric's value after a trial's last epoch."""

    metric: Metric = "val_accuracy"
    direction: Literal["maximize", "minimize"] = "maximize"

    @model_validator(mode="after")
    def _check(self) -> Objective:
        better = DIRECTIONS[self.metric]
        if self.direction != better:
            raise ValueError(f"`direction` of {self.metric} is {better}, but is {self.direction}")
        return self


class SamplerSpec(_Part):
    """How configurations are drawn."""

    type: Literal["mixture", "tpe", "random"] = "tpe"
    """mixture: near the best so far, by TPE or from the priors, one of these for each configuration; only with
    `budget.minutes`, where it is the default."""
    startup_trials: Annotated[int, Field(ge=1)] = 8
    """For tpe: so many configurations are drawn at random first."""


class PrunerSpec(_Part):
    """When a trial that is behind the others is stopped."""

    type: Literal["successive_halving", "median", "hyperband", "none"] = "successive_halving"
    min_epochs: Annotated[int, Field(ge=1)] = 1
    """No trial is stopped before this epoch."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """For successive_halving and hyperband: one trial in this many continues at each rung."""
    startup_trials: Annotated[int, Field(ge=1)] = 4
    """For median: trials that must be complete before one is stopped."""


class FinalistsSpec(_Part):
    """How the best configurations of each family are trained again on fresh seeds: some seeds choose the winner, others
    say how good it is."""

    top: Annotated[int, Field(ge=1, le=100)] = 3
    """Configurations of each family."""
    seeds: Annotated[int, Field(ge=0, le=100)] = 2
    """Fresh seeds that each of them is trained on. The best mean over them wins, so it flatters the winner a little. 0: the
    score in the search decides."""
    confirm: Annotated[int, Field(ge=0, le=100)] = 3
    """Fresh seeds that the winner is then trained on. They choose nothing, so their means are unbiased."""
    epochs: dict[FamilyName, Epochs] = {}
    """Of each training, by family; a family that is not named trains as in the search. A file may give one for all."""
    refit: bool = True
    """Whether the winner is trained once more, on training and validation images together, and that network registered. If
    not, the network of its first confirmation seed is registered, or that of its first selection seed."""

    @field_validator("epochs", mode="before")
    @classmethod
    def _of_both_or_each(cls, value: Any) -> Any:
        if value is None or isinstance(value, Mapping):
            return value or {}
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_EPOCHS:
            raise ValueError(
                f"is a whole number from 1 to {MOST_EPOCHS:,}, or one for each family as in {{{next(iter(FAMILIES))}: 16}}, "
                f"but is {shown(value)}"
            )
        return dict.fromkeys(FAMILIES, value)

    def epochs_of(self, family: str, searched: float) -> float:
        """Of each training of this family, whose search trained for `searched` epochs."""
        return self.epochs.get(family, searched)

    @property
    def trainings(self) -> int:
        """How many trainings this takes for each family."""
        return self.top * self.seeds + self.confirm + self.refit


class WorkersSpec(_Part):
    """Where the workers run, and what each of them gets."""

    engine: Literal["local", "ray"] = "local"
    per_gpu: Annotated[int, Field(ge=1, le=64)] = 1
    """Local: workers pinned to each GPU, if there are any."""
    address: str | None = None
    """Ray: of the cluster, `ray://HOST:PORT` or `HOST:PORT`; `local` starts one on this machine. None: the one that this
    machine belongs to; if there is none, one is started."""
    cpus: Annotated[float, Field(gt=0.0, le=1024.0)] = 1.0
    """Ray: what each worker reserves. It computes with as many threads, at least one."""
    gpus: Annotated[float, Field(ge=0.0, le=64.0)] = 0.0
    """Ray: what each worker reserves; below 1 it shares a GPU."""
    runtime_env: dict[str, Any] | None = None
    """Ray: what its nodes install or copy before a worker begins, in Ray's words."""

    @field_validator("address")
    @classmethod
    def _address_of_a_cluster(cls, value: str | None) -> str | None:
        if value is not None and value != "local" and not re.fullmatch(r"(ray://)?[^\s/:@]+:\d{1,5}", value):
            raise ValueError(f"is ray://HOST:PORT, HOST:PORT or local, but is {shown(value)}")
        return value

    @field_validator("gpus")
    @classmethod
    def _shared_or_whole(cls, value: float) -> float:
        if value > 1 and not value.is_integer():
            raise ValueError(f"is a share of one GPU or a whole number of them, but is {value:g}")
        return value

    @model_validator(mode="after")
    def _keys_of_the_engine(self) -> Self:
        if self.engine == "local" and (given := {"address", "cpus", "gpus", "runtime_env"} & self.model_fields_set):
            raise ValueError(f"`{min(given)}` needs `engine: ray`")
        if self.engine == "ray" and "per_gpu" in self.model_fields_set:
            raise ValueError("`per_gpu` does not go with `engine: ray`; give each worker a share, such as `gpus: 0.5`")
        return self


class Baseline(_Part):
    """A published configuration: trained first, whole, and shown beside the best that is found."""

    params: Params
    epochs: Annotated[int, Field(ge=1)] | None = None
    """None: as many as in the budget, or BASELINE_EPOCHS if that is in minutes."""
    published_accuracy: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    note: str = ""
    """The source of the figure, and what was chosen because the source leaves it open."""


class FamilySpec(_Part):
    """What is searched in one family."""

    space: Space
    baselines: dict[str, Baseline] = {}
    first: tuple[Params, ...] = ()
    """Configurations that the search tries first, in this order; with `budget.minutes` only."""
    defaults: tuple[Params, ...] = ()
    """Configurations that come with digitsweep, moved into the space. They are not in the experiment's file."""
    build: Origin | None = None
    """Where the family comes from; None: it is built in. A file names it as `my_models.py:MIXER`."""


class Experiment(_Part):
    """One question, and all that is needed to answer it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=60)]
    question: Annotated[str, Field(min_length=1)]
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: DataSpec
    budget: AnyBudget
    objective: Objective = Objective()
    sampler: SamplerSpec = SamplerSpec()
    pruner: PrunerSpec = PrunerSpec()
    finalists: FinalistsSpec | None = None
    """None: the best trial of the search is the winner."""
    workers: WorkersSpec = WorkersSpec()
    families: Annotated[dict[FamilyName, FamilySpec], Field(min_length=1)]
    register_models: bool = True
    """Whether the best model of each family becomes a version in the model registry."""
    path: Annotated[Path | None, Field(exclude=True)] = None
    """The file that this was read from."""
    text: Annotated[str, Field(exclude=True, repr=False)] = ""
    """The file's text."""
    images: Annotated[Path | None, Field(exclude=True)] = None
    """Where the images of a relative `data.source` are; None: beside the file. A resumed sweep reads a copy of the file."""

    @model_validator(mode="before")
    @classmethod
    def _default_sampler(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and _kind_of_budget(given.get("budget")) == "[minutes]":
            sampler = given.get("sampler", {})
            return {**given, "sampler": {"type": "mixture", **sampler} if isinstance(sampler, Mapping) else sampler}
        return given

    def digest(self) -> str:
        """A short sha256 of all that decides what a sweep does; comments and the order of keys do not change it."""
        values = self.model_dump(mode="json", exclude={"families", "path", "text", "question", "workers"})
        # Left out where they are not used, so that the digest of an experiment without them stays what it was.
        unused = {name for name in PREPARATION if getattr(self.data, name) == DataSpec.model_fields[name].default}
        values["data"] = {name: value for name, value in values["data"].items() if name not in unused}
        values["families"] = {
            name: {
                **family.space.values(),
                "baselines": {
                    key: [each.params.flat(), self.baseline_epochs(each)] for key, each in family.baselines.items()
                },
                **{by: [each.flat() for each in known] for by, known in self.known(name).items() if known},
                **({"build": family.build.identity} if family.build else {}),
            }
            for name, family in self.families.items()
        }
        if self.finalists is not None:  # one number for all stands for every family that is known here
            epochs = self.finalists.epochs
            values["finalists"]["epochs"] = {name: each for name, each in epochs.items() if name in self.families}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def known(self, family: str) -> dict[str, tuple[Params, ...]]:
        """The configurations of a family that a search in minutes tries before any other, by who names them: `first` is the
        experiment, `default` digitsweep, whose own only the sampler `mixture` tries."""
        spec = self.families[family]
        tries_defaults = self.sampler.type == "mixture" and self.budget.trials != 0
        return {"first": spec.first, "default": spec.defaults if tries_defaults else ()}

    def baseline_epochs(self, baseline: Baseline) -> int:
        """Epochs of a baseline, unless a budget in minutes is too short for it."""
        return baseline.epochs or (self.budget.epochs if isinstance(self.budget, Budget) else BASELINE_EPOCHS)

    def changed(
        self,
        *,
        minutes: float | None = None,
        trials: int | None = None,
        seconds: float | None = None,
        seed: int | None = None,
    ) -> Experiment:
        """The same experiment with the given budget and seed.

        Raises InputError for an option that does not go with the experiment's budget."""
        if trials:
            for family, each in self.families.items():
                if not each.space.searched and not each.space.fixed:
                    raise InputError(
                        f"--trials must be 0 for {self.path}, but is {trials}: families.{family} has baselines only"
                    )
        for name, value in (("minutes", minutes), ("seconds", seconds)):
            if value is not None and not math.isfinite(value):
                raise InputError(f"--{name} must be a finite number above 0, but is {value}")
        given = {"minutes": minutes, "trials": trials, "seconds": seconds}
        given = {name: value for name, value in given.items() if value is not None}
        unit, other = ("minutes", "seconds") if isinstance(self.budget, MinutesBudget) else ("seconds", "minutes")
        if other in given:
            raise InputError(f"--{other} does not go with {self.path}, whose budget is in {unit}; use --{unit}")
        budget = self.budget.model_copy(update=given)
        return self.model_copy(update={"budget": budget, "seed": self.seed if seed is None else seed})

    def placed(self, engine: str | None, address: str | None) -> Experiment:
        """The same experiment with its workers elsewhere; None: as the file says.

        Raises InputError for an address that is none, or that does not go with the engine."""
        given = self.workers.model_dump(include=self.workers.model_fields_set)
        if engine is not None and engine != self.workers.engine:
            given = {"engine": engine}
        if address is not None:
            if given.get("engine") != "ray":
                raise InputError(f"--address needs --engine ray, but is {address}")
            given["address"] = address
        try:
            return self.model_copy(update={"workers": WorkersSpec(**given)})
        except ValidationError:
            raise InputError(f"--address must be ray://HOST:PORT, HOST:PORT or local, but is {address}") from None

    def source(self) -> str | Path:
        """The name of a known data source, or an absolute path."""
        named = self.data.source
        return named if named in SOURCES else self.images or self.beside(named, "data.source")

    def beside(self, path: str, key: str) -> Path:
        """A path that the file names, from the file's own folder; it may not leave that folder unless absolute."""
        try:
            return beside(self.path or Path(), path)
        except InputError as error:
            raise InputError(f"{self.path}: {key}: {error}") from None


def beside(file: Path, path: str) -> Path:
    """A path that an experiment file names, from the file's own folder.

    Raises InputError for a relative path that leaves the folder."""
    folder = file.parent.resolve()
    try:
        found = (folder / path).resolve()
    except (OSError, RuntimeError):  # links that lead to themselves
        raise InputError(f"must lead somewhere, but {path} does not") from None
    if not Path(path).is_absolute() and not found.is_relative_to(folder):
        raise InputError(f"a relative path must stay in {folder}, but is {path}; write it absolute")
    return found
