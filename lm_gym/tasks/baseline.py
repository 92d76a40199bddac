"""Baselines that any agent must beat: predictors that ignore the text or look only at single words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lm_gym.tasks.task import Task


class Batch(NamedTuple):
    """A batch of texts for a predictor.

    Attributes:
        observation: the observation of N rows.
        text_index: int64 [N], index of the text of each row in its split.
        targets: int64 [N, T], gold choices; n where padded. Use them only for log-probabilities.
        uniforms: float64 [N, T], random numbers for `Task.choose`; None if the task draws no choices.
    """

    observation: dict[str, NDArray[Any]]
    text_index: NDArray[np.int64]
    targets: NDArray[np.int64]
    uniforms: NDArray[np.float64] | None = None


class Prediction(NamedTuple):
    """The predictions for a batch.

    Attributes:
        choices: int64 [N, T]; arbitrary where padded.
        target_log_probs: log P(gold choice), float32 [N, T]; None if the predictor gives no probabilities.
        choice_log_probs: log P(choice made), float32 [N, T]; None if unknown.
        scores: float64 [N, T], `Task.score` of each distribution; None if the predictor or the task has none.
        target_ranks: int64 [N, T], rank of the gold choice from 1; None if the task is not `ranked`.
    """

    choices: NDArray[np.int64]
    target_log_probs: NDArray[np.float32] | None
    choice_log_probs: NDArray[np.float32] | None = None
    scores: NDArray[np.float64] | None = None
    target_ranks: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Baseline:
    """A baseline.

    Attributes:
        name: its key in reports.
        label: its name in tables.
        make: creates the predictor for a task; may learn from `task.train`.
    """

    name: str
    label: str
    make: Callable[[Task], Callable[[Batch], Prediction]]


def random_choices(task: Task, seed: int = 0) -> Callable[[Batch], Prediction]:
    """Return a predictor that gives every choice that a text has the same probability."""
    generator = np.random.default_rng(seed)

    def predict(batch: Batch) -> Prediction:
        n, shape = task.shape.choices, batch.targets.shape
        allowed = task.allowed(batch.text_index)
        if allowed is not None:
            scores = np.where(allowed[:, None], generator.random((*shape, n)), -np.inf)
            log_probs = np.broadcast_to(-np.log(allowed.sum(1))[:, None], shape).astype(np.float32)
            return by_scores(scores, batch.targets)._replace(target_log_probs=log_probs)
        return Prediction(generator.integers(0, n, shape), np.full(shape, -np.log(n), np.float32))

    return predict


def by_scores(scores: NDArray[np.float64], targets: NDArray[np.int64]) -> Prediction:
    """Return the choices with the highest scores, and the ranks of the gold choices.

    Args:
        scores: float64 [N, T, n]; -inf for choices that a text lacks. Among equal scores, the first ranks higher.
        targets: int64 [N, T], gold choices; n where padded.
    """
    gold = np.minimum(targets, scores.shape[-1] - 1)[..., None]
    of_gold = np.take_along_axis(scores, gold, axis=-1)
    before = (scores > of_gold) | ((scores == of_gold) & (np.arange(scores.shape[-1]) < gold))
    return Prediction(scores.argmax(-1), None, target_ranks=1 + before.sum(-1))


def by_probability(yes: Callable[[NDArray[np.int64]], NDArray[np.float64]]) -> Callable[[Batch], Prediction]:
    """Return a predictor of yes (1) and no (0) at the positions of texts.

    Args:
        yes: maps indices of texts, int64 [N], to the probability of yes at each position, [N, T], between 0 and 1.
    """

    def predict(batch: Batch) -> Prediction:
        sure = np.clip(yes(batch.text_index), 1e-9, 1 - 1e-9)
        choices = (sure > 0.5).astype(np.int64)
        of_gold, of_choice = (np.log(np.where(made == 1, sure, 1 - sure)) for made in (batch.targets, choices))
        return Prediction(choices, of_gold.astype(np.float32), of_choice.astype(np.float32))

    return predict


def unigram(task: Task) -> Callable[[Batch], Prediction]:
    """Return a predictor that gives each choice its frequency among the training targets plus one."""
    counts = task.target_counts
    log_probs = np.log((counts + 1.0) / (counts + 1.0).sum())

    def predict(batch: Batch) -> Prediction:
        gold = log_probs[np.minimum(batch.targets, len(counts) - 1)].astype(np.float32)
        return Prediction(np.full(batch.targets.shape, counts.argmax()), gold)

    return predict


RANDOM = Baseline("random", "random", random_choices)
