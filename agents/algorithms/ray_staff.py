"""Ray workers that come and go: they join as they start, and are replaced if they die."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import ray
from ray.exceptions import RayError, RayTaskError

from lm_gym.agents.algorithms.ray_workers import PATIENCE, OnCluster, ReplicaActor, Traffic, Worker, first_line, room
from lm_gym.agents.algorithms.text_algorithm import TextAlgorithm
from lm_gym.agents.algorithms.worker_error import WorkerError
from lm_gym.agents.algorithms.workers import Start

AHEAD = 2  # orders sent to a worker in advance, so that it never waits for the next one
LOSSES = 3  # maximum number of workers that may die on the same work, or fail to start one after another


class RayStaff(OnCluster):
    """Workers with replicas of an agent. Weights travel when a worker starts.

    Args:
        workers: number of workers. If the cluster has no room for all of them, fewer work.
        address: `"local"` starts a cluster on this machine, `"auto"` finds one that runs on it, `"HOST:PORT"` is the
            address of a cluster's head.
        gpus: GPUs of each worker; agents on a GPU need one.

    Attributes:
        actor_class: class of the workers' processes.
        noun: what workers compute, for messages.
        traffic: bytes sent and received so far.
        lost: number of workers that died.

    Raises:
        WorkerError: there is no such cluster.
    """

    actor_class: ClassVar[type[ReplicaActor]]
    noun: ClassVar[str]

    def __init__(self, workers: int, address: str = "local", *, gpus: float = 0) -> None:
        self._wanted, self._gpus = workers, gpus
        OnCluster.__init__(self, address, workers)
        self._idle: list[Worker] = []  # started processes without an agent
        self._starting: dict[Any, Worker] = {}  # by the reference to their answer
        self._joining: dict[Any, Worker] = {}
        self._ready: list[Worker] = []
        self._start: Any = None
        self._count = self._failures = self._start_bytes = 0
        self._logged = Traffic()
        self.traffic, self.lost = Traffic(), 0

    @abstractmethod
    def _follow(self, agent: Any) -> None:
        """Prepare for an update: workers with another agent, or another state of the agent, start again."""

    @abstractmethod
    def _give_back(self, work: list[range]) -> None:
        """Have the unfinished work of a dead worker done by others."""

    def logs(self) -> dict[str, float]:
        """Return the number of workers, the number lost so far, and the bytes since the last call."""
        down, up = self.traffic.down - self._logged.down, self.traffic.up - self._logged.up
        self._logged = Traffic(self.traffic.down, self.traffic.up)
        return {
            "ray/workers": len(self._ready),
            "ray/lost": self.lost,
            "ray/bytes_down": down,
            "ray/bytes_up": up,
        }

    def resize(self, workers: int) -> None:
        """Start or end workers; between two updates."""
        self._wanted = workers
        staff = [*self._ready, *self._joining.values(), *self._idle, *self._starting.values()]
        for worker in staff[workers:]:
            self._dismiss(worker)
        for _ in range(workers - len(staff)):
            self._hire()

    def wait(self, agent: TextAlgorithm) -> None:
        """Wait until all workers have started and have this agent; otherwise they join as they start."""
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

    # ------------------------------------------------------------------ for subclasses

    def _restart(self) -> None:
        """Have all workers start again with a new copy of the agent."""
        for worker in (*self._ready, *self._joining.values()):
            worker.work, worker.updated = {}, None
            self._idle.append(worker)
        self._ready, self._joining = [], {}

    def _hire(self) -> None:
        """Start the process of a worker."""
        kind: Any = ray.remote(self.actor_class)
        actor = kind.options(num_cpus=1, num_gpus=self._gpus).remote()
        worker = Worker(self._count, actor)
        self._count += 1
        self._starting[actor.name.remote()] = worker

    def _join(self, agent: TextAlgorithm) -> None:
        """Send the agent to workers that have started without one."""
        for worker in self._idle:
            if self._start is None:
                message = ray.cloudpickle.dumps(Start.of(agent))  # type: ignore[no-untyped-call]
                self._start, self._start_bytes = ray.put(message), len(message)
            self._joining[worker.actor.start.remote(self._start)] = worker
            self.traffic.starts += self._start_bytes
        self._idle = []

    def _answer(self, losses: dict[int, int]) -> tuple[range, Any] | None:
        """Wait for the next answer of a worker, and return the numbers of its work, and the message.

        Return None if a worker has started, received the agent or died instead.

        Args:
            losses: how many workers have died on each piece of work, by its number; updated here.

        Raises:
            WorkerError: a worker failed, or too many died on the same work.
        """
        running = {reference: worker for worker in self._ready for reference in worker.work}
        done = self._next([*running, *self._starting, *self._joining], patient=bool(running))
        if done not in running:
            self._attend(done)
            return None
        worker = running[done]
        try:
            message = ray.get(done)
        except RayTaskError as error:
            raise worker.failure(error) from error
        except RayError as error:
            for number in (number for numbers in worker.work.values() for number in numbers):
                losses[number] = losses.get(number, 0) + 1
                if losses[number] == LOSSES:
                    raise WorkerError(
                        f"{LOSSES} workers have died on the same {self.noun}, the last of them {worker}: "
                        f"{first_line(error)}"
                    ) from error
            self._give_back(list(worker.work.values()))
            self._lose(worker)
            return None
        self.traffic.up += len(message)
        return worker.work.pop(done), message

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
