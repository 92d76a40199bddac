"""The negative cost of a choice."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.costs import Costs, CostsByName
from lm_gym.rewards.reward import Separable


class Cost(Separable):
    """The reward of a choice is its negative cost.

    The mean reward per position is the negative expected cost. It is maximal for the choice with the lowest expected
    cost, which need not be the most probable choice.

    Args:
        costs: costs by gold choice and choice made (see `lm_gym.costs.Costs`). None: the costs of the task (its option
            `costs`), or 1 for each wrong choice if the task has none.

    Raises:
        ValueError: the task lacks a choice named in `costs`, or a cost is negative or not finite.
    """

    name = "cost"
    summary = "minus the cost of the {choice}: 0 if it is correct, otherwise as set in `costs` (1 by default)"

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
