"""The metrics by name, with their labels, directions and displays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lm_gym.metrics import accuracy, cross_entropy, perplexity
from lm_gym.registry import Registry, UserCodeError

if TYPE_CHECKING:
    from lm_gym.tasks.evaluation import Evaluation


@dataclass(frozen=True)
class Metric:
    """A number that evaluations report.

    Attributes:
        name: its key in reports and logs (`eval/<name>`), unique among all tasks.
        label: heading of its column.
        of: computes it from an evaluation; returns None or NaN if it is undefined. None for metrics computed elsewhere,
            such as by a search space.
        lower_is_better: the direction.
        while_training: whether the line of each evaluation shows it.
        in_terminal: whether the closing table shows it; report.md shows all metrics.
    """

    name: str
    label: str
    of: Callable[[Evaluation], float | None] | None = None
    lower_is_better: bool = False
    while_training: bool = False
    in_terminal: bool = True

    def value(self, evaluation: Evaluation) -> float | None:
        """Return the value of an evaluation; None if it is undefined.

        Raises:
            UserCodeError: the function raises, or does not return a number.
        """
        if self.of is None:
            return None
        try:
            found = self.of(evaluation)
            number = None if found is None else float(found)
        except Exception as error:
            raise UserCodeError.of(f"metric {self.name!r} of {evaluation.task.env_id}", error) from error
        return None if number != number else number  # NaN

    def same_as(self, other: Metric) -> bool:
        """Return whether another metric has the same definition, for example after rerunning a module."""
        kinds = [(m.label, m.lower_is_better, getattr(m.of, "__qualname__", None)) for m in (self, other)]
        return kinds[0] == kinds[1]

    def better(self, value: float, than: float) -> bool:
        """Return whether a value is better than another."""
        return value < than if self.lower_is_better else value > than


def _cross_entropy(played: Evaluation) -> float | None:
    return None if played.target_log_probs is None else cross_entropy(played.target_log_probs)


def _perplexity(played: Evaluation) -> float | None:
    return None if played.target_log_probs is None else perplexity(played.target_log_probs)


def _mean_reward(played: Evaluation) -> float | None:
    return None if np.isnan(played.returns).any() else float(played.returns.mean(dtype=np.float64))


ACCURACY = Metric("accuracy", "accuracy", lambda played: accuracy(played.targets, played.choices), while_training=True)
MACRO_F1 = Metric("macro_f1", "macro F1", lambda played: played.reports["label"].macro.f1, while_training=True)
COMMON = (
    Metric("cross_entropy", "cross-ent.", _cross_entropy, lower_is_better=True, in_terminal=False),
    Metric("perplexity", "perplexity", _perplexity, lower_is_better=True, while_training=True),
    Metric("mean_reward", "reward", _mean_reward),
)
"""Metrics of every task, after its own."""

METRICS: Registry[Metric] = Registry("metric", {metric.name: metric for metric in (ACCURACY, *COMMON)})


def metric_of(name: str) -> Metric:
    """Return the metric of a name; for an unregistered name, a metric with this name that is better when higher."""
    return METRICS.get(name) or Metric(name, name)


def columns(rows: Mapping[str, Mapping[str, Any]]) -> list[Metric]:
    """Return all metrics of some rows, in order of first appearance."""
    return [metric_of(name) for name in dict.fromkeys(name for values in rows.values() for name in values)]
