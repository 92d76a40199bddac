"""What a reward knows about the choices of a task, and the rewards of all of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm_gym.costs import Costs
from lm_gym.naming import among


class GoldError(ValueError):
    """A reward does not support the kind of gold of a task."""


class Choices(NamedTuple):
    """Facts about the task that a reward may use in addition to the gold choices.

    Attributes:
        num_choices: n.
        names: name of each choice for users: labels, or vocabulary ids.
        target_counts: int64 [n], frequency of each choice as gold in the training split.
        distribution: whether actions are distributions.
        gold: kinds of gold that the task offers (see `Reward.gold`); None if unknown.
        costs: the costs of wrong choices; None if the task defines none.
        abstention: the choice that abstains from the others; None if there is none.
        distinct: whether the choices of a text must differ from one another.
    """

    num_choices: int
    names: Sequence[Any]
    target_counts: NDArray[np.int64]
    distribution: bool = False
    gold: frozenset[str] | None = None
    costs: Costs | None = None
    abstention: int | None = None
    distinct: bool = False

    def find(self, name: object) -> int:
        """Return the index of a choice by its name.

        Raises:
            ValueError: the choice does not exist.
        """
        if name not in self.names:
            few = len(self.names) <= 50
            known = among(name, map(str, self.names)) if few else f": they are {self.names[0]!r} … {self.names[-1]!r}"
            raise ValueError(f"unknown choice {name!r}{known}")
        return self.names.index(name)


class ChoiceRewards(NamedTuple):
    """The reward of every choice at every position.

    Attributes:
        gold: float32 [N, T], the reward of the gold choice; arbitrary where padded.
        others: float32, the reward of each choice if it is not gold: [n], [N, T, 1] or another shape that broadcasts to
            [N, T, n].
    """

    gold: NDArray[np.float32]
    others: NDArray[np.float32]
