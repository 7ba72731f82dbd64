"""Sweeps of digits.yaml with a Ray that the sweep itself starts on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import yaml
from clusters import MARKS, processes_of, wait_until
from faults import start
from running import EXPERIMENTS, Sweep
from test_ray_sweeps import assert_as, begin, end, uri_of

pytestmark = MARKS
DIGITS = EXPERIMENTS / "digits.yaml"
HERE = ("--engine", "ray", "--address", "local")


def configurations(sweep: Sweep) -> dict[str, dict[str, float]]:
    """The values of each training that was complete, by its family, parameters, number of epochs and seed."""
    return {
        json.dumps([run.data.tags["family"], run.data.tags["seed"], run.data.params], sort_keys=True): {
            name: value for name, value in run.data.metrics.items() if "seconds" not in name
        }
        for kind in ("trial", "finalist", "confirmation")
        for run in sweep.runs(kind)
        if run.data.tags["trial.state"] == "COMPLETE"
    }


def test_digits_in_a_minute(tmp_path: Path) -> None:
    """digits.yaml has a budget of minutes, so that two sweeps train different trials, and on a busy machine even baselines
    are shortened. Trials that both train have the same values to the last bit. Ray, which was started for the sweep, is gone
    with it."""
    sweeps = []
    for name, options in (("local", ()), ("ray", HERE)):
        folder = tmp_path / name
        folder.mkdir()
        arguments = ("sweep", str(DIGITS), "--workers", "2", *options)
        process = start(folder, *arguments, uri=uri_of(folder))
        sweeps.append(end(process, folder))
    here, there = map(configurations, sweeps)
    common = here.keys() & there.keys()
    assert common
    assert {each: there[each] for each in common} == {each: here[each] for each in common}
    wait_until(lambda: not of_driver(process.pid), "Ray outlives the sweep that started it")


def of_driver(pid: int) -> list[psutil.Process]:
    """The processes of the session that a process started."""
    return [each for session in Path("/tmp/ray").glob(f"session_*_{pid}") for each in processes_of(str(session))]


def test_digits_in_trials(tmp_path: Path) -> None:
    """With a number of trials instead of minutes, and thus without priors, digits.yaml ends with the same trials, params,
    values and winners."""
    wanted = yaml.safe_load(DIGITS.read_text())
    wanted["budget"] = {"trials": 4, "epochs": 3, "seconds": 10000}
    for family in wanted["families"].values():
        del family["first"]
        for distribution in family["space"].values():
            if isinstance(distribution, dict):
                distribution.pop("prior", None)
    experiment = tmp_path / "digits.yaml"
    experiment.write_text(yaml.safe_dump(wanted))
    local, there = (
        end(begin(tmp_path / name, *options, experiment=str(experiment)), tmp_path / name)
        for name, options in (("local", ()), ("ray", HERE))
    )
    assert_as(there, local, trials=len(local.runs("trial")))
