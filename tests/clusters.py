"""What the tests on Ray share: a cluster of real nodes on this machine, and the processes of its workers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

DEADLINE = 180.0
"""Seconds until a test gives up waiting; nothing is expected to take as long."""


@contextmanager
def ray_cluster(*cpus: int) -> Iterator[Any]:
    """A cluster whose head has no processors, and a node with so many for each number."""
    os.environ["RAY_raylet_start_wait_time_s"] = "120"  # noqa: SIM112  # on a machine that is busy
    from ray.cluster_utils import Cluster

    cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args={"num_cpus": 0}))
    try:
        for each in cpus:
            add(cluster, each)
        yield cluster
    finally:
        cluster.shutdown()


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
    return patiently(lambda: cluster.add_node(num_cpus=cpus, **options))


def remove(cluster: Any, node: Any) -> None:
    """Takes a node away as a power cut does: its processes get no signal to prepare."""
    cluster.remove_node(node, allow_graceful=False)


def nodes_of(cluster: Any) -> list[Any]:
    """The nodes besides the head."""
    return [each for each in cluster.list_all_nodes() if each is not cluster.head_node]


def worker_processes() -> list[psutil.Process]:
    """The actors on this machine."""
    running = psutil.process_iter(["cmdline"])
    return [each for each in running if (each.info["cmdline"] or [""])[0].startswith("ray::RemoteWorker")]


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Until something is so."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
