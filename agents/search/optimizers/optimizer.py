"""The ask/tell interface of all gradient-free optimizers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch as th
from numpy.typing import NDArray

from lm_gym.agents.search.population.domain import Block, Domain, Kind
from lm_gym.agents.search.population.noise import keyed_seed
from lm_gym.agents.search.population.population import Population
from lm_gym.bounds import Bounded, NonNegativeInt, PositiveInt


class Optimizer(Bounded, ABC):
    """Base class of optimizers, which maximise a black box: `ask` for members, evaluate them, `tell` their fitness.

    A generation is a pure function of (state, seed, generation), because all randomness is keyed by these counters. A
    state taken between `ask` and `tell` therefore gives the same members again.

    Args:
        seed: seed of all random numbers.
        popsize: P, number of members in a generation.
        device: device of the members.

    Attributes:
        popsize: P.
        generation: number of completed generations.
        evaluations: number of evaluated members.
        rate: factor of the learning rate in the next `tell`, for schedules; used only if `has_rate`.
    """

    has_rate: ClassVar[bool] = False  # whether it has a learning rate, which is multiplied by `rate`
    rate: float = 1.0
    kinds: ClassVar[frozenset[Kind]] = frozenset({"real"})
    structured: ClassVar[bool] = False  # whether it is a StructuredOptimizer
    remembers: ClassVar[tuple[str, ...]] = ()  # attributes that the next generation depends on
    stateful: ClassVar[tuple[str, ...]] = ()  # attributes with their own state: `state()` and `load(state)`

    def __init__(self, *, seed: NonNegativeInt, popsize: PositiveInt, device: th.device) -> None:
        self.seed, self.popsize, self.device = seed, popsize, device
        self.generation = self.evaluations = 0
        self._asked: Population | None = None

    def ask(self) -> Population:
        """Return the members to evaluate. Repeated calls return the same members until `tell`."""
        if self._asked is None:
            self._asked = self._ask()
        return self._asked

    def tell(self, fitness: th.Tensor) -> None:
        """Learn from the members' fitness.

        Args:
            fitness: [P], higher is better. NaN marks a failed evaluation, which counts as the worst. If all evaluations
                of a generation fail, only the counters change.

        Raises:
            ValueError: the shape is not [P], or a value is +inf.
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
            raise ValueError("a fitness is +inf: give finite values, and NaN for failed evaluations")
        if best > -th.inf:
            self._tell(population, told)
        self.generation += 1
        self.evaluations += population.size
        self._asked = None

    @abstractmethod
    def _ask(self) -> Population:
        """Return new members without changing self."""

    @abstractmethod
    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        """Learn from fitness, float64 [P]; -inf for failed evaluations, finite for at least one member."""

    def logs(self) -> dict[str, float]:
        """Return numbers to log, such as `step_size`, `acceptance_rate` or `diversity`."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next generation depends on: tensors (copies), numbers and strings."""
        return {
            "optimizer": type(self).__name__,
            "seed": self.seed,
            "popsize": self.popsize,
            "generation": self.generation,
            "evaluations": self.evaluations,
            **self._state(),
        }

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Resume from a `state_dict`; `strict` exists for Stable-Baselines3, and every key is required.

        Raises:
            ValueError: the state belongs to another optimizer or has another popsize.
        """
        for key, own in (("optimizer", type(self).__name__), ("popsize", self.popsize)):
            if state[key] != own:
                raise ValueError(
                    f"the state has {key}={state[key]!r}, but this optimizer has {own!r}: create it with the same"
                )
        self.seed = int(state["seed"])
        self.generation, self.evaluations = int(state["generation"]), int(state["evaluations"])
        self._asked = None
        self._load(state)

    def _state(self) -> dict[str, Any]:
        """Return the state of a subclass."""
        values = {name: getattr(self, name) for name in self.remembers}
        own = {name: v.clone() if isinstance(v, th.Tensor) else v for name, v in values.items()}
        for name in self.stateful:
            own |= getattr(self, name).state()
        return own

    def _load(self, state: dict[str, Any]) -> None:
        """Load the state of a subclass."""
        for name in self.remembers:
            value = state[name]
            setattr(self, name, value.to(self.device, copy=True) if isinstance(value, th.Tensor) else value)
        for name in self.stateful:
            getattr(self, name).load(state)

    def _generator(self, stream: int = 0) -> th.Generator:
        """Return a generator for this generation; different `stream`s are independent."""
        return th.Generator(self.device).manual_seed(keyed_seed(self.seed, self.generation, stream))


class VectorOptimizer(Optimizer):
    """Base class of optimizers whose members are dense vectors.

    Args:
        initial: [d], the start of the search, with the device and dtype of the members.
        domain: the domain of its entries.
        seed, popsize: see Optimizer.

    Raises:
        ValueError: the optimizer does not support the kind of domain, or `initial` is not in it.
    """

    def __init__(self, initial: th.Tensor, domain: Domain | None = None, *, seed: int, popsize: int) -> None:
        super().__init__(seed=seed, popsize=popsize, device=initial.device)
        self.domain, self.dtype = domain or Domain("real", len(initial)), initial.dtype
        if self.domain.kind not in self.kinds:
            raise ValueError(
                f"{type(self).__name__} searches {' and '.join(sorted(self.kinds))} spaces, not {self.domain.kind} ones"
            )
        if initial.shape != (self.domain.dim,):
            raise ValueError(f"initial has shape {tuple(initial.shape)}, but the domain has {self.domain.dim} entries")

    @property
    @abstractmethod
    def centre(self) -> th.Tensor:
        """[d], the current result of the search: the mean of a distribution, or the best member."""

    def _randn(self, rows: int, stream: int = 0) -> th.Tensor:
        """Draw standard Gaussian numbers of this generation, [rows, d]."""
        shape = (rows, self.domain.dim)
        return th.randn(shape, generator=self._generator(stream), device=self.device, dtype=self.dtype)

    def _tensor(self, values: NDArray[np.float64]) -> th.Tensor:
        """Move numbers computed on the CPU to the members' device."""
        return th.as_tensor(values, dtype=self.dtype, device=self.device)


class StructuredOptimizer(Optimizer):
    """Base class of optimizers that move live tensors in place and regenerate their noise, with memory O(d) for any P.

    Args:
        centre: one live tensor for each block (parameters of a model), updated in place.
        blocks: description of the tensors; hyperparameters are in units of `block.scale`.
        seed, popsize: see Optimizer.
    """

    structured: ClassVar[bool] = True

    def __init__(self, centre: Sequence[th.Tensor], blocks: Sequence[Block], *, seed: int, popsize: int) -> None:
        super().__init__(seed=seed, popsize=popsize, device=centre[0].device)
        self.centre, self.blocks = list(centre), tuple(blocks)
        for tensor, block in zip(self.centre, self.blocks, strict=True):
            if tuple(tensor.shape) != block.shape:
                raise ValueError(f"{block.name} has shape {tuple(tensor.shape)}, its block {block.shape}")
