"""OpenAI-ES: antithetic Gaussian pairs, ranks or z-scores, Adam."""

from __future__ import annotations

from typing import Any, ClassVar

import torch as th

from lm_gym.agents.search.optimizers.antithetic import Antithetic
from lm_gym.agents.search.optimizers.shaping import SHAPINGS
from lm_gym.agents.search.population.domain import Domain
from lm_gym.agents.search.population.population import Population, Sampled
from lm_gym.bounds import Fraction, UnitInterval


class ES(Antithetic):
    """Evolution strategy of Salimans et al., "Evolution Strategies as a Scalable Alternative…", 2017.

    Members are θ ± σ ε_i with ε_i ~ N(0, I). With the shaped fitness u, the gradient of its smoothed expectation is

        g = (1/(P σ)) Σ_i (u_i⁺ − u_i⁻) ε_i

    and Adam follows it.

    Args:
        initial, domain, search: see Antithetic.
        weight_decay: fraction of the distance to the start by which the mean moves back per generation.
        averaging: decay of the moving average of the means, which is the result (Polyak & Juditsky, 1992), in [0, 1).
            The average is far less noisy than the mean. 0: the mean itself is the result.
    """

    remembers: ClassVar[tuple[str, ...]] = ("mean", "average")

    def __init__(
        self,
        initial: th.Tensor,
        domain: Domain | None = None,
        *,
        weight_decay: UnitInterval = 0.0,
        averaging: Fraction = 0.0,
        **search: Any,
    ) -> None:
        super().__init__(initial, domain, **search)
        self.weight_decay, self.averaging = weight_decay, averaging
        self.start, self.average = initial.clone(), initial.clone()
        self.sides = initial.new_tensor([[self.sigma], [-self.sigma]])

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
        self._climb(weights @ population.noise)
        if self.averaging:  # a plain average while there are few means, then a moving one
            self.average.lerp_(self.mean, max(1 - self.averaging, 1 / (self.generation + 1)))

    def logs(self) -> dict[str, float]:
        """`step_size` σ; `distance` of the centre from the start."""
        return {"step_size": self.sigma, "distance": (self.mean - self.start).norm().item()}
