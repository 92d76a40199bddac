"""Progress of a study in the terminal: finished runs, remaining time, and current runs."""

from __future__ import annotations

import json
import time
from datetime import timedelta

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from lm_gym.agents.compare.runs import Job, evaluations
from lm_gym.agents.runs.terminal import Terminal


class StudyProgress:
    """A bar for the study and a line for each run; outside a terminal, a line for each run that ends.

    Args:
        console: the terminal.
        metric: metric to show for each run.
        evaluations: number of evaluations per run, including the first, to estimate progress; None if runs differ.
        total: number of runs in the study.
        done: number of runs finished by earlier processes.
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
        """Show that a run has started."""
        self._lines[job] = self._bars.add_task(job.folder.name, total=1.0, shown="starting")

    def ended(self, job: Job, failure: str | None) -> None:
        """Show that a run has ended, with a message if it failed."""
        self._ended += 1
        if job in self._lines:
            self._bars.remove_task(self._lines.pop(job))
        if failure is None and not job.finished:
            shown = "stopped by the pruner"
        elif failure is None:
            report = json.loads((job.folder / "report.json").read_text(encoding="utf-8"))
            reached = {split: values.get(self._metric) for split, values in report["metrics"].items()}
            shown = f"validation {self._metric} {reached['validation']:.4f}, {report['seconds']:.0f} s"
        else:
            shown = f"failed: {failure}"
        if failure is not None or not self._console.is_terminal:
            number = self._before + self._ended
            self._console.say(f"[{number}/{self._total}] {job.folder.name}: {shown}")

    def waiting(self) -> None:
        """Redraw at most once a second."""
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
        """Return the approximate progress of a run, 0 to 1, and its last metric."""
        values = evaluations(job.folder, self._metric)
        part = len(values) / self._evaluations if self._evaluations else 0.0
        return min(part, 0.99), f"{self._metric} {values[-1]:.4f}" if values else "starting"
