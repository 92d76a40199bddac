"""MeZO: simultaneous perturbation with noise regenerated from counters, which needs only the memory of inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch as th

from lm_gym.agents.search.optimizers.spsa import SPSA
from lm_gym.agents.search.population.domain import Block
from lm_gym.agents.search.population.noise import Noise
from lm_gym.bounds import PositiveInt


class MeZO(SPSA):
    """Memory-efficient zeroth-order SGD: Malladi et al., 2023 (arXiv 2305.17333), algorithm 1; SPSA: Spall, 1992.

    There are q = P/2 probes z_i ~ N(0, I). Both sides of a probe are evaluated on the same texts:

        g_i = (f(θ + σ z_i) − f(θ − σ z_i))/(2 σ)        θ ← θ + (α/q) Σ_i g_i z_i

    The noise is regenerated slab by slab wherever it is needed, so only one slab is in memory besides the model. Probes
    with a failed side are left out.

    Args:
        centre, blocks, spsa: see SPSA. The paper's ε is σ times the natural step. By default, α is 0.3 σ with
            `adaptive` and 1 without it.
        popsize: P = 2q.
        adaptive: whether to divide slopes by their running root mean square, so that the same α suits any reward,
            search space and model.
    """

    def __init__(
        self,
        centre: Sequence[th.Tensor],
        blocks: Sequence[Block],
        *,
        popsize: PositiveInt = 2,
        adaptive: bool = False,
        **spsa: Any,
    ) -> None:
        super().__init__(centre, blocks, popsize=popsize, adaptive=adaptive, **spsa)

    def _usual_rate(self) -> float:
        return super()._usual_rate() if self.adaptive else 1.0

    def _noise(self) -> Noise:
        return Noise(self.seed, self.generation, rank=None)

    def _move(self, index: int, tensor: th.Tensor, block: Block, noise: Noise, weights: th.Tensor) -> None:
        for direction, rate in enumerate((weights * self.alpha).tolist()):
            if rate:
                for rows, values in noise.slabs(index, block, direction, tensor.device):
                    tensor[rows].add_(values, alpha=rate * block.scale)
