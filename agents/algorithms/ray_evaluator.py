"""Evaluation of populations by workers on a Ray cluster."""

from __future__ import annotations

import math
import pickle
from collections import deque
from typing import TYPE_CHECKING, Any

import ray
import torch as th
from ray.exceptions import RayError, RayTaskError

from lm_gym.agents.algorithms.evaluators import Evaluator
from lm_gym.agents.algorithms.fitness import Judged, Part, PopulationFitness
from lm_gym.agents.algorithms.ray_staff import AHEAD, RayStaff
from lm_gym.agents.algorithms.ray_workers import ReplicaActor, Worker
from lm_gym.agents.algorithms.replica import Order, Replica, Update
from lm_gym.agents.algorithms.worker_error import WorkerError
from lm_gym.agents.algorithms.workers import checksum

if TYPE_CHECKING:
    from lm_gym.agents.algorithms.population_search import PopulationSearch


class Actor(ReplicaActor):
    """The process of a worker. Messages are bytes, so that they can be counted."""

    replica_class = Replica

    def update(self, message: bytes) -> None:
        """Update the replica."""
        self._replica.update(pickle.loads(message))

    def parts(self, message: bytes) -> bytes:
        """Evaluate some chunks."""
        return pickle.dumps(self._replica.parts(pickle.loads(message)))


class RayEvaluator(RayStaff, Evaluator):
    """Evaluates members on Ray workers, each of which has a replica of the agent.

    The agent sends the fitness of the last generation, from which every replica computes the agent's update, and the
    numbers of chunks. The workers return the fitness of their members. Weights are sent once, when a worker starts. The
    result does not depend on the number of workers. If a worker dies, the others evaluate its chunks, and a new worker
    is started.

    Args:
        workers: number of workers. If the cluster has no room for all of them, fewer work.
        address: `"local"` starts a cluster on this machine, `"auto"` finds one that runs on it, `"HOST:PORT"` is the
            address of a cluster's head.
        gpus: GPUs of each worker; agents on a GPU need one.
        checksum_every: number of generations between comparisons of the workers' weights with the agent's.

    Attributes:
        traffic: bytes sent and received so far.
        lost: number of workers that died.

    Raises:
        WorkerError: there is no such cluster.
    """

    actor_class = Actor
    noun = "members"

    def __init__(self, workers: int, address: str = "local", *, gpus: float = 0, checksum_every: int = 10) -> None:
        super().__init__(workers, address, gpus=gpus)
        self._checksum_every = checksum_every
        self._agent: PopulationSearch | None = None
        self._expected = -1  # generation that the replicas are in
        self._work: deque[range] = deque()  # chunks that no worker has

    # ------------------------------------------------------------------ the interface

    def judge(self, agent: PopulationSearch, population: PopulationFitness) -> Judged:
        """See Evaluator."""
        self._follow(agent)
        checks = {}
        if self._expected % self._checksum_every == 0:
            checks = {worker.actor.checksum.remote(): worker for worker in self._ready}
        parts = self._collect(agent, population)
        self._compare(agent, checks)
        return population.total(parts[chunk] for chunk in range(len(population.chunks)))

    def updated(self, fitness: th.Tensor, rate: float) -> None:
        """Make the same update in all replicas."""
        message = pickle.dumps(Update(fitness.cpu().numpy(), rate))
        for worker in [*self._ready, *self._joining.values()]:
            worker.updated = worker.actor.update.remote(message)
            self.traffic.down += len(message)
        self._expected += 1

    # ------------------------------------------------------------------ a generation

    def _collect(self, agent: PopulationSearch, population: PopulationFitness) -> dict[int, Part]:
        """Evaluate all chunks on the available workers, and return the results by number."""
        draws, count = population.texts.batch_draws, len(population.chunks)
        self._work, parts, losses = deque([range(count)]), dict[int, Part](), dict[int, int]()
        while len(parts) < count:
            self._join(agent)
            for worker in self._ready:
                while self._work and len(worker.work) < AHEAD:
                    chunks = self._share()
                    order = pickle.dumps(Order(self._expected, draws, chunks))
                    worker.work[worker.actor.parts.remote(order)] = chunks
                    self.traffic.down += len(order)
            answer = self._answer(losses)
            if answer is not None:
                chunks, message = answer
                parts |= zip(chunks, pickle.loads(message), strict=True)
        return parts

    def _give_back(self, work: list[range]) -> None:
        """See RayStaff."""
        self._work.extendleft(work)

    def _share(self) -> range:
        """Take the chunks of an order: many while much work is left, to have few orders, and fewer at the end."""
        left = sum(map(len, self._work))
        first = self._work.popleft()
        share = min(len(first), math.ceil(left / (AHEAD * len(self._ready))))
        if first[share:]:
            self._work.appendleft(first[share:])
        return first[:share]

    def _compare(self, agent: PopulationSearch, checks: dict[Any, Worker]) -> None:
        """Raise WorkerError if a worker's weights are not the agent's."""
        own = checksum(agent) if checks else ""
        for reference, worker in checks.items():
            if worker not in self._ready:
                continue
            try:
                theirs = ray.get(reference)
            except RayTaskError as error:
                raise worker.failure(error) from error
            except RayError:
                self._lose(worker)
                continue
            if theirs != own:
                raise WorkerError(
                    f"{worker} has other weights than this process in generation {self._expected}: their processors or "
                    "libraries compute differently, so use the same ones on every node"
                )

    def _follow(self, agent: PopulationSearch) -> None:
        """See RayStaff."""
        generation, self._start = agent.optimizer.generation, None
        failed = any(worker.work for worker in self._ready)
        if agent is not self._agent or generation != self._expected or failed:
            self._restart()
            self._agent, self._expected = agent, generation
        self.resize(self._wanted)
