"""Populations that optimizers propose: P members of a search space."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch as th


class Population(ABC):
    """P members.

    Attributes:
        size: P.
        unit: number of consecutive members that are compared with one another, such as 2 for antithetic pairs. They
            always read the same texts.
    """

    size: int
    unit: int = 1

    @abstractmethod
    def vectors(self, members: slice = slice(None)) -> th.Tensor:
        """The members' vectors, [p, d]."""

    def by_unit(self) -> tuple[Population, th.Tensor | None]:
        """Return the members with units side by side, and their indices here, int64 [P]; None for the same order."""
        return self, None

    def __len__(self) -> int:
        return self.size


class Dense(Population):
    """Members stored as vectors.

    Args:
        members: [P, d], with the dtype of the domain's kind.
        unit: see Population.
        apart: whether the members of a unit are P/unit members apart (all parents, then their trials) instead of side
            by side.
    """

    def __init__(self, members: th.Tensor, unit: int = 1, *, apart: bool = False) -> None:
        self.members, self.size, self.unit, self.apart = members, len(members), unit, apart

    def vectors(self, members: slice = slice(None)) -> th.Tensor:
        """The members' vectors, [p, d]."""
        return self.members[members]

    def by_unit(self) -> tuple[Population, th.Tensor | None]:
        """See Population."""
        if not self.apart:
            return self, None
        order = th.arange(self.size).view(self.unit, -1).T.flatten()
        return Dense(self.members[order.to(self.members.device)], self.unit), order


class Sampled(Dense):
    """Members together with the noise that they were computed from, which `tell` needs.

    Args:
        members: [P, d].
        noise: the noise, for the optimizer.
        unit, apart: see Dense.
    """

    def __init__(self, members: th.Tensor, noise: th.Tensor, unit: int = 1, *, apart: bool = False) -> None:
        super().__init__(members, unit, apart=apart)
        self.noise = noise


def check_pairs(popsize: int) -> None:
    """Raise ValueError if the number of members is odd."""
    check_units(popsize, 2)


def check_units(popsize: int, unit: int) -> None:
    """Raise ValueError unless the number of members is a multiple of the unit."""
    if popsize < unit or popsize % unit:
        what = "pairs, give an even number of at least 2" if unit == 2 else f"units of {unit}, give a multiple of it"
        raise ValueError(f"popsize={popsize}: members come in {what}")
