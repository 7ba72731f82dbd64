"""What the tests on Ray share: a cluster of real nodes on this machine, its processes, and workers that are listened to."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import pytest

DEADLINE = 300.0
"""Seconds until a test gives up waiting; nothing is expected to take as long."""
MARKS = [pytest.mark.ray, pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")]
"""Of each test. Ray leaves its logs open."""
SMALL: dict[str, Any] = {"object_store_memory": 80 * 2**20}
"""Of each node. Ray takes no less than 75 MiB."""
HEAD: dict[str, Any] = {
    "num_cpus": 0,
    "include_dashboard": False,
    "include_log_monitor": False,
    "no_monitor": True,
    "dashboard_agent_listen_port": 0,
}
"""A head that trains nothing, without the processes that no test needs."""


@contextmanager
def ray_cluster(*cpus: int, **head: Any) -> Iterator[Any]:
    """A cluster whose head has no processors, and a node with so many for each number. Nothing of it is left afterwards."""
    os.environ["RAY_raylet_start_wait_time_s"] = "120"  # noqa: SIM112  # on a machine that is busy
    from ray.cluster_utils import Cluster

    cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args={**HEAD, **SMALL, **head}))
    session = session_of(cluster)
    try:
        for each in cpus:
            add(cluster, each)
        yield cluster
    finally:
        for node in reversed(cluster.list_all_nodes()):
            remove(cluster, node)
        end_processes(session)


@contextmanager
def restored(cluster: Any) -> Iterator[Any]:
    """The same cluster, whose nodes are afterwards as they were."""
    before = nodes_of(cluster)
    try:
        yield cluster
    finally:
        for node in [each for each in nodes_of(cluster) if each not in before]:
            remove(cluster, node)
        for _ in [each for each in before if each not in nodes_of(cluster)]:
            add(cluster)
        wait_until(lambda: alive(cluster) == len(cluster.list_all_nodes()), "the head does not notice which nodes are gone")


def alive(cluster: Any) -> int:
    """How many nodes the head takes for alive, itself included."""
    from ray._raylet import GcsClient
    from ray.core.generated.gcs_pb2 import GcsNodeInfo

    nodes = GcsClient(address=cluster.address).get_all_node_info(timeout=10)
    return sum(each.state == GcsNodeInfo.ALIVE for each in nodes.values())


def session_of(cluster: Any) -> str:
    """The folder of a cluster's logs and sockets."""
    return str(cluster.head_node.get_session_dir_path())


def processes_of(session: str, title: str = "") -> list[psutil.Process]:
    """The other processes that write to the logs of a session, and whose command line begins like this."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with suppress(psutil.Error):
            is_one = not title or "".join(process.cmdline()[:1]).startswith(title)
            if is_one and any(each.path.startswith(session) for each in process.open_files()):
                found.append(process)
    return found


def end_processes(session: str) -> None:
    """Ends the processes of a cluster that have not noticed yet that their node is gone, and removes their logs."""
    for each in processes_of(session):
        with suppress(psutil.Error):
            each.kill()
    shutil.rmtree(session, ignore_errors=True)


def patiently(begin: Callable[[], Any]) -> Any:
    """Begins a node; again if it takes longer than Ray allows, which is half a minute."""
    for _ in range(3):
        try:
            return begin()
        except Exception as error:  # Ray raises no class of its own
            if "timed out during startup" not in str(error) and not isinstance(error, TimeoutError):
                raise
    return begin()


def add(cluster: Any, cpus: int = 1, **options: Any) -> Any:
    """A node more."""
    return patiently(lambda: cluster.add_node(num_cpus=cpus, **SMALL, **options))


def remove(cluster: Any, node: Any) -> None:
    """Takes a node away as a power cut does: its processes get no signal to prepare."""
    cluster.remove_node(node, allow_graceful=False)


def nodes_of(cluster: Any) -> list[Any]:
    """The nodes besides the head."""
    return [each for each in cluster.list_all_nodes() if each is not cluster.head_node]


def actors_of(cluster: Any) -> list[psutil.Process]:
    """The processes of a cluster's workers."""
    return processes_of(session_of(cluster), "ray::RemoteWorker")


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Until something is so."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
