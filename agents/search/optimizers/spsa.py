"""SPSA: two-sided slopes along random directions around live tensors, as in MeZO and related methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch as th

from lm_gym.agents.search.optimizers.estimate import Scaling, scale_of
from lm_gym.agents.search.optimizers.probing import Probing
from lm_gym.agents.search.population.domain import Block
from lm_gym.bounds import PositiveFloat

FORGETTING = 0.1  # 1 − β of the running mean square of slopes


class SPSA(Probing):
    """Simultaneous perturbation (Spall, 1992).

    With q = P/2 directions z_i, both sides of which are evaluated on the same texts,

        g_i = (f(θ + σ z_i) − f(θ − σ z_i))/(2 σ),        θ climbs (1/q) Σ_i g_i z_i

    Directions with a failed side are left out, and q is the number of the others. With `adaptive`, slopes are divided
    by their size, g_i/√m, where m is a running mean of g² over about ten generations. α is then in natural steps for
    any unit of fitness. (FZOO divides by the deviation of the losses, and MEAZO, arXiv 2605.03869, by the mean square
    of slopes.)

    Args:
        centre, blocks, probing: see Probing.
        clip: bound of |g_i|, because the slope of a single probe can be far off; None for no bound.
        adaptive: whether to divide slopes by their running root mean square, so that the same α suits any reward,
            search space and model.
        scaling: `"mean"`, the update above, or `"root"`, with α/√q instead of α/q.
    """

    remembers: ClassVar[tuple[str, ...]] = ("mean_square",)

    def __init__(
        self,
        centre: Sequence[th.Tensor],
        blocks: Sequence[Block],
        *,
        clip: PositiveFloat | None = None,
        adaptive: bool = True,
        scaling: Scaling = "mean",
        **probing: Any,
    ) -> None:
        self.clip, self.adaptive, self.scaling = clip, adaptive, scaling
        super().__init__(centre, blocks, **probing)
        scale_of(scaling, 1)
        self.slope = self.mean_square = 0.0

    def _weights(self, fitness: th.Tensor) -> th.Tensor:
        """Return g_i/q of each direction, float64 [P/2]; 0 if a side failed."""
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

    def _load(self, state: dict[str, Any]) -> None:
        super()._load({"mean_square": 0.0} | state)  # states of earlier versions of MeZO have none

    def logs(self) -> dict[str, float]:
        """`step_size` σ; `slope`, the mean |g_i| of the last generation."""
        return super().logs() | {"slope": self.slope}
