"""Probing: the base class of optimizers that estimate a gradient from random directions around live tensors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch as th

from lm_gym.agents.search.optimizers.ascent import Anchor
from lm_gym.agents.search.optimizers.estimate import combined
from lm_gym.agents.search.optimizers.optimizer import StructuredOptimizer
from lm_gym.agents.search.population.domain import Block
from lm_gym.agents.search.population.noise import Noise
from lm_gym.agents.search.population.perturbed import PAIRS, Pattern, Perturbed
from lm_gym.agents.search.population.population import Population, check_units
from lm_gym.bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveFraction, PositiveInt


class Probing(StructuredOptimizer):
    """Base class of optimizers that evaluate members around the centre and climb a weighted sum of their directions.

    A subclass defines the directions z_i of a generation (`_noise`) and their weights w_i (`_weights`). The centre then
    moves by α Σ_i w_i z_i.

    Args:
        centre, blocks: see StructuredOptimizer.
        seed: seed of all random numbers.
        popsize: P, a multiple of the members that form a unit (2 for antithetic pairs).
        sigma: σ, in natural steps.
        learning_rate: α, in natural steps. If the method does not normalise slopes, α applies to a slope of one unit of
            fitness per natural step. None: 0.3 σ, unless the page of the method states another default.
        decay: factor of α per generation; a half-life of h generations is 0.5^(1/h).
        weight_decay: fraction of the distance to the start by which parameters move back per generation. A value above
            0 needs a copy of the parameters.
    """

    has_rate: ClassVar[bool] = True
    stateful: ClassVar[tuple[str, ...]] = ("anchor",)
    pattern: Pattern = PAIRS  # of a unit's members

    def __init__(
        self,
        centre: Sequence[th.Tensor],
        blocks: Sequence[Block],
        *,
        seed: NonNegativeInt = 0,
        popsize: PositiveInt = 64,
        sigma: PositiveFloat = 1.0,
        learning_rate: NonNegativeFloat | None = None,
        decay: PositiveFraction = 1.0,
        weight_decay: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__(centre, blocks, seed=seed, popsize=popsize)
        check_units(popsize, len(self.pattern.sides))
        self.sigma, self.decay = sigma, decay
        self.learning_rate = self._usual_rate() if learning_rate is None else learning_rate
        self.anchor = Anchor(weight_decay, self.centre)

    def _usual_rate(self) -> float:
        """Return α if none is given."""
        return 0.3 * self.sigma

    @property
    def alpha(self) -> float:
        """α of this generation, with its decay and the factor of a schedule."""
        return self.learning_rate * self.decay**self.generation * self.rate

    @abstractmethod
    def _noise(self) -> Noise:
        """Return the directions of this generation."""

    @abstractmethod
    def _weights(self, fitness: th.Tensor) -> th.Tensor:
        """Return the weight of each direction, float64 [directions]; 0 for directions that do not count."""

    def _ask(self) -> Population:
        return Perturbed(self.centre, self.blocks, self._noise(), self.sigma, self.popsize, self.pattern)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        assert isinstance(population, Perturbed)
        weights = self._weights(fitness)
        for index, (tensor, block) in enumerate(zip(self.centre, self.blocks, strict=True)):
            self.anchor.pull(index, tensor)
            self._move(index, tensor, block, population.noise, weights)

    def _move(self, index: int, tensor: th.Tensor, block: Block, noise: Noise, weights: th.Tensor) -> None:
        """Move one tensor along Σ_i w_i z_i, in place."""
        self._climb(index, tensor, block, combined(noise, index, block, weights.float()).to(tensor.dtype))

    def _climb(self, index: int, tensor: th.Tensor, block: Block, estimate: th.Tensor) -> None:
        """Move one tensor along an estimate of its gradient, in place."""
        tensor.add_(estimate, alpha=self.alpha * block.scale)

    def logs(self) -> dict[str, float]:
        """`step_size` σ."""
        return {"step_size": self.sigma}
