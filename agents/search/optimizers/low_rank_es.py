"""LowRankES: an evolution strategy over whole models with low-rank noise in every matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch as th

from lm_gym.agents.search.optimizers.ascent import Anchor, Ascent, Rule
from lm_gym.agents.search.optimizers.estimate import Scaling, combined, scale_of
from lm_gym.agents.search.optimizers.optimizer import StructuredOptimizer
from lm_gym.agents.search.optimizers.shaping import SHAPINGS, Shaping
from lm_gym.agents.search.population.population import Block, Noise, Perturbed, Population, check_pairs
from lm_gym.bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveFraction, PositiveInt
from lm_gym.naming import check_choice


class LowRankES(StructuredOptimizer):
    """Evolution strategy with low-rank perturbations (EGGROLL: Sarkar et al., 2025).

    Members are W ± σ E_i. In a matrix, E_i = A_i B_iᵀ/√r with standard Gaussian A_i and B_i of r columns; vectors get
    full noise. With the shaped fitness u, each block is updated by one matrix product for all members,

        W ← W + α (1/P) Σ_i (u_i⁺ − u_i⁻) E_i

    or with 1/√P instead of 1/P, as in EGGROLL, so that α need not grow with P.

    Each E_i has rank r, and their sum has rank up to r P/2. With `rank=None` every entry is drawn independently (Qiu et
    al., 2025): the same search in the same memory, with a draw of the whole model for each pair.

    Args:
        centre, blocks, seed: see StructuredOptimizer.
        popsize: P, even.
        rank: r, or None.
        sigma: σ, in natural steps.
        learning_rate: α, in natural steps. None: σ/2.
        shaping: `"z_scores"`, or `"centred_ranks"`.
        rule: `"sgd"`, the update above, or another rule of `Ascent`; `"adam"` needs twice the model's memory for
            moments.
        decay: factor of α per generation; a half-life of h generations is 0.5^(1/h).
        weight_decay: fraction of the distance to the start by which parameters move back per generation; above 0 it
            needs a copy of the parameters.
        scaling: `"mean"` for 1/P, or `"root"` for 1/√P.
    """

    has_rate: ClassVar[bool] = True

    def __init__(
        self,
        centre: Sequence[th.Tensor],
        blocks: Sequence[Block],
        *,
        seed: NonNegativeInt = 0,
        popsize: PositiveInt = 64,
        rank: PositiveInt | None = 1,
        sigma: PositiveFloat = 1.0,
        learning_rate: NonNegativeFloat | None = None,
        shaping: Shaping = "z_scores",
        rule: Rule = "sgd",
        decay: PositiveFraction = 1.0,
        weight_decay: NonNegativeFloat = 0.0,
        scaling: Scaling = "mean",
    ) -> None:
        super().__init__(centre, blocks, seed=seed, popsize=popsize)
        check_pairs(popsize)
        check_choice("shaping", shaping, SHAPINGS)
        self.rank, self.sigma, self.shaping = rank, sigma, shaping
        self.ascent = Ascent(rule, sigma / 2 if learning_rate is None else learning_rate, self.centre, decay)
        self.anchor = Anchor(weight_decay, self.centre)
        self.scale = scale_of(scaling, popsize)
        self.update_norm = 0.0

    def _ask(self) -> Population:
        noise = Noise(self.seed, self.generation, self.rank)
        return Perturbed(self.centre, self.blocks, noise, self.sigma, self.popsize)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        assert isinstance(population, Perturbed)
        u = SHAPINGS[self.shaping](fitness.cpu().numpy())
        weights = th.as_tensor((u[0::2] - u[1::2]) / self.scale, dtype=th.float32, device=self.device)
        squares = 0.0
        for index, (tensor, block) in enumerate(zip(self.centre, self.blocks, strict=True)):
            estimate = combined(population.noise, index, block, weights).to(tensor.dtype)
            squares += th.linalg.vector_norm(estimate).item() ** 2
            self.anchor.pull(index, tensor)
            self.ascent.step(index, tensor, estimate, self.generation + 1, block.scale * self.rate)
        self.update_norm = squares**0.5

    def _state(self) -> dict[str, Any]:
        return self.ascent.state() | self.anchor.state()

    def _load(self, state: dict[str, Any]) -> None:
        self.ascent.load(state)
        self.anchor.load(state)

    def logs(self) -> dict[str, float]:
        """`step_size` σ; `gradient_norm` of the last estimate Σ_i (u_i⁺ − u_i⁻) E_i/P."""
        return {"step_size": self.sigma, "gradient_norm": self.update_norm}
