"""Minus what a choice costs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.costs import Costs, CostsByName
from lm_gym.rewards.reward import Separable


class Cost(Separable):
    """A choice pays minus its cost.

    The mean reward of a position is minus the expected cost. What maximises it is the choice of least expected cost,
    which need not be the one most often right.

    Args:
        costs: by gold choice, then by the choice made (see `lm_gym.costs.Costs`). None for the costs of the task (its
            option `costs`) or, if it has none, 1 for each wrong choice.

    Raises:
        ValueError: when it is bound to a task that has no such choice, or if a cost is negative or not finite.
    """

    name = "cost"
    summary = "minus what the {choice} costs where another one is gold; 1 unless `costs` says otherwise"

    def __init__(self, costs: CostsByName | None = None) -> None:
        self.costs = costs

    def _prepare(self) -> None:
        given = self.choices.costs if self.costs is None else None
        self._costs = Costs(self.costs, self.choices.names) if given is None else given
        self.minimum = -self._costs.largest

    def at(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None
    ) -> NDArray[np.float64]:
        """Reward decisions elementwise."""
        return -self._costs(targets, choices)
