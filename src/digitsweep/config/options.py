"""The options of a sweep: what a person may set on the command line, over the experiment file."""

from __future__ import annotations

import dataclasses
import numbers
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digitsweep.errors import InputError

if TYPE_CHECKING:
    from digitsweep.config.experiment import Experiment

AUTO = "auto"
"""How None is written, on the command line and in MLflow."""


def about(
    kind: type,
    text: str,
    *,
    least: float | None = None,
    most: float | None = None,
    is_open: bool = False,
    choices: Sequence[str] = (),
    resumes: bool = False,
) -> dict[str, Any]:
    """What the command line has to know of an option.

    kind: int, float, str or Path; text: for `--help`; least, most: the limits of a number; is_open: whether `least` itself
    is not allowed; choices: all values that a str may have; resumes: whether a resumed sweep may change it."""
    limits = {"least": least, "most": most, "is_open": is_open, "choices": choices}
    return {"kind": kind, "text": text, **limits, "resumes": resumes}


@dataclass(frozen=True)
class Options:
    """The command line takes each field as `--name`; `MLproject` names them as well. None: as the experiment file says."""

    minutes: float | None = field(
        default=None,
        metadata=about(float, "Minutes for the whole sweep, from the command to the answer.", least=0.5),
    )
    trials: int | None = field(
        default=None, metadata=about(int, "Maximum number of configurations in each family's search.", least=0)
    )
    seconds: float | None = field(
        default=None,
        metadata=about(
            float,
            "Training seconds of each family's search, for an experiment whose budget is in seconds.",
            least=0,
            is_open=True,
        ),
    )
    workers: int | None = field(
        default=None,
        metadata=about(
            int,
            "Processes that train; auto: one for each core, or for each GPU; with Ray, as many as fit.",
            least=1,
            most=1024,
            resumes=True,
        ),
    )
    engine: str | None = field(
        default=None,
        metadata=about(
            str, "Where to train: local, on this machine; ray, on a Ray cluster.", choices=("local", "ray"), resumes=True
        ),
    )
    address: str | None = field(
        default=None,
        metadata=about(
            str,
            "Ray cluster: ray://HOST:PORT or HOST:PORT; local: start Ray here; auto: this machine's cluster, else local.",
            resumes=True,
        ),
    )
    data: Path | None = field(
        default=None,
        metadata=about(Path, "Images to use instead: a folder of image files or IDX files, or an npz file.", resumes=True),
    )
    seed: int | None = field(
        default=None, metadata=about(int, "Seed of the data split, the search and the training.", least=0, most=2**31 - 1)
    )

    @classmethod
    def names(cls, *, resumes: bool = False) -> list[str]:
        """All options; or only those that a resumed sweep may change."""
        return [each.name for each in dataclasses.fields(cls) if each.metadata["resumes"] or not resumes]

    @classmethod
    def checked(cls, values: Mapping[str, object]) -> Options:
        """The options that a program gives, by name, held to the same limits as those of the command line.

        Raises InputError, with a line for each that is of another kind or outside its limits."""
        kinds = {each.name: each.metadata for each in dataclasses.fields(cls)}
        wrong = [rule for name, value in values.items() if (rule := _broken_rule(name, value, kinds[name]))]
        if wrong:
            raise InputError("\n".join(wrong))
        return cls(**{name: value if value is None else kinds[name]["kind"](value) for name, value in values.items()})

    def applied(self, experiment: Experiment) -> Experiment:
        """The experiment with this budget and seed, and its workers where these options say."""
        changed = experiment.changed(minutes=self.minutes, trials=self.trials, seconds=self.seconds, seed=self.seed)
        return self.placed(changed)

    def placed(self, experiment: Experiment) -> Experiment:
        """The experiment with its workers where these options say."""
        return experiment.placed(self.engine, self.address)

    def updated(self, options: Options) -> Options:
        """These options, but for those of `options` that a resumed sweep may change and that are set."""
        given = {name: getattr(options, name) for name in self.names(resumes=True)}
        # An address belongs to its engine.
        before = self if options.engine is None else dataclasses.replace(self, address=None)
        return dataclasses.replace(before, **{name: value for name, value in given.items() if value is not None})

    def recorded(self) -> dict[str, object]:
        """As MLflow's parameters, the way that `mlflow run` records them."""
        return {name: AUTO if value is None else value for name, value in dataclasses.asdict(self).items()}

    @classmethod
    def restored(cls, params: Mapping[str, str]) -> Options:
        """The options that a sweep's run has among its parameters."""
        given = {each.name: (each.metadata["kind"], params.get(each.name, AUTO)) for each in dataclasses.fields(cls)}
        return cls(**{name: kind(value) for name, (kind, value) in given.items() if value not in (AUTO, "None")})


def _broken_rule(name: str, value: object, about: Mapping[str, Any]) -> str:
    """What is wrong with an option's value; empty if nothing is, or if it is None."""
    kind, least, most = about["kind"], about["least"], about["most"]
    accepted = {int: numbers.Integral, float: numbers.Real, str: str, Path: str | os.PathLike}[kind]
    what = {int: "a whole number", float: "a number", str: "a string", Path: "a path"}[kind]
    is_right = isinstance(value, accepted) and not isinstance(value, bool)
    if about["choices"]:
        what, is_right = " or ".join(about["choices"]), value in about["choices"]
    if least is not None:
        what += f" above {least}" if about["is_open"] else f" of {least} or more"
        what += f", at most {most:,}" if most is not None else ""
        is_right = is_right and (value > least or (value == least and not about["is_open"]))
        is_right = is_right and (most is None or value <= most)
    return "" if value is None or is_right else f"{name}: must be {what}, but is {value!r}"
