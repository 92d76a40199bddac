"""Slopes along random directions, on both sides of live tensors: what MeZO and its kin share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch as th

from lm_gym.agents.search.optimizers.ascent import Anchor
from lm_gym.agents.search.optimizers.estimate import Scaling, scale_of
from lm_gym.agents.search.optimizers.optimizer import StructuredOptimizer
from lm_gym.agents.search.population.population import Block, Noise, Perturbed, Population, check_pairs
from lm_gym.bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveFraction, PositiveInt

FORGETTING = 0.1  # 1 − β of the running mean square of slopes


class SPSA(StructuredOptimizer):
    """Simultaneous perturbation (Spall, 1992).

    From q = P/2 directions z_i, both sides judged on the same texts,

        g_i = (f(θ + σ z_i) − f(θ − σ z_i))/(2 σ),        θ climbs (1/q) Σ_i g_i z_i

    A direction of which a side failed is left out, and q is then the number of the others. With `adaptive`, slopes are
    in units of their own size, g_i/√m with m a running mean of g² over some ten generations: α is then in natural
    steps whatever fitness is measured in (as FZOO divides by the deviation of the losses and MEAZO, arXiv 2605.03869,
    by the mean square of slopes).

    Args:
        centre, blocks, seed: see StructuredOptimizer.
        popsize: P = 2q.
        sigma: σ, in natural steps.
        clip: bound of |g_i|, None: none.
        decay: share of α that is left after each generation.
        adaptive: whether slopes are divided by their running root mean square.
        weight_decay: see `Anchor`.
        scaling: whether the sum is divided by q or by √q.
    """

    has_rate: ClassVar[bool] = True
    remembers: ClassVar[tuple[str, ...]] = ("mean_square",)

    def __init__(
        self,
        centre: Sequence[th.Tensor],
        blocks: Sequence[Block],
        *,
        seed: NonNegativeInt,
        popsize: PositiveInt,
        sigma: PositiveFloat,
        clip: PositiveFloat | None = None,
        decay: PositiveFraction = 1.0,
        adaptive: bool = False,
        weight_decay: NonNegativeFloat = 0.0,
        scaling: Scaling = "mean",
    ) -> None:
        super().__init__(centre, blocks, seed=seed, popsize=popsize)
        check_pairs(popsize)
        scale_of(scaling, 1)
        self.sigma, self.clip, self.decay, self.adaptive, self.scaling = sigma, clip, decay, adaptive, scaling
        self.anchor = Anchor(weight_decay, self.centre)
        self.slope = self.mean_square = 0.0

    @abstractmethod
    def _noise(self) -> Noise:
        """The directions of this generation."""

    def _ask(self) -> Population:
        return Perturbed(self.centre, self.blocks, self._noise(), self.sigma, self.popsize)

    def _weights(self, fitness: th.Tensor) -> th.Tensor:
        """Of each direction, what it counts in the estimate: g_i/q, float64 [P/2]; 0 where a side failed."""
        both = fitness.view(-1, 2).isfinite().all(1)
        slopes = th.where(both, fitness[0::2] - fitness[1::2], 0.0) / (2 * self.sigma)
        if self.clip is not None:
            slopes = slopes.clamp(-self.clip, self.clip)
        self.slope, valid = slopes.abs().mean().item(), max(int(both.sum()), 1)
        if self.adaptive:
            square = (slopes.square().sum() / valid).item()
            self.mean_square += FORGETTING * (square - self.mean_square)
            seen = self.mean_square / (1 - (1 - FORGETTING) ** (self.generation + 1))
            slopes = slopes / seen**0.5 if seen > 0 else slopes
        return slopes / scale_of(self.scaling, valid)

    def _pull(self) -> None:
        """Decay towards the start."""
        for index, tensor in enumerate(self.centre):
            self.anchor.pull(index, tensor)

    def _state(self) -> dict[str, Any]:
        return super()._state() | self.anchor.state()

    def _load(self, state: dict[str, Any]) -> None:
        super()._load({"mean_square": 0.0} | state)  # states of MeZO as it was before have none
        self.anchor.load(state)

    def logs(self) -> dict[str, float]:
        """`step_size` σ; `slope`, the mean |g_i| of the last generation."""
        return {"step_size": self.sigma, "slope": self.slope}
