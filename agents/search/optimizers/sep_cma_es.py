"""Separable CMA-ES: CMA-ES with a diagonal covariance, linear in time and memory."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import numpy as np
import torch as th

from lm_gym.agents.search.optimizers.optimizer import VectorOptimizer
from lm_gym.agents.search.optimizers.shaping import by_rank
from lm_gym.agents.search.population.domain import Domain
from lm_gym.agents.search.population.population import Population, Sampled
from lm_gym.bounds import Interval, NonNegativeInt, PositiveFloat


class SepCMAES(VectorOptimizer):
    """sep-CMA-ES: Ros & Hansen, "A Simple Modification in CMA-ES Achieving Linear Time and Space Complexity", 2008.

    Members are m + σ √C ⊙ z_i with z_i ~ N(0, I) and a diagonal C. With the weights w of the ranks (ties averaged),
    y = √C z, and the weighted mean ⟨·⟩:

        m  ← m + σ ⟨y⟩
        pσ ← (1 − cσ) pσ + √(cσ (2 − cσ) μ) ⟨z⟩            σ ← σ exp((cσ/dσ)(|pσ|/E|N(0, I)| − 1))
        pc ← (1 − cc) pc + h √(cc (2 − cc) μ) ⟨y⟩          C ← (1 − c₁ − cμ Σw) C + c₁ pc² + cμ Σ_i w_i y_i²

    The learning rates are those of Hansen's pycma for a diagonal C. In the last sum the worse half has negative
    weights, with y_i² scaled to |z_i|² = d (Hansen, 2016, equations 46 to 53), which shrinks useless directions and
    keeps C positive. If all members of a generation tie, nothing changes.

    Args:
        initial, domain, seed: see VectorOptimizer.
        popsize: P; None: 4 + ⌊3 ln d⌋.
        sigma: σ at the start, in natural steps.
    """

    remembers: ClassVar[tuple[str, ...]] = ("mean", "variance", "path_sigma", "path_c", "sigma", "updates")

    def __init__(
        self,
        initial: th.Tensor,
        domain: Domain | None = None,
        *,
        seed: NonNegativeInt = 0,
        popsize: Annotated[int, Interval(4)] | None = None,
        sigma: PositiveFloat = 1.0,
    ) -> None:
        d = len(initial)
        super().__init__(initial, domain, seed=seed, popsize=popsize or 4 + int(3 * math.log(d)))
        self.sigma, self.updates = sigma, 0
        self.mean, self.variance = initial.clone(), th.ones_like(initial)
        self.path_sigma, self.path_c = th.zeros_like(initial), th.zeros_like(initial)
        worth = math.log((self.popsize + 1) / 2) - np.log(np.arange(self.popsize, 0, -1))  # of ranks, the worst first
        better, worse = np.maximum(worth, 0), np.minimum(worth, 0)
        better /= better.sum()
        mu = self.mu = 1 / float((better**2).sum())
        self.c_sigma = (mu + 2) / (d + mu + 3)
        self.damping = 1 + 2 * max(0.0, math.sqrt((mu - 1) / (d + 1)) - 1) + self.c_sigma
        root = math.sqrt(d)
        self.c_c = (1 + (1 + mu) / d) / (root + (1 + 2 * mu) / d)
        self.c_1 = 1 / (d + 2 * root + mu / d)
        self.c_mu = min(1 - self.c_1, (0.25 + mu + 1 / mu - 2) / (d + 4 * root + mu / 2))
        mu_worse = float(worse.sum() ** 2 / (worse**2).sum())
        limits = 1 + self.c_1 / self.c_mu, 1 + 2 * mu_worse / (mu + 2), (1 - self.c_1 - self.c_mu) / (d * self.c_mu)
        worse *= min(limits) / -worse.sum()
        self.weights = np.stack([better, worse], axis=1)  # weights for the mean, and both for C
        self.total_weight = float(self.weights.sum())
        self.expected_norm = math.sqrt(d) * (1 - 1 / (4 * d) + 1 / (21 * d**2))

    @property
    def centre(self) -> th.Tensor:
        """[d], the mean of the search distribution."""
        return self.mean

    def _ask(self) -> Population:
        noise = self._randn(self.popsize)
        return Sampled(th.addcmul(self.mean, noise, self.variance.sqrt(), value=self.sigma), noise)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        assert isinstance(population, Sampled)
        ranked = fitness.cpu().numpy()
        if ranked.min() == ranked.max():
            return
        z, d = population.noise, self.domain.dim
        w_better, w_worse = self._tensor(by_rank(ranked, self.weights).T)
        z_mean = w_better @ z
        y_mean = self.variance.sqrt().mul_(z_mean)
        self.mean.add_(y_mean, alpha=self.sigma)
        self.updates += 1
        self.path_sigma.mul_(1 - self.c_sigma)
        self.path_sigma.add_(z_mean, alpha=math.sqrt(self.c_sigma * (2 - self.c_sigma) * self.mu))
        length = self.path_sigma.norm().item() / self.expected_norm
        unbiased = length / math.sqrt(1 - (1 - self.c_sigma) ** (2 * self.updates))
        h = float(unbiased < 1.4 + 2 / (d + 1))
        self.path_c.mul_(1 - self.c_c).add_(y_mean, alpha=h * math.sqrt(self.c_c * (2 - self.c_c) * self.mu))
        kept = 1 - self.c_1 - self.c_mu * self.total_weight + (1 - h) * self.c_1 * self.c_c * (2 - self.c_c)
        z_squared = z.square_()
        w = th.addcdiv(w_better, w_worse, z_squared.sum(1), value=d)
        self.variance.mul_((w @ z_squared).mul_(self.c_mu).add_(kept))  # y² = C z²
        self.variance.addcmul_(self.path_c, self.path_c, value=self.c_1)
        self.sigma *= math.exp(min(1.0, self.c_sigma / self.damping * (length - 1)))

    def logs(self) -> dict[str, float]:
        """`step_size`: σ times the mean √C."""
        return {"step_size": self.sigma * self.variance.sqrt().mean().item()}
