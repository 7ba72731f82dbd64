"""Checks before a long sweep: each check returns a Finding, and leaves nothing behind.

    findings = examine(Path("experiments/mnist.yaml"), Options())

Every sweep begins with the cheap ones, `quick`.
"""

from __future__ import annotations

import enum
import math
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from statistics import median_low
from urllib.parse import urlsplit

import mlflow
import psutil
from mlflow import get_registry_uri, get_tracking_uri
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from mlflow.utils.rest_utils import http_request
from packaging.requirements import Requirement
from sqlalchemy import NullPool, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from digitsweep.config.experiment import Experiment, MinutesBudget, WorkersSpec
from digitsweep.config.experiment_file import load_experiment
from digitsweep.config.options import Options
from digitsweep.errors import InputError
from digitsweep.families import Params, Shape
from digitsweep.report.format import plural
from digitsweep.search.promotion import finalists_spec
from digitsweep.sweeping.processes import Place, cores, expected_workers, places_for, visible_gpus
from digitsweep.sweeping.run import prepare
from digitsweep.tracking.client import (
    EXPERIMENT_NAME,
    first_line,
    log_files,
    open_store,
    patience_seconds,
    quiet_mlflow,
    without_secrets,
)
from digitsweep.tracking.spool import state_folder
from digitsweep.tracking.tracker import Listener
from digitsweep.training.startup import processor_precision

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""Schemes of a tracking URI; a driver may be named after a plus sign."""


class State(enum.StrEnum):
    OK = "ok"
    WARNING = "warning"
    """A sweep can run, but slower, or perhaps not to its end."""
    WRONG = "wrong"
    """A sweep would fail."""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    name: str
    state: State
    found: str
    mend: str = ""
    """How to fix it; empty when all is well."""

    def line(self) -> str:
        """The finding as one line of text."""
        return f"{self.state}: {self.name}: {self.found}" + (f"; {self.mend}" if self.mend else "")


def ok(name: str, found: str) -> Finding:
    return Finding(name, State.OK, found)


def warning(name: str, found: str, mend: str) -> Finding:
    return Finding(name, State.WARNING, found, mend)


def wrong(name: str, found: str, mend: str) -> Finding:
    return Finding(name, State.WRONG, found, mend)


@dataclass(frozen=True)
class Images:
    """What a sweep's need of memory and disk depends on."""

    size: int
    """Bytes of all of them."""
    shape: Shape
    """Of one: height and width, pixels, and channels."""
    classes: int


def quick(
    experiment: Experiment, options: Options, images: Images | None = None, workers: int | None = None
) -> list[Finding]:
    """The checks that read no images, do not load TensorFlow, and write nothing to MLflow.

    images: None if they have not been read yet. workers: how many there will be; None: as many as this machine expects."""
    images = images or MNIST
    spec = experiment.workers
    is_local = spec.engine == "local"
    workers = expected_workers(experiment, options) if workers is None else workers
    records = record_bytes(experiment, workers, images)
    gpus = visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"))
    here = workers if is_local or spec.address == "local" else 0
    findings = [
        environment(),
        *([processors(places_for(experiment, options), gpus)] if is_local else []),
        memory(here, images.size, worker_bytes(experiment, images), free_memory()),
        # The images that the workers share, and a model on its way to the registry.
        disk("temporary files", Path(tempfile.gettempdir()), images.size + 2 * model_bytes(experiment, images)),
        disk("waiting records", state_folder("").parent, records),
    ]
    match _scheme(get_tracking_uri()):
        case "http" | "https":
            findings.append(server(get_tracking_uri()))
        case "sqlite":
            findings += [disk("records", Path.cwd(), records), sqlite_file(get_tracking_uri())]
        case "" | "file":
            findings.append(plain_folder(get_tracking_uri()))
    return findings


def examine(path: Path, options: Options) -> list[Finding]:
    """All checks: it reads the images, and writes a file to a run of its own on the tracking server.

    Raises InputError if the experiment file is invalid."""
    quiet_mlflow()
    experiment = options.applied(load_experiment(path))
    data, found = images(path, options)
    workers: int | None = None
    nodes: list[Finding] = []
    if experiment.workers.engine == "ray":
        workers, nodes = cluster(experiment.workers, options.workers, (found or MNIST).size)
    findings = [*quick(experiment, options, found, workers), data, *nodes]
    # A check is left out if it would fail for the same reason as one before it.
    if not _wrong(findings, "tracking") and _scheme(get_tracking_uri()) in DATABASES:
        findings.append(tables(get_tracking_uri()))
    if not _wrong(findings, "tracking", "tables"):
        findings += [artifacts(), registry()]
    return findings


def note_trouble(experiment: Experiment, options: Options, display: Listener) -> None:
    """Runs the quick checks before a sweep, and shows every finding that is not ok.

    Raises InputError if DIGITSWEEP_PATIENCE is invalid, which would otherwise surface only after training."""
    patience_seconds()
    for finding in quick(experiment, options):
        if finding.state is not State.OK:
            display.note(finding.line())


def _wrong(findings: Sequence[Finding], *names: str) -> bool:
    """Whether a check is wrong whose name begins like this."""
    return any(each.state is State.WRONG and each.name.startswith(names) for each in findings)


def _scheme(uri: str) -> str:
    """`postgresql` for `postgresql+psycopg://...`; empty for a bare path."""
    before, colon, _ = uri.partition(":")
    return before.partition("+")[0] if colon else ""


# The data


def images(path: Path, options: Options) -> tuple[Finding, Images | None]:
    """Whether all images are available and intact, and what they are; downloads MNIST if it is missing."""
    try:
        experiment, dataset = prepare(path, options, Listener())
    except InputError as error:
        return wrong("data", " ".join(str(error).split()), "fix that, or choose other data with --data"), None
    training = dataset.training
    counts = (
        f"{len(training.train):,} training, {len(training.validation):,} validation, {len(dataset.test):,} test images of "
        f"{training.side}x{training.side}, {training.classes} classes"
    )
    counts += f". {dataset.prepared()}".rstrip(". ")
    count = len(training.train) + len(training.validation) + len(dataset.test)
    known = Images(count * math.prod(training.shape), training.shape, training.classes)
    if experiment.path is None or experiment.path.resolve() == path.resolve():
        if dataset.files is not None and dataset.files.left_out:
            return warning("data", f"{dataset.name}: {counts}", "mend or remove the files that are left out"), known
        return ok("data", f"{dataset.name}: {counts}"), known
    found = f"not available; {experiment.path.name} would run instead, on {dataset.name}: {counts}"
    mend = "name a folder with --data or DIGITSWEEP_DATA, or run `digitsweep data fetch` with a network connection"
    return warning("data", found, mend), known


# The machine


def environment(package: str = "digitsweep") -> Finding:
    """Whether the packages that a package requires are installed at the required versions."""
    problems = []
    try:
        required = requires(package) or []
    except PackageNotFoundError:  # run from a folder on PYTHONPATH, as in the project's Docker image
        return ok("environment", f"{package} runs from its source, so that nothing says what it requires")
    for each in map(Requirement, required):
        if each.marker and not each.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(each.name)
        except PackageNotFoundError:
            problems.append(f"{each.name} is not installed")
        else:
            if not each.specifier.contains(installed, prereleases=True):
                problems.append(f"{package} requires {each.name}{each.specifier}, but {installed} is installed")
    if not problems:
        return ok("environment", f"all packages that {package} requires are installed")
    more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
    mend = "create a fresh environment: `make sweep` does, or `pip install -r requirements.txt`"
    return warning("environment", f"{', '.join(problems[:4])}{more}", mend)


def processors(places: Sequence[Place], gpus: Sequence[str]) -> Finding:
    """What the workers at these places train on, and whether they use the GPUs that are present."""
    name, used = "processors", sorted({place.gpu for place in places if place.gpu is not None})
    if used:
        return ok(name, f"{len(places)} workers on GPU {', '.join(used)}")
    found = f"{cores()} core{'s' * (cores() != 1)}, training in {processor_precision()}"
    if not gpus:
        return ok(name, found)
    found += f"; GPU {', '.join(gpus)} unused, because TensorFlow was installed without the CUDA libraries"
    return warning(name, found, "pip install 'tensorflow[and-cuda]'")


# A Ray cluster


def cluster(spec: WorkersSpec, workers: int | None, image_size: int) -> tuple[int, list[Finding]]:
    """Whether a Ray cluster can be reached, has room for workers and the coordinator's versions, and can hold the images;
    and how many workers a sweep would have there.

    workers: how many are wanted at most; image_size: in bytes."""
    try:
        from digitsweep.sweeping.ray import survey

        found = survey(spec, workers)
    except InputError as error:
        return workers or 1, [wrong("ray cluster", str(error), "see docs/cluster.md")]
    has = f"{plural(len(found.nodes), 'node')} with {sum(each.cpus for each in found.nodes):g} CPU and "
    has += f"{sum(each.gpus for each in found.nodes):g} GPU, room for {plural(found.room, 'worker')}"
    if found.missing:
        findings = [wrong("ray cluster", has, found.missing)]
    elif found.room < (workers or 0):
        mend = f"a sweep starts with {found.room} unless nodes join"
        findings = [warning("ray cluster", f"{has}, but --workers asks for {workers}", mend)]
    else:
        findings = [ok("ray cluster", has)]
    if found.mismatches:
        findings += [wrong("ray versions", *each) for each in found.mismatches]
    else:
        findings.append(ok("ray versions", "all nodes have the coordinator's versions"))
    store = min(found.nodes, key=lambda each: each.object_store)
    text = f"{size(store.object_store)} on node {store.name}, at most {size(image_size)} needed"
    mend = "start Ray there with a larger --object-store-memory"
    room = found.room if workers is None else min(workers, found.room)
    return max(1, room), [*findings, _enough("ray object store", store.object_store, image_size, text, mend)]


# Memory and disk

MIB = 2**20
RECORD = MIB // 4
"""Bytes of a run's pictures, reports and database rows."""
UNCOUNTED = 4_000_000
"""Weights of a network whose family does not count them; more than any built-in one has on MNIST."""
COORDINATOR, WORKER = 1024 * MIB, 560 * MIB
"""Peak bytes of memory over 300 trials of small networks on 8x8 images: `make bench-memory`."""
TRAINED_WEIGHT, TRAINED_OUTPUT, EVALUATED_OUTPUT = 24, 12, 1000
"""Bytes that a training takes besides: for a weight; for an output of a layer for each image of a batch; and for an output
while 500 images are evaluated, if that is more. For ten networks on images of 28 to 128 pixels, peaks of 70 to 1,800 MiB
were at most a tenth above this, and for a network without normalisation half of it."""
MARGIN = 1.5
"""Warn if less than this multiple of the need is free: other programs use some of it too."""
SHORTEST_TRIAL = 0.2
"""Seconds that a trial of the smallest network takes on the smallest images."""
MNIST = Images(60 * MIB, (28, 28, 1), 10)
"""Stands for images that have not been read yet."""


def model_bytes(experiment: Experiment, images: Images) -> int:
    """Of the largest network that a sweep may register."""
    return 4 * max((_weights(each, images) for each in _configurations(experiment, images)), default=UNCOUNTED)


def worker_bytes(experiment: Experiment, images: Images) -> int:
    """Of memory that a worker takes with a network of usual size. A refit has a copy of the images, training and validation
    together."""

    def trained(params: Params) -> int:
        outputs = max(TRAINED_OUTPUT * params.batch_size, EVALUATED_OUTPUT) * params.outputs(images.shape)
        return TRAINED_WEIGHT * _weights(params, images) + outputs

    usual = [trained(each) for each in _configurations(experiment, images)] or [TRAINED_WEIGHT * UNCOUNTED]
    return WORKER + images.size + median_low(usual)


def _configurations(experiment: Experiment, images: Images) -> Iterator[Params]:
    """Those at the corners of the spaces, and those that the experiment names, as far as the images are large enough."""
    for family in experiment.families.values():
        named = [each.params for each in family.baselines.values()]
        yield from (
            each for each in (*named, *family.first, *family.space.corners()) if each.smallest_image() <= images.shape[0]
        )


def _weights(params: Params, images: Images) -> int:
    """Of a network. Its last layer has as many for each class as it has operations."""
    shape, classes = images.shape, images.classes
    last = params.operations(shape, classes + 1) - params.operations(shape, classes)
    return (params.kernels(shape) or UNCOUNTED) + classes * last


def record_bytes(experiment: Experiment, workers: int, images: Images = MNIST) -> int:
    """At most so many bytes of runs and models are recorded."""
    budget, finalists = experiment.budget, finalists_spec(experiment)
    if isinstance(budget, MinutesBudget):
        trials: float = math.inf if budget.trials is None else budget.trials
        seconds = 60.0 * budget.minutes * workers / len(experiment.families)
    else:
        trials, seconds = budget.trials, budget.seconds
    repeated = finalists.trainings if finalists else 0
    searched = math.ceil(min(trials, seconds / SHORTEST_TRIAL))
    runs = sum(searched + len(each.baselines) + repeated for each in experiment.families.values())
    return runs * RECORD + (repeated or 1) * len(experiment.families) * model_bytes(experiment, images)


def disk(name: str, folder: Path, needed: int) -> Finding:
    """Whether the disk of a folder, which need not exist yet, has so many bytes free."""
    folder = nearest_existing(folder)
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return wrong(name, f"{folder}: {error.strerror or error}", "choose a folder that can be read")
    found = f"{folder}: {size(free)} free, at most {size(needed)} needed"
    return _enough(name, free, needed, found, "free some space, or run the sweep on a larger disk")


def memory(workers: int, image_size: int, worker: int, free: int) -> Finding:
    """Whether so many workers and the coordinator fit into the free memory; sizes, also of a worker, are in bytes."""
    # The coordinator holds the images three times: as read, split, and joined for the refit.
    coordinator = COORDINATOR + 3 * image_size
    needed = coordinator + workers * worker
    fitting = (free - coordinator) // worker
    who = f"{plural(workers, 'worker')} and the coordinator" if workers else "the coordinator"
    found = f"{size(free)} free, about {size(needed)} needed by {who}"
    mend = f"use --workers {fitting}" if 1 <= fitting < workers else "close other programs, or use fewer workers"
    return _enough("memory", free, needed, found, mend)


def _enough(name: str, free: int, needed: int, found: str, mend: str) -> Finding:
    if free < needed:
        return wrong(name, found, mend)
    return warning(name, found, mend) if free < MARGIN * needed else ok(name, found)


def free_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process and its children may still allocate, on the machine and within a container's limit."""
    free: int = psutil.virtual_memory().available
    with suppress(OSError, ValueError, StopIteration):  # psutil does not know the limit; without one, memory.max is `max`
        limit, used = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
        statistics = (line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        cached = next(int(value) for key, value in statistics if key == "inactive_file")
        return min(free, limit - used + cached)
    return free


def nearest_existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    folder = folder.resolve()
    return next(each for each in (folder, *folder.parents) if os.access(each, os.F_OK))


def size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{math.ceil(count / MIB)} MiB"


# A tracking database


def plain_folder(uri: str) -> Finding:
    """MLflow keeps nothing in plain folders any more."""
    found = f"{without_secrets(uri)} is a folder, but MLflow needs a database or a server"
    return wrong("tracking database", found, "set MLFLOW_TRACKING_URI to sqlite:///mlflow.db or http://HOST:PORT")


def sqlite_file(uri: str) -> Finding:
    """Whether an SQLite file, or the folder that it would be created in, can be written; neither is changed."""
    name, mend = "tracking database", "choose another file in MLFLOW_TRACKING_URI"
    try:
        path = Path(make_url(uri).database or ":memory:")
    except SQLAlchemyError as error:
        return wrong(name, f"{without_secrets(uri)}: {first_line(error)}", "correct MLFLOW_TRACKING_URI")
    if str(path) == ":memory:":
        return wrong(name, "is in memory, and would be lost at the end", "name a file: sqlite:///mlflow.db")
    folder = nearest_existing(path.parent)
    try:
        with tempfile.TemporaryFile(dir=folder):  # SQLite keeps its journal beside the file
            pass
        if not path.exists():
            return ok(name, f"{path.resolve()} will be created by the first sweep")
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=1.0)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except OSError as error:
        return wrong(name, f"{folder} cannot be written: {error.strerror or error}", mend)
    except sqlite3.Error as error:
        if "locked" in str(error):
            return warning(name, f"{path} is locked by another process", "wait for it, or run an MLflow server for both")
        return wrong(name, f"{path} cannot be written: {error}", mend)
    return ok(name, f"{path.resolve()} can be written")


def tables(uri: str) -> Finding:
    """Whether a database can be reached and has the tables of the installed MLflow, which creates them if there are none."""
    name, address = "tables", without_secrets(uri)
    try:
        create_engine(uri, poolclass=NullPool).connect().close()  # MLflow itself would try for minutes
        open_store()
    except MlflowException as error:
        mend = "back it up, then run `mlflow db upgrade` on it; or install the version of MLflow that created it"
        return wrong(name, f"{address}: {first_line(error).split('. ')[0]}", mend)
    except (ImportError, SQLAlchemyError) as error:
        mend = "start the database and install its driver, or correct MLFLOW_TRACKING_URI"
        return wrong(name, f"{address}: {first_line(error)}", mend)
    return ok(name, f"as mlflow {mlflow.__version__} creates them")


# A tracking server


def server(uri: str) -> Finding:
    """Whether an MLflow server of a tested version answers, accepts the name that it is called by, and lets this user in."""
    name, address, host, ours = "tracking server", without_secrets(uri), urlsplit(uri).hostname, mlflow.__version__
    try:
        # A sweep needs more than to search, but a server's guards show here already.
        status, text = _get(uri, "/api/2.0/mlflow/experiments/search?max_results=1")
        _, version = _get(uri, "/version")
    except MlflowException as error:
        return wrong(name, f"{address}: {first_line(error)}", "start it (`mlflow server`), or correct MLFLOW_TRACKING_URI")
    if status == 403 and "Invalid Host" in text:
        mend = f'start it with --allowed-hosts "{host},{host}:*,localhost:*,127.0.0.1:*"'
        return wrong(name, f"{address} rejects requests for the host {host}", mend)
    if status == 401:
        mend = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        return wrong(name, f"{address}: authentication failed", mend)
    if status == 403:
        return wrong(name, f"{address}: this user has no permission", "ask its administrator for permission to edit")
    if status != 200 or not re.match(r"\d+\.\d+", version):
        said = f"HTTP {status}" if status != 200 else "something other than a version"
        mend = "set MLFLOW_TRACKING_URI to an MLflow server, including the path that it is served under"
        return wrong(name, f"{address} answers with {said}", mend)
    if version.split(".")[0] != ours.split(".")[0]:
        return warning(name, f"{address}, mlflow {version}; tested with {ours}", f"run the server with mlflow {ours}")
    return ok(name, f"{address}, mlflow {version}")


def _get(uri: str, endpoint: str) -> tuple[int, str]:
    """Status and body of one request, sent as MLflow would, with its credentials and certificates, but not repeated."""
    credentials = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
    response = http_request(  # type: ignore[no-untyped-call]
        credentials, endpoint, "GET", max_retries=0, timeout=3.0, raise_on_status=False
    )
    return response.status_code, response.text.strip()


# Writing and reading back


def artifacts() -> Finding:
    """Whether a file comes back from a run's artifacts as it was written.

    The run is in the experiment that a sweep would use, or in MLflow's default one if that does not exist yet. It is deleted
    again, and its file removed."""
    name, file, content = "artifacts", "doctor.txt", b"Written by `digitsweep doctor`, to be read back.\n"
    quiet_mlflow()
    try:
        client = open_store()
        experiment = client.get_experiment_by_name(os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT_NAME))
        experiment_id = os.environ.get("MLFLOW_EXPERIMENT_ID") or (experiment.experiment_id if experiment else "0")
        run = client.create_run(experiment_id, tags={"digitsweep.kind": "doctor", MLFLOW_RUN_NAME: "digitsweep doctor"})
        try:
            with tempfile.TemporaryDirectory(prefix="digitsweep-") as scratch:
                log_files(client, run.info.run_id, {file: content})
                read = Path(client.download_artifacts(run.info.run_id, file, scratch)).read_bytes()
        finally:
            client.set_terminated(run.info.run_id, "FINISHED")
            client.delete_run(run.info.run_id)
            with suppress(Exception):  # not every store can delete files; `mlflow gc` removes those of deleted runs
                get_artifact_repository(run.info.artifact_uri).delete_artifacts()  # type: ignore[no-untyped-call]
    except Exception as error:  # each kind of artifact store raises its own, and the other checks must still run
        mend = "check that the artifact store exists, can be written and has free space, and install its client library"
        return wrong(name, first_line(error), mend)
    where = without_secrets(run.info.artifact_uri.partition(run.info.run_id)[0])
    if read != content:
        return wrong(name, f"a file written to {where} comes back changed", "check that store")
    return ok(name, f"written to {where} and read back")


def registry() -> Finding:
    """Whether the model registry answers."""
    name = "registry"
    try:
        address = without_secrets(get_registry_uri())
        open_store().search_registered_models(max_results=1)
    except Exception as error:  # as above
        mend = "correct MLFLOW_REGISTRY_URI, or unset it to use the registry of the tracking server"
        return wrong(name, first_line(error), mend)
    return ok(name, f"{address} answers")
