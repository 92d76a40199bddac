"""What a terminal shows of a study while it runs: runs done, time left, and what runs now."""

from __future__ import annotations

import json
import time
from datetime import timedelta

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from lm_gym.agents.comparison.runs import Job
from lm_gym.agents.runs.terminal import Terminal


class StudyProgress:
    """A bar for the study and a line for each run; where there is no terminal, a line for each run that ends.

    Args:
        console: where to draw.
        metric: shown of each run, as last evaluated.
        evaluations: of a run, the one at the start included: how far it is; None where runs differ.
        total: runs of the study.
        done: of them finished before this process.
    """

    def __init__(self, console: Terminal, metric: str, evaluations: int | None, total: int, done: int) -> None:
        self._console, self._metric, self._evaluations = console, metric, evaluations
        self._total, self._before, self._ended = total, done, 0
        self._began = self._drawn = time.monotonic()
        self._lines: dict[Job, TaskID] = {}
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[shown]}", markup=False),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._study = self._bars.add_task("study", total=float(total), completed=done, shown="")

    def __enter__(self) -> StudyProgress:
        self._bars.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bars.stop()

    def started(self, job: Job) -> None:
        """A run begins."""
        self._lines[job] = self._bars.add_task(job.folder.name, total=1.0, shown="starting")

    def ended(self, job: Job, failure: str | None) -> None:
        """A run has ended; with a message where it failed."""
        self._ended += 1
        if job in self._lines:
            self._bars.remove_task(self._lines.pop(job))
        if failure is None:
            report = json.loads((job.folder / "report.json").read_text(encoding="utf-8"))
            reached = {split: values.get(self._metric) for split, values in report["metrics"].items()}
            shown = f"validation {self._metric} {reached['validation']:.4f}, {report['seconds']:.0f} s"
        else:
            shown = f"failed: {failure}"
        if failure is not None or not self._console.is_terminal:
            number = self._before + self._ended
            self._console.say(f"[{number}/{self._total}] {job.folder.name}: {shown}")

    def waiting(self) -> None:
        """Draw anew, once a second."""
        if time.monotonic() - self._drawn < 1.0:
            return
        self._drawn = time.monotonic()
        parts = 0.0
        for job, line in self._lines.items():
            part, shown = self._of(job)
            parts += part
            self._bars.update(line, completed=part, shown=shown)
        done = self._ended + parts
        left = (self._total - self._before - done) * (self._drawn - self._began) / done if done else None
        ends = "" if left is None else f", {timedelta(seconds=round(left))} left"
        shown = f"{self._before + self._ended} of {self._total} runs{ends}"
        self._bars.update(self._study, completed=self._before + done, shown=shown)

    def _of(self, job: Job) -> tuple[float, str]:
        """How far a run is, about, and its last metric."""
        metrics = job.folder / "metrics.jsonl"
        lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []
        whole = [line for line in lines if line.endswith("}")]  # the last one may be half written
        values = [log[key] for line in whole if (key := f"eval/{self._metric}") in (log := json.loads(line))]
        part = len(values) / self._evaluations if self._evaluations else 0.0
        return min(part, 0.99), f"{self._metric} {values[-1]:.4f}" if values else "starting"
