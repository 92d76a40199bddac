"""ARS: augmented random search, which steps along the best of its random directions."""

from __future__ import annotations

from typing import ClassVar

import torch as th

from lm_gym.agents.search.optimizers.ascent import Ascent
from lm_gym.agents.search.optimizers.optimizer import VectorOptimizer
from lm_gym.agents.search.population.domain import Domain
from lm_gym.agents.search.population.population import Population, Sampled, check_pairs
from lm_gym.bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveFraction, PositiveInt


class ARS(VectorOptimizer):
    """Augmented random search: Mania, Guy & Recht, 2018 (arXiv 1803.07055), algorithm 1, V1-t.

    Members are θ ± σ δ_i with δ_i ~ N(0, I). The b of P/2 directions with the largest max(f_i⁺, f_i⁻) count. With s the
    standard deviation of their 2b fitness values:

        θ ← θ + (α/(b s)) Σ_i (f_i⁺ − f_i⁻) δ_i

    A direction with a failed side comes last and does not count. If all fitness values tie, the mean does not move. (V2
    also normalises the observations of a control task, which texts do not have.)

    Args:
        initial, domain, seed: see VectorOptimizer.
        popsize: P, even.
        sigma: σ, in natural steps; the paper's ν.
        learning_rate: α, in natural steps. None: σ/2.
        top: fraction of the directions that count, b = ⌈top · P/2⌉, in (0, 1].
        decay: factor of α per generation; a half-life of h generations is 0.5^(1/h).
    """

    has_rate: ClassVar[bool] = True
    remembers: ClassVar[tuple[str, ...]] = ("mean",)
    stateful: ClassVar[tuple[str, ...]] = ("ascent",)

    def __init__(
        self,
        initial: th.Tensor,
        domain: Domain | None = None,
        *,
        seed: NonNegativeInt = 0,
        popsize: PositiveInt = 64,
        sigma: PositiveFloat = 1.0,
        learning_rate: NonNegativeFloat | None = None,
        top: PositiveFraction = 0.5,
        decay: PositiveFraction = 1.0,
    ) -> None:
        super().__init__(initial, domain, seed=seed, popsize=popsize)
        check_pairs(popsize)
        self.sigma, self.best = sigma, max(1, -int(-top * popsize // 2))
        self.mean = initial.clone()
        self.ascent = Ascent("sgd", sigma / 2 if learning_rate is None else learning_rate, [self.mean], decay)
        self.deviation = 0.0

    @property
    def centre(self) -> th.Tensor:
        """[d], θ."""
        return self.mean

    def _ask(self) -> Population:
        noise = self._randn(self.popsize // 2)
        sides = self.mean.new_tensor([[self.sigma], [-self.sigma]])
        members = th.addcmul(self.mean, noise[:, None], sides)  # [P/2, 2, d]
        return Sampled(members.view(self.popsize, -1), noise, unit=2)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        assert isinstance(population, Sampled)
        gains, deviation = best_directions(fitness, self.best)
        self.deviation = deviation
        if deviation > 0:
            estimate = (gains / deviation).to(self.dtype) @ population.noise
            self.ascent.step(0, self.mean, estimate, self.generation + 1, self.rate)

    def logs(self) -> dict[str, float]:
        """`step_size` σ; `deviation` s of the fitness values that count."""
        return {"step_size": self.sigma, "deviation": self.deviation}


def best_directions(fitness: th.Tensor, count: int) -> tuple[th.Tensor, float]:
    """(f⁺ − f⁻)/b of the best b directions and 0 of the others, float64 [P/2]; the deviation of the fitness used.

    Directions that tie with the last of the best also count, and b is then larger, so the order has no influence.

    Args:
        fitness: [P], pairs side by side; -inf if an evaluation failed.
        count: minimum of b.
    """
    pairs = fitness.view(-1, 2)
    valid = pairs.isfinite().all(1)
    rank = pairs.max(1).values.masked_fill(~valid, -th.inf)
    used = valid & (rank >= rank.topk(count).values[-1])
    if not used.any():
        return th.zeros_like(rank), 0.0
    gains = th.where(used, pairs[:, 0] - pairs[:, 1], 0.0) / used.sum()
    return gains, pairs[used].std(correction=0).item()
