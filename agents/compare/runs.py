"""The runs of a study: each is a process of `python -m agents.train`, several run in parallel, none runs twice."""

from __future__ import annotations

import fcntl
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lm_gym.agents.compare.processes import Launcher, Process, launch, stop
from lm_gym.agents.files import write_json
from lm_gym.agents.runs.settings import SettingsError

_POLL = 0.1  # seconds
_WATCH = 1.0  # seconds between two looks at the running jobs
_EITHER = ("device", "threads", "checkpoint.", "ray.")  # settings in which an existing run may differ from its study


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        row: its row's name.
        seed: its seed.
        folder: its run folder.
        options: options of `python -m agents.train`, without seed and folder.
        start: the model that it starts from, made by another run.
    """

    row: str
    seed: int
    folder: Path
    options: tuple[str, ...]
    start: Path | None = None

    @property
    def finished(self) -> bool:
        """Whether the run is finished."""
        return (self.folder / "report.json").is_file()

    def command(self) -> list[str]:
        """Return the command that starts or resumes the run."""
        train = [sys.executable, "-m", "lm_gym.agents.train"]
        if (self.folder / "config.yaml").is_file():
            return [*train, "--resume", str(self.folder)]
        return [*train, *self.options, "--seed", str(self.seed), "--run_dir", str(self.folder)]

    def check(self) -> None:
        """Raise SettingsError if the folder holds a run with other settings."""
        config = self.folder / "config.yaml"
        if not config.is_file():
            return
        from lm_gym.agents.runs.command_line import parse_settings  # loads the model libraries

        stands = parse_settings(["--config", str(config)]).flat()
        wanted = parse_settings([*self.options, "--seed", str(self.seed)]).flat()
        for key in wanted | stands:
            aside = key.startswith(_EITHER) or (key == "policy.model" and self.start is not None)
            if not (aside or agrees(stands.get(key), wanted.get(key), open=key.startswith("agent."))):
                raise SettingsError(
                    f"{self.folder} was run with {key} {stands.get(key)!r}, but the study has {wanted.get(key)!r}: "
                    "give another --out, or remove that folder"
                )


def agrees(stands: Any, wanted: Any, open: bool) -> bool:
    """Return whether a run's setting agrees with its study.

    Args:
        stands: the setting of the run.
        wanted: the setting of the study.
        open: whether the table of defaults may decide the setting. The run then has the decided value, and the study
            has `"auto"`, None, or some of the entries.
    """
    if open and isinstance(stands, dict) and isinstance(wanted, dict):
        return stands.items() >= wanted.items()
    return stands == wanted or (open and wanted in (None, "auto", {}))


class Trials(Protocol):
    """Jobs that depend on one another, such as the trials of a search."""

    def hopeless(self, job: Job) -> bool:
        """Return whether to stop a running job."""

    def ended(self, job: Job, failure: str | None) -> Job | None:
        """Record a job that has ended or was stopped, and return the job that follows it."""


class Runs:
    """Run jobs in parallel, and record failures in `failed.json`.

    Args:
        out: the study's folder.
        at_a_time: number of parallel processes.
        started, ended, waiting: callbacks for the start of a job, for its end, and repeatedly while jobs run.
        launcher: starts a job; by default as a process on this machine.
    """

    def __init__(
        self,
        out: Path,
        at_a_time: int,
        started: Callable[[Job], None],
        ended: Callable[[Job, str | None], None],
        waiting: Callable[[], None],
        launcher: Launcher = launch,
    ) -> None:
        self._out, self._at_a_time = out, at_a_time
        self._started, self._ended, self._waiting, self._launcher = started, ended, waiting, launcher
        self._file = out / "failed.json"
        self.failed: dict[str, str] = read_failures(out)

    def run(self, jobs: Sequence[Job], trials: Trials | None = None) -> None:
        """Run all unfinished jobs. An exception, such as KeyboardInterrupt, terminates the running ones.

        Args:
            jobs: the jobs.
            trials: stops jobs and adds others, if the jobs are trials of a search.
        """
        pending = [job for job in jobs if trials or not job.finished]
        running: dict[Job, Process] = {}
        watched = time.monotonic()
        try:
            while pending or running:
                polled = {job: process.poll() for job, process in running.items()}
                ended = {job: status for job, status in polled.items() if status is not None}
                if trials and time.monotonic() - watched >= _WATCH:
                    watched = time.monotonic()
                    hopeless = [job for job in running if job not in ended and trials.hopeless(job)]
                    stop([running.pop(job) for job in hopeless])
                    for job in hopeless:
                        pending += self._end(job, None, trials)
                for job, status in ended.items():
                    running.pop(job)
                    pending += self._end(job, self._failure(job, status), trials)
                ready = [job for job in pending if not in_use(job.folder)][: self._at_a_time - len(running)]
                for job in ready:
                    pending.remove(job)
                    if job.start is not None and not job.start.is_dir():
                        missing = f"the model that it starts from is missing: {job.start}"
                        pending += self._end(job, missing, trials)
                    elif job.finished:  # a trial that ended while the study did not run
                        pending += self._end(job, None, trials)
                    else:
                        running[job] = self._start(job)
                        self._started(job)
                self._waiting()
                time.sleep(_POLL)
        finally:
            stop(list(running.values()))

    def _start(self, job: Job) -> Process:
        if not (job.folder / "config.yaml").is_file():
            shutil.rmtree(job.folder, ignore_errors=True)  # left by a run that was killed before it started
        job.folder.parent.mkdir(parents=True, exist_ok=True)
        errors = self._errors(job)
        errors.parent.mkdir(exist_ok=True)
        return self._launcher(job, errors)

    def _failure(self, job: Job, status: int) -> str | None:
        """Return why a process failed: its last line on stderr; None if it did not."""
        if status == 0 and job.finished:
            return None
        lines = self._errors(job).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exited with status {status} and no message"

    def _end(self, job: Job, failure: str | None, trials: Trials | None) -> list[Job]:
        """Record how a job ended, and return the jobs that follow it."""
        self._note(job, failure)
        following = trials.ended(job, failure) if trials else None
        self._ended(job, failure)
        return [] if following is None else [following]

    def _errors(self, job: Job) -> Path:
        return self._out / "stderr" / f"{job.folder.name}.txt"

    def _note(self, job: Job, failure: str | None) -> None:
        self.failed.pop(job.folder.name, None)
        if failure is not None:
            self.failed[job.folder.name] = failure
        write_json(self._file, self.failed)


def evaluations(folder: Path, metric: str) -> list[float]:
    """Return a metric at each evaluation of a run so far, on validation; an incomplete last line is left out."""
    file = folder / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    logs = [json.loads(line) for line in lines if line.endswith("}")]
    values = [log[key] for log in logs if (key := f"eval/{metric}") in log]
    return [math.nan if value is None else float(value) for value in values]


def read_failures(out: Path) -> dict[str, str]:
    """Return the last line on stderr of each failed run, by the name of its folder."""
    file = out / "failed.json"
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def in_use(folder: Path) -> bool:
    """Return whether a process, such as one left by a killed study, still writes to a run folder."""
    if not (folder / ".lock").is_file():
        return False
    with (folder / ".lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
