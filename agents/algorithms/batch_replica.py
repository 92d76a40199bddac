"""Copies of an agent with gradients in other processes, which encode a share of its batches."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import torch.distributed as dist

from lm_gym.agents.algorithms.batch_sharing import ProcessGroup
from lm_gym.agents.algorithms.gradient_algorithm import GradientAlgorithm
from lm_gym.agents.algorithms.worker_error import WorkerError
from lm_gym.agents.algorithms.workers import AgentReplica


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


class BatchReplica(AgentReplica[GradientAlgorithm]):
    """A replica of an agent with gradients."""

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


def free_port() -> int:
    """Return a port of this machine that no process uses."""
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])
