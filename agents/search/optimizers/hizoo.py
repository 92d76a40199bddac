"""HiZOO: simultaneous perturbation shaped by a diagonal estimate of the curvature."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch as th

from lm_gym.agents.search.optimizers.ascent import Anchor
from lm_gym.agents.search.optimizers.optimizer import StructuredOptimizer
from lm_gym.agents.search.population.population import Block, Noise, Pattern, Perturbed, Population, check_units
from lm_gym.bounds import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveFraction, PositiveInt

TRIPLE = Pattern((0, 0, 0), (0.0, 1.0, -1.0))  # the centre and both sides of a direction


@dataclass(frozen=True)
class ShapedNoise(Noise):
    """Full-rank noise z/√H, H a positive number for every entry.

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


class HiZOO(StructuredOptimizer):
    """Hessian-informed zeroth-order SGD: Zhao et al., 2024 (arXiv 2402.15173), algorithm 1.

    A unit of three members is θ and θ ± σ z/√H, all judged on the same texts; H begins at 1. With q = P/3 units,

        c_i = |f_i⁺ + f_i⁻ − 2 f_i|/(2 σ²)             H ← (1 − λ) H + (λ/q) Σ_i c_i z_i² H
        g_i = (f_i⁺ − f_i⁻)/(2 σ)                      θ ← θ + (α/q) Σ_i g_i z_i/√H

    Memory: the model twice, as H is as large. A unit of which a member failed is left out. The expectation of c z²
    holds the sum of all curvatures beside an entry's own: in a model of many parameters H follows the scale of the
    slopes and hardly tells entries apart.

    Args:
        centre, blocks, seed: see StructuredOptimizer.
        popsize: P = 3q.
        sigma: σ, in natural steps.
        learning_rate: α, natural steps for a slope of one unit of fitness a natural step.
        smoothing: λ, in [0, 1). The paper's 1e-8 is for steps of 1e-3 in the parameters' own units.
        decay: share of α that is left after each generation; a half-life of h generations is 0.5^(1/h).
        weight_decay: share of the way back to the start that parameters go each generation; above 0 it costs a copy.
    """

    has_rate: ClassVar[bool] = True

    def __init__(
        self,
        centre: Sequence[th.Tensor],
        blocks: Sequence[Block],
        *,
        seed: NonNegativeInt = 0,
        popsize: PositiveInt = 3,
        sigma: PositiveFloat = 1.0,
        learning_rate: NonNegativeFloat = 1.0,
        smoothing: Fraction = 1e-3,
        decay: PositiveFraction = 1.0,
        weight_decay: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__(centre, blocks, seed=seed, popsize=popsize)
        check_units(popsize, 3)
        for name, value in (("smoothing", smoothing), ("1 - decay", 1 - decay)):
            if not 0 <= value < 1:
                raise ValueError(f"{name}={value}: give a share in [0, 1)")
        self.sigma, self.learning_rate, self.smoothing, self.decay = sigma, learning_rate, smoothing, decay
        self.anchor = Anchor(weight_decay, self.centre)
        self.curvature = tuple(th.ones_like(x, dtype=th.float32) for x in self.centre)
        self.slope = 0.0

    def _ask(self) -> Population:
        noise = ShapedNoise(self.seed, self.generation, None, self.curvature)
        return Perturbed(self.centre, self.blocks, noise, self.sigma, self.popsize, TRIPLE)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        middle, plus, minus = fitness.view(-1, 3).T
        valid = fitness.view(-1, 3).isfinite().all(1)
        count = max(int(valid.sum()), 1)
        slopes = th.where(valid, plus - minus, 0.0) / (2 * self.sigma)
        bends = th.where(valid, (plus + minus - 2 * middle).abs(), 0.0) / (2 * self.sigma**2)
        self.slope = slopes.abs().mean().item()
        alpha = self.learning_rate * self.decay**self.generation * self.rate / count
        drawn = Noise(self.seed, self.generation, None)  # z itself
        units = [i for i, each in enumerate(valid.tolist()) if each]
        for index, (tensor, block, H) in enumerate(zip(self.centre, self.blocks, self.curvature, strict=True)):
            self.anchor.pull(index, tensor)
            for slabs in zip(*(drawn.slabs(index, block, unit, tensor.device) for unit in units), strict=True):
                rows, bend, step = slabs[0][0], 0.0, 0.0
                for unit, (_, z) in zip(units, slabs, strict=True):
                    bend = bend + bends[unit].item() / count * z.square()
                    step = step + slopes[unit].item() * z
                H[rows] *= 1 - self.smoothing + self.smoothing * bend
                tensor[rows].add_((step * H[rows].rsqrt()).to(tensor.dtype), alpha=alpha * block.scale)

    def _state(self) -> dict[str, Any]:
        return self.anchor.state() | {f"H_{i}": H.clone() for i, H in enumerate(self.curvature)}

    def _load(self, state: dict[str, Any]) -> None:
        self.anchor.load(state)
        for i, H in enumerate(self.curvature):
            H.copy_(state[f"H_{i}"])

    def logs(self) -> dict[str, float]:
        """`step_size` σ; `slope`, the mean |g_i| of the last generation."""
        return {"step_size": self.sigma, "slope": self.slope}
