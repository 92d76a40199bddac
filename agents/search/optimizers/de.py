"""Differential evolution over real entries."""

from __future__ import annotations

import math
from typing import ClassVar

import torch as th

from lm_gym.agents.search.optimizers.operators import diversity, scatter
from lm_gym.agents.search.optimizers.optimizer import VectorOptimizer
from lm_gym.agents.search.optimizers.pso import warn_if_large
from lm_gym.agents.search.population.domain import Domain
from lm_gym.agents.search.population.population import Population, Sampled, check_pairs
from lm_gym.bounds import NonNegativeInt, PositiveFloat, PositiveInt, UnitInterval
from lm_gym.naming import check_choice

VARIANTS = ("current-to-pbest/1/bin", "rand/1/bin", "best/1/bin")
TOP, PACE = 0.1, 0.1  # JADE: p, the fraction of best parents; c, the rate at which the means adapt


class DE(VectorOptimizer):
    """Differential evolution: Storn & Price, 1997; JADE: Zhang & Sanderson, 2009.

    Each parent x_i competes with a trial, which differs from it in each entry with probability CR (in at least one):

        rand/1/bin              x_a + F (x_b − x_c)
        best/1/bin              x_best + F (x_b − x_c)
        current-to-pbest/1/bin  x_i + F_i (x_p − x_i) + F_i (x_b − x̃_c)

    The better of the two survives. The last variant is JADE's: x_p is one of the best tenth, and x̃_c may be a defeated
    parent from the archive. All variants can use JADE's F_i ~ Cauchy(μ_F, 0.1) and CR_i ~ N(μ_CR, 0.1), whose means
    adapt to successful values.

    Args:
        initial, domain, seed: see VectorOptimizer.
        popsize: P, number of members. There are P parents, or P/2 with `reevaluate`; at least 4.
        variant: name of the variant.
        F: differential weight, or initial μ_F.
        CR: crossover rate, or initial μ_CR.
        adaptive: whether F and CR adapt to successful values; False keeps them fixed.
        spread: distance of the initial parents from the start (`operators.scatter`).
        bound: maximum distance of an entry from the start; an entry beyond it is set midway between its parent's entry
            and the bound. None for no bound.
        reevaluate: whether parents are evaluated again together with their trials, on the same texts, so that a lucky
            evaluation does not persist. Use it if the fitness changes between generations; it takes half of the
            evaluations. False keeps a parent's fitness as long as it survives.

    Warns:
        UserWarning: above 500 dimensions, where differential evolution is weak.
    """

    remembers: ClassVar[tuple[str, ...]] = ("parents", "fitness", "archive", "mean_F", "mean_CR", "lives")

    def __init__(
        self,
        initial: th.Tensor,
        domain: Domain | None = None,
        *,
        seed: NonNegativeInt = 0,
        popsize: PositiveInt = 64,
        variant: str = "current-to-pbest/1/bin",
        F: PositiveFloat = 0.5,
        CR: UnitInterval = 0.5,
        adaptive: bool = True,
        spread: PositiveFloat = 1.0,
        bound: PositiveFloat | None = None,
        reevaluate: bool = True,
    ) -> None:
        super().__init__(initial, domain, seed=seed, popsize=popsize)
        if reevaluate:
            check_pairs(popsize)
        n = popsize // 2 if reevaluate else popsize
        if n < 4:
            raise ValueError(f"popsize={popsize} makes {n} parents: differential evolution needs at least 4")
        warn_if_large("DE", self.domain.dim)
        self.variant = check_choice("variant", variant, VARIANTS)
        self.adaptive, self.to_best = adaptive, self.variant == "current-to-pbest/1/bin"
        self.start, self.bound, self.reevaluate = initial.clone(), bound, reevaluate
        self.mean_F, self.mean_CR = F, CR
        self.parents = scatter(initial, self.domain, n, spread, self._generator(1))
        self.fitness = th.full((n,), -math.inf, dtype=th.float64, device=self.device)
        self.archive, self.lives = self.parents[:0], th.zeros(n, dtype=th.bool, device=self.device)

    @property
    def centre(self) -> th.Tensor:
        """[d], the best parent by its last evaluation."""
        return self.parents[int(self.fitness.argmax())]

    def _ask(self) -> Population:
        if not self.reevaluate and self.generation == 0:
            return Sampled(self.parents.clone(), self.parents.new_zeros(2, len(self.parents)))
        generator, n = self._generator(), len(self.parents)
        F, CR = self._draw_parameters(generator)
        trials = self._mutants(F[:, None], generator)
        if self.bound is not None:
            within = trials.clamp(self.start - self.bound, self.start + self.bound)
            trials = th.where(trials == within, trials, within.add_(self.parents).mul_(0.5))
        crossed = th.rand(trials.shape, generator=generator, device=self.device, dtype=self.dtype) < CR[:, None]
        crossed.scatter_(1, th.randint(self.domain.dim, (n, 1), generator=generator, device=self.device), True)
        trials = th.where(crossed, trials, self.parents)
        if self.reevaluate:
            return Sampled(th.cat([self.parents, trials]), th.stack([F, CR]), unit=2, apart=True)
        return Sampled(trials, th.stack([F, CR]))

    def _draw_parameters(self, generator: th.Generator) -> tuple[th.Tensor, th.Tensor]:
        """Return F and CR of each parent, [n] each."""
        n = len(self.parents)
        if not self.adaptive:
            return self.parents.new_full((n,), self.mean_F), self.parents.new_full((n,), self.mean_CR)
        u = th.rand(n, generator=generator, device=self.device, dtype=self.dtype)
        F = self.mean_F + 0.1 * (math.pi * (u - 0.5)).tan()
        normal = th.randn(n, generator=generator, device=self.device, dtype=self.dtype)
        return F.abs().clamp(0.05, 1.0), (self.mean_CR + 0.1 * normal).clamp(0, 1)

    def _mutants(self, F: th.Tensor, generator: th.Generator) -> th.Tensor:
        """Return the mutants, [n, d]; F [n, 1]."""
        x, n = self.parents, len(self.parents)
        lots = th.rand((n, n), generator=generator, device=self.device).fill_diagonal_(2)  # itself last
        a, b, c = lots.topk(3, dim=1, largest=False).indices.unbind(1)
        if not self.to_best:
            base = x[self.fitness.argmax()] if self.variant == "best/1/bin" else x[a]
            return (x[b] - x[c]).mul_(F).add_(base)
        best = self.fitness.topk(max(1, round(TOP * n))).indices
        best = best[th.randint(len(best), (n,), generator=generator, device=self.device)]
        anyone = th.cat([x, self.archive])
        at = th.randint(len(anyone), (n,), generator=generator, device=self.device)
        at = th.where((at == b) | (at == th.arange(n, device=self.device)), c, at)
        return (x[best] - x).add_(x[b]).sub_(anyone[at]).mul_(F).add_(x)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        assert isinstance(population, Sampled)
        if not self.reevaluate and self.generation == 0:  # the parents themselves
            self.fitness = fitness
            return
        n, trials = len(self.parents), population.vectors()[-len(self.parents) :]
        if self.reevaluate:
            self.fitness, fitness = fitness[:n], fitness[n:]
        if self.adaptive or self.to_best:
            better = (fitness > self.fitness).nonzero().squeeze(1)
            if self.adaptive:
                self._follow(*population.noise[:, better])
            if self.to_best:
                self._keep(self.parents[better])
        self.lives = fitness >= self.fitness
        alive = self.lives.nonzero().squeeze(1)
        self.parents.index_copy_(0, alive, trials[alive])
        self.fitness = th.maximum(fitness, self.fitness)

    def _follow(self, F: th.Tensor, CR: th.Tensor) -> None:
        """Move the means towards the successful values: the Lehmer mean Σ F²/Σ F and the mean of CR."""
        if len(F):
            self.mean_F += PACE * ((F.square().sum() / F.sum()).item() - self.mean_F)
            self.mean_CR += PACE * (CR.mean().item() - self.mean_CR)

    def _keep(self, losers: th.Tensor) -> None:
        """Add defeated parents to the archive, which keeps a random n of them."""
        self.archive = th.cat([self.archive, losers])
        if len(self.archive) > len(self.parents):
            order = th.randperm(len(self.archive), generator=self._generator(2), device=self.device)
            self.archive = self.archive[order[: len(self.parents)]]

    def logs(self) -> dict[str, float]:
        """`diversity` of the parents, `acceptance_rate` of the trials, `F` and `CR`."""
        return {
            "diversity": diversity(self.parents),
            "acceptance_rate": self.lives.double().mean().item(),
            "F": self.mean_F,
            "CR": self.mean_CR,
        }
