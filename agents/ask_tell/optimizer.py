"""The ask/tell contract of every gradient-free optimizer here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch as th

from agents.ask_tell.population import Block, Dense, Domain, Kind, Perturbed, Population


class Optimizer(ABC):
    """A maximiser of a black box: `ask` for members, evaluate them, `tell` their fitness.

    A generation is a pure function of (state, seed, generation): all randomness is keyed by the two counters. So a
    state taken between `ask` and `tell` is enough to be asked the same members again.

    Args:
        seed: of everything random.
        popsize: P, members of a generation.

    Attributes:
        popsize: P.
        generation: generations told so far.
        evaluations: members told so far.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"real"})
    structured: ClassVar[bool] = False  # True: a StructuredOptimizer

    def __init__(self, *, seed: int, popsize: int) -> None:
        if popsize < 1:
            raise ValueError(f"popsize={popsize}: give 1 or more")
        self.seed, self.popsize = seed, popsize
        self.generation = self.evaluations = 0
        self._asked: Population | None = None

    def ask(self) -> Population:
        """The members to evaluate; the same ones until they are told."""
        if self._asked is None:
            self._asked = self._ask()
        return self._asked

    def tell(self, fitness: th.Tensor) -> None:
        """Learn from the members' fitness.

        Args:
            fitness: [P], higher is better. NaN marks a failed evaluation: it counts as worse than every other. A
                generation in which all fail teaches nothing and only counts.

        Raises:
            ValueError: a shape other than [P], or +inf.
        """
        population = self.ask()
        told = fitness.detach().to(th.float64).flatten()
        if fitness.shape != (population.size,):
            raise ValueError(f"fitness has shape {tuple(fitness.shape)}: give one number for each of {population.size}")
        told = th.where(told.isnan(), -th.inf, told)
        if (told == th.inf).any():
            raise ValueError("a fitness is +inf: nothing could be better; give NaN where an evaluation failed")
        if (told > -th.inf).any():
            self._tell(population, told)
        self.generation += 1
        self.evaluations += population.size
        self._asked = None

    @abstractmethod
    def _ask(self) -> Population:
        """New members; changes nothing in self."""

    @abstractmethod
    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        """Learn; `fitness` float64 [P], -inf where an evaluation failed, finite for at least one member."""

    def logs(self) -> dict[str, float]:
        """Numbers worth watching, such as `step_size`, `acceptance_rate`, `diversity`."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next generation depends on: tensors, numbers and strings."""
        return {"generation": self.generation, "evaluations": self.evaluations, **self._state()}

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Go on where `state_dict` was taken. `strict` is there for Stable-Baselines3; every key is needed."""
        self.generation, self.evaluations = int(state["generation"]), int(state["evaluations"])
        self._load(state)
        self._asked = None

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """The state of a subclass."""

    @abstractmethod
    def _load(self, state: dict[str, Any]) -> None:
        """Take a state of a subclass."""

    def _generator(self, stream: int = 0) -> th.Generator:
        """A generator of this generation; `stream` keeps apart several uses in one."""
        words = np.random.SeedSequence([self.seed, self.generation, stream]).generate_state(2, np.uint32)
        return th.Generator().manual_seed((int(words[0]) << 31) ^ int(words[1]))


class VectorOptimizer(Optimizer):
    """An optimizer whose members are dense vectors.

    Args:
        initial: [d], where the search begins.
        domain: what its entries are.
        seed, popsize: see Optimizer.

    Raises:
        ValueError: a domain of a kind that this optimizer does not search, or an `initial` that isn't in it.
    """

    def __init__(self, initial: th.Tensor, domain: Domain | None = None, *, seed: int, popsize: int) -> None:
        super().__init__(seed=seed, popsize=popsize)
        self.domain = domain or Domain("real", len(initial))
        if self.domain.kind not in self.kinds:
            raise ValueError(
                f"{type(self).__name__} searches {' and '.join(sorted(self.kinds))} spaces, not {self.domain.kind} ones"
            )
        if initial.shape != (self.domain.dim,):
            raise ValueError(f"initial has shape {tuple(initial.shape)}, the domain {self.domain.dim} entries")

    @property
    @abstractmethod
    def centre(self) -> th.Tensor:
        """[d], what the search would answer now: the mean of a distribution, or the best member."""

    def _ask(self) -> Population:
        return Dense(self._members())

    @abstractmethod
    def _members(self) -> th.Tensor:
        """New members, [P, d]; changes nothing in self."""


class StructuredOptimizer(Optimizer):
    """An optimizer that moves live tensors in place and regenerates its noise: memory O(d), whatever P.

    Args:
        centre: one live tensor for each block (a model's own parameters); updated in place.
        blocks: what they are; hyperparameters are in units of `block.scale`.
        seed, popsize: see Optimizer.
    """

    structured: ClassVar[bool] = True

    def __init__(self, centre: Sequence[th.Tensor], blocks: Sequence[Block], *, seed: int, popsize: int) -> None:
        super().__init__(seed=seed, popsize=popsize)
        self.centre, self.blocks = list(centre), tuple(blocks)
        for tensor, block in zip(self.centre, self.blocks, strict=True):
            if tuple(tensor.shape) != block.shape:
                raise ValueError(f"{block.name} has shape {tuple(tensor.shape)}, its block {block.shape}")

    def _ask(self) -> Population:
        return self._perturbed()

    @abstractmethod
    def _perturbed(self) -> Perturbed:
        """New members around the centre; changes nothing in self."""
