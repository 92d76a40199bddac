"""PGPE: policy gradients with parameter-based exploration, a Gaussian whose deviations are learned."""

from __future__ import annotations

from typing import Any, ClassVar

import torch as th

from lm_gym.agents.search.optimizers.ascent import Ascent, Rule
from lm_gym.agents.search.optimizers.optimizer import VectorOptimizer
from lm_gym.agents.search.optimizers.shaping import SHAPINGS, Shaping
from lm_gym.agents.search.population.population import Domain, Population, Sampled, check_pairs
from lm_gym.bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveFraction, PositiveInt
from lm_gym.naming import check_choice


class PGPE(VectorOptimizer):
    """Policy gradients with parameter-based exploration: Sehnke et al., 2010, with symmetric sampling (section 2.3).

    Members μ ± ε_i, ε_i = s ⊙ z_i, z_i ~ N(0, I), with a deviation s for every entry. With u the shaped fitness, whose
    mean is zero (the paper's baseline), and q = P/2 pairs:

        ∇μ = (1/q) Σ_i ((u_i⁺ − u_i⁻)/2) z_i                    μ climbs ∇μ by Adam, in units of α
        ∇s = (1/q) Σ_i ((u_i⁺ + u_i⁻)/2) (z_i² − 1)             s ← s (1 + η ∇s), by a fifth of itself at most

    Both are the paper's gradients in units of s, so that steps follow the deviations.

    Args:
        initial, domain, seed: see VectorOptimizer.
        popsize: P, even.
        sigma: s of every entry at the start, in natural steps.
        learning_rate: α, in natural steps. None: σ/2.
        std_learning_rate: η.
        shaping: `"centred_ranks"`, or `"z_scores"`.
        rule: how μ climbs, one of `Ascent`'s.
        decay: share of α that is left after each generation; a half-life of h generations is 0.5^(1/h).
    """

    has_rate: ClassVar[bool] = True
    remembers: ClassVar[tuple[str, ...]] = ("mean", "std")

    def __init__(
        self,
        initial: th.Tensor,
        domain: Domain | None = None,
        *,
        seed: NonNegativeInt = 0,
        popsize: PositiveInt = 64,
        sigma: PositiveFloat = 1.0,
        learning_rate: NonNegativeFloat | None = None,
        std_learning_rate: NonNegativeFloat = 0.1,
        shaping: Shaping = "centred_ranks",
        rule: Rule = "adam",
        decay: PositiveFraction = 1.0,
    ) -> None:
        super().__init__(initial, domain, seed=seed, popsize=popsize)
        check_pairs(popsize)
        check_choice("shaping", shaping, SHAPINGS)
        self.shaping, self.eta = shaping, std_learning_rate
        self.mean, self.std = initial.clone(), th.full_like(initial, sigma)
        self.ascent = Ascent(rule, sigma / 2 if learning_rate is None else learning_rate, [self.mean], decay)

    @property
    def centre(self) -> th.Tensor:
        """[d], μ."""
        return self.mean

    def _ask(self) -> Population:
        noise = self._randn(self.popsize // 2)
        moved = noise * self.std
        members = th.stack([self.mean + moved, self.mean - moved], 1)  # [P/2, 2, d]
        return Sampled(members.view(self.popsize, -1), noise, unit=2)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        assert isinstance(population, Sampled)
        u, z = SHAPINGS[self.shaping](fitness.cpu().numpy()), population.noise
        apart, together = (self._tensor((u[0::2] + side * u[1::2]) / self.popsize) for side in (-1, 1))
        self.ascent.step(0, self.mean, apart @ z, self.generation + 1, self.rate)
        grown = (together @ z.square() - together.sum()).mul_(self.eta).clamp_(-0.2, 0.2)
        self.std.mul_(grown.add_(1))

    def _state(self) -> dict[str, Any]:
        return super()._state() | self.ascent.state()

    def _load(self, state: dict[str, Any]) -> None:
        super()._load(state)
        self.ascent.load(state)

    def logs(self) -> dict[str, float]:
        """`step_size`: the mean deviation."""
        return {"step_size": self.std.mean().item()}
