"""LOZO: simultaneous perturbation within a random column space that is fixed for several generations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch as th

from lm_gym.agents.search.optimizers.spsa import SPSA
from lm_gym.agents.search.population.domain import Block
from lm_gym.agents.search.population.noise import Noise, keyed_seed
from lm_gym.bounds import Fraction, PositiveInt

_LAZY = 2  # keeps the key of a right factor apart from those of a generation's numbers


@dataclass(frozen=True)
class LazyNoise(Noise):
    """Low-rank noise U Vᵀ/√r. All directions share the right factor V, which is redrawn every few generations.

    Attributes:
        interval: ν, number of generations that use the same V.
    """

    interval: int = 50

    def low_rank(self, index: int, block: Block, directions: int, device: th.device) -> tuple[th.Tensor, th.Tensor]:
        """See Noise."""
        rank = self.rank or 1
        U = self._draw((directions, block.shape[0], rank), self._generator(device, index, 0, 1)) / rank**0.5
        V = self.right_factor(index, block, self.generation // self.interval, device)
        return U, V.expand(directions, *V.shape)

    def right_factor(self, index: int, block: Block, number: int, device: th.device) -> th.Tensor:
        """Return the V of this number, [columns, r]."""
        key = keyed_seed(self.seed, number, index, 0, _LAZY)
        return self._draw((block.shape[1], self.rank or 1), th.Generator(device).manual_seed(key))


class LOZO(SPSA):
    """Low-rank zeroth-order SGD: Chen et al., 2024 (arXiv 2410.07698), algorithms 1 and 2.

    Directions of a matrix are Z_i = U_i Vᵀ/√r, where U_i is drawn for each direction and V [columns, r] for ν
    generations. Other tensors get full noise. With the two-sided slopes g_i and N = (1/q) Σ_i g_i U_i/√r,

        W ← W + α N Vᵀ                                          LOZO
        M ← β M + (1 − β) N,        W ← W + α M Vᵀ              LOZO-M

    Momentum therefore costs r numbers per row. When V changes, M is projected to the new column space: M Vᵀ V'/columns.
    Tensors that are not matrices move without momentum.

    Directions with a failed side are left out.

    Args:
        centre, blocks, spsa: see SPSA.
        rank: r.
        interval: ν.
        momentum: β, in [0, 1); the paper's LOZO-M uses 0.9.
    """

    def __init__(
        self,
        centre: Sequence[th.Tensor],
        blocks: Sequence[Block],
        *,
        rank: PositiveInt = 2,
        interval: PositiveInt = 50,
        momentum: Fraction = 0.0,
        **spsa: Any,
    ) -> None:
        super().__init__(centre, blocks, **spsa)
        self.rank, self.interval, self.momentum = rank, interval, momentum
        self.moments = {
            index: tensor.new_zeros(tensor.shape[0], rank, dtype=th.float32)
            for index, tensor in enumerate(self.centre)
            if momentum and tensor.dim() == 2
        }

    def _noise(self) -> LazyNoise:
        return LazyNoise(self.seed, self.generation, self.rank, self.interval)

    def _move(self, index: int, tensor: th.Tensor, block: Block, noise: Noise, weights: th.Tensor) -> None:
        if index not in self.moments:
            super()._move(index, tensor, block, noise, weights)
            return
        assert isinstance(noise, LazyNoise)
        U, V = noise.factors(index, block, len(weights), tensor.device)
        moment, V = self.moments[index], V[0]
        number, within = divmod(self.generation, self.interval)
        if number and not within:
            before = noise.right_factor(index, block, number - 1, tensor.device)
            moment.copy_(moment @ (before.T @ V) / len(V))
        moment.lerp_((U * weights.float()[:, None, None]).sum(0), 1 - self.momentum)
        self._climb(index, tensor, block, (moment @ V.T).to(tensor.dtype))

    def _state(self) -> dict[str, Any]:
        return super()._state() | {f"m_{index}": moment.clone() for index, moment in self.moments.items()}

    def _load(self, state: dict[str, Any]) -> None:
        super()._load(state)
        for index, moment in self.moments.items():
            moment.copy_(state[f"m_{index}"])
