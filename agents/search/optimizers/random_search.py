"""Random search, a baseline for other searches."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch as th

from lm_gym.agents.search.optimizers.operators import scatter
from lm_gym.agents.search.optimizers.optimizer import VectorOptimizer
from lm_gym.agents.search.population.domain import Domain, Kind
from lm_gym.agents.search.population.population import Dense, Population
from lm_gym.bounds import Interval, NonNegativeInt, PositiveFloat, PositiveFraction


class RandomSearch(VectorOptimizer):
    """Keep the best of independent draws around the start: Gaussian, or redrawn entries.

    Source: Rastrigin, 1963; Bergstra & Bengio, 2012. x = initial + σ ε, ε ~ N(0, I); the result is the best x so far.
    With `reevaluate`, the best new member of a generation is a challenger, and becomes the result only if it is also
    better than the best member in the next generation.

    Args:
        initial, domain, seed: see VectorOptimizer.
        popsize: P.
        sigma: σ of real entries, in natural steps.
        rate: probability that an entry of another kind is redrawn from all its values.
        reevaluate: whether the best member and its challenger are evaluated again in every generation. Use it if the
            fitness changes between generations; it costs two evaluations per generation. False keeps the fitness.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"real", "binary", "categorical"})
    remembers: ClassVar[tuple[str, ...]] = ("best", "fitness", "challenger")

    def __init__(
        self,
        initial: th.Tensor,
        domain: Domain | None = None,
        *,
        seed: NonNegativeInt = 0,
        popsize: Annotated[int, Interval(3)] = 64,
        sigma: PositiveFloat = 1.0,
        rate: PositiveFraction = 1.0,
        reevaluate: bool = True,
    ) -> None:
        super().__init__(initial, domain, seed=seed, popsize=popsize)
        self.sigma, self.rate, self.reevaluate = sigma, rate, reevaluate
        self.start, self.best, self.challenger = initial.clone(), initial.clone(), initial.clone()
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
        if self.reevaluate:
            members[0], members[1] = self.best, self.challenger
        elif self.generation == 0:
            members[0] = self.best
        return Dense(members)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        members = population.vectors()
        if self.reevaluate:
            if fitness[1] > fitness[0]:
                self.best = self.challenger
            self.fitness = fitness[:2].max().item()
            self.challenger = members[2 + int(fitness[2:].argmax())].clone()
            return
        found, index = fitness.max(0)
        if found.item() > self.fitness:
            self.best, self.fitness = members[int(index)].clone(), found.item()

    def _load(self, state: dict[str, Any]) -> None:
        super()._load({"challenger": state["best"]} | state)  # states of earlier versions have none
