"""What wrong choices cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.naming import among

CostsByName = Mapping[Any, Mapping[Any, float]]


class Costs:
    """The cost of each choice where each is gold: 1 where it is wrong and 0 where it is right, unless said otherwise.

    Args:
        costs: by gold choice, then by the choice made: `{"negative": {"positive": 5.0}}` makes a missed negative cost
            5; None for no exceptions.
        names: what a user calls each choice, [n].

    Attributes:
        largest: the most that a choice costs.

    Raises:
        ValueError: there is no such choice, or a cost is negative or not finite.
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
                        f"costs: {choice!r} where {gold!r} is gold costs {cost}: give a finite number, 0 or more"
                    )
                found[self._find(gold, names) * len(names) + self._find(choice, names)] = float(cost)
        self._keys = np.array(sorted(found), np.int64)
        self._values = np.array([found[key] for key in sorted(found)])
        self.largest = max([1.0, *found.values()])

    def __call__(self, targets: NDArray[np.int64], choices: NDArray[np.int64]) -> NDArray[np.float64]:
        """What choices cost, float64 [...], of gold choices and choices made, int64 [...] in [0, n)."""
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
