"""Rows that any agent must beat: predictors that see no text, or hardly any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lm_gym.tasks.task import Task


class Batch(NamedTuple):
    """Texts as a predictor sees them.

    Attributes:
        observation: the leaves of N rows.
        text_index: int64 [N], the number of each row's text in its split.
        targets: int64 [N, T], gold choices, n where padded; for log-probabilities only.
    """

    observation: dict[str, NDArray[Any]]
    text_index: NDArray[np.int64]
    targets: NDArray[np.int64]


class Prediction(NamedTuple):
    """What a predictor says of a batch.

    Attributes:
        choices: int64 [N, T]; anything where padded.
        target_log_probs: log P(gold choice), float32 [N, T], or None from a predictor without probabilities.
        scores: float64 [N, T], what `Task.score` says of each distribution; None from a predictor without any, and for
            tasks that do not ask.
    """

    choices: NDArray[np.int64]
    target_log_probs: NDArray[np.float32] | None
    scores: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Baseline:
    """A row to beat.

    Attributes:
        name: its key in reports.
        label: its name in tables.
        make: builds the predictor for a task; may learn from `task.train`.
    """

    name: str
    label: str
    make: Callable[[Task], Callable[[Batch], Prediction]]


def random_choices(task: Task, seed: int = 0) -> Callable[[Batch], Prediction]:
    """A predictor that gives every choice the same probability."""
    generator = np.random.default_rng(seed)

    def predict(batch: Batch) -> Prediction:
        n, shape = task.shape.choices, batch.targets.shape
        return Prediction(generator.integers(0, n, shape), np.full(shape, -np.log(n), np.float32))

    return predict


def unigram(task: Task) -> Callable[[Batch], Prediction]:
    """A predictor that gives each choice its frequency among the training targets, with one added to each count."""
    counts = task.target_counts
    log_probs = np.log((counts + 1.0) / (counts + 1.0).sum())

    def predict(batch: Batch) -> Prediction:
        gold = log_probs[np.minimum(batch.targets, len(counts) - 1)].astype(np.float32)
        return Prediction(np.full(batch.targets.shape, counts.argmax()), gold)

    return predict


RANDOM = Baseline("random", "random", random_choices)
