"""Random search, a baseline for other searches."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch as th

from lm_gym.agents.search.optimizers.operators import scatter
from lm_gym.agents.search.optimizers.optimizer import VectorOptimizer
from lm_gym.agents.search.population.domain import Domain, Kind
from lm_gym.agents.search.population.population import Dense, Population
from lm_gym.bounds import Interval, NonNegativeInt, PositiveFloat, PositiveFraction


class RandomSearch(VectorOptimizer):
    """Keep the best of independent draws around the start: Gaussian, or redrawn entries.

    Source: Rastrigin, 1963; Bergstra & Bengio, 2012. x = initial + σ ε, ε ~ N(0, I); the result is the best x so far.

    Args:
        initial, domain, seed: see VectorOptimizer.
        popsize: P.
        sigma: σ of real entries, in natural steps.
        rate: probability that an entry of another kind is redrawn from all its values.
        reevaluate: whether the best member is evaluated again in every generation. Use it if the fitness changes
            between generations; it costs one evaluation per generation. False keeps its fitness.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"real", "binary", "categorical"})
    remembers: ClassVar[tuple[str, ...]] = ("best", "fitness")

    def __init__(
        self,
        initial: th.Tensor,
        domain: Domain | None = None,
        *,
        seed: NonNegativeInt = 0,
        popsize: Annotated[int, Interval(2)] = 64,
        sigma: PositiveFloat = 1.0,
        rate: PositiveFraction = 1.0,
        reevaluate: bool = True,
    ) -> None:
        super().__init__(initial, domain, seed=seed, popsize=popsize)
        self.sigma, self.rate, self.reevaluate = sigma, rate, reevaluate
        self.start, self.best = initial.clone(), initial.clone()
        self.fitness = -th.inf

    @property
    def centre(self) -> th.Tensor:
        """[d], the best member so far."""
        return self.best

    def _ask(self) -> Population:
        if self.domain.kind == "real":
            members = self._randn(self.popsize).mul_(self.sigma).add_(self.start)
        else:
            members = scatter(self.start, self.domain, self.popsize, self.rate, self._generator())
        if self.reevaluate or self.generation == 0:
            members[0] = self.best
        return Dense(members)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        found, index = fitness.max(0)
        if self.reevaluate or found.item() > self.fitness:
            self.best = population.vectors()[int(index)].clone()
            self.fitness = found.item()
