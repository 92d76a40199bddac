"""Genetic algorithm over real, binary or categorical genes."""

from __future__ import annotations

from typing import ClassVar

import torch as th

from lm_gym.agents.search.optimizers.operators import (
    CROSSOVERS,
    SELECTIONS,
    bit_flip,
    diversity,
    gaussian,
    resample,
    scatter,
)
from lm_gym.agents.search.optimizers.optimizer import VectorOptimizer
from lm_gym.agents.search.population.domain import Domain, Kind
from lm_gym.agents.search.population.population import Dense, Population
from lm_gym.bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, UnitInterval
from lm_gym.naming import check_choice

DECADES = 4.0  # decades between the largest and the smallest step of real mutation


class GA(VectorOptimizer):
    """Genetic algorithm: Holland, 1975; Goldberg, 1989.

    Each child has two parents chosen by `selection`. It is their crossover with probability `crossover_rate`, else a
    copy of the first. Then it mutates: bits flip, tokens are redrawn, and real genes move by Gaussian steps of all
    sizes down to 1e-4 of the largest (`operators.gaussian`).

    Args:
        initial, domain, seed: see VectorOptimizer.
        popsize: P.
        selection: `"tournament"` (of 3), `"roulette"`, `"rank"` or `"truncation"`.
        crossover: `"single_point"`, `"two_point"`, `"uniform"` or, for real genes, `"sbx"`.
        crossover_rate: probability that a child has two parents.
        mutation_rate: probability that a gene mutates; None: 1/d.
        mutation_step: largest standard deviation of a real mutation, in natural steps.
        elites: number of best members that survive unchanged.
        spread: distance of the initial members from the start (`operators.scatter`).
        reevaluate: whether elites are evaluated again as members of the next generation, in place of children. Use it
            if the fitness changes between generations. False: parents keep their fitness, and the best P of parents and
            children survive (μ + λ).
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"real", "binary", "categorical"})
    remembers: ClassVar[tuple[str, ...]] = ("pool", "fitness")

    def __init__(
        self,
        initial: th.Tensor,
        domain: Domain | None = None,
        *,
        seed: NonNegativeInt = 0,
        popsize: PositiveInt = 64,
        selection: str = "tournament",
        crossover: str = "uniform",
        crossover_rate: UnitInterval = 0.9,
        mutation_rate: UnitInterval | None = None,
        mutation_step: PositiveFloat = 1.0,
        elites: NonNegativeInt = 1,
        spread: NonNegativeFloat = 1.0,
        reevaluate: bool = True,
    ) -> None:
        super().__init__(initial, domain, seed=seed, popsize=popsize)
        self.select = SELECTIONS[check_choice("selection", selection, SELECTIONS)]
        self.cross = CROSSOVERS[check_choice("crossover", crossover, CROSSOVERS)]
        if crossover == "sbx" and self.domain.kind != "real":
            raise ValueError(f"crossover='sbx' is for real genes, these are {self.domain.kind}: give 'uniform'")
        if not 0 <= elites < popsize:
            raise ValueError(f"elites={elites}: give 0 to {popsize - 1}, less than popsize")
        self.crossover_rate, self.elites, self.reevaluate = crossover_rate, elites, reevaluate
        self.mutation_rate = 1 / self.domain.dim if mutation_rate is None else mutation_rate
        self.step = mutation_step
        self.pool = scatter(initial, self.domain, popsize, spread, self._generator(1))
        self.fitness = th.full((popsize,), -th.inf, dtype=th.float64, device=self.device)

    @property
    def centre(self) -> th.Tensor:
        """[d], the best member of the last generation, or of all if fitness is kept."""
        return self.pool[int(self.fitness.argmax())]

    def _ask(self) -> Population:
        if self.generation == 0:
            return Dense(self.pool.clone())
        if not self.reevaluate:
            return Dense(self._children(self.popsize))
        elite = self.pool[self.fitness.topk(self.elites).indices]
        return Dense(th.cat([elite, self._children(self.popsize - self.elites)]))

    def _children(self, count: int) -> th.Tensor:
        generator = self._generator()
        first, second = self.select(self.fitness, 2 * count, generator).view(2, count)
        alone = th.rand(count, generator=generator, device=self.device) >= self.crossover_rate
        children = self.cross(self.pool[first], self.pool[th.where(alone, first, second)], generator)
        if self.domain.kind == "real":
            return gaussian(children, self.mutation_rate, self.step, generator, DECADES)
        if self.domain.kind == "binary":
            return bit_flip(children, self.mutation_rate, generator)
        return resample(children, self.mutation_rate, self.domain.choices, generator)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        members = population.vectors()
        if self.reevaluate or self.generation == 0:
            self.pool, self.fitness = members.clone(), fitness
            return
        order = th.cat([fitness, self.fitness]).argsort(descending=True, stable=True)  # among ties, children come first
        lives = th.zeros(2 * self.popsize, dtype=th.bool, device=self.device)
        lives[order[: self.popsize]] = True
        born, dead = lives[: self.popsize], ~lives[self.popsize :]
        self.pool[dead], self.fitness[dead] = members[born], fitness[born]

    def logs(self) -> dict[str, float]:
        """`diversity` of the pool."""
        return {"diversity": diversity(self.pool)}
