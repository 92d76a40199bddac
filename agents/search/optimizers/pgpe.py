"""PGPE: policy gradients with parameter-based exploration, a Gaussian whose deviations are learned."""

from __future__ import annotations

from typing import Any, ClassVar

import torch as th

from lm_gym.agents.search.optimizers.antithetic import Antithetic
from lm_gym.agents.search.optimizers.shaping import SHAPINGS
from lm_gym.agents.search.population.domain import Domain
from lm_gym.agents.search.population.population import Population, Sampled
from lm_gym.bounds import NonNegativeFloat


class PGPE(Antithetic):
    """Policy gradients with parameter-based exploration: Sehnke et al., 2010, with symmetric sampling (section 2.3).

    Members are μ ± ε_i with ε_i = s ⊙ z_i, z_i ~ N(0, I) and a deviation s for every entry. With the shaped fitness u,
    whose mean is zero (the paper's baseline), and q = P/2 pairs:

        ∇μ = (1/q) Σ_i ((u_i⁺ − u_i⁻)/2) z_i                    μ climbs ∇μ by Adam, in units of α
        ∇s = (1/q) Σ_i ((u_i⁺ + u_i⁻)/2) (z_i² − 1)             s ← s (1 + η ∇s), by a fifth of itself at most

    Both are the paper's gradients in units of s, so steps are proportional to the deviations.

    Args:
        initial, domain, search: see Antithetic. σ is s at the start; α is in natural steps.
        std_learning_rate: η.
    """

    remembers: ClassVar[tuple[str, ...]] = ("mean", "std")

    def __init__(
        self,
        initial: th.Tensor,
        domain: Domain | None = None,
        *,
        std_learning_rate: NonNegativeFloat = 0.1,
        **search: Any,
    ) -> None:
        super().__init__(initial, domain, **search)
        self.eta, self.std = std_learning_rate, th.full_like(initial, self.sigma)

    def _ask(self) -> Population:
        noise = self._randn(self.popsize // 2)
        moved = noise * self.std
        members = th.stack([self.mean + moved, self.mean - moved], 1)  # [P/2, 2, d]
        return Sampled(members.view(self.popsize, -1), noise, unit=2)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        assert isinstance(population, Sampled)
        u, z = SHAPINGS[self.shaping](fitness.cpu().numpy()), population.noise
        apart, together = (self._tensor((u[0::2] + side * u[1::2]) / self.popsize) for side in (-1, 1))
        self._climb(apart @ z)
        grown = (together @ z.square() - together.sum()).mul_(self.eta).clamp_(-0.2, 0.2)
        self.std.mul_(grown.add_(1))

    def logs(self) -> dict[str, float]:
        """`step_size`: the mean deviation."""
        return {"step_size": self.std.mean().item()}
