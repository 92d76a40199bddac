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
from lm_gym.agents.algorithms.ray_workers import PATIENCE, OnCluster, ReplicaActor, Traffic, Worker, first_line, room
from lm_gym.agents.algorithms.replica import Order, Replica, Update
from lm_gym.agents.algorithms.worker_error import WorkerError
from lm_gym.agents.algorithms.workers import Start, checksum

if TYPE_CHECKING:
    from lm_gym.agents.algorithms.population_search import PopulationSearch

AHEAD = 2  # orders sent to a worker in advance, so that it never waits for the next one
LOSSES = 3  # maximum number of workers that may die on one chunk, or fail to start one after another


class Actor(ReplicaActor):
    """The process of a worker. Messages are bytes, so that they can be counted."""

    replica_class = Replica

    def update(self, message: bytes) -> None:
        """Update the replica."""
        self._replica.update(pickle.loads(message))

    def parts(self, message: bytes) -> bytes:
        """Evaluate some chunks."""
        return pickle.dumps(self._replica.parts(pickle.loads(message)))


class RayEvaluator(OnCluster, Evaluator):
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

    def __init__(self, workers: int, address: str = "local", *, gpus: float = 0, checksum_every: int = 10) -> None:
        self._wanted, self._gpus, self._checksum_every = workers, gpus, checksum_every
        OnCluster.__init__(self, address, workers)
        self._idle: list[Worker] = []  # started processes without an agent
        self._starting: dict[Any, Worker] = {}  # by the reference to their answer
        self._joining: dict[Any, Worker] = {}
        self._ready: list[Worker] = []
        self._agent: PopulationSearch | None = None
        self._expected = -1  # generation that the replicas are in
        self._start: Any = None
        self._count = self._failures = self._start_bytes = 0
        self._logged = Traffic()
        self.traffic, self.lost = Traffic(), 0

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

    def logs(self) -> dict[str, float]:
        """Return the number of workers, the number lost so far, and the bytes of the last generation."""
        down, up = self.traffic.down - self._logged.down, self.traffic.up - self._logged.up
        self._logged = Traffic(self.traffic.down, self.traffic.up)
        return {
            "ray/workers": len(self._ready),
            "ray/lost": self.lost,
            "ray/bytes_down": down,
            "ray/bytes_up": up,
        }

    def resize(self, workers: int) -> None:
        """Start or end workers; between two generations."""
        self._wanted = workers
        staff = [*self._ready, *self._joining.values(), *self._idle, *self._starting.values()]
        for worker in staff[workers:]:
            self._dismiss(worker)
        for _ in range(workers - len(staff)):
            self._hire()

    def wait(self, agent: PopulationSearch) -> None:
        """Wait until all workers have started and have this agent; otherwise they join a search as they start."""
        self._follow(agent)
        while self._starting or self._idle or self._joining:
            self._join(agent)
            self._attend(self._next([*self._starting, *self._joining]))

    @property
    def places(self) -> list[str]:
        """Return the process id and the node of the workers that have started."""
        return [worker.place for worker in (*self._ready, *self._joining.values(), *self._idle)]

    def end(self) -> None:
        """End the workers."""
        self.resize(0)

    # ------------------------------------------------------------------ a generation

    def _collect(self, agent: PopulationSearch, population: PopulationFitness) -> dict[int, Part]:
        """Evaluate all chunks on the available workers, and return the results by number."""
        draws, count = population.texts.batch_draws, len(population.chunks)
        work, parts = deque([range(count)]), dict[int, Part]()
        losses = dict.fromkeys(range(count), 0)
        while len(parts) < count:
            self._join(agent)
            for worker in self._ready:
                while work and len(worker.chunks) < AHEAD:
                    chunks = self._share(work)
                    order = pickle.dumps(Order(self._expected, draws, chunks))
                    worker.chunks[worker.actor.parts.remote(order)] = chunks
                    self.traffic.down += len(order)
            running = {reference: worker for worker in self._ready for reference in worker.chunks}
            done = self._next([*running, *self._starting, *self._joining], patient=bool(running))
            if done not in running:
                self._attend(done)
                continue
            worker = running[done]
            try:
                message = ray.get(done)
            except RayTaskError as error:
                raise worker.failure(error) from error
            except RayError as error:
                for chunk in (chunk for chunks in worker.chunks.values() for chunk in chunks):
                    losses[chunk] += 1
                    if losses[chunk] == LOSSES:
                        raise WorkerError(
                            f"{LOSSES} workers have died on the same members, the last of them {worker}: "
                            f"{first_line(error)}"
                        ) from error
                work.extendleft(worker.chunks.values())
                self._lose(worker)
                continue
            parts |= zip(worker.chunks.pop(done), pickle.loads(message), strict=True)
            self.traffic.up += len(message)
        return parts

    def _share(self, work: deque[range]) -> range:
        """Take the chunks of an order: many while much work is left, to have few orders, and fewer at the end."""
        left = sum(map(len, work))
        first = work.popleft()
        share = min(len(first), math.ceil(left / (AHEAD * len(self._ready))))
        if first[share:]:
            work.appendleft(first[share:])
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

    # ------------------------------------------------------------------ starting and replacing workers

    def _follow(self, agent: PopulationSearch) -> None:
        """Prepare for a generation: workers with another agent, or another state of the agent, start again."""
        generation, self._start = agent.optimizer.generation, None
        failed = any(worker.chunks for worker in self._ready)
        if agent is not self._agent or generation != self._expected or failed:
            for worker in (*self._ready, *self._joining.values()):
                worker.chunks, worker.updated = {}, None
                self._idle.append(worker)
            self._ready, self._joining = [], {}
            self._agent, self._expected = agent, generation
        self.resize(self._wanted)

    def _hire(self) -> None:
        """Start the process of a worker."""
        kind: Any = ray.remote(Actor)
        actor = kind.options(num_cpus=1, num_gpus=self._gpus).remote()
        worker = Worker(self._count, actor)
        self._count += 1
        self._starting[actor.name.remote()] = worker

    def _join(self, agent: PopulationSearch) -> None:
        """Send the agent to workers that have started without one."""
        for worker in self._idle:
            if self._start is None:
                message = ray.cloudpickle.dumps(Start.of(agent))  # type: ignore[no-untyped-call]
                self._start, self._start_bytes = ray.put(message), len(message)
            self._joining[worker.actor.start.remote(self._start)] = worker
            self.traffic.starts += self._start_bytes
        self._idle = []

    def _attend(self, done: Any) -> None:
        """Record that a worker has started, or has received the agent."""
        joined = done in self._joining
        worker = self._joining.pop(done) if joined else self._starting.pop(done)
        try:
            answer = ray.get(done)
        except RayTaskError as error:
            raise worker.failure(error) from error
        except RayError as error:
            self._failures += 1
            if self._failures == LOSSES:
                raise WorkerError(f"{LOSSES} workers could not start, the last: {first_line(error)}") from error
            self._lose(worker)
            return
        if joined:
            self._failures = 0
            self._ready.append(worker)
        else:
            worker.place = answer
            self._idle.append(worker)

    def _next(self, references: list[Any], *, patient: bool = False) -> Any:
        """Return the first of these references that has an answer."""
        done, _ = ray.wait(references, timeout=None if patient else PATIENCE)
        if not done:
            raise WorkerError(
                f"no worker has started in {PATIENCE:.0f} seconds: the cluster has {room()} left, and a worker needs "
                f"1 CPU and {self._gpus:g} GPU; give fewer workers, or add nodes"
            )
        return done[0]

    def _lose(self, worker: Worker) -> None:
        """Replace a worker that has died."""
        self.lost += 1
        self._dismiss(worker)
        self._hire()

    def _dismiss(self, worker: Worker) -> None:
        """End a worker."""
        for group in (self._ready, self._idle):
            if worker in group:
                group.remove(worker)
        for references in (self._starting, self._joining):
            for reference in [key for key, value in references.items() if value is worker]:
                del references[reference]
        ray.kill(worker.actor)
