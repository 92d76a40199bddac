"""Particle swarm optimisation over real or binary entries."""

from __future__ import annotations

import math
import warnings
from typing import ClassVar

import torch as th

from lm_gym.agents.search.optimizers.operators import diversity, scatter
from lm_gym.agents.search.optimizers.optimizer import VectorOptimizer
from lm_gym.agents.search.population.domain import Domain, Kind
from lm_gym.agents.search.population.population import Dense, Population, check_pairs
from lm_gym.bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from lm_gym.naming import check_choice

WEAK_ABOVE = 500  # dimensions
INERTIAS = ("adaptive", "constriction", "constant", "linear")
NEIGHBOURHOODS = ("global", "ring")


class PSO(VectorOptimizer):
    """Particle swarm: Kennedy & Eberhart, 1995; with inertia, Shi & Eberhart, 1998.

    With p the best position of a particle, g that of its neighbourhood, and r uniform in [0, 1) for each entry:

        v ← w v + c₁ r₁ (p − x) + c₂ r₂ (g − x)        x ← x + v

    In binary spaces a bit is 1 with probability 1/(1 + exp(−v)) (Kennedy & Eberhart, 1997). There w = 1, because
    otherwise velocities would not accumulate and no bit would become certain.

    Args:
        initial, domain, seed: see VectorOptimizer.
        popsize: P, number of members. There are P particles, or P/2 with `reevaluate`.
        inertia: `"adaptive"`: w, c₁ and c₂ adapt to the spread of the swarm (`evolutionary_factor`; Zhan et al., 2009).
            `"constriction"`: w = 0.7298, c₁ = c₂ = 1.4962 (Clerc & Kennedy, 2002). `"constant"`: `weights`.
            `"linear"`: w falls from its given value to 0.4 in 500 generations. None: adaptive, or constant in binary
            spaces.
        weights: w, c₁, c₂ for `"constant"` and `"linear"`. None: 0.9, 2, 2, or 1, 2, 2 in binary spaces.
        neighbourhood: `"global"`, or `"ring"`: a particle and its two neighbours, which is slower but avoids local
            optima better.
        velocity_limit: bound of |v|; None: 0.4 `spread`, or in binary spaces ln(d − 1) within 2 to 6, so that the most
            certain bit still flips once in d times.
        spread: distance of the initial particles from the start (`operators.scatter`).
        bound: maximum distance of an entry from the start, where a particle stops. None for no bound.
        reevaluate: whether best positions are evaluated again together with the particles, on the same texts, so that a
            lucky evaluation does not persist. Use it if the fitness changes between generations; it takes half of the
            evaluations. False keeps the fitness of a best position.

    Warns:
        UserWarning: above 500 dimensions, where swarms are weak.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"real", "binary"})
    remembers: ClassVar[tuple[str, ...]] = ("x", "v", "places", "fitness", "c1", "c2", "w")

    def __init__(
        self,
        initial: th.Tensor,
        domain: Domain | None = None,
        *,
        seed: NonNegativeInt = 0,
        popsize: PositiveInt = 64,
        inertia: str | None = None,
        weights: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] | None = None,
        neighbourhood: str = "global",
        velocity_limit: PositiveFloat | None = None,
        spread: PositiveFloat = 1.0,
        bound: PositiveFloat | None = None,
        reevaluate: bool = True,
    ) -> None:
        super().__init__(initial, domain, seed=seed, popsize=popsize)
        if reevaluate:
            check_pairs(popsize)
        binary = self.domain.kind == "binary"
        self.inertia = check_choice("inertia", inertia or ("constant" if binary else "adaptive"), INERTIAS)
        self.neighbourhood = check_choice("neighbourhood", neighbourhood, NEIGHBOURHOODS)
        warn_if_large("PSO", self.domain.dim)
        self.bound, self.reevaluate, self.start = bound, reevaluate, initial.clone()
        n = popsize // 2 if reevaluate else popsize
        weights = weights or (1.0 if binary else 0.9, 2.0, 2.0)
        self.first_w, self.c1, self.c2 = (0.7298, 1.4962, 1.4962) if inertia == "constriction" else weights
        self.w = self.first_w
        surest = min(6.0, max(2.0, math.log(max(self.domain.dim - 1, 1))))  # sigmoid(ln(d − 1)) = 1 − 1/d
        self.limit = velocity_limit if velocity_limit is not None else surest if binary else 0.4 * spread
        generator = self._generator(1)
        self.x = scatter(initial, self.domain, n, spread, generator)
        self.v = th.rand(self.x.shape, generator=generator, device=self.device, dtype=self._numbers().dtype)
        self.v.mul_(2 * self.limit).sub_(self.limit)
        self.places = self.x.clone()
        self.fitness = th.full((n,), -math.inf, dtype=th.float64, device=self.device)

    @property
    def centre(self) -> th.Tensor:
        """[d], the best position of the swarm by its last evaluation."""
        return self.places[int(self.fitness.argmax())]

    def _ask(self) -> Population:
        return Dense(th.cat([self.x, self.places]), unit=2, apart=True) if self.reevaluate else Dense(self.x)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        n = len(self.x)
        if self.reevaluate:
            fitness, self.fitness = fitness[:n], fitness[n:]
        better = (fitness > self.fitness).nonzero().squeeze(1)
        self.places.index_copy_(0, better, self.x[better])
        self.fitness = th.maximum(fitness, self.fitness)
        generator, x = self._generator(), self._numbers()
        self._adapt(x, generator)
        self._fly(x, generator)
        if self.domain.kind == "binary":
            one = th.sigmoid(self.v)
            self.x = th.rand(one.shape, generator=generator, device=self.device) < one
            return
        self.x = x + self.v
        if self.bound is not None:
            th.clamp(self.x, self.start - self.bound, self.start + self.bound, out=self.x)
            th.sub(self.x, x, out=self.v)

    def _fly(self, x: th.Tensor, generator: th.Generator) -> None:
        """Update velocities to w v + c₁ r₁ (p − x) + c₂ r₂ (g − x), within the limit."""
        r = th.rand(x.shape, generator=generator, device=self.device, dtype=x.dtype)
        places = self.places if x is self.x else self.places.to(x.dtype)
        leaders = places[self._leaders()]
        self.v.mul_(self.w).addcmul_(r, places - x, value=self.c1)
        r.uniform_(generator=generator)
        self.v.addcmul_(r, leaders - x, value=self.c2).clamp_(-self.limit, self.limit)

    def _leaders(self) -> th.Tensor:
        """Return the particle that each particle follows, [1] or [n]."""
        if self.neighbourhood == "global":
            return self.fitness.argmax()[None]
        return ring(self.fitness)

    def _adapt(self, x: th.Tensor, generator: th.Generator) -> None:
        if self.inertia == "linear":
            self.w = self.first_w + (0.4 - self.first_w) * min(1.0, (self.generation + 1) / 500)
        elif self.inertia == "adaptive":
            factor = evolutionary_factor(x, int(self.fitness.argmax()))
            self.w = 1 / (1 + 1.5 * math.exp(-2.6 * factor))
            pace = 0.05 + 0.05 * th.rand((), generator=generator, device=self.device).item()
            self.c1, self.c2 = accelerations(self.c1, self.c2, factor, pace)

    def _numbers(self) -> th.Tensor:
        return self.x.float() if self.domain.kind == "binary" else self.x

    def logs(self) -> dict[str, float]:
        """`diversity` of the particles, mean speed `step_size`, `inertia` w."""
        return {"diversity": diversity(self.x), "step_size": self.v.abs().mean().item(), "inertia": self.w}


def warn_if_large(name: str, dim: int) -> None:
    """Warn about many dimensions, in which the optimizer is weak."""
    if dim > WEAK_ABOVE:
        warnings.warn(
            f"{name} over {dim:,} dimensions: it is weak above {WEAK_ABOVE}; use es, snes or sep_cma_es", stacklevel=3
        )


def ring(fitness: th.Tensor) -> th.Tensor:
    """Return the best of each particle and its two neighbours on a ring, [n]; the particle itself if they tie."""
    n = len(fitness)
    around = (th.arange(n, device=fitness.device)[:, None] + th.tensor([0, -1, 1], device=fitness.device)) % n
    return around.gather(1, fitness[around].argmax(1, keepdim=True)).squeeze(1)


def evolutionary_factor(x: th.Tensor, best: int) -> float:
    """Return the relative distance of the best particle from the others, 0 to 1 (Zhan et al., 2009, equation 8).

    f = (d_g − d_min)/(d_max − d_min), where d is the mean distance of a particle to the others: 0 if the swarm has
    settled around its best particle, 1 if the best particle has left it.
    """
    moved = x - x[best]  # avoids rounding errors for swarms far from 0
    products = moved @ moved.T
    squares = products.diagonal()
    distances = (squares[:, None] + squares - 2 * products).clamp(min=0).sqrt().mean(1)
    low, high, at = distances.min().item(), distances.max().item(), distances[best].item()
    return (at - low) / (high - low) if high > low else 0.0


def accelerations(c1: float, c2: float, factor: float, pace: float) -> tuple[float, float]:
    """Return c₁ and c₂ of the next generation (Zhan et al., 2009, table 1): explore, exploit, settle, or jump out.

    At the borders between states, the paper's memberships are equal. Both values stay within 1.5 … 2.5, and their
    sum within 4.
    """
    if factor <= 0.23:  # settle
        c1, c2 = c1 + pace / 2, c2 + pace / 2
    elif factor <= 0.5:  # exploit
        c1, c2 = c1 + pace / 2, c2 - pace / 2
    elif factor <= 0.77:  # explore
        c1, c2 = c1 + pace, c2 - pace
    else:  # jump out
        c1, c2 = c1 - pace, c2 + pace
    c1, c2 = min(max(c1, 1.5), 2.5), min(max(c2, 1.5), 2.5)
    share = min(1.0, 4 / (c1 + c2))
    return c1 * share, c2 * share
