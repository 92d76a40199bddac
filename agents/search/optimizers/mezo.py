"""MeZO: simultaneous perturbation with noise out of counters, in the memory of inference."""

from __future__ import annotations

from collections.abc import Sequence

import torch as th

from lm_gym.agents.search.optimizers.estimate import Scaling
from lm_gym.agents.search.optimizers.spsa import SPSA
from lm_gym.agents.search.population.population import Block, Noise, Perturbed, Population
from lm_gym.bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveFraction, PositiveInt


class MeZO(SPSA):
    """Memory-efficient zeroth-order SGD: Malladi et al., 2023 (arXiv 2305.17333), algorithm 1; SPSA: Spall, 1992.

    q = P/2 probes z_i ~ N(0, I), both sides judged on the same texts:

        g_i = (f(θ + σ z_i) − f(θ − σ z_i))/(2 σ)        θ ← θ + (α/q) Σ_i g_i z_i

    The noise is drawn anew, slab by slab, wherever it is needed, so beyond the model nothing but a slab is held. A
    probe of which a side failed is left out.

    Args:
        centre, blocks, seed: see StructuredOptimizer.
        popsize: P = 2q.
        sigma: σ, in natural steps (the paper's ε, where a natural step is 1e-3).
        learning_rate: α, natural steps for a slope of one unit of fitness a natural step; with `adaptive`, natural
            steps. None: 0.3 σ with `adaptive`, else 1.
        clip: bound of |g_i|, None: none. A single probe's slope may be far off.
        decay: share of α that is left after each generation; a half-life of h generations is 0.5^(1/h).
        adaptive: divide slopes by their running root mean square, so that α need not be found anew for each reward,
            space and model.
        weight_decay: share of the way back to the start that parameters go each generation; above 0 it costs a copy.
        scaling: `"mean"`, the line above, or `"root"`: α/√q in place of α/q.
    """

    def __init__(
        self,
        centre: Sequence[th.Tensor],
        blocks: Sequence[Block],
        *,
        seed: NonNegativeInt = 0,
        popsize: PositiveInt = 2,
        sigma: PositiveFloat = 1.0,
        learning_rate: NonNegativeFloat | None = None,
        clip: PositiveFloat | None = None,
        decay: PositiveFraction = 1.0,
        adaptive: bool = False,
        weight_decay: NonNegativeFloat = 0.0,
        scaling: Scaling = "mean",
    ) -> None:
        super().__init__(
            centre,
            blocks,
            seed=seed,
            popsize=popsize,
            sigma=sigma,
            clip=clip,
            decay=decay,
            adaptive=adaptive,
            weight_decay=weight_decay,
            scaling=scaling,
        )
        self.learning_rate = (0.3 * sigma if adaptive else 1.0) if learning_rate is None else learning_rate

    def _noise(self) -> Noise:
        return Noise(self.seed, self.generation, rank=None)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        assert isinstance(population, Perturbed)
        alpha = self.learning_rate * self.decay**self.generation * self.rate
        rates = (self._weights(fitness) * alpha).tolist()
        self._pull()
        for index, (tensor, block) in enumerate(zip(self.centre, self.blocks, strict=True)):
            for direction, rate in enumerate(rates):
                if rate:
                    for rows, noise in population.noise.slabs(index, block, direction, tensor.device):
                        tensor[rows].add_(noise, alpha=rate * block.scale)
