"""Workers as actors of a Ray cluster: as many on each node as fit, while nodes join and leave.

If a worker is lost, so is its trial, but no result is reported twice: the coordinator asks each actor for the messages that
it has not received, and kills an actor that does not answer. Ray restarts and retries nothing; the coordinator does.
"""

from __future__ import annotations

import atexit
import dataclasses
import math
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from digitsweep.config.experiment import WorkersSpec
from digitsweep.data import Split, TrainingData
from digitsweep.errors import DigitsweepError, InputError
from digitsweep.families.outside import GROUP, ORIGINS, InstalledFamily
from digitsweep.report.format import plural
from digitsweep.sweeping.processes import Place, cores
from digitsweep.sweeping.workers import EpochEnded, Event, TrialEnded
from digitsweep.training.remote import WEIGHTS, Crashed, Message, RemoteWorker
from digitsweep.training.worker import READY, STOP
from digitsweep.trial import Epoch, Trial, TrialResult, TrialState, failed

try:
    import grpc
    import ray
    from ray.exceptions import ActorUnavailableError, RayError, TaskUnschedulableError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError:
    raise InputError("the engine ray needs Ray, which is not installed; run `pip install 'digitsweep[ray]'`") from None

SILENT_SECONDS = 60.0
"""A worker that has not answered for this long is killed. One without news answers after ANSWER_SECONDS."""
BEGIN_SECONDS = 300.0
"""How long a worker may take to import TensorFlow."""
CHECK_SECONDS = 120.0
"""How long a node may take to report its versions."""
ASK_AGAIN = 3
"""How often a node is asked again if the process that should answer dies."""
WAIT_SECONDS = 60.0
"""If there are nodes but no worker has been ready for this long, the sweep says so."""
HEAD_LOOKS = 30
"""The sweep ends after this many looks, LOOK_SECONDS apart, without an answer from the head. Ray would end the process after
60 s."""
HEAD_GONE = "the head of the Ray cluster does not answer; start a cluster, then run `digitsweep sweep --resume last`"
LOOK_SECONDS = 1.0
"""How often nodes are counted."""
CLIENT_TRIES = 5
"""How often the process that serves a `ray://` client is started. Ray forks it from one with threads in gRPC, so that some
end as they begin."""
ADDRESS_SECONDS = 10.0
"""How long a cluster may take to answer the first connection."""
MOST_TRIALS = 200
"""A worker is replaced after this many trials: TensorFlow leaks half a MiB with each. Not sooner, because importing it takes
seconds."""
GROW_SECONDS = 600.0
"""How long a cluster has to grow to the first node with room for a worker."""
PRINT = ray._private.worker.print_to_stdstream
"""How Ray prints what its processes say."""
SAME_VERSIONS = "install the coordinator's versions there and restart Ray, or name them in workers.runtime_env"


@dataclass(frozen=True)
class Node:
    """A machine of the cluster."""

    id: str
    name: str
    """The host's name, with the beginning of the node's id: a host may have several."""
    cpus: float
    gpus: float
    object_store: int
    """Bytes that are free."""

    def holds(self, spec: WorkersSpec) -> int:
        """How many workers fit on it."""
        fits = self.cpus / spec.cpus
        return int(min(fits, self.gpus / spec.gpus) if spec.gpus else fits)


class Cluster:
    """The connection to a cluster, which is started on this machine if there is none."""

    def __init__(self, spec: WorkersSpec, workers: int | None) -> None:
        """workers: how many workers a cluster that is started here has room for; None: one for each core.

        Raises InputError if there is no cluster at the address, or none that this version can use."""
        if ray.is_initialized():
            raise InputError("this process is connected to a Ray cluster already; call `ray.shutdown()` first")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._spec = spec
        installed = sorted(name for name, each in ORIGINS.items() if isinstance(each, InstalledFamily))
        self._versions = _versions_asker(installed)
        self._ours = self._versions()
        quiet = {"logging_level": "ERROR", "log_to_driver": False}
        # Ray prints messages about its processes, and has no option against it. A sweep reports these events itself.
        ray._private.worker.print_to_stdstream = lambda data, ignore_prefix: None
        address = spec.address or os.environ.get("RAY_ADDRESS")
        if address not in (None, "auto", "local"):
            _check_address(address)
        self.is_own = address == "local"
        with _connection_errors(address):
            if not self.is_own:
                try:
                    _join(address or "auto", **quiet)
                except ConnectionError:
                    if address is not None:
                        raise
                    self.is_own = True
            if self.is_own:
                room = cores() if workers is None else max(1, math.ceil(workers * spec.cpus))
                ray.init("local", num_cpus=room, include_dashboard=False, **quiet)

    def nodes(self) -> list[Node]:
        """The nodes that are alive."""
        free: dict[str, dict[str, float]] = {}
        with suppress(Exception):  # unknown through `ray://`; then a store counts as empty
            free = ray._private.state.available_resources_per_node()
        return [
            Node(
                each["NodeID"],
                f"{each['NodeManagerHostname']}/{each['NodeID'][:6]}",
                each["Resources"].get("CPU", 0.0),
                each["Resources"].get("GPU", 0.0),
                int({**each["Resources"], **free.get(each["NodeID"], {})}.get("object_store_memory", 0)),
            )
            for each in ray.nodes()
            if each["Alive"]
        ]

    def ask_versions(self, node: Node) -> Any:
        """Asks a node for its versions without waiting; the answer is for `mismatch`."""
        try:
            return ray.remote(self._versions).options(num_cpus=0, max_retries=ASK_AGAIN, **self.on(node)).remote()
        except (ValueError, TypeError) as error:  # before anything is sent
            raise InputError(f"workers.runtime_env: {_brief(error)}") from None

    def want(self) -> Any:
        """Asks for the resources of a worker on any node; the answer arrives when a node has them. Until then, Ray counts it
        as demand, for which a cluster that can grow adds nodes. The demand ends with the coordinator."""
        return ray.remote(lambda: None).options(num_cpus=self._spec.cpus, num_gpus=self._spec.gpus, max_retries=0).remote()

    def on(self, node: Node) -> dict[str, Any]:
        """Ray's options to run something on this node."""
        where = {"scheduling_strategy": NodeAffinitySchedulingStrategy(node.id, soft=False)}
        return where if self._spec.runtime_env is None else {**where, "runtime_env": self._spec.runtime_env}

    def mismatch(self, node: Node, answer: Any) -> str:
        """How a node's versions differ from the coordinator's, and how to correct that; empty if they do not.

        answer: what `ask_versions` returned; it must have arrived."""
        try:
            theirs = ray.get(answer)
        except TaskUnschedulableError:
            return ""  # it has just left
        except RayError as error:
            return f"node {node.name} could not report its versions: {_brief(error)}; {SAME_VERSIONS}"
        others = [name for name in self._ours if theirs[name] != self._ours[name]]
        if not others:
            return ""
        there, here = (", ".join(f"{name} {each[name]}" for name in others) for each in (theirs, self._ours))
        return f"node {node.name} has {there}, but the coordinator has {here}; {SAME_VERSIONS}"

    def mismatches(self, nodes: Sequence[Node]) -> dict[str, str]:
        """How the versions of these nodes differ from the coordinator's, by id; waits for all of them."""
        asked = {self.ask_versions(each): each for each in nodes}
        done, late = ray.wait(list(asked), num_returns=len(asked), timeout=CHECK_SECONDS)
        found = {asked[ref].id: self.mismatch(asked[ref], ref) for ref in done}
        for ref in late:
            silent = f"node {asked[ref].name} has not reported its versions within {CHECK_SECONDS:.0f} s"
            found[asked[ref].id] = f"{silent}; restart Ray there"
        return {node: wrong for node, wrong in found.items() if wrong}

    def close(self) -> None:
        with suppress(Exception):  # whatever Ray says at its end
            _disconnect()


def _versions_asker(families: Sequence[str]) -> Callable[[], dict[str, str]]:
    """A function that returns the versions that are installed where it runs; if they differ, so may results.

    families: those that come from installed packages."""

    # Defined here, so that Ray sends its code along: a node may lack digitsweep.
    def versions() -> dict[str, str]:
        import hashlib
        import importlib.metadata
        import importlib.util
        import pathlib
        import platform

        found = {"python": platform.python_version()}
        for name in ("tensorflow", "keras"):
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                found[name] = "missing"
        for name in families:
            packages = [each.dist for each in importlib.metadata.entry_points(group=GROUP, name=name) if each.dist]
            found[f"family {name}"] = f"({' and '.join(f'{each.name} {each.version}' for each in packages) or 'missing'})"
        try:
            from digitsweep import __version__
        except ImportError:
            return {**found, "digitsweep": "missing"}
        spec = importlib.util.find_spec("digitsweep")
        assert spec is not None
        assert spec.origin is not None
        package = pathlib.Path(spec.origin).parent
        code = b"".join(each.read_bytes() for each in sorted(package.rglob("*.py")))
        return {**found, "digitsweep": f"{__version__} (code {hashlib.sha256(code).hexdigest()[:8]})"}

    return versions


def _disconnect() -> None:
    """Leaves Ray as it was before it was used: a program may use it for something else."""
    ray._private.worker.print_to_stdstream = PRINT
    ray.shutdown()


def _join(address: str, **options: Any) -> None:
    """Connects to a running cluster."""
    for left in reversed(range(CLIENT_TRIES)):
        try:
            ray.init(address, **options)
            return
        except ConnectionError as error:
            if not left or "Starting Ray client server failed" not in str(error):
                raise
            ray.shutdown()


@contextmanager
def _connection_errors(address: str | None) -> Iterator[None]:
    try:
        yield
    except (ConnectionError, RuntimeError, ValueError, RayError, grpc.RpcError, TimeoutError) as error:
        _disconnect()  # what has begun
        reason = " ".join(str(error).split()).rpartition("Error: ")[2][:300]  # a server's traceback may come before it
        raise InputError(f"cannot use a Ray cluster at {address or 'this machine'}: {reason}") from None


@contextmanager
def _client_errors() -> Iterator[None]:
    """Turns the errors of a lost `ray://` connection into one line."""
    try:
        yield
    except (ConnectionError, grpc.RpcError) as error:
        raise DigitsweepError(f"{HEAD_GONE} ({_brief(error)})") from None


def _check_address(address: str) -> None:
    """Checks that a cluster is at an address. Ray itself would try for minutes, or end the process.

    Raises InputError if there is none."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), ADDRESS_SECONDS).close()
    except (OSError, OverflowError) as error:
        what = getattr(error, "strerror", None) or error
        raise InputError(f"no Ray cluster answers at {address} ({what}); start one, or correct --address") from None
    if os.environ.get("RAY_USE_TLS", "0") == "1":
        return
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        is_client = address.startswith("ray://")
        method = "RayletDriver/ClusterInfo" if is_client else "NodeInfoGcsService/GetClusterId"
        try:
            grpc.channel_ready_future(channel).result(ADDRESS_SECONDS)
            channel.unary_unary(f"/ray.rpc.{method}")(b"", timeout=ADDRESS_SECONDS)
        except (grpc.FutureTimeoutError, grpc.RpcError) as error:
            if isinstance(error, grpc.RpcError) and error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                return  # Ray itself says what is wrong
            needed = "the port of Ray's client, by default ray://HEAD:10001" if is_client else "a head, by default HEAD:6379"
            raise InputError(f"what answers at {address} is not {needed}; correct --address") from None


@dataclass(eq=False)
class _Worker:
    actor: Any
    node: Node
    call: Any = None
    """The exchange that has not been answered yet."""
    begun: float | None = None
    """When it first answered; until then it may be waiting for processors that other programs use."""
    answered: float = 0.0
    """When it last answered."""
    sent: int = 0
    """The number of the last message to it."""
    unsent: list[Message] = field(default_factory=list)
    """Messages that it may not have received, with their numbers."""
    received: int = 0
    ready: bool = False
    trial: Trial | None = None
    needs_weights: Callable[[TrialResult], bool] = field(default=lambda result: True)
    epochs: tuple[Epoch, ...] = ()
    result: TrialResult | None = None
    """The result of its trial, until the weights have arrived."""
    trials: int = 0

    @property
    def is_free(self) -> bool:
        return self.ready and self.trial is None

    def send(self, message: Any) -> None:
        self.sent += 1
        self.unsent.append((self.sent, message))
        self.ask()

    def ask(self) -> None:
        """Replaces the exchange that is under way, which returns at once."""
        with _client_errors():
            self.call = self.actor.exchange.remote(list(self.unsent), self.received)


def _plain(data: TrainingData) -> TrainingData:
    """The same images as ordinary arrays: Ray would copy what is mapped from a file for each worker."""

    def plain(split: Split) -> Split:
        return Split(np.asarray(split.images), np.asarray(split.labels))

    return dataclasses.replace(data, train=plain(data.train), validation=plain(data.validation))


class RayWorkers:
    """An actor for each worker that the nodes have room for. Each node has one copy of the images, in its object store."""

    def __init__(self, data: TrainingData, spec: WorkersSpec, count: int | None) -> None:
        """count: how many at most; None: as many as the nodes have room for.

        Raises InputError if there is no such cluster, a node has other versions, or no node has what a worker needs."""
        self._spec, self._limit = spec, count
        self._workers: list[_Worker] = []
        self._nodes: dict[str, Node] = {}
        """The nodes that are alive and have the coordinator's versions, by id."""
        self._asked: dict[Any, Node] = {}
        """The nodes that have not reported their versions yet."""
        self._refused: set[str] = set()
        """The ids of the nodes with other versions."""
        self._wanted: list[Any] = []
        """One for each worker that is missing, so that the cluster grows if it can."""
        self._grows_until = math.inf
        """When a cluster that had no node with room must have one."""
        self._lacked = ""
        """Why it had none."""
        self._waiting: list[Event] = []
        self._notes: list[str] = []
        self._looked = 0.0
        self._alive: dict[str, Node] = {}
        """All nodes that are alive, by id."""
        self._missed = 0
        """Looks in a row that the head has not answered. None are added while the coordinator is suspended."""
        self._is_closed = threading.Event()
        self._stillborn = 0
        """Workers in a row that died before they were ready."""
        self._was_ready = time.monotonic()
        """When a worker was last ready."""
        self._cluster = Cluster(spec, count)
        try:
            environment = Place(None).environment() | _threads(spec)
            if spec.gpus:
                del environment["CUDA_VISIBLE_DEVICES"]  # which Ray sets
            self._arguments = environment, ray.put(_plain(data)), dict(ORIGINS)
            self._check_all()
            self._fill()
            threading.Thread(target=self._watch_nodes, name="digitsweep-nodes", daemon=True).start()
        except BaseException:
            self.close()
            raise

    def count(self) -> int:
        room = sum(each.holds(self._spec) for each in self._nodes.values())
        return max(1, room if self._limit is None else min(self._limit, room))

    def free(self) -> int:
        return sum(each.is_free for each in self._workers)

    def start(self, trial: Trial, needs_weights: Callable[[TrialResult], bool] = lambda result: True) -> None:
        worker = next(each for each in self._workers if each.is_free)
        worker.trial, worker.needs_weights, worker.epochs = trial, needs_weights, ()
        worker.send(trial)

    def stop(self, trial: Trial) -> None:
        for worker in self._workers:
            if worker.trial == trial:
                worker.send(STOP)

    def kill(self, trial: Trial, why: str) -> None:
        for worker in [each for each in self._workers if each.trial == trial]:
            self._lose(worker, why)

    def events(self, timeout: float) -> Sequence[Event]:
        with _client_errors():
            self._look_at_nodes()
            self._listen(0.0 if self._waiting else timeout)
            self._kill_silent()
        events, self._waiting = self._waiting, []
        return events

    def _listen(self, timeout: float) -> None:
        """Handles all answers that have arrived; waits for the first one."""
        calls = {each.call: each for each in self._workers}
        refs = [*calls, *self._asked, *self._wanted]
        if not refs:
            time.sleep(timeout)
            return
        done, others = ray.wait(refs, num_returns=1, timeout=timeout)
        if done and others:
            done += ray.wait(others, num_returns=len(others), timeout=0)[0]
        for ref in done:
            if ref in self._asked:
                self._versions_known(ref)
            elif ref in self._wanted:
                self._wanted.remove(ref)
            elif calls[ref] in self._workers:
                self._answered(calls[ref], ref)

    def status(self) -> str:
        ready, count = sum(each.ready for each in self._workers), self.count()
        nodes = len({each.node.id for each in self._workers if each.ready})
        return f"{f'{ready} of ' if ready != count else ''}{plural(count, 'worker')} on {plural(nodes, 'node')}"

    def notices(self) -> Sequence[str]:
        notes, self._notes = self._notes, []
        return notes

    def close(self) -> None:
        self._is_closed.set()
        if self._missed > HEAD_LOOKS:
            # Without its head, Ray would try for a minute to reach it, or crash at the interpreter's end.
            atexit.register(_leave)
            self._workers.clear()
            return
        for worker in self._workers:
            with suppress(Exception):  # it may be gone already
                ray.kill(worker.actor)
        self._workers.clear()
        self._cluster.close()

    # Nodes

    def _check_all(self) -> None:
        """Waits until every node that is there now has reported its versions.

        Raises InputError if they differ from the coordinator's, or if no node has what a worker needs."""
        nodes = self._cluster.nodes()
        for wrong in self._cluster.mismatches(nodes).values():
            raise InputError(wrong)
        if wrong := missing(self._spec, nodes):
            if self._limit is None or self._cluster.is_own:
                raise InputError(wrong)
            self._grows_until, self._lacked = time.monotonic() + GROW_SECONDS, wrong
            self._notes.append(f"The sweep waits for a node with room for a worker: {wrong}.")
        self._alive = {each.id: each for each in nodes}
        self._nodes = dict(self._alive)

    def _watch_nodes(self) -> None:
        """Asks the head which nodes are alive; in a thread, because it may not answer."""
        while not self._is_closed.wait(LOOK_SECONDS):
            with suppress(Exception):  # Ray raises what its transport raises; it is asked again
                self._alive = {each.id: each for each in self._cluster.nodes()}
                self._missed = 0

    def _look_at_nodes(self) -> None:
        """Asks new nodes for their versions, forgets lost nodes, and starts workers on the others."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        self._missed += 1
        if self._missed > HEAD_LOOKS:
            raise DigitsweepError(HEAD_GONE)
        alive = self._alive
        for node in [each for each in self._nodes.values() if each.id not in alive]:
            del self._nodes[node.id]
            self._note_nodes(f"Node {node.name} has left")
            for worker in [each for each in self._workers if each.node.id == node.id]:
                self._lose(worker, f"its node {node.name} was lost")
        known = {*self._nodes, *self._refused, *(each.id for each in self._asked.values())}
        for node in [each for each in alive.values() if each.id not in known]:
            self._asked[self._cluster.ask_versions(node)] = node
        if not self._workers or any(each.ready for each in self._workers):
            self._was_ready = now
        elif now - self._was_ready > WAIT_SECONDS:
            self._was_ready = math.inf  # say it only once
            self._notes.append("No worker has started for a minute: other programs may be using the cluster's processors.")
        self._fill()
        self._ask_for_more()

    def _versions_known(self, ref: Any) -> None:
        node = self._asked.pop(ref)
        if wrong := self._cluster.mismatch(node, ref):
            self._refused.add(node.id)
            self._notes.append(f"A node is not used: {wrong}.")
            return
        self._nodes[node.id] = node
        if node.holds(self._spec):
            self._grows_until = math.inf
        self._note_nodes(f"Node {node.name} has joined")
        self._fill()

    def _note_nodes(self, what: str) -> None:
        nodes = [each for each in self._nodes.values() if each.holds(self._spec)]
        if nodes:
            self._notes.append(f"{what}: {plural(self.count(), 'worker')} on {plural(len(nodes), 'node')}.")
        else:
            self._notes.append(f"{what}: no worker is left, and the sweep waits for nodes.")

    def _fill(self) -> None:
        """Starts as many workers as there is room for."""
        on = Counter(each.node.id for each in self._workers)

        def room(node: Node) -> int:
            return node.holds(self._spec) - on[node.id]

        while self._limit is None or len(self._workers) < self._limit:
            node = max(self._nodes.values(), key=room, default=None)
            if node is None or room(node) <= 0:
                return
            self._workers.append(self._create(node))
            on[node.id] += 1

    def _ask_for_more(self) -> None:
        """Tells Ray how many workers are missing.

        Raises DigitsweepError if no node has had room for one in time."""
        if time.monotonic() > self._grows_until:
            raise DigitsweepError(f"{self._lacked}, and none joined within {GROW_SECONDS:.0f} s")
        count = 0 if self._limit is None else self._limit - len(self._workers)
        self._wanted += [self._cluster.want() for _ in range(count - len(self._wanted))]
        for ref in self._wanted[count:]:
            ray.cancel(ref)
        del self._wanted[count:]

    def _create(self, node: Node) -> _Worker:
        actor = (
            ray.remote(RemoteWorker)
            .options(
                num_cpus=self._spec.cpus,
                num_gpus=self._spec.gpus,
                max_restarts=0,
                max_task_retries=0,
                max_concurrency=8,  # exchanges that were replaced return at once
                **self._cluster.on(node),
            )
            .remote(*self._arguments)
        )
        worker = _Worker(actor, node)
        worker.ask()
        return worker

    # Workers

    def _answered(self, worker: _Worker, ref: Any) -> None:
        try:
            arrived, messages = ray.get(ref)
        except ActorUnavailableError:  # the network failed, and the message may have arrived: ask again
            time.sleep(0.1)
            worker.ask()
            return
        except RayError as error:
            self._lose(worker, f"its worker on node {worker.node.name} died ({_brief(error)})")
            return
        worker.answered = time.monotonic()
        worker.begun = worker.begun or worker.answered
        worker.unsent = [each for each in worker.unsent if each[0] > arrived]
        for number, message in messages:
            if number > worker.received and worker in self._workers:
                worker.received = number
                self._received(worker, message)
        if worker in self._workers and worker.call == ref:
            worker.ask()

    def _received(self, worker: _Worker, message: object) -> None:
        if isinstance(message, Crashed):
            self._lose(worker, f"its worker on node {worker.node.name} ended ({message.reason})")
            return
        if message == READY:
            worker.ready = True
            self._stillborn = 0
            return
        trial = worker.trial
        assert trial is not None
        if isinstance(message, Epoch):
            worker.epochs = (*worker.epochs, message)
            self._waiting.append(EpochEnded(trial, message))
        elif not isinstance(message, TrialResult):  # the weights of a result that was received before
            assert worker.result is not None
            self._ended(worker, dataclasses.replace(worker.result, weights=message))  # type: ignore[arg-type]
        elif message.state is TrialState.COMPLETE and worker.needs_weights(message):
            worker.result = message
            worker.send(WEIGHTS)
        else:
            self._ended(worker, message)

    def _ended(self, worker: _Worker, result: TrialResult) -> None:
        assert worker.trial is not None
        self._waiting.append(TrialEnded(worker.trial, result))
        worker.trial = worker.result = None
        worker.trials += 1
        if worker.trials >= MOST_TRIALS:
            self._remove(worker)
            self._fill()

    def _kill_silent(self) -> None:
        now = time.monotonic()
        for worker in [each for each in self._workers if each.begun is not None]:
            silent = now - worker.answered
            if silent > SILENT_SECONDS:
                self._lose(worker, f"its worker on node {worker.node.name} had not answered for {silent:.0f} s")
            elif not worker.ready and worker.begun is not None and now - worker.begun > BEGIN_SECONDS:
                self._lose(worker, f"a worker on node {worker.node.name} was not ready after {BEGIN_SECONDS:.0f} s")

    def _lose(self, worker: _Worker, how: str) -> None:
        """Gives up a worker, dead or alive. Later messages from it are ignored."""
        self._remove(worker)
        if worker.node.id in self._nodes and not worker.ready:
            self._stillborn += 1
            if self._stillborn > len(self._workers) + 3:
                raise DigitsweepError(f"workers cannot start: {how}")
        if worker.trial is not None:
            reason = f"{how} after epoch {len(worker.epochs)}"
            self._waiting.append(TrialEnded(worker.trial, failed(worker.epochs, reason), lost=True))

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        with suppress(Exception):  # it may be gone already
            ray.kill(worker.actor)


@dataclass(frozen=True)
class Survey:
    """The state of a cluster, for `digitsweep doctor`."""

    nodes: Sequence[Node]
    room: int
    """The number of workers that fit."""
    missing: str
    """Why no node has room for a worker; empty if one has."""
    mismatches: Sequence[tuple[str, str]]
    """How nodes' versions differ from the coordinator's, and how to correct each."""


def survey(spec: WorkersSpec, workers: int | None) -> Survey:
    """Examines a cluster, and leaves nothing running on it.

    Raises InputError if there is no cluster at the address."""
    cluster = Cluster(spec, workers)
    try:
        nodes = cluster.nodes()
        wrong = [each.partition("; ") for each in cluster.mismatches(nodes).values()]
        room = sum(each.holds(spec) for each in nodes)
        return Survey(nodes, room, missing(spec, nodes), [(found, mend) for found, _, mend in wrong])
    finally:
        cluster.close()


def missing(spec: WorkersSpec, nodes: Sequence[Node]) -> str:
    """Why no node has room for a worker; empty if one has."""
    if any(each.holds(spec) for each in nodes):
        return ""
    if spec.gpus and not any(each.gpus for each in nodes):
        return f"workers.gpus: each worker needs {spec.gpus:g} GPU, but no node of the Ray cluster has one"
    most = max(nodes, key=lambda each: each.cpus)
    needed = f"{spec.cpus:g} CPU" + (f" and {spec.gpus:g} GPU" if spec.gpus else "")
    return (
        f"workers.cpus: each worker needs {needed}, but no node of the Ray cluster has that much; "
        f"the largest has {most.cpus:g} CPU and {most.gpus:g} GPU"
    )


def _threads(spec: WorkersSpec) -> dict[str, str]:
    count = str(max(1, int(spec.cpus)))
    return {
        "TF_NUM_INTRAOP_THREADS": count,
        "OMP_NUM_THREADS": count,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",
    }


def _leave() -> None:
    """Ends a process whose sweep has failed, before Ray's own handlers run."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(DigitsweepError.exit_code)


def _brief(error: BaseException) -> str:
    """The essential part of one of Ray's errors, which can be a page long."""
    text = " ".join(str(error).split())
    for before in ("The actor is dead because ", "Worker exit detail: "):
        text = text.rpartition(before)[2]
    return text.split(". ")[0].rstrip(".")[:200]
