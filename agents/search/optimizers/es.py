"""OpenAI-ES: antithetic Gaussian pairs, ranks or z-scores, Adam."""

from __future__ import annotations

from typing import Any, ClassVar

import torch as th

from lm_gym.agents.search.optimizers.ascent import Ascent, Rule
from lm_gym.agents.search.optimizers.optimizer import VectorOptimizer
from lm_gym.agents.search.optimizers.shaping import SHAPINGS, Shaping
from lm_gym.agents.search.population.population import Domain, Population, Sampled, check_pairs
from lm_gym.bounds import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveFraction,
    PositiveInt,
    UnitInterval,
)
from lm_gym.naming import check_choice


class ES(VectorOptimizer):
    """Evolution strategy of Salimans et al., "Evolution Strategies as a Scalable Alternative…", 2017.

    Members are θ ± σ ε_i with ε_i ~ N(0, I). With the shaped fitness u, the gradient of its smoothed expectation is

        g = (1/(P σ)) Σ_i (u_i⁺ − u_i⁻) ε_i

    which Adam follows. Members 2i and 2i + 1 are a pair.

    Args:
        initial, domain, seed: see VectorOptimizer.
        popsize: P, even.
        sigma: σ, in natural steps.
        learning_rate: α; Adam moves each entry by at most about α per generation. None: σ/2.
        shaping: `"centred_ranks"`, or `"z_scores"`, which preserve relative differences in fitness.
        rule: `"adam"` or `"sgd"`.
        weight_decay: fraction of the distance to the start by which the mean moves back per generation.
        decay: factor of α per generation; a half-life of h generations is 0.5^(1/h).
        averaging: decay of the moving average of means that is the result (Polyak & Juditsky, 1992), in [0, 1). The
            average is far less noisy than the mean. 0: the mean itself.
    """

    has_rate: ClassVar[bool] = True
    remembers: ClassVar[tuple[str, ...]] = ("mean", "average")

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
        weight_decay: UnitInterval = 0.0,
        decay: PositiveFraction = 1.0,
        averaging: Fraction = 0.0,
    ) -> None:
        super().__init__(initial, domain, seed=seed, popsize=popsize)
        check_pairs(popsize)
        check_choice("shaping", shaping, SHAPINGS)
        self.sigma, self.shaping, self.weight_decay = sigma, shaping, weight_decay
        self.averaging = averaging
        self.start, self.mean, self.average = initial.clone(), initial.clone(), initial.clone()
        self.ascent = Ascent(rule, sigma / 2 if learning_rate is None else learning_rate, [self.mean], decay)
        self.sides = initial.new_tensor([[sigma], [-sigma]])

    @property
    def centre(self) -> th.Tensor:
        """[d], the mean of the search distribution, or the average of its means."""
        return self.average if self.averaging else self.mean

    def _ask(self) -> Population:
        noise = self._randn(self.popsize // 2)
        members = th.addcmul(self.mean, noise[:, None], self.sides)  # [P/2, 2, d]
        return Sampled(members.view(self.popsize, -1), noise, unit=2)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        assert isinstance(population, Sampled)
        u = SHAPINGS[self.shaping](fitness.cpu().numpy())
        weights = self._tensor((u[0::2] - u[1::2]) / (self.popsize * self.sigma))
        if self.weight_decay:
            self.mean.lerp_(self.start, self.weight_decay)
        self.ascent.step(0, self.mean, weights @ population.noise, self.generation + 1, self.rate)
        if self.averaging:  # a plain average while there are few means, then a moving one
            self.average.lerp_(self.mean, max(1 - self.averaging, 1 / (self.generation + 1)))

    def _state(self) -> dict[str, Any]:
        return super()._state() | self.ascent.state()

    def _load(self, state: dict[str, Any]) -> None:
        super()._load(state)
        self.ascent.load(state)

    def logs(self) -> dict[str, float]:
        """`step_size` σ; `distance` of the centre from the start."""
        return {"step_size": self.sigma, "distance": (self.mean - self.start).norm().item()}
