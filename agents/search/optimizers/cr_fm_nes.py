"""CR-FM-NES: a natural evolution strategy of linear cost; its covariance is diagonal except for one direction."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch as th

from lm_gym.agents.search.optimizers.optimizer import VectorOptimizer
from lm_gym.agents.search.optimizers.shaping import by_rank
from lm_gym.agents.search.optimizers.snes import utilities
from lm_gym.agents.search.population.domain import Domain
from lm_gym.agents.search.population.population import Population, Sampled, check_pairs
from lm_gym.bounds import NonNegativeInt, PositiveFloat, PositiveInt


class CRFMNES(VectorOptimizer):
    """Cost-reduced fast-moving natural evolution strategy: Nomura & Ono, 2022 (arXiv 2201.11422), algorithm 1.

    Members are m ± σ D ⊙ y_i, with y = z + (√(1 + |v|²) − 1)(z·v̄) v̄, z ~ N(0, I), v̄ = v/|v|: a Gaussian with the
    covariance σ² D (I + v vᵀ) D. An evolution path p_σ of z tells whether the search moves, stagnates or converges (by
    comparing |p_σ| with E|N(0, I)| and a tenth of it). While it moves, distant members have larger weights, w_i ∝ ŵ_i
    exp(α|z_i|). Each phase has its own learning rate for σ. D and v follow their natural gradients (the paper's
    appendix, from VD-CMA), where D keeps the determinant of the covariance at 1, and

        m ← m + Σ_i w_i (x_i − m)            σ ← σ exp((η_σ/2d) Σ_i w_i (|z_i|² − d))

    Tied members share the mean of their ranks. If all members of a generation tie, nothing changes.

    Args:
        initial, domain, seed: see VectorOptimizer. At least 6 dimensions are needed.
        popsize: P, even; None: 4 + ⌊3 ln d⌋, made even.
        sigma: σ at the start, in natural steps.
    """

    remembers: ClassVar[tuple[str, ...]] = ("mean", "D", "v", "path_sigma", "path_c", "sigma")

    def __init__(
        self,
        initial: th.Tensor,
        domain: Domain | None = None,
        *,
        seed: NonNegativeInt = 0,
        popsize: PositiveInt | None = None,
        sigma: PositiveFloat = 1.0,
    ) -> None:
        d = len(initial)
        super().__init__(initial, domain, seed=seed, popsize=popsize or 2 * math.ceil((4 + int(3 * math.log(d))) / 2))
        check_pairs(self.popsize)
        if self.popsize < 4:
            raise ValueError(f"popsize={popsize}: ranks need 4 members or more")
        if d < 6:
            raise ValueError(f"initial has {d} entries: CR-FM-NES is defined from 6 on; use cma_es")
        self.sigma, P = sigma, self.popsize
        self.mean, self.D = initial.clone(), th.ones_like(initial)
        self.v = self._randn(1, stream=1)[0] / math.sqrt(d)
        self.path_sigma, self.path_c = th.zeros_like(initial), th.zeros_like(initial)
        self.weights = utilities(P)  # of the ranks, the worst first
        self.positive = self.weights + 1 / P  # ŵ, normalised
        mu = self.mu = 1 / float((self.positive**2).sum())
        self.c_sigma = (mu + 2) / (d + mu + 5)
        self.c_c = (4 + mu / d) / (d + 4 + 2 * mu / d)
        self.c_1 = 2 / ((d + 1.3) ** 2 + mu) * (d - 5) / 6
        self.expected_norm = math.sqrt(d) * (1 - 1 / (4 * d) + 1 / (21 * d**2))
        self.alpha = inverse_h(d) * min(1.0, math.sqrt(P / d))
        self.eta_B = math.tanh((min(0.02 * P, 3 * math.log(d)) + 5) / (0.23 * d + 25))
        self.eta_stagnating = math.tanh((0.024 * P + 0.7 * d + 20) / (d + 12))
        self.eta_converging = 2 * math.tanh((0.025 * P + 0.75 * d + 10) / (d + 4))

    @property
    def centre(self) -> th.Tensor:
        """[d], the mean of the search distribution."""
        return self.mean

    def _ask(self) -> Population:
        half = self._randn(self.popsize // 2)
        z = th.stack([half, -half], 1).view(self.popsize, -1)
        return Sampled(th.addcmul(self.mean, self._bent(z), self.D, value=self.sigma), z, unit=2)

    def _bent(self, z: th.Tensor) -> th.Tensor:
        """Y of z, [P, d]."""
        square = self.v.square().sum()
        along = self.v / square.sqrt()
        return z + ((1 + square).sqrt() - 1) * th.outer(z @ along, along)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        assert isinstance(population, Sampled)
        ranked = fitness.cpu().numpy()
        if ranked.min() == ranked.max():
            return
        z, d = population.noise, self.domain.dim
        y = self._bent(z)
        w_rank, w_hat = by_rank(ranked, np.stack([self.weights, self.positive], 1)).T
        self.path_sigma.mul_(1 - self.c_sigma)
        self.path_sigma.add_(self._tensor(w_rank) @ z, alpha=math.sqrt(self.c_sigma * (2 - self.c_sigma) * self.mu))
        length = self.path_sigma.norm().item()
        moving = length >= self.expected_norm
        if moving:
            lengths = z.norm(dim=1).double().cpu().numpy()
            far = w_hat * np.exp(self.alpha * (lengths - lengths.max()))
            w_rank = far / far.sum() - 1 / self.popsize
        weights = self._tensor(w_rank)
        stagnating = length >= 0.1 * self.expected_norm
        eta = 1.0 if moving else self.eta_stagnating if stagnating else self.eta_converging
        step = (weights @ y).mul_(self.D)  # in units of sigma
        self.path_c.mul_(1 - self.c_c).add_(step, alpha=math.sqrt(self.c_c * (2 - self.c_c) * self.mu))
        self.mean.add_(step, alpha=self.sigma)
        self._shape(y, weights)
        growth = (weights @ z.square()).sum().item() - d * weights.sum().item()
        self.sigma *= math.exp(eta / 2 * growth / d)

    def _shape(self, y: th.Tensor, weights: th.Tensor) -> None:
        """Move D and v along their natural gradients, estimated from the members and the evolution path."""
        d, v = self.domain.dim, self.v
        ys = th.cat([y, (self.path_c / self.D)[None]])  # [P + 1, d]
        rates = th.cat([weights * self.eta_B, weights.new_tensor([self.c_1])])
        square = v.square().sum().item()
        gamma, norm = 1 + square, math.sqrt(square)
        bar = v / norm
        bar2 = bar.square()
        top = math.sqrt(square**2 + (2 * gamma - math.sqrt(gamma)) / bar2.max().item())
        a = min(1.0, top / (2 + square))
        along = ys @ bar  # [P + 1]
        t = ys * along[:, None] - 0.5 * th.outer(along.square() + gamma, bar)
        b = -(1 - a**2) * square**2 / gamma + 2 * a**2
        inverse = 1 / (2 - (b + 2 * a**2) * bar2)
        s = ys.square() - square / gamma * ys * bar * along[:, None] - 1
        s -= a / gamma * ((2 + square) * t * bar - square * th.outer(t @ bar, bar2))
        spread = inverse * bar2
        s = s * inverse - b / (1 + b * (bar2 @ spread)) * th.outer(s @ spread, spread)
        t -= a * ((2 + square) * s * bar - th.outer(s @ bar2, bar))
        self.v = v + (rates @ t) / norm
        self.D = self.D * (rates @ s).add_(1).clamp_(min=0.1)  # a large step would change its sign
        determinant = self.D.log().sum() / d + (1 + self.v.square().sum()).log() / (2 * d)
        self.D = self.D / determinant.exp()

    def logs(self) -> dict[str, float]:
        """`step_size`: σ times the mean D."""
        return {"step_size": self.sigma * self.D.mean().item()}


def inverse_h(dim: int) -> float:
    """Return the a with (1 + a²) exp(a²/2)/0.24 = 10 + d, for d up to 2,000, by Newton's method."""
    target, a = 10.0 + min(dim, 2000), 1.0
    for _ in range(200):
        slope = a * math.exp(a * a / 2) * (3 + a * a) / 0.24
        a -= 0.5 * ((1 + a * a) * math.exp(a * a / 2) / 0.24 - target) / slope
    return a
