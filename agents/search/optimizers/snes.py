"""SNES: the natural gradient of a Gaussian with a separate standard deviation for each entry."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import numpy as np
import torch as th

from lm_gym.agents.search.optimizers.optimizer import VectorOptimizer
from lm_gym.agents.search.optimizers.shaping import Floats, by_rank
from lm_gym.agents.search.population.domain import Domain
from lm_gym.agents.search.population.population import Population, Sampled
from lm_gym.bounds import Interval, NonNegativeFloat, NonNegativeInt, PositiveFloat


class SNES(VectorOptimizer):
    """Separable natural evolution strategy: Schaul, Glasmachers & Schmidhuber, 2011, algorithm 2.

    Members are μ + σ ⊙ s_i with s_i ~ N(0, I). With the utilities u of the ranks (zero-sum, ties averaged):

        μ ← μ + σ ⊙ Σ_i u_i s_i        σ ← σ exp((η/2) Σ_i u_i (s_i² − 1))

    Args:
        initial, domain, seed: see VectorOptimizer.
        popsize: P; None: 4 + ⌊3 ln d⌋.
        sigma: initial σ of every entry, in natural steps.
        learning_rate: η; None: (3 + ln d)/(5 √d).
    """

    remembers: ClassVar[tuple[str, ...]] = ("mean", "std")

    def __init__(
        self,
        initial: th.Tensor,
        domain: Domain | None = None,
        *,
        seed: NonNegativeInt = 0,
        popsize: Annotated[int, Interval(2)] | None = None,
        sigma: PositiveFloat = 1.0,
        learning_rate: NonNegativeFloat | None = None,
    ) -> None:
        d = len(initial)
        super().__init__(initial, domain, seed=seed, popsize=popsize or 4 + int(3 * math.log(d)))
        self.eta = (3 + math.log(d)) / (5 * math.sqrt(d)) if learning_rate is None else learning_rate
        self.mean, self.std = initial.clone(), th.full_like(initial, sigma)
        self.utilities = utilities(self.popsize)

    @property
    def centre(self) -> th.Tensor:
        """[d], the mean of the search distribution."""
        return self.mean

    def _ask(self) -> Population:
        noise = self._randn(self.popsize)
        return Sampled(th.addcmul(self.mean, noise, self.std), noise)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        assert isinstance(population, Sampled)
        weights, noise = self._tensor(by_rank(fitness.cpu().numpy(), self.utilities)), population.noise
        self.mean.addcmul_(self.std, weights @ noise)
        self.std.mul_((weights @ noise.square_()).mul_(self.eta / 2).exp_())  # the utilities' sum, zero, takes the −1

    def logs(self) -> dict[str, float]:
        """`step_size`: the mean standard deviation."""
        return {"step_size": self.std.mean().item()}


def utilities(popsize: int) -> Floats:
    """Return the utilities of the ranks, the worst first, [P]: max(0, ln(P/2 + 1) − ln rank), normalised, minus 1/P."""
    rank = np.arange(popsize, 0, -1)
    worth = np.maximum(0, math.log(popsize / 2 + 1) - np.log(rank))
    worth /= worth.sum()
    return worth - 1 / popsize
