"""The progress bar of a run, with reward, metric and texts per second."""

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import safe_mean

from lm_gym.agents.runs.clock import Clock


class ProgressBar(BaseCallback):
    """A progress bar on a terminal. If output goes elsewhere, only the lines of evaluations are printed.

    Args:
        console: where the bar is drawn.
        clock: the training time.
        metric: a function that returns the last value of the metric that chooses the best model, as text.
    """

    def __init__(self, console: Console, clock: Clock, metric: Callable[[], str]) -> None:
        super().__init__()
        self._clock, self._metric = clock, metric
        self._progress = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f}%"),
            TextColumn("reward {task.fields[reward]}"),
            TextColumn("{task.fields[metric]}", style="cyan", markup=False),
            TextColumn("{task.fields[speed]} texts/s"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )

    def _on_training_start(self) -> None:
        model: Any = self.model
        self._texts = model.forward_passes
        self._seconds = self._clock.seconds
        self._task = self._progress.add_task(
            type(model).__name__,
            total=1.0,
            completed=model.done,
            reward="–",
            speed="–",
            metric=self._metric(),
        )
        self._progress.start()

    def _on_step(self) -> bool:
        model: Any = self.model
        rewards = [info["r"] for info in model.ep_info_buffer or ()]
        seconds = self._clock.seconds - self._seconds
        self._progress.update(
            self._task,
            completed=model.done,
            reward=f"{safe_mean(rewards):.3f}" if rewards else "–",
            speed=f"{(model.forward_passes - self._texts) / seconds:,.0f}" if seconds else "–",
            metric=self._metric(),
        )
        return True

    def stop(self) -> None:
        """Remove the bar from the terminal, however training ended."""
        self._progress.stop()

    def _on_training_end(self) -> None:
        self.stop()
