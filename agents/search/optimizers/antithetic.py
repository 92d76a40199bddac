"""Antithetic: the base class of evolution strategies with mirrored Gaussian members around a moving mean."""

from __future__ import annotations

from typing import ClassVar

import torch as th

from lm_gym.agents.search.optimizers.ascent import Ascent, Rule
from lm_gym.agents.search.optimizers.optimizer import VectorOptimizer
from lm_gym.agents.search.optimizers.shaping import SHAPINGS, Shaping
from lm_gym.agents.search.population.domain import Domain
from lm_gym.agents.search.population.population import check_pairs
from lm_gym.bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveFraction, PositiveInt
from lm_gym.naming import check_choice


class Antithetic(VectorOptimizer):
    """Base class of searches whose members are pairs on both sides of a mean that climbs an estimated gradient.

    Members 2i and 2i + 1 are a pair.

    Args:
        initial, domain: see VectorOptimizer.
        seed: seed of all random numbers.
        popsize: P, even.
        sigma: σ, in natural steps; the same for every entry at the start.
        learning_rate: α; Adam moves each entry by at most about α per generation. None: σ/2.
        shaping: `"centred_ranks"`, or `"z_scores"`, which preserve relative differences in fitness.
        rule: update rule of the mean, one of those of `Ascent`: `"adam"`, `"sgd"`, …
        decay: factor of α per generation; a half-life of h generations is 0.5^(1/h).
    """

    has_rate: ClassVar[bool] = True
    stateful: ClassVar[tuple[str, ...]] = ("ascent",)

    def __init__(
        self,
        initial: th.Tensor,
        domain: Domain | None = None,
        *,
        seed: NonNegativeInt = 0,
        popsize: PositiveInt = 64,
        sigma: PositiveFloat = 1.0,
        learning_rate: NonNegativeFloat | None = None,
        shaping: Shaping = "centred_ranks",
        rule: Rule = "adam",
        decay: PositiveFraction = 1.0,
    ) -> None:
        super().__init__(initial, domain, seed=seed, popsize=popsize)
        check_pairs(popsize)
        check_choice("shaping", shaping, SHAPINGS)
        self.sigma, self.shaping, self.mean = sigma, shaping, initial.clone()
        self.ascent = Ascent(rule, sigma / 2 if learning_rate is None else learning_rate, [self.mean], decay)

    @property
    def centre(self) -> th.Tensor:
        """[d], the mean of the search distribution."""
        return self.mean

    def _climb(self, gradient: th.Tensor) -> None:
        """Move the mean along its gradient, which may be overwritten."""
        self.ascent.step(0, self.mean, gradient, self.generation + 1, self.rate)
