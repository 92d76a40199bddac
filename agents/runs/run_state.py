"""The state of a run in its checkpoints: how long it has trained, and which of its models is the best."""

from dataclasses import dataclass, field
from typing import Any

from lm_gym.tasks.metric import metric_of


@dataclass
class RunState:
    """The state of a run in a checkpoint, apart from the model.

    Attributes:
        seconds: training time, without evaluations and checkpoints.
        peak_memory_bytes: the peak memory of the run, over all its processes.
        metric: the metric that chooses the best model.
        keep: "best", or "last": the last evaluation's model counts as the best.
        first: its value before training; None before the first evaluation, and in runs of version 0.1.
        best: its best value so far; None before the first evaluation.
        best_timesteps: timesteps at the best value.
        last: its last value.
        top: its best value so far, also with `keep="last"`; None before the first evaluation.
        waited: number of evaluations since `top`.
        evaluated_at: timesteps of the last evaluation; -1 before the first.
        pending: values recorded since the last log, by name: the value, the number of values of which it is the mean,
            and the outputs that exclude it.
    """

    metric: str
    keep: str = "best"
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    first: float | None = None
    best: float | None = None
    best_timesteps: int = 0
    last: float | None = None
    top: float | None = None
    waited: int = 0
    evaluated_at: int = -1
    pending: dict[str, Any] = field(default_factory=dict)

    @property
    def improved(self) -> bool:
        """Return whether the kept model is better than the model at the start of training."""
        if self.first is None or self.best is None:
            return self.best_timesteps > 0
        return metric_of(self.metric).better(self.best, self.first)

    def record(self, value: float, timesteps: int) -> bool:
        """Record an evaluation; return whether its model is kept: the first, a better one, or each with `"last"`."""
        kind = metric_of(self.metric)
        kept = self.best is None or self.keep == "last" or kind.better(value, self.best)
        higher = self.top is None or kind.better(value, self.top)
        self.top, self.waited = (value, 0) if higher else (self.top, self.waited + 1)
        self.first = value if timesteps == 0 else self.first
        self.last, self.evaluated_at = value, timesteps
        if kept:
            self.best, self.best_timesteps = value, timesteps
        return kept

    def stopped_early(self, patience: int | None) -> str | None:
        """Return why a run with this patience ends before its budget is spent, or None."""
        if patience is None or self.waited < patience:
            return None
        count = f"{self.waited} evaluations" if self.waited > 1 else "one evaluation"
        return f"{count} without a better {self.metric} on validation than {self.top:.4f}"
