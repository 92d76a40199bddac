"""Simulated annealing with several chains, over real, binary or categorical entries."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch as th

from lm_gym.agents.search.optimizers.operators import bit_flip, diversity, resample
from lm_gym.agents.search.optimizers.optimizer import VectorOptimizer
from lm_gym.agents.search.population.domain import Domain, Kind
from lm_gym.agents.search.population.population import Dense, Population, check_pairs
from lm_gym.bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveFraction, PositiveInt
from lm_gym.naming import check_choice

COOLINGS: dict[str, Callable[[th.Tensor, float], th.Tensor]] = {
    "geometric": lambda age, rate: rate**age,
    "linear": lambda age, rate: (1 - (1 - rate) * age).clamp(min=0),
    "logarithmic": lambda age, rate: 1 / (math.e + age).log(),
}
"""T/T₀ after `age` generations (Kirkpatrick et al., 1983; linear; Geman & Geman, 1984)."""
TARGET, PACE = 0.2, 0.3  # target acceptance rate; change of the logarithm of the step per acceptance
LARGEST_SHARE = 0.5  # largest fraction of bits or tokens that a proposal changes
WARMTH = 0.1  # T₀ relative to the mean |ΔE|; with 1, the random walk would last longer than a search over a model


class SA(VectorOptimizer):
    """Simulated annealing: Metropolis et al., 1953; Kirkpatrick, Gelatt & Vecchi, 1983.

    A chain proposes a neighbour by a Gaussian step or by changing a few entries, and accepts it with probability
    min(1, exp(−ΔE/T)), where E = −fitness. Its step size adapts to acceptance: log s ← log s + 0.3 (accepted − 0.2).

    Args:
        initial, domain, seed: see VectorOptimizer. All chains start at `initial`.
        popsize: P, number of members. There are P chains, or P/2 with `reevaluate`.
        step: initial standard deviation of a real proposal in natural steps (None: 1), or for other kinds the initial
            fraction of entries that change (None: 3/d, at least one entry).
        temperature: T₀ in units of fitness; None: a tenth of the mean |ΔE| of the first proposals.
        cooling: `"geometric"` T₀ rateᵏ, `"linear"` T₀ (1 − (1 − rate) k), or `"logarithmic"` T₀/ln(e + k), for k
            generations since the chain started.
        rate: rate of the cooling.
        restart_after: number of generations without improvement after which a chain restarts from the best state, with
            the initial step and temperature; None: never.
        reevaluate: whether the states of chains are evaluated again together with their proposals, on the same texts,
            so that a lucky evaluation does not persist. Use it if the fitness changes between generations; it takes
            half of the evaluations. False keeps the fitness of a state.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"real", "binary", "categorical"})
    remembers: ClassVar[tuple[str, ...]] = (
        *("chains", "fitness", "step", "age", "stale", "best", "best_fitness", "first_temperature", "moved"),
    )

    def __init__(
        self,
        initial: th.Tensor,
        domain: Domain | None = None,
        *,
        seed: NonNegativeInt = 0,
        popsize: PositiveInt = 16,
        step: PositiveFloat | None = None,
        temperature: NonNegativeFloat | None = None,
        cooling: str = "geometric",
        rate: PositiveFraction = 0.95,
        restart_after: PositiveInt | None = None,
        reevaluate: bool = True,
    ) -> None:
        super().__init__(initial, domain, seed=seed, popsize=popsize)
        if reevaluate:
            check_pairs(popsize)
        self.cool = COOLINGS[check_choice("cooling", cooling, COOLINGS)]
        self.rate, self.restart_after, self.reevaluate = rate, restart_after, reevaluate
        n, d = popsize // 2 if reevaluate else popsize, self.domain.dim
        real = self.domain.kind == "real"
        self.first_step = step if step is not None else 1.0 if real else min(3 / d, LARGEST_SHARE)
        self.first_temperature = math.nan if temperature is None else temperature
        self.chains = initial.repeat(n, 1)
        self.fitness = th.full((n,), -math.inf, dtype=th.float64, device=self.device)
        self.step = th.full((n, 1), self.first_step, dtype=self.dtype if real else th.float32, device=self.device)
        self.age = th.zeros(n, dtype=th.int64, device=self.device)
        self.stale = th.zeros(n, dtype=th.int64, device=self.device)
        self.best, self.best_fitness = initial.clone(), -math.inf
        self.moved = th.zeros(n, dtype=th.bool, device=self.device)

    @property
    def centre(self) -> th.Tensor:
        """[d], the best current state of the chains, or the best of all states if fitness is kept."""
        return self.best

    @property
    def temperature(self) -> th.Tensor:
        """T of each chain, float64 [chains]; 0 until it is measured."""
        first = 0.0 if math.isnan(self.first_temperature) else self.first_temperature
        return first * self.cool(self.age.double(), self.rate)

    def _ask(self) -> Population:
        proposals = self._proposals()
        if not self.reevaluate and self.generation == 0:
            proposals[0] = self.chains[0]
        if self.reevaluate:
            return Dense(th.cat([self.chains, proposals]), unit=2, apart=True)
        return Dense(proposals)

    def _proposals(self) -> th.Tensor:
        if self.domain.kind == "real":
            return th.addcmul(self.chains, self._randn(len(self.chains)), self.step)
        generator, proposals = self._generator(), self.chains.clone()
        n, d = proposals.shape
        at = th.randint(d, (n, 1), generator=generator, device=self.device)  # an entry that always changes
        here = proposals.gather(1, at)
        if self.domain.kind == "binary":
            return bit_flip(proposals, self.step, generator).scatter_(1, at, ~here)
        choices = self.domain.choices
        other = th.randint(1, max(choices, 2), (n, 1), generator=generator, device=self.device)
        return resample(proposals, self.step, choices, generator).scatter_(1, at, (here + other) % choices)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        members, n = population.vectors(), len(self.chains)
        old, new = (fitness[:n], fitness[n:]) if self.reevaluate else (self.fitness, fitness)
        proposals = members[-n:]
        gain = (new - old).nan_to_num(-math.inf, math.inf, -math.inf)  # −ΔE; if both failed, the chain stays
        self._measure_temperature(gain)
        u = th.rand(n, generator=self._generator(1), device=self.device, dtype=th.float64)
        moved = self.moved = accepted(gain, self.temperature, u)
        self.chains = th.where(moved[:, None], proposals, self.chains)
        self.fitness = th.where(moved, new, old)
        self.step.mul_(th.where(moved[:, None], math.exp(PACE * (1 - TARGET)), math.exp(-PACE * TARGET)))
        if self.domain.kind != "real":
            self.step.clamp_(max=LARGEST_SHARE)
        self.age += 1
        found, index = self.fitness.max(0)
        if self.reevaluate or found.item() > self.best_fitness:
            self.best, self.best_fitness = self.chains[int(index)].clone(), found.item()
        if self.restart_after is not None:
            self.stale = th.where(moved & (gain > 0), 0, self.stale + 1)
            self._restart(self.stale >= self.restart_after)

    def _measure_temperature(self, gain: th.Tensor) -> None:
        if math.isnan(self.first_temperature):
            compared = gain[gain.isfinite() & (gain != 0)]
            if len(compared):
                self.first_temperature = WARMTH * compared.abs().mean().item()

    def _restart(self, chains: th.Tensor) -> None:
        self.chains[chains], self.fitness[chains] = self.best, self.best_fitness
        self.step[chains] = self.first_step
        self.age[chains], self.stale[chains] = 0, 0

    def logs(self) -> dict[str, float]:
        """`temperature`, `step_size` and `acceptance_rate`, means of the chains; `diversity` of their states."""
        return {
            "temperature": self.temperature.mean().item(),
            "step_size": self.step.mean().item(),
            "acceptance_rate": self.moved.double().mean().item(),
            "diversity": diversity(self.chains),
        }


def accepted(gain: th.Tensor, temperature: th.Tensor, u: th.Tensor) -> th.Tensor:
    """Return whether chains move: u < min(1, exp(gain/T)) with u uniform in [0, 1); at T = 0 only without a loss."""
    return (gain >= 0) | (u < (gain / temperature).exp())  # at T = 0, gain < 0: exp(−inf) = 0, and no u is below it
