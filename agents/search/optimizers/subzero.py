"""SubZero: simultaneous perturbation within random row and column spaces that are fixed for several generations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch as th

from lm_gym.agents.search.optimizers.spsa import SPSA
from lm_gym.agents.search.population.domain import Block
from lm_gym.agents.search.population.noise import Noise, keyed_seed
from lm_gym.bounds import PositiveInt

_LAZY = 3  # keeps the key of the bases apart from those of a generation's numbers


@dataclass(frozen=True)
class SubspaceNoise(Noise):
    """Noise U Z Vᵀ √(rows · columns)/r of matrices, with orthonormal U and V that are redrawn every few generations.

    Attributes:
        interval: number of generations that use the same U and V.
    """

    interval: int = 1000

    def low_rank(self, index: int, block: Block, directions: int, device: th.device) -> tuple[th.Tensor, th.Tensor]:
        """See Noise."""
        rows, columns = block.shape
        rank = min(self.rank or 1, rows, columns)
        Z = self._draw((directions, rank, rank), self._generator(device, index, 0, 1))
        key = keyed_seed(self.seed, self.generation // self.interval, index, 0, _LAZY)
        both = self._draw((rows + columns, rank), th.Generator(device).manual_seed(key))
        U, V = (th.linalg.qr(part).Q for part in (both[:rows], both[rows:]))
        return U @ Z * ((rows * columns) ** 0.5 / rank), V.expand(directions, columns, rank)


class SubZero(SPSA):
    """Random-subspace zeroth-order SGD: Yu et al., 2024 (arXiv 2410.08989), algorithms 1 to 3.

    Directions of a matrix are Z̃_i = U Z_i Vᵀ. U [rows, r] and V [columns, r] are orthonormal (QR of Gaussian matrices)
    and fixed for T₀ generations. Z_i [r, r] is Gaussian, scaled so that each entry of Z̃_i has unit variance. Other
    tensors get full noise. With the two-sided slopes g_i,

        W ← W + (α/q) Σ_i g_i Z̃_i

    Directions with a failed side are left out.

    Args:
        centre, blocks, spsa: see SPSA.
        rank: r; less in a matrix with fewer rows or columns.
        interval: T₀. The paper's 2,000 counts steps of two forward passes.
    """

    def __init__(
        self,
        centre: Sequence[th.Tensor],
        blocks: Sequence[Block],
        *,
        rank: PositiveInt = 8,
        interval: PositiveInt = 50,
        **spsa: Any,
    ) -> None:
        super().__init__(centre, blocks, **spsa)
        self.rank, self.interval = rank, interval

    def _noise(self) -> Noise:
        return SubspaceNoise(self.seed, self.generation, self.rank, self.interval)
