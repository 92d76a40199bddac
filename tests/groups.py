"""A group of forked processes that share the batches of an agent, without Ray."""

import multiprocessing
import os
import pickle

import torch.distributed as dist

from lm_gym.agents.algorithms.batch_replica import BatchOrder, BatchReplica, Place, free_port
from lm_gym.agents.algorithms.batch_sharing import ProcessGroup
from lm_gym.agents.algorithms.workers import Start, checksum


class ForkedGroup(ProcessGroup):
    """Workers in processes forked from this one; use it for one agent in a `with` block."""

    def __init__(self, workers):
        super().__init__(0, workers + 1)
        self._pipes = []

    def begin(self, agent, draws):
        if not self._pipes:
            message, address = pickle.dumps(Start.of(agent)), f"127.0.0.1:{free_port()}"
            self._pipes = [_forked(message, Place(rank, self.size, address)) for rank in range(1, self.size)]
            Place(0, self.size, address).join()
        for pipe in self._pipes:
            pipe.send(BatchOrder(agent.updates, draws))

    def checksums(self):
        """Return the hashes of the workers' weights."""
        for pipe in self._pipes:
            pipe.send("checksum")
        return [pipe.recv() for pipe in self._pipes]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pipe in self._pipes:
            pipe.send(None)
        dist.destroy_process_group()


def _forked(message, place):
    """Fork a worker and return our end of a pipe to it."""
    ours, theirs = multiprocessing.Pipe()
    if os.fork():
        theirs.close()
        return ours
    status = 1
    try:
        replica = BatchReplica(pickle.loads(message))
        replica.join(place)
        while (order := theirs.recv()) is not None:
            if order == "checksum":
                theirs.send(replica.checksum())
            else:
                replica.update(order)
        status = 0
    finally:
        os._exit(status)


def same_weights(group, agent):
    """Return whether all workers have exactly the weights of the agent."""
    return set(group.checksums()) == {checksum(agent)}
