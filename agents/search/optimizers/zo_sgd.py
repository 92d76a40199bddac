"""ZO-SGD and its variants: simultaneous perturbation with momentum, Adam, R-AdaZO or signs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch as th

from lm_gym.agents.search.optimizers.ascent import Ascent, Rule
from lm_gym.agents.search.optimizers.spsa import SPSA
from lm_gym.agents.search.population.domain import Block
from lm_gym.agents.search.population.noise import Noise
from lm_gym.bounds import PositiveInt


class ZOSGD(SPSA):
    """Zeroth-order SGD under the names of ZO-Bench (Zhang et al., 2024, arXiv 2402.11592).

    With q = P/2 directions and their slopes g_i as in MeZO, a rule climbs the estimate (1/q) Σ_i g_i z_i: ZO-SGD
    (`"sgd"`, equal to MeZO), ZO-SGD-MMT (`"momentum"`), ZO-SGD-Sign (`"sign"`), ZO-Adam (`"adam"`) or R-AdaZO
    (`"r_adazo"`, arXiv 2502.01014); see `Ascent` for their equations.

    The search needs memory for the model, its largest parameter once more, and one copy of the model per moment of the
    rule. Directions with a failed side are left out. If all members tie, the estimate is zero, but moments still decay
    and move the parameters.

    Args:
        centre, blocks, spsa: see SPSA. α is σ/10 by default.
        rule: one of the five rules. α is in natural steps for `"adam"`, `"r_adazo"` and `"sign"` and with `adaptive`.
            Otherwise, α applies to a slope of one unit of fitness per natural step.
        rank: None draws every entry of a direction independently, as in ZO-Bench. With r, matrices get low-rank noise,
            which is much cheaper to evaluate.
    """

    stateful: ClassVar[tuple[str, ...]] = ("anchor", "ascent")

    def __init__(
        self,
        centre: Sequence[th.Tensor],
        blocks: Sequence[Block],
        *,
        rule: Rule = "momentum",
        rank: PositiveInt | None = None,
        **spsa: Any,
    ) -> None:
        super().__init__(centre, blocks, **spsa)
        self.rank = rank
        self.ascent = Ascent(rule, self.learning_rate, self.centre, self.decay)

    def _usual_rate(self) -> float:
        return self.sigma / 10

    def _noise(self) -> Noise:
        return Noise(self.seed, self.generation, self.rank)

    def _climb(self, index: int, tensor: th.Tensor, block: Block, estimate: th.Tensor) -> None:
        self.ascent.step(index, tensor, estimate, self.generation + 1, block.scale * self.rate)
