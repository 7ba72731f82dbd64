"""A sweep's own run: opening it, also after a crash; what its coordinator writes to it; closing it and those below it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, ErrorCode
from mlflow.tracking import get_tracking_uri
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME, MLFLOW_SOURCE_NAME, MLFLOW_USER

from digitsweep.config.experiment import Experiment
from digitsweep.data import Dataset
from digitsweep.data.splits import has_names
from digitsweep.errors import DigitsweepError
from digitsweep.families.outside import FamilyFile
from digitsweep.report.format import cell
from digitsweep.tracking.client import (
    EXPERIMENT_NAME,
    all_runs,
    children,
    experiment_named,
    first_line,
    log_files,
    milliseconds,
    no_hidden_retries,
    run_params,
    run_tags,
    shown_uri,
    user,
)
from digitsweep.tracking.lock import ID, TAG, Claim, is_locked, is_run_by, latest_claim, locked
from digitsweep.tracking.provenance import Commit
from digitsweep.tracking.records import NOTE, SECONDS, TRIAL, TRIAL_STATUS, attempt_tags
from digitsweep.tracking.spool import disk_errors, state_folder, whole
from digitsweep.trial import Kind, TrialState

FAMILY = "digitsweep.family."
"""Tag of a sweep's run, with the name of a family that is not built in: the sha256 of its file, or its package's version."""
BROKEN_OFF = "the sweep was broken off while it ran"
SWEEP_STATUS = {"COMPLETE": "FINISHED", "INTERRUPTED": "KILLED", "FAILED": "FAILED"}


class OvertakenError(DigitsweepError):
    """Another coordinator has taken the sweep over."""


@dataclass(frozen=True)
class SweepRun:
    """A sweep's own run, as its coordinator writes it."""

    client: MlflowClient
    experiment_id: str
    run_id: str
    sweep_id: str
    mine: Claim
    """This coordinator's claim."""

    def claim(self) -> None:
        """Makes this process the sweep's coordinator.

        Raises DigitsweepError where another one was faster."""
        try:
            self.client.log_param(self.run_id, f"{TAG}.{self.mine.generation}", self.mine.tag())
        except MlflowException as error:
            latest = latest_claim(self.client.get_run(self.run_id))
            refused = error.error_code == ErrorCode.Name(INVALID_PARAMETER_VALUE)
            if not refused or latest is None or latest.generation < self.mine.generation:
                raise
            raise DigitsweepError(is_run_by(self.run_id, latest)) from None
        self._tag({TAG: self.mine.tag()})

    def confirm(self) -> None:
        """Asks the server whether this is still the sweep's coordinator.

        Raises OvertakenError where another one has claimed the sweep."""
        latest = latest_claim(self.client.get_run(self.run_id))
        if latest is None or latest.is_same(self.mine):
            return
        if not latest.released:
            raise OvertakenError(is_run_by(self.run_id, latest))
        raise OvertakenError(
            f"sweep {self.run_id} was taken over by process {latest.process} on {latest.host} while this one was silent, "
            f"and released again; to resume it: digitsweep sweep --resume {self.run_id}"
        )

    def heartbeat(self) -> None:
        self._tag({TAG: self.mine.alive().tag()})

    def reopen(self, experiment: Experiment) -> None:
        """Marks the run of a sweep that was broken off as running."""
        self._tag({"digitsweep.state": "RUNNING", NOTE: note(experiment, "is running again")})
        self.client.update_run(self.run_id, status="RUNNING")

    def close_trials(self) -> Iterator[tuple[str, str]]:
        """Ends the runs below this one that are still RUNNING; the name of each, and its status then."""
        for run in children(self.client, self.experiment_id, self.run_id):
            if run.info.status == "RUNNING":
                state = json.loads(run.data.tags.get(TRIAL, "{}")).get("state")
                status = TRIAL_STATUS[TrialState(state)] if state else "FAILED"
                if not state and run.data.tags.get("digitsweep.kind") in list(Kind):
                    make_attempt(self.client, run, BROKEN_OFF)
                self.client.set_terminated(run.info.run_id, status)
                yield run.info.run_name, status

    def close(self, state: str, described: str = "") -> None:
        """Ends the run, with those below it unless the sweep is COMPLETE, and releases the sweep.

        described: a new description, if there is one."""
        if state != "COMPLETE":
            list(self.close_trials())
        self._tag({"digitsweep.state": state, **({NOTE: described} if described else {})})
        self.client.set_terminated(self.run_id, SWEEP_STATUS[state])
        self.release()

    def release(self) -> None:
        """Gives the sweep up, so that the next coordinator need not wait until this one has been silent for long."""
        self._tag({TAG: self.mine.alive(released=True).tag()})

    def _tag(self, tags: Mapping[str, str]) -> None:
        self.client.log_batch(self.run_id, tags=run_tags(tags))


@dataclass(frozen=True)
class PendingRun:
    """All that the run of a new sweep is opened with. It is on disk before the first trial begins, so that the run can still
    be opened when the process has been killed before."""

    sweep_id: str
    store: str
    """Digest of the tracking server's address: the sweeps of another one are not looked for here."""
    begun: int
    """Milliseconds since 1970."""
    adopted: str
    """The run that `mlflow run` opened; empty where there is none."""
    experiment_id: str
    """MLflow's, where its variable gives one; empty otherwise."""
    experiment_name: str
    """MLflow's, in which the run is made."""
    experiment: str
    """The text of the experiment file."""
    params: Mapping[str, str]
    tags: Mapping[str, str]
    dataset: Mapping[str, str]
    families: Mapping[str, str] = field(default_factory=dict)
    """By name, the text of the file of each family that is not built in."""

    @classmethod
    def new(cls, experiment: Experiment, dataset: Dataset, commit: Commit, options: Mapping[str, Any]) -> PendingRun:
        origins = {name: each.build for name, each in experiment.families.items() if each.build is not None}
        tags = {
            **data_tags(experiment, dataset),
            **commit.tags(),
            "digitsweep.experiment": experiment.name,
            "digitsweep.data.source": dataset.source,
            "digitsweep.data.digest": dataset.digest(),
            **{f"digitsweep.data.digest.{split}": digest for split, digest in dataset.digests().items()},
            **{f"{FAMILY}{name}": origin.identity for name, origin in origins.items()},
            NOTE: note(experiment, "is running"),
        }
        return cls(
            sweep_id=uuid.uuid4().hex,
            store=_store_digest(),
            begun=milliseconds(),
            adopted=os.environ.get("MLFLOW_RUN_ID", ""),
            experiment_id=os.environ.get("MLFLOW_EXPERIMENT_ID", ""),
            experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT_NAME),
            experiment=experiment.text,
            params={name: str(value) for name, value in options.items()},
            tags=tags,
            dataset=_dataset_values(dataset),
            families={name: origin.text for name, origin in origins.items() if isinstance(origin, FamilyFile)},
        )

    def save(self) -> None:
        """Writes it to the sweep's folder.

        Raises DigitsweepError where the disk does not take it."""
        path = _pending_file(self.sweep_id)
        with disk_errors(path.parent), whole(path) as file:
            file.write(json.dumps(dataclasses.asdict(self)).encode())

    def open(self, client: MlflowClient, claim: Claim) -> SweepRun:
        """Opens the run: the one that `mlflow run` opened, or a new one. What an earlier try has done already is not done
        twice. A run that cannot be described is FAILED."""
        own = {
            ID: self.sweep_id,
            TAG: claim.tag(),
            "digitsweep.kind": "sweep",
            "digitsweep.state": "RUNNING",
            MLFLOW_RUN_NAME: f"sweep {self.tags['digitsweep.experiment']}",
        }
        no_hidden_retries()
        made = all_runs(client, f"tags.`{ID}` = '{self.sweep_id}'")
        run = client.get_run(self.adopted) if self.adopted else next(made, None)
        if run is None:
            experiment = self.experiment_id or experiment_named(client, self.experiment_name)
            own |= {MLFLOW_SOURCE_NAME: "digitsweep sweep", MLFLOW_USER: user()}
            run = client.create_run(experiment, start_time=self.begun, tags=own)
        elif ID not in run.data.tags:
            client.log_batch(run.info.run_id, tags=run_tags(own))
        run_id = run.info.run_id
        try:
            if not self.adopted:  # `mlflow run` has written down its own
                client.log_batch(run_id, params=run_params(self.params))
            # Before the tags: a run that has the digest's tag can be resumed wherever its sweep was killed.
            copies = {family_copy(name): text.encode() for name, text in self.families.items()}
            log_files(client, run_id, {"experiment.yaml": self.experiment.encode(), **copies})
            client.log_batch(run_id, tags=run_tags(self.tags))
            # What the UI asks of an experiment: training runs, not conversations of a language model.
            client.set_experiment_tag(run.info.experiment_id, "mlflow.experimentKind", "custom_model_development")
            context = [InputTag("mlflow.data.context", "training")]
            client.log_inputs(run_id, [DatasetInput(MlflowDataset(**self.dataset), context)])
        except BaseException:
            with suppress(MlflowException):
                client.log_batch(run_id, tags=run_tags({"digitsweep.state": "FAILED"}))
                client.set_terminated(run_id, "FAILED")
            raise
        _pending_file(self.sweep_id).unlink(missing_ok=True)
        return SweepRun(client, run.info.experiment_id, run_id, self.sweep_id, claim)


def family_copy(name: str) -> str:
    """The artifact of a sweep's run with the copy of a family's file."""
    return f"families/{name}.py"


def pending_run(sweep_id: str) -> PendingRun | None:
    """What the run of a sweep is still to be opened with, at this tracking server; None where it is open."""
    with suppress(OSError, TypeError, ValueError):
        found = PendingRun(**json.loads(_pending_file(sweep_id).read_text(encoding="utf-8")))
        return found if found.store == _store_digest() else None
    return None


def open_pending_runs(client: MlflowClient) -> Iterator[str]:
    """Opens the runs of sweeps that were killed before MLflow had all of them; a line for each."""
    for path in sorted(state_folder("").glob("*/sweep.json")):
        sweep_id = path.parent.name
        if is_locked(sweep_id) or pending_run(sweep_id) is None:
            continue
        try:
            with locked(sweep_id):
                pending = pending_run(sweep_id)
                run = pending.open(client, Claim.here(sweep_id)) if pending else None
        except (DigitsweepError, MlflowException) as error:  # such as a run of `mlflow run` that was deleted
            yield f"sweep {sweep_id}: left alone, {first_line(error)}"
        else:
            if run is not None:
                yield f"sweep {sweep_id} (run {run.run_id}): it was killed before its run was open; the run is open now"


def make_attempt(client: MlflowClient, run: Run, reason: str) -> float:
    """Turns a trial's run into an attempt. Its training seconds, which stay spent, are written to it and returned."""
    seconds = trained_seconds(client, run)
    metrics = [] if SECONDS in run.data.metrics else [Metric(SECONDS, seconds, milliseconds(), 0)]
    client.log_batch(run.info.run_id, metrics=metrics, tags=run_tags(attempt_tags(reason)))
    return seconds


def trained_seconds(client: MlflowClient, run: Run) -> float:
    """Training seconds of a run, as it says itself. Where its coordinator was killed, the time from its start to the end of
    its last whole epoch; how long it trained after that is not known."""
    if SECONDS in run.data.metrics:
        return float(run.data.metrics[SECONDS])
    epochs = {each.step: each for each in client.get_metric_history(run.info.run_id, "epoch_seconds")}.values()
    lasted = max((each.timestamp - run.info.start_time for each in epochs), default=0) / 1000
    return max(lasted, sum(float(each.value) for each in epochs))


def note(experiment: Experiment, state: str) -> str:
    """The description of a sweep's run that has no comparison."""
    return f"**{cell(experiment.question)}**\n\nThe sweep {state}."


def data_tags(experiment: Experiment, dataset: Dataset) -> dict[str, str]:
    """Tags of every run of a sweep."""
    return {"digitsweep.data": dataset.name, "digitsweep.digest": experiment.digest()}


def _dataset_values(dataset: Dataset) -> dict[str, str]:
    """The run's dataset as the UI shows it. The digest is of all bytes; MLflow's own is of the first images only."""
    training = dataset.training
    profile = {
        "train": len(training.train),
        "validation": len(training.validation),
        "test": len(dataset.test),
        "classes": training.classes,
        **{name: value for name, value in dataset.about().items() if name != "classes"},
        **({"class_names": list(dataset.class_names)} if has_names(dataset.class_names) else {}),
    }
    return {
        "name": dataset.name,
        "digest": dataset.digest()[:16],
        "source_type": "local",
        "source": json.dumps({"source": dataset.source, **dataset.digests()}),
        "profile": json.dumps(profile),
    }


def _pending_file(sweep_id: str) -> Path:
    return state_folder(sweep_id) / "sweep.json"


def _store_digest() -> str:
    """Of the tracking server's address, without the password in it; of a database in a file, of the whole path."""
    address = shown_uri()
    if get_tracking_uri().startswith("sqlite:///"):
        address = str(Path(get_tracking_uri().removeprefix("sqlite:///")).resolve())
    return hashlib.sha256(address.encode()).hexdigest()
