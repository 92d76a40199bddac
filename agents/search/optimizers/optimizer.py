"""The ask/tell contract of every gradient-free optimizer here."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch as th
from numpy.typing import NDArray

from lm_gym.agents.search.population.population import Block, Domain, Kind, Population, keyed_seed
from lm_gym.bounds import Bounded, NonNegativeInt, PositiveInt


class Optimizer(Bounded, ABC):
    """A maximiser of a black box: `ask` for members, evaluate them, `tell` their fitness.

    A generation is a pure function of (state, seed, generation): all randomness is keyed by the two counters. So a
    state taken between `ask` and `tell` is enough to be asked the same members again.

    Args:
        seed: of everything random.
        popsize: P, members of a generation.
        device: where members are made.

    Attributes:
        popsize: P.
        generation: generations told so far.
        evaluations: members told so far.
        rate: factor of the learning rate in the next `tell`, for schedules; only where `has_rate`.
    """

    has_rate: ClassVar[bool] = False  # True: it has a learning rate, which follows `rate`
    rate: float = 1.0
    kinds: ClassVar[frozenset[Kind]] = frozenset({"real"})
    structured: ClassVar[bool] = False  # True: a StructuredOptimizer
    remembers: ClassVar[tuple[str, ...]] = ()  # attributes that the next generation depends on

    def __init__(self, *, seed: NonNegativeInt, popsize: PositiveInt, device: th.device) -> None:
        self.seed, self.popsize, self.device = seed, popsize, device
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
        if fitness.shape != (population.size,):
            raise ValueError(f"fitness has shape {tuple(fitness.shape)}: give one number for each of {population.size}")
        told = fitness.detach().to(self.device, th.float64)
        best = told.max().item()
        if math.isnan(best):
            told = told.nan_to_num(-th.inf, th.inf, -th.inf)
            best = told.max().item()
        if best == th.inf:
            raise ValueError("a fitness is +inf: nothing could be better; give NaN where an evaluation failed")
        if best > -th.inf:
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
        """Everything that the next generation depends on: tensors (copies), numbers and strings."""
        return {
            "optimizer": type(self).__name__,
            "seed": self.seed,
            "popsize": self.popsize,
            "generation": self.generation,
            "evaluations": self.evaluations,
            **self._state(),
        }

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Go on where `state_dict` was taken. `strict` is there for Stable-Baselines3; every key is needed.

        Raises:
            ValueError: the state is another optimizer's, or of another popsize.
        """
        for key, own in (("optimizer", type(self).__name__), ("popsize", self.popsize)):
            if state[key] != own:
                raise ValueError(f"the state is of {key}={state[key]!r}, this is {own!r}: build it with the same")
        self.seed = int(state["seed"])
        self.generation, self.evaluations = int(state["generation"]), int(state["evaluations"])
        self._asked = None
        self._load(state)

    def _state(self) -> dict[str, Any]:
        """The state of a subclass."""
        values = {name: getattr(self, name) for name in self.remembers}
        return {name: v.clone() if isinstance(v, th.Tensor) else v for name, v in values.items()}

    def _load(self, state: dict[str, Any]) -> None:
        """Take a state of a subclass."""
        for name in self.remembers:
            value = state[name]
            setattr(self, name, value.to(self.device, copy=True) if isinstance(value, th.Tensor) else value)

    def _generator(self, stream: int = 0) -> th.Generator:
        """A generator of this generation; `stream` keeps apart several uses in one."""
        return th.Generator(self.device).manual_seed(keyed_seed(self.seed, self.generation, stream))


class VectorOptimizer(Optimizer):
    """An optimizer whose members are dense vectors.

    Args:
        initial: [d], where the search begins; its device and its dtype are those of the members.
        domain: what its entries are.
        seed, popsize: see Optimizer.

    Raises:
        ValueError: a domain of a kind that this optimizer does not search, or an `initial` that isn't in it.
    """

    def __init__(self, initial: th.Tensor, domain: Domain | None = None, *, seed: int, popsize: int) -> None:
        super().__init__(seed=seed, popsize=popsize, device=initial.device)
        self.domain, self.dtype = domain or Domain("real", len(initial)), initial.dtype
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

    def _randn(self, rows: int, stream: int = 0) -> th.Tensor:
        """Standard Gaussian numbers of this generation, [rows, d]."""
        shape = (rows, self.domain.dim)
        return th.randn(shape, generator=self._generator(stream), device=self.device, dtype=self.dtype)

    def _tensor(self, values: NDArray[np.float64]) -> th.Tensor:
        """Numbers worked out on the CPU, where the members are."""
        return th.as_tensor(values, dtype=self.dtype, device=self.device)


class StructuredOptimizer(Optimizer):
    """An optimizer that moves live tensors in place and regenerates its noise: memory O(d), whatever P.

    Args:
        centre: one live tensor for each block (a model's own parameters); updated in place.
        blocks: what they are; hyperparameters are in units of `block.scale`.
        seed, popsize: see Optimizer.
    """

    structured: ClassVar[bool] = True

    def __init__(self, centre: Sequence[th.Tensor], blocks: Sequence[Block], *, seed: int, popsize: int) -> None:
        super().__init__(seed=seed, popsize=popsize, device=centre[0].device)
        self.centre, self.blocks = list(centre), tuple(blocks)
        for tensor, block in zip(self.centre, self.blocks, strict=True):
            if tuple(tensor.shape) != block.shape:
                raise ValueError(f"{block.name} has shape {tuple(tensor.shape)}, its block {block.shape}")
