"""FZOO: one-sided random signs, with steps in units of the standard deviation of the fitness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch as th

from lm_gym.agents.search.optimizers.probing import Probing
from lm_gym.agents.search.population.domain import Block
from lm_gym.agents.search.population.noise import Noise
from lm_gym.agents.search.population.perturbed import Pattern
from lm_gym.bounds import PositiveInt


class RademacherNoise(Noise):
    """Noise of random signs. With rank 1, a matrix is the product of two vectors of signs, and so consists of signs."""

    def _draw(self, shape: tuple[int, ...], generator: th.Generator) -> th.Tensor:
        drawn = th.randint(2, shape, generator=generator, device=generator.device, dtype=th.float32)
        return drawn.mul_(2).sub_(1)


class FZOO(Probing):
    """Fast zeroth-order optimizer: Dang et al., 2025 (arXiv 2506.09034).

    A batch of N + 1 members consists of the centre and of θ + σ u_i, where u_i are random signs. All are evaluated on
    the same texts:

        s² = (1/(N − 1)) Σ_i (f_i − f̄)²        θ ← θ + (α/N) Σ_i ((f_i − f₀)/s) u_i

    The step is in units of the standard deviation of the batch's fitness, so α is in natural steps for any unit of
    fitness. A generation may have several batches, whose steps are averaged. (The paper's constant 1/ε is part of α
    here.)

    Failed members are left out. A batch is left out if its centre failed, if fewer than two of its members count, or
    if all of them tie.

    Args:
        centre, blocks, probing: see Probing.
        popsize: P, a multiple of N + 1.
        directions: N, 2 or more.
        rank: None draws every sign independently, as in the paper. With 1, matrices get products of two vectors of
            signs, which are much cheaper to evaluate.
    """

    def __init__(
        self,
        centre: Sequence[th.Tensor],
        blocks: Sequence[Block],
        *,
        popsize: PositiveInt = 9,
        directions: PositiveInt = 8,
        rank: PositiveInt | None = None,
        **probing: Any,
    ) -> None:
        if directions < 2:
            raise ValueError(f"directions={directions}: a deviation needs 2 or more")
        if rank not in (None, 1):
            raise ValueError(f"rank={rank}: give 1, or None for signs drawn one by one")
        self.pattern = Pattern((0, *range(directions)), (0.0, *[1.0] * directions))
        super().__init__(centre, blocks, popsize=popsize, **probing)
        self.directions, self.rank = directions, rank
        self.deviation = 0.0

    def _noise(self) -> Noise:
        return RademacherNoise(self.seed, self.generation, self.rank)

    def _weights(self, fitness: th.Tensor) -> th.Tensor:
        """Return (f_i − f₀)/(N s) of each direction, float64 [directions]; 0 if it is left out."""
        first, others = th.split(fitness.view(-1, self.directions + 1), [1, self.directions], 1)
        valid = others.isfinite() & first.isfinite()
        number = valid.sum(1, keepdim=True)
        mean = th.where(valid, others, 0.0).sum(1, keepdim=True) / number.clamp(min=1)
        squares = th.where(valid, others - mean, 0.0).square().sum(1, keepdim=True)
        deviation = (squares / (number - 1).clamp(min=1)).sqrt()
        taught = (number > 1) & (deviation > 0)
        self.deviation = deviation[taught].mean().item() if taught.any() else 0.0
        gains = th.where(valid & taught, others - first, 0.0) / th.where(taught, deviation * number, 1.0)
        return (gains / max(int(taught.sum()), 1)).flatten()

    def logs(self) -> dict[str, float]:
        """`step_size` σ; `deviation` s of the fitness in a batch, mean over the batches."""
        return super().logs() | {"deviation": self.deviation}
