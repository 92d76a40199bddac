"""MeZO: simultaneous perturbation with noise regenerated from counters, in the memory of inference."""

from __future__ import annotations

from collections.abc import Sequence

import torch as th

from lm_gym.agents.search.optimizers.estimate import Scaling
from lm_gym.agents.search.optimizers.spsa import SPSA
from lm_gym.agents.search.population.population import Block, Noise, Perturbed, Population
from lm_gym.bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveFraction, PositiveInt


class MeZO(SPSA):
    """Memory-efficient zeroth-order SGD: Malladi et al., 2023 (arXiv 2305.17333), algorithm 1; SPSA: Spall, 1992.

    There are q = P/2 probes z_i ~ N(0, I), whose sides are both evaluated on the same texts:

        g_i = (f(θ + σ z_i) − f(θ − σ z_i))/(2 σ)        θ ← θ + (α/q) Σ_i g_i z_i

    The noise is regenerated slab by slab wherever it is needed, so that only one slab is held beside the model. A probe
    with a failed side is left out.

    Args:
        centre, blocks, seed: see StructuredOptimizer.
        popsize: P = 2q.
        sigma: σ, in natural steps (the paper's ε, where a natural step is 1e-3).
        learning_rate: α, in natural steps per slope of one unit of fitness per natural step, or in natural steps with
            `adaptive`. None: 0.3 σ with `adaptive`, else 1.
        clip: bound of |g_i|, because the slope of a single probe can be far off; None for no bound.
        decay: factor of α per generation; a half-life of h generations is 0.5^(1/h).
        adaptive: whether to divide slopes by their running root mean square, so that the same α suits any reward,
            search space and model.
        weight_decay: fraction of the distance to the start by which parameters move back per generation; above 0 it
            needs a copy of the parameters.
        scaling: `"mean"`, the update above, or `"root"`, with α/√q instead of α/q.
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
