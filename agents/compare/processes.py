"""The process of a run of a study: on this machine, or wherever a launcher puts it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import lm_gym

if TYPE_CHECKING:
    from lm_gym.agents.compare.runs import Job

_PATIENCE = 10.0  # seconds that a run may take to terminate


class Process(Protocol):
    """A running process; `subprocess.Popen` is one."""

    def poll(self) -> int | None:
        """Return the exit status, or None while the process runs."""

    def terminate(self) -> None:
        """Ask the process to end."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status; raise `subprocess.TimeoutExpired` after `timeout` seconds."""

    def kill(self) -> None:
        """End the process at once."""


class Launcher(Protocol):
    """Starts runs."""

    def __call__(self, job: Job, errors: Path) -> Process:
        """Start or resume a run, which writes its errors to the file `errors`."""


def launch(job: Job, errors: Path) -> subprocess.Popen[bytes]:
    """Start a run on this machine. It has its own session, so that Ctrl-C does not reach it directly."""
    paths = [str(Path(lm_gym.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    env = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with errors.open("wb") as file:
        return subprocess.Popen(job.command(), stdout=subprocess.DEVNULL, stderr=file, env=env, start_new_session=True)


def stop(processes: Sequence[Process]) -> None:
    """Terminate runs; they lose the work since their last checkpoint."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _PATIENCE
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
