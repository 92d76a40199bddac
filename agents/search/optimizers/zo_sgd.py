"""ZO-SGD and its kin: simultaneous perturbation climbed by momentum, Adam, R-AdaZO or signs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch as th

from lm_gym.agents.search.optimizers.ascent import Ascent, Rule
from lm_gym.agents.search.optimizers.estimate import Scaling, combined
from lm_gym.agents.search.optimizers.spsa import SPSA
from lm_gym.agents.search.population.population import Block, Noise, Perturbed, Population
from lm_gym.bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveFraction, PositiveInt


class ZOSGD(SPSA):
    """Zeroth-order SGD under the names of ZO-Bench (Zhang et al., 2024, arXiv 2402.11592).

    With q = P/2 directions and their slopes g_i as in MeZO, the estimate (1/q) Σ_i g_i z_i is climbed by a rule:
    ZO-SGD (`"sgd"`, which is MeZO), ZO-SGD-MMT (`"momentum"`), ZO-SGD-Sign (`"sign"`), ZO-Adam (`"adam"`) or R-AdaZO
    (`"r_adazo"`, arXiv 2502.01014); see `Ascent` for their equations.

    Memory: the model, its largest parameter once more, and as many copies as the rule has moments. A direction of
    which a side failed is left out; where all tie, the estimate is zero (moments still decay, and move what they hold).

    Args:
        centre, blocks, seed: see StructuredOptimizer.
        popsize: P = 2q.
        sigma: σ, in natural steps.
        learning_rate: α; in natural steps for `"adam"`, `"r_adazo"` and `"sign"` and with `adaptive`, else natural
            steps for a slope of one unit of fitness a natural step. None: σ/10.
        rule: one of the five.
        rank: None draws every entry of a direction on its own, as ZO-Bench; r: matrices get low-rank noise, which is
            much cheaper to evaluate.
        clip, adaptive, decay, weight_decay, scaling: as MeZO's.
    """

    def __init__(
        self,
        centre: Sequence[th.Tensor],
        blocks: Sequence[Block],
        *,
        seed: NonNegativeInt = 0,
        popsize: PositiveInt = 64,
        sigma: PositiveFloat = 1.0,
        learning_rate: NonNegativeFloat | None = None,
        rule: Rule = "momentum",
        rank: PositiveInt | None = None,
        clip: PositiveFloat | None = None,
        adaptive: bool = True,
        decay: PositiveFraction = 1.0,
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
        self.rank = rank
        self.ascent = Ascent(rule, sigma / 10 if learning_rate is None else learning_rate, self.centre, decay)

    def _noise(self) -> Noise:
        return Noise(self.seed, self.generation, self.rank)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        assert isinstance(population, Perturbed)
        weights = self._weights(fitness).float()
        self._pull()
        for index, (tensor, block) in enumerate(zip(self.centre, self.blocks, strict=True)):
            estimate = combined(population.noise, index, block, weights).to(tensor.dtype)
            self.ascent.step(index, tensor, estimate, self.generation + 1, block.scale * self.rate)

    def _state(self) -> dict[str, Any]:
        return super()._state() | self.ascent.state()

    def _load(self, state: dict[str, Any]) -> None:
        super()._load(state)
        self.ascent.load(state)
