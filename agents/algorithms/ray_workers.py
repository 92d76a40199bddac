"""The processes of Ray workers, their messages, and the connection to a cluster."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import ray
from ray.exceptions import RayTaskError

from lm_gym.agents.algorithms.worker_error import WorkerError
from lm_gym.agents.algorithms.workers import AgentReplica

PATIENCE = 300.0  # seconds in which a worker must start


@dataclass
class Traffic:
    """Bytes of messages, without the framing that Ray adds.

    Attributes:
        down: updates and orders, to all workers together.
        up: fitness, from all workers together.
        starts: agents with their weights, once for each worker that starts.
    """

    down: int = 0
    up: int = 0
    starts: int = 0


class ReplicaActor:
    """Base class of the processes of workers, each of which has a replica of an agent.

    Attributes:
        replica_class: class of the replica.
    """

    replica_class: ClassVar[type[AgentReplica[Any]]]
    _replica: Any  # since `start`

    def name(self) -> str:
        """Return the process id and the node."""
        return here()

    def start(self, message: bytes) -> None:
        """Make a replica of an agent."""
        self._replica = self.replica_class(pickle.loads(message))

    def checksum(self) -> str:
        """Hash the weights of the replica."""
        found: str = self._replica.checksum()
        return found


@dataclass(eq=False)
class Worker:
    """A worker as the agent sees it: its number, its actor, and what it computes."""

    number: int
    actor: Any
    place: str = "not started yet"
    work: dict[Any, range] = field(default_factory=dict)  # numbers of what it computes, by the reference to the result
    updated: Any = None  # reference to its last update

    def failure(self, error: RayTaskError) -> WorkerError:
        """Return what failed first: the last update, or the call that raised the error."""
        try:
            ray.get([] if self.updated is None else [self.updated])
        except RayTaskError as first:
            error = first
        return WorkerError(f"{self}: {type(error.cause).__name__}: {error.cause}")

    def __str__(self) -> str:
        return f"worker {self.number} ({self.place})"


class OnCluster:
    """Base class of objects that use a Ray cluster until they are closed, as a `with` block does.

    Args:
        address: `"local"` starts a cluster on this machine, `"auto"` finds one that runs on it, `"HOST:PORT"` is the
            address of a cluster's head.
        workers: number of processes that will run on it.

    Raises:
        WorkerError: there is no such cluster, or Ray cannot start one.
    """

    def __init__(self, address: str, workers: int) -> None:
        self._connected = connect(address, workers)

    def end(self) -> None:
        """End what runs on the cluster."""

    def close(self) -> None:
        """End what runs on the cluster, and the connection if this object has made it."""
        self.end()
        if self._connected:
            ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def here() -> str:
    """Return the process id and the node of this process."""
    return f"pid {os.getpid()} on {node_address()}"


def node_address() -> str:
    """Return the address of this process's node in the cluster."""
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return address


def connect(address: str, workers: int) -> bool:
    """Connect this process to a Ray cluster, and return whether it was not connected before.

    Raises:
        WorkerError: there is no such cluster, or Ray cannot start one.
    """
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address == "local":
        try:
            ray.init("local", num_cpus=workers, include_dashboard=False, **quiet)
        except Exception as error:  # Ray has no narrower class, for instance for a machine that is too busy
            raise WorkerError(f"Ray cannot start on this machine: {first_line(error)}") from error
        return True
    try:
        ray.init(address, **quiet)
    except (ConnectionError, ValueError) as error:
        raise WorkerError(f"no Ray cluster at {address}: {first_line(error)}") from error
    return True


def first_line(error: Exception) -> str:
    """Return the first line of an error's message without a full stop, or the name of its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def room() -> str:
    """Describe the free resources of the cluster."""
    left: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return ", ".join(f"{amount:g} {name}" for name, amount in left.items() if name in ("CPU", "GPU")) or "no CPU"
