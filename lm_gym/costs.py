"""Costs of wrong choices."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.naming import among

CostsByName = Mapping[Any, Mapping[Any, float]]


class Costs:
    """The cost of each choice for each gold choice: 0 if it is correct and 1 if it is wrong, with exceptions.

    Args:
        costs: exceptions, by gold choice and choice made. `{"negative": {"positive": 5.0}}` sets the cost of a missed
            negative to 5.
        names: name of each choice for users, [n].

    Attributes:
        largest: the largest cost.

    Raises:
        ValueError: a choice does not exist, or a cost is negative or not finite.
    """

    def __init__(self, costs: CostsByName | None, names: Sequence[Any]) -> None:
        self._num_choices = len(names)
        found: dict[int, float] = {}
        for gold, row in (costs or {}).items():
            if not isinstance(row, Mapping):
                raise ValueError(f"costs of {gold!r} are {row!r}: name the choice made, {{{gold!r}: {{…: 5.0}}}}")
            for choice, cost in row.items():
                if not (np.isfinite(cost) and cost >= 0):
                    raise ValueError(
                        f"costs: the cost of {choice!r} for {gold!r} is {cost}: give a finite number, 0 or more"
                    )
                found[self._find(gold, names) * len(names) + self._find(choice, names)] = float(cost)
        self._keys = np.array(sorted(found), np.int64)
        self._values = np.array([found[key] for key in sorted(found)])
        self.largest = max([1.0, *found.values()])

    def __call__(self, targets: NDArray[np.int64], choices: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the costs, float64 [...], of choices made, given the gold choices, int64 [...] in [0, n) each."""
        costs = np.asarray(targets != choices, np.float64)
        if not len(self._keys):
            return costs
        keys = targets * self._num_choices + choices
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[at] == keys, self._values[at], costs)

    @staticmethod
    def _find(name: Any, names: Sequence[Any]) -> int:
        if name not in names:
            few = among(name, map(str, names)) if len(names) <= 50 else f": they are {names[0]!r} … {names[-1]!r}"
            raise ValueError(f"costs: no choice {name!r}{few}")
        return names.index(name)
