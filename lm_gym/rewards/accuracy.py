"""Exact match, plain or weighted by the gold choice."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.bounds import NonNegativeFloat
from lm_gym.rewards.choices import ChoiceRewards, Choices
from lm_gym.rewards.reward import Separable


class Accuracy(Separable):
    """Pay the weight of the gold choice for a correct choice, and 0 for a wrong one.

    Args:
        weights: None for 1 everywhere; `"balanced"` for the inverse frequency of the gold choice in the training
            split, scaled to a mean of 1 over its positions; or a mapping from choices (tags by name, tokens by id) to
            non-negative weights, with 1 for all others.

    Raises:
        ValueError: `weights` is none of these.
    """

    minimum = 0.0
    total_minimum = 0.0
    enumerable = True

    def __init__(self, weights: str | Mapping[Any, NonNegativeFloat] | None = None) -> None:
        if isinstance(weights, str) and weights != "balanced":
            raise ValueError(f"weights={weights!r} must be None, 'balanced' or a mapping {{choice: weight}}")
        self.weights = weights
        self.name, self.summary = "accuracy", "1 if the {choice} is correct, else 0"
        if weights == "balanced":
            self.name = "balanced_accuracy"
            self.summary = "accuracy weighted by the inverse frequency of the gold {choice}"

    def _prepare(self) -> None:
        if isinstance(self.weights, Mapping):
            self._table = _given(self.weights, self.choices)
        elif self.weights == "balanced":
            self._table = balanced_weights(self.choices.target_counts)
        else:
            self._table = np.ones(self.choices.num_choices)

    def at(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None
    ) -> NDArray[np.float64]:
        """Reward decisions elementwise."""
        return np.asarray((choices == targets) * self._table[targets], np.float64)

    def choice_rewards(self, targets: NDArray[np.int64]) -> ChoiceRewards:
        """Return the reward of every choice (see `Reward.choice_rewards`)."""
        gold = self._table[np.minimum(targets, self.choices.num_choices - 1)]
        return ChoiceRewards(gold.astype(np.float32), np.zeros(1, np.float32))


def balanced_weights(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return weights w_y = P / (C · count_y) for P positions with C different choices; their mean over positions is 1.

    Choices that never occur get the largest weight.
    """
    seen = counts > 0
    if not seen.any():
        return np.ones(len(counts))
    weights = counts.sum() / (seen.sum() * np.maximum(counts, 1))
    weights[~seen] = weights[seen].max()
    return np.asarray(weights, np.float64)


def _given(weights: Mapping[Any, float], choices: Choices) -> NDArray[np.float64]:
    table = np.ones(choices.num_choices)
    for name, weight in weights.items():
        table[choices.find(name)] = weight
    return table
