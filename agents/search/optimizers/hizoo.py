"""HiZOO: simultaneous perturbation shaped by a diagonal estimate of the curvature."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch as th

from lm_gym.agents.search.optimizers.probing import Probing
from lm_gym.agents.search.population.domain import Block
from lm_gym.agents.search.population.noise import Noise
from lm_gym.agents.search.population.perturbed import Pattern
from lm_gym.bounds import Fraction, PositiveInt

TRIPLE = Pattern((0, 0, 0), (0.0, 1.0, -1.0))  # the centre and both sides of a direction


@dataclass(frozen=True)
class ShapedNoise(Noise):
    """Full-rank noise z/√H, with a positive number H for every entry.

    Attributes:
        curvature: H, a live tensor for each block.
    """

    curvature: tuple[th.Tensor, ...] = ()

    def slabs(
        self, index: int, block: Block, direction: int, device: th.device, wanted: Container[int] | None = None
    ) -> Iterator[tuple[slice, th.Tensor]]:
        """See Noise."""
        for rows, z in super().slabs(index, block, direction, device, wanted):
            yield rows, z.mul_(self.curvature[index][rows].rsqrt())


class HiZOO(Probing):
    """Hessian-informed zeroth-order SGD: Zhao et al., 2024 (arXiv 2402.15173), algorithm 1.

    A unit of three members is θ and θ ± σ z/√H, all evaluated on the same texts. H starts at 1. With q = P/3 units,

        c_i = |f_i⁺ + f_i⁻ − 2 f_i|/(2 σ²)             H ← (1 − λ) H + (λ/q) Σ_i c_i z_i² H
        g_i = (f_i⁺ − f_i⁻)/(2 σ)                      θ ← θ + (α/q) Σ_i g_i z_i/√H

    H takes as much memory as the model. A unit with a failed member is left out. The expectation of c z² contains the
    sum of all curvatures besides that of the entry. In a model with many parameters, H therefore follows the scale of
    the slopes and hardly distinguishes entries.

    Args:
        centre, blocks, probing: see Probing. α is 1 by default.
        popsize: P = 3q.
        smoothing: λ, in [0, 1). The paper's 1e-8 applies to steps of 1e-3 in the units of the parameters.
    """

    pattern = TRIPLE

    def __init__(
        self,
        centre: Sequence[th.Tensor],
        blocks: Sequence[Block],
        *,
        popsize: PositiveInt = 3,
        smoothing: Fraction = 1e-3,
        **probing: Any,
    ) -> None:
        super().__init__(centre, blocks, popsize=popsize, **probing)
        self.smoothing = smoothing
        self.curvature = tuple(th.ones_like(x, dtype=th.float32) for x in self.centre)
        self.slope = 0.0

    def _usual_rate(self) -> float:
        return 1.0

    def _noise(self) -> Noise:
        return ShapedNoise(self.seed, self.generation, None, self.curvature)

    def _weights(self, fitness: th.Tensor) -> th.Tensor:
        """Return g_i and c_i of each unit, float64 [q, 2]; NaN if a member failed."""
        middle, plus, minus = fitness.view(-1, 3).T
        valid = fitness.view(-1, 3).isfinite().all(1)
        slopes, bends = (plus - minus) / (2 * self.sigma), (plus + minus - 2 * middle).abs() / (2 * self.sigma**2)
        self.slope = th.where(valid, slopes, 0.0).abs().mean().item()
        return th.stack([slopes, bends], 1).masked_fill(~valid[:, None], th.nan)

    def _move(self, index: int, tensor: th.Tensor, block: Block, noise: Noise, weights: th.Tensor) -> None:
        used = {unit: both for unit, both in enumerate(weights.tolist()) if both[0] == both[0]}
        if not used:
            return
        H, drawn, count = self.curvature[index], Noise(self.seed, self.generation, None), len(used)  # drawn: z itself
        for slabs in zip(*(drawn.slabs(index, block, unit, tensor.device) for unit in used), strict=True):
            rows, bend, step = slabs[0][0], 0.0, 0.0
            for (slope, curvature), (_, z) in zip(used.values(), slabs, strict=True):
                bend = bend + curvature / count * z.square()
                step = step + slope * z
            H[rows] *= 1 - self.smoothing + self.smoothing * bend
            tensor[rows].add_((step * H[rows].rsqrt()).to(tensor.dtype), alpha=self.alpha / count * block.scale)

    def _state(self) -> dict[str, Any]:
        return super()._state() | {f"H_{i}": H.clone() for i, H in enumerate(self.curvature)}

    def _load(self, state: dict[str, Any]) -> None:
        super()._load(state)
        for i, H in enumerate(self.curvature):
            H.copy_(state[f"H_{i}"])

    def logs(self) -> dict[str, float]:
        """`step_size` σ; `slope`, the mean |g_i| of the last generation."""
        return super().logs() | {"slope": self.slope}
