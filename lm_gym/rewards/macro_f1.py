"""Macro F1 over a large batch, as a reward of single decisions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.bounds import Fraction
from lm_gym.rewards.choices import ChoiceRewards
from lm_gym.rewards.reward import Separable


class MacroF1(Separable):
    """The change in macro F1 over a large batch that one more decision causes.

    The F1 of choice c is 2·TP_c / (P_c + G_c), where P_c counts how often c was made and G_c how often it is gold. To
    first order, a decision for c changes it by (2·[c is gold] - F1_c) / (P_c + G_c). In a batch of N decisions with the
    frequencies g_c of the training split, made as often as they are gold, the change in the mean over C choices, times
    N, is (2·[c is gold] - f1) / (2·C·g_c). Decisions with the highest expected reward choose c where its probability is
    high relative to f1/2 and g_c, which is the optimal rule for F1 (Lipton, Elkan and Narayanaswamy 2014).

    Choices that are never gold in training count as if they were gold once.

    Args:
        f1: the F1 that the choices are expected to reach; a higher one makes wrong choices cost more.
    """

    name = "macro_f1"
    enumerable = True
    summary = "the change in macro F1 over a large batch that the {choice} causes (`lm_gym.rewards.MacroF1`)"

    def __init__(self, f1: Fraction = 0.8) -> None:
        self.f1 = f1

    def _prepare(self) -> None:
        counts = np.maximum(self.choices.target_counts, 1)
        share = counts / counts.sum()
        self._right, self._wrong = ((paid - self.f1) / (2.0 * len(counts) * share) for paid in (2.0, 0.0))
        self.minimum = float(self._wrong.min())

    def at(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None
    ) -> NDArray[np.float64]:
        """Reward decisions elementwise."""
        return np.asarray(np.where(choices == targets, self._right[choices], self._wrong[choices]), np.float64)

    def choice_rewards(self, targets: NDArray[np.int64]) -> ChoiceRewards:
        """Return the reward of every choice (see `Reward.choice_rewards`)."""
        gold = self._right[np.minimum(targets, self.choices.num_choices - 1)]
        return ChoiceRewards(gold.astype(np.float32), self._wrong.astype(np.float32))
