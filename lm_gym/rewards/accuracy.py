"""Exact match, plain or weighted by the gold choice."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.rewards.reward import ChoiceRewards, Choices, Separable


class Accuracy(Separable):
    """A right choice pays the weight of its gold choice, a wrong one nothing.

    Args:
        weights: None for 1 everywhere; `"balanced"` for the inverse frequency of the gold choice in the training
            split, scaled so that the mean over its positions is 1; or a mapping from choices (tags by name,
            vocabulary by id) to weights that are not negative, others 1.

    Raises:
        ValueError: if `weights` is none of these.
    """

    minimum = 0.0
    total_minimum = 0.0
    enumerable = True

    def __init__(self, weights: str | Mapping[Any, float] | None = None) -> None:
        if isinstance(weights, str) and weights != "balanced":
            raise ValueError(f"weights={weights!r} is none of None, 'balanced' and a mapping {{choice: weight}}")
        self.weights = weights
        self.name, self.summary = "accuracy", "1 where the {choice} is right, else 0"
        if weights == "balanced":
            self.name = "balanced_accuracy"
            self.summary = "the same, weighted by the inverse frequency of the gold {choice}"

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
        """Every choice's reward (see `Reward.choice_rewards`)."""
        n = self.choices.num_choices
        return ChoiceRewards(self._table[np.minimum(targets, n - 1)].astype(np.float32), np.zeros(n, np.float32))


def balanced_weights(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights w_y = P / (C · count_y) for P positions of C different choices, so that the mean over positions is 1.

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
        if not (np.isfinite(weight) and weight >= 0):
            raise ValueError(f"the weight of {name!r} is {weight}: give a finite number, 0 or more")
        table[choices.find(name)] = weight
    return table
