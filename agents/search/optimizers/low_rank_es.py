"""LowRankES: an evolution strategy over whole models with low-rank noise in every matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch as th

from lm_gym.agents.search.optimizers.ascent import Ascent, Rule
from lm_gym.agents.search.optimizers.estimate import Scaling, scale_of, weighted_factors
from lm_gym.agents.search.optimizers.probing import Probing
from lm_gym.agents.search.optimizers.shaping import SHAPINGS, Shaping
from lm_gym.agents.search.population.domain import Block
from lm_gym.agents.search.population.noise import Noise
from lm_gym.bounds import PositiveInt
from lm_gym.naming import check_choice


class LowRankES(Probing):
    """Evolution strategy with low-rank perturbations (EGGROLL: Sarkar et al., 2025).

    Members are W ± σ E_i. In a matrix, E_i = A_i B_iᵀ/√r with standard Gaussian A_i and B_i of r columns; vectors get
    full noise. With the shaped fitness u, each block is updated by one matrix product for all members,

        W ← W + α (1/P) Σ_i (u_i⁺ − u_i⁻) E_i

    or with 1/√P instead of 1/P, as in EGGROLL, so that α does not need to grow with P.

    Each E_i has rank r, and their sum has rank up to r P/2. With `rank=None`, every entry is drawn independently (Qiu
    et al., 2025). This needs the same memory, but draws noise for the whole model for each pair.

    Args:
        centre, blocks, probing: see Probing. α is σ/2 by default.
        rank: r, or None.
        shaping: `"z_scores"`, or `"centred_ranks"`.
        rule: `"sgd"`, the update above, or another rule of `Ascent`; `"adam"` needs twice the model's memory for
            moments.
        scaling: `"mean"` for 1/P, or `"root"` for 1/√P.
    """

    stateful: ClassVar[tuple[str, ...]] = ("anchor", "ascent")

    def __init__(
        self,
        centre: Sequence[th.Tensor],
        blocks: Sequence[Block],
        *,
        rank: PositiveInt | None = 1,
        shaping: Shaping = "z_scores",
        rule: Rule = "sgd",
        scaling: Scaling = "mean",
        **probing: Any,
    ) -> None:
        super().__init__(centre, blocks, **probing)
        check_choice("shaping", shaping, SHAPINGS)
        self.rank, self.shaping = rank, shaping
        self.ascent = Ascent(rule, self.learning_rate, self.centre, self.decay)
        self.scale = scale_of(scaling, self.popsize)
        self.squares: float | th.Tensor = 0.0

    def _usual_rate(self) -> float:
        return self.sigma / 2

    def _noise(self) -> Noise:
        return Noise(self.seed, self.generation, self.rank)

    def _weights(self, fitness: th.Tensor) -> th.Tensor:
        """Return (u_i⁺ − u_i⁻)/P of each pair, float64 [P/2]."""
        self.squares = 0.0
        u = SHAPINGS[self.shaping](fitness.cpu().numpy())
        return th.as_tensor((u[0::2] - u[1::2]) / self.scale, device=self.device)

    def _move(self, index: int, tensor: th.Tensor, block: Block, noise: Noise, weights: th.Tensor) -> None:
        if self.ascent.rule != "sgd" or tensor.dtype != th.float32 or not noise.is_low_rank(block):
            super()._move(index, tensor, block, noise, weights)
            return
        left, right = weighted_factors(noise, index, block, weights.float())  # their product is never in memory
        self.squares += ((left.T @ left) * (right.T @ right)).sum().double()
        tensor.addmm_(left, right.T, alpha=self.ascent.rate(self.generation + 1, block.scale * self.rate))

    def _climb(self, index: int, tensor: th.Tensor, block: Block, estimate: th.Tensor) -> None:
        self.squares += th.linalg.vector_norm(estimate).double() ** 2
        self.ascent.step(index, tensor, estimate, self.generation + 1, block.scale * self.rate)

    def logs(self) -> dict[str, float]:
        """`step_size` σ; `gradient_norm` of the last estimate Σ_i (u_i⁺ − u_i⁻) E_i/P."""
        return super().logs() | {"gradient_norm": float(self.squares) ** 0.5}
