"""Runs of a study as tasks on a Ray cluster."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError, TaskCancelledError

from lm_gym.agents.algorithms.ray_workers import OnCluster, first_line, node_address
from lm_gym.agents.compare.processes import launch, stop
from lm_gym.agents.compare.runs import Job, in_use

_LOSSES = 3  # nodes or workers that may be lost during one run
_POLL = 0.5  # seconds


class RayLauncher(OnCluster):
    """Starts runs as tasks on a Ray cluster, which places each on a node with a free CPU.

    A run that loses its node resumes on another one.

    Args:
        address: see `RayEvaluator`.
        at_a_time: number of parallel runs.
        gpus: GPUs of each run.

    Raises:
        WorkerError: there is no such cluster.
    """

    def __init__(self, address: str, at_a_time: int, gpus: float = 0) -> None:
        super().__init__(address, at_a_time)
        task: Any = ray.remote(_run)
        self._task = task.options(num_cpus=1, num_gpus=gpus, max_retries=_LOSSES)

    def __call__(self, job: Job, errors: Path) -> RayProcess:
        """See Launcher."""
        errors.touch()  # the node finds it if it shares the file system
        return RayProcess(self._task.remote(job, errors), errors)


class RayProcess:
    """A run on a cluster, with the interface of `Process`."""

    def __init__(self, reference: Any, errors: Path) -> None:
        self._reference, self._errors = reference, errors

    def poll(self) -> int | None:
        """See Process."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """See Process. If the run could not be placed, its file of errors says why."""
        try:
            status: int = ray.get(self._reference, timeout=timeout)
        except GetTimeoutError as error:
            raise subprocess.TimeoutExpired("a run on Ray", timeout or 0.0) from error
        except TaskCancelledError:
            return -signal.SIGTERM
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            self._errors.write_text(f"{first_line(cause)}\n", encoding="utf-8")
            return 1
        return status

    def terminate(self) -> None:
        """See Process."""
        ray.cancel(self._reference)

    def kill(self) -> None:
        """See Process."""
        ray.cancel(self._reference, force=True)


def _run(job: Job, errors: Path) -> int:
    """Run a job on this node and return its exit status. If the task is cancelled, the job is terminated."""
    if not errors.is_file():
        raise FileNotFoundError(
            f"node {node_address()} does not see {errors.parent.parent}: give an --out that all nodes share"
        )
    while in_use(job.folder):  # by the process of a worker that was lost
        time.sleep(_POLL)
    process = launch(job, errors)
    try:
        while (status := process.poll()) is None:
            time.sleep(_POLL)
        return status
    finally:
        if process.returncode is None:
            stop([process])
