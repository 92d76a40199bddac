"""MeZO: simultaneous perturbation with noise out of counters, in the memory of inference."""

from __future__ import annotations

from collections.abc import Sequence

import torch as th

from lm_gym.agents.search.optimizers.optimizer import StructuredOptimizer
from lm_gym.agents.search.population.population import Block, Noise, Perturbed, Population, check_pairs
from lm_gym.bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveFraction, PositiveInt


class MeZO(StructuredOptimizer):
    """Memory-efficient zeroth-order SGD: Malladi et al., 2023 (arXiv 2305.17333), algorithm 1; SPSA: Spall, 1992.

    q = P/2 probes z_i ~ N(0, I), both sides judged on the same texts:

        g_i = (f(θ + σ z_i) − f(θ − σ z_i))/(2 σ)        θ ← θ + (α/q) Σ_i g_i z_i

    The noise is drawn anew, slab by slab, wherever it is needed, so beyond the model nothing but a slab is held. A
    probe of which a side failed is left out.

    Args:
        centre, blocks, seed: see StructuredOptimizer.
        popsize: P = 2q.
        sigma: σ, in natural steps (the paper's ε, where a natural step is 1e-3).
        learning_rate: α, natural steps for a slope of one unit of fitness a natural step.
        clip: bound of |g_i|, None: none. A single probe's slope may be far off.
        decay: share of α that is left after each generation; a half-life of h generations is 0.5^(1/h).
    """

    def __init__(
        self,
        centre: Sequence[th.Tensor],
        blocks: Sequence[Block],
        *,
        seed: NonNegativeInt = 0,
        popsize: PositiveInt = 2,
        sigma: PositiveFloat = 1.0,
        learning_rate: NonNegativeFloat = 1.0,
        clip: PositiveFloat | None = None,
        decay: PositiveFraction = 1.0,
    ) -> None:
        super().__init__(centre, blocks, seed=seed, popsize=popsize)
        check_pairs(popsize)
        self.sigma, self.learning_rate, self.clip, self.decay = sigma, learning_rate, clip, decay
        self.slope = 0.0

    def _ask(self) -> Population:
        noise = Noise(self.seed, self.generation, rank=None)
        return Perturbed(self.centre, self.blocks, noise, self.sigma, self.popsize)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        assert isinstance(population, Perturbed)
        both = fitness.view(-1, 2).isfinite().all(1)
        slopes = th.where(both, fitness[0::2] - fitness[1::2], 0.0) / (2 * self.sigma)
        if self.clip is not None:
            slopes = slopes.clamp(-self.clip, self.clip)
        self.slope = slopes.abs().mean().item()
        alpha = self.learning_rate * self.decay**self.generation
        rates = (slopes * alpha / max(int(both.sum()), 1)).tolist()
        for index, (tensor, block) in enumerate(zip(self.centre, self.blocks, strict=True)):
            for pair, rate in enumerate(rates):
                if rate:
                    for rows, noise in population.noise.slabs(index, block, pair, tensor.device):
                        tensor[rows].add_(noise, alpha=rate * block.scale)

    def logs(self) -> dict[str, float]:
        """`step_size` σ; `slope`, the mean |g_i| of the last generation."""
        return {"step_size": self.sigma, "slope": self.slope}
