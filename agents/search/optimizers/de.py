"""Differential evolution over real entries."""

from __future__ import annotations

import math
from typing import ClassVar

import torch as th

from lm_gym.agents.search.optimizers.operators import diversity, scatter
from lm_gym.agents.search.optimizers.optimizer import VectorOptimizer
from lm_gym.agents.search.optimizers.pso import warn_if_large
from lm_gym.agents.search.population.population import Domain, Population, Sampled, check_pairs
from lm_gym.bounds import NonNegativeInt, PositiveFloat, PositiveInt, UnitInterval
from lm_gym.naming import check_choice

VARIANTS = ("current-to-pbest/1/bin", "rand/1/bin", "best/1/bin")
TOP, PACE = 0.1, 0.1  # JADE: p, the share of the best; c, the pace at which the means follow


class DE(VectorOptimizer):
    """Differential evolution: Storn & Price, 1997; JADE: Zhang & Sanderson, 2009.

    Each parent x_i meets a trial that differs in the entries where a coin of probability CR falls (one at least):

        rand/1/bin              x_a + F (x_b − x_c)
        best/1/bin              x_best + F (x_b − x_c)
        current-to-pbest/1/bin  x_i + F_i (x_p − x_i) + F_i (x_b − x̃_c)

    and the better of the two lives. In the last, JADE's, x_p is one of the best tenth and x̃_c may be a parent that
    lost (the archive). JADE's F_i ~ Cauchy(μ_F, 0.1) and CR_i ~ N(μ_CR, 0.1), whose means follow what has succeeded,
    serve all three.

    Args:
        initial, domain, seed: see VectorOptimizer.
        popsize: P members. Parents: P, or P/2 with `reevaluate`; 4 at least.
        variant: one of the three.
        F: differential weight; where μ_F begins.
        CR: crossover rate; where μ_CR begins.
        adaptive: whether F and CR follow success; else they are as given.
        spread: how far the first parents are scattered around the start (`operators.scatter`).
        bound: members stay within so much of the start: an entry beyond it is set midway between its parent's and the
            bound. None: no bound.
        reevaluate: parents are evaluated again beside their trials, so that both are judged on the same texts and a
            lucky evaluation doesn't last: for fitness that changes from one generation to the next. It takes half of
            the evaluations. False: a parent's fitness counts for as long as it lives.

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
            raise ValueError(f"popsize={popsize} makes {n} parents: a difference beside a third and itself needs 4")
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
        """[d], the best parent, by the last evaluation where parents are evaluated again."""
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
        """F and CR of each parent, [n] and [n]."""
        n = len(self.parents)
        if not self.adaptive:
            return self.parents.new_full((n,), self.mean_F), self.parents.new_full((n,), self.mean_CR)
        u = th.rand(n, generator=generator, device=self.device, dtype=self.dtype)
        F = self.mean_F + 0.1 * (math.pi * (u - 0.5)).tan()
        normal = th.randn(n, generator=generator, device=self.device, dtype=self.dtype)
        return F.abs().clamp(0.05, 1.0), (self.mean_CR + 0.1 * normal).clamp(0, 1)

    def _mutants(self, F: th.Tensor, generator: th.Generator) -> th.Tensor:
        """The differences added to their bases, [n, d]; F [n, 1]."""
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
        """The means move toward what succeeded: F's Lehmer mean Σ F²/Σ F, CR's mean."""
        if len(F):
            self.mean_F += PACE * ((F.square().sum() / F.sum()).item() - self.mean_F)
            self.mean_CR += PACE * (CR.mean().item() - self.mean_CR)

    def _keep(self, losers: th.Tensor) -> None:
        """Parents that lost join the archive, any n of them stay."""
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
