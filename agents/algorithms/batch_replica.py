"""Copies of an agent with gradients in other processes, which encode a share of its batches."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.distributed as dist

from lm_gym.agents.algorithms.batch_sharing import ProcessGroup
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.algorithms.worker_error import WorkerError
from lm_gym.agents.algorithms.workers import Start, checksum

if TYPE_CHECKING:
    from lm_gym.agents.algorithms.gradient_algorithm import GradientAlgorithm


@dataclass(frozen=True)
class Place:
    """The place of a process in a group.

    Attributes:
        rank: number of the process; 0 is the main process.
        size: number of processes.
        address: HOST:PORT of the main process.
    """

    rank: int
    size: int
    address: str

    def join(self) -> None:
        """Connect this process with the others, and wait until all are connected."""
        dist.init_process_group("gloo", init_method=f"tcp://{self.address}", rank=self.rank, world_size=self.size)


@dataclass(frozen=True)
class BatchOrder:
    """An update. The replica reads the texts of the batch itself.

    Attributes:
        update: number of the update; with the seed, it determines the samples.
        draws: number of texts drawn before those of the batch; it determines their indices.
    """

    update: int
    draws: int


class BatchReplica:
    """A copy of an agent and its environment, which makes the same updates.

    Args:
        start: the agent.
    """

    def __init__(self, start: Start) -> None:
        self.agent: GradientAlgorithm = start.load()
        assert self.agent.env is not None
        self._texts = TextEnvironments(self.agent.env)

    def join(self, place: Place) -> None:
        """Connect this process with the others."""
        self.agent.follow(ProcessGroup(place.rank, place.size))
        place.join()

    def update(self, order: BatchOrder) -> None:
        """Take part in an update.

        Raises:
            WorkerError: the replica has made another number of updates.
        """
        if self.agent.updates != order.update:
            raise WorkerError(f"the replica has made {self.agent.updates} updates, not {order.update}")
        self.agent.read(order.draws)
        self.agent.learn_from_batch(self._texts)

    def checksum(self) -> str:
        """Hash the weights and the state of the optimizer."""
        return checksum(self.agent)


def free_port() -> int:
    """Return a port of this machine that no process uses."""
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])
