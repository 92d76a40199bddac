"""Data-parallel updates on a Ray cluster: workers that encode the texts of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray
import torch as th
import torch.distributed as dist
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from lm_gym.agents.algorithms.batch_replica import BatchOrder, BatchReplica, Place, free_port
from lm_gym.agents.algorithms.batch_sharing import ProcessGroup
from lm_gym.agents.algorithms.ray_workers import (
    PATIENCE,
    OnCluster,
    ReplicaActor,
    Worker,
    first_line,
    node_address,
    room,
)
from lm_gym.agents.algorithms.worker_error import WorkerError
from lm_gym.agents.algorithms.workers import Start, checksum

if TYPE_CHECKING:
    from lm_gym.agents.algorithms.gradient_algorithm import GradientAlgorithm

_FAREWELL = 10.0  # seconds for a worker to report why it has failed


class BatchActor(ReplicaActor):
    """The process of a worker."""

    replica_class = BatchReplica

    def join(self, place: Place) -> None:
        """Connect the replica with the others."""
        self._replica.join(place)

    def update(self, order: BatchOrder) -> None:
        """Take part in an update. After an error, leave the group, so that nobody waits for this process."""
        try:
            self._replica.update(order)
        except BaseException:
            dist.destroy_process_group()
            raise


class RayBatchSharing(OnCluster, ProcessGroup):
    """Encodes the texts of each batch on Ray workers, which make the same updates as the agent.

    Each worker has a replica of the agent and encodes an equal share of the texts. Outputs and gradients are added by
    torch's `all_reduce` with gloo, between the workers and this process. Weights are sent once, when the workers start.

    Args:
        workers: number of workers.
        address: see `RayEvaluator`.
        gpus: GPUs of each worker; agents on a GPU need one.
        checksum_every: number of updates between comparisons of the workers' weights with the agent's.

    Raises:
        WorkerError: there is no such cluster.
    """

    def __init__(self, workers: int, address: str = "local", *, gpus: float = 0, checksum_every: int = 10) -> None:
        ProcessGroup.__init__(self, 0, workers + 1)
        OnCluster.__init__(self, address, workers)
        self._gpus, self._checksum_every = gpus, checksum_every
        self._workers: list[Worker] = []
        self._running: dict[Any, Worker] = {}  # by the reference to the answer
        self._agent: GradientAlgorithm | None = None
        self._expected = -1  # number of updates of the replicas
        self._logged = 0

    def begin(self, agent: GradientAlgorithm, draws: int) -> None:
        """See BatchSharing."""
        self._finish()
        if agent is not self._agent or agent.updates != self._expected:
            self._start(agent)
        elif agent.updates % self._checksum_every == 0:
            self._compare(agent)
        order = BatchOrder(agent.updates, draws)
        self._running = {worker.actor.update.remote(order): worker for worker in self._workers}
        self._expected += 1

    def all_reduce(self, tensor: th.Tensor) -> th.Tensor:
        """See ProcessGroup."""
        try:
            return super().all_reduce(tensor)
        except RuntimeError as error:
            raise self._failure(error) from error

    def logs(self) -> dict[str, float]:
        """Return the number of workers, and the bytes that each process gave to `all_reduce` in the last update."""
        spent, self._logged = self.traffic - self._logged, self.traffic
        return {"ray/workers": len(self._workers), "ray/bytes": spent}

    @property
    def places(self) -> list[str]:
        """Return the process id and the node of the workers."""
        return [worker.place for worker in self._workers]

    def end(self) -> None:
        """End the workers."""
        self._dismiss()

    def _start(self, agent: GradientAlgorithm) -> None:
        """Start the workers, or start them again with another agent, and wait for them."""
        self._dismiss()
        kind: Any = ray.remote(BatchActor)
        actors = [kind.options(num_cpus=1, num_gpus=self._gpus).remote() for _ in range(self.size - 1)]
        self._workers = [Worker(number, actor) for number, actor in enumerate(actors)]
        try:
            places = ray.get([actor.name.remote() for actor in actors], timeout=PATIENCE)
        except GetTimeoutError as error:
            raise WorkerError(
                f"{len(actors)} workers have not started in {PATIENCE:.0f} seconds: the cluster has {room()} left, and "
                f"a worker needs 1 CPU and {self._gpus:g} GPU; give fewer workers, or add nodes"
            ) from error
        except RayError as error:
            raise WorkerError(f"a worker could not start: {first_line(error)}") from error
        start = ray.put(ray.cloudpickle.dumps(Start.of(agent)))  # type: ignore[no-untyped-call]
        main = f"{node_address()}:{free_port()}"
        for worker, place in zip(self._workers, places, strict=True):
            worker.place = place
        self._running = {worker.actor.start.remote(start): worker for worker in self._workers}
        try:
            ray.get(list(self._running))  # all of them, before anybody waits for the others
        except RayError as error:
            raise self._failure(error) from error
        joined = [Place(rank, self.size, main) for rank in range(1, self.size)]
        self._running = {w.actor.join.remote(place): w for w, place in zip(self._workers, joined, strict=True)}
        try:
            Place(0, self.size, main).join()
        except RuntimeError as error:
            raise self._failure(error) from error
        self._agent, self._expected = agent, agent.updates

    def _finish(self) -> None:
        """Wait for the last update of the workers, which can fail after this process has finished it."""
        try:
            ray.get(list(self._running))
        except RayError as error:
            raise self._failure(error) from error
        self._running = {}

    def _compare(self, agent: GradientAlgorithm) -> None:
        """Raise WorkerError if a worker's weights are not the agent's."""
        own = checksum(agent)
        self._running = {worker.actor.checksum.remote(): worker for worker in self._workers}
        for reference, worker in self._running.items():
            try:
                theirs = ray.get(reference)
            except RayError as error:
                raise self._failure(error) from error
            if theirs != own:
                raise WorkerError(
                    f"{worker} has other weights than this process after update {self._expected}: their processors or "
                    "libraries compute differently, so use the same ones on every node"
                )

    def _failure(self, error: Exception) -> WorkerError:
        """Return why the group cannot work: the error of a worker, its death, or of the connection.

        The next update starts the workers again.
        """
        names = {worker.actor.name.remote(): worker for worker in self._workers}  # dead workers do not answer
        asked = self._running | names
        self._agent, self._running = None, {}
        done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_FAREWELL)
        found: dict[bool, WorkerError] = {}  # whether a worker has lost the connection only
        for reference in done:
            worker = asked[reference]
            try:
                ray.get(reference)
            except RayTaskError as raised:
                found.setdefault(_lost_connection(raised), worker.failure(raised))
            except RayError as raised:
                return WorkerError(f"{worker} has died: {first_line(raised)}")
        return found.get(False) or found.get(True) or WorkerError(f"the workers cannot be reached: {first_line(error)}")

    def _dismiss(self) -> None:
        """End the workers."""
        for worker in self._workers:
            ray.kill(worker.actor)
        self._workers, self._running, self._agent = [], {}, None
        if dist.is_initialized():
            dist.destroy_process_group()


def _lost_connection(error: RayTaskError) -> bool:
    """Tell whether a worker failed because another process left."""
    return isinstance(error.cause, RuntimeError) and "gloo" in str(error.cause)
