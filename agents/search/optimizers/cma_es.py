"""Full CMA-ES with the `cma` package, keyed randomness and a state that can be saved."""

from __future__ import annotations

import math
import warnings
from typing import Annotated, Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from lm_gym.agents.search.optimizers.optimizer import VectorOptimizer
from lm_gym.agents.search.population.domain import Domain
from lm_gym.agents.search.population.population import Population, Sampled
from lm_gym.bounds import Interval, NonNegativeInt, PositiveFloat

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Could not import matplotlib", UserWarning)
    import cma

LIMIT = 2000  # dimensions: the matrices have d² entries each, and an eigendecomposition takes d³ operations
# The state of a generation: numbers and vectors of the strategy, numbers and matrices of its sampler.
_COUNTS, _VECTORS = ("countiter", "countevals"), ("mean", "mean_old", "pc", "pc2")
_SAMPLER_COUNTS, _MATRICES = ("last_update", "count_tell", "count_eigen"), ("C", "B", "D")


class CMAES(VectorOptimizer):
    """CMA-ES: Hansen & Ostermeier, 2001; "The CMA Evolution Strategy: A Tutorial", 2016; pycma's implementation.

    Members are x_i ~ N(m, σ² C). The mean moves to the weighted mean of the better half. σ adapts to the length of the
    mean's path, and C to the path and to the members, with negative weights for the worse half. The search is invariant
    under rotations and under any change of fitness that preserves the order.

    Samples, mean and C are float64; only evaluated members are rounded. If all members of a generation tie, nothing
    changes; other ties are broken by the order of members, which is random.

    Args:
        initial, domain, seed: see VectorOptimizer.
        popsize: P; None: 4 + ⌊3 ln d⌋.
        sigma: σ at the start, in natural steps.

    Raises:
        ValueError: more than 2,000 dimensions.
    """

    def __init__(
        self,
        initial: th.Tensor,
        domain: Domain | None = None,
        *,
        seed: NonNegativeInt = 0,
        popsize: Annotated[int, Interval(2)] | None = None,
        sigma: PositiveFloat = 1.0,
    ) -> None:
        d = len(initial)
        if d > LIMIT:
            raise ValueError(
                f"{d:,} dimensions: full CMA-ES holds several {d:,} × {d:,} matrices and supports at most {LIMIT:,}. "
                "Use snes, sep_cma_es or es, or a smaller search space"
            )
        super().__init__(initial, domain, seed=seed, popsize=popsize or 4 + int(3 * math.log(d)))
        self.initial, self.sigma = initial.double().cpu().numpy(), sigma
        self.strategy = self._new_strategy()

    def _new_strategy(self) -> Any:
        """Return a new strategy."""
        options = {"popsize": self.popsize, "seed": math.nan, "randn": Normal(), "verbose": -9, "verb_log": 0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            strategy = cma.CMAEvolutionStrategy(self.initial, self.sigma, options)
        strategy.mean_old, strategy.timer = strategy.mean, cma.utilities.utils.ElapsedWCTime()
        strategy.adapt_sigma.check_consistency = lambda _: None  # it draws from numpy's global generator
        return strategy

    @property
    def centre(self) -> th.Tensor:
        """[d], the mean of the search distribution."""
        return th.as_tensor(self.strategy.mean).to(self.device, self.dtype)

    def _ask(self) -> Population:
        self._before = parts(self.strategy)
        self.strategy.sm.randn.generator = self._generator()
        return self._sampled(np.asarray(self.strategy.ask()))

    def _sampled(self, drawn: NDArray[np.float64]) -> Sampled:
        exact = th.as_tensor(drawn)  # float64, on the CPU
        return Sampled(exact.to(self.device, self.dtype), exact)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        assert isinstance(population, Sampled)
        worked = fitness > -th.inf
        if fitness.min() == fitness.max():
            return
        low, high = fitness[worked].min(), fitness[worked].max()
        costs = -th.where(worked, fitness, low - (high - low) - 1)
        self.strategy.tell(list(population.noise.numpy()), costs.tolist())

    def logs(self) -> dict[str, float]:
        """`step_size` σ; `axis_ratio`, longest to shortest axis of the distribution."""
        return {
            "step_size": float(self.strategy.sigma),
            "axis_ratio": float(self.strategy.sm.D.max() / self.strategy.sm.D.min()),
        }

    def _state(self) -> dict[str, Any]:
        """Return the strategy's state before `ask`, so that it draws the same members again."""
        return as_state(parts(self.strategy) if self._asked is None else self._before)

    def _load(self, state: dict[str, Any]) -> None:
        arrays = {name: x.cpu().numpy().copy() for name, x in state.items() if isinstance(x, th.Tensor)}
        if state["columns_first"]:
            arrays["B"] = np.asfortranarray(arrays["B"])
        values = {**state, **arrays}
        strategy = self._new_strategy()
        for part, names in ((strategy, _COUNTS + _VECTORS), (strategy.sm, _SAMPLER_COUNTS + _MATRICES)):
            for name in names:
                setattr(part, name, values[name])
        strategy.sigma = np.float64(state["sigma"])
        strategy.adapt_sigma.ps, strategy.adapt_sigma.s = values["ps"], state["s"]
        if strategy.countiter:
            strategy._prepare_injection_directions()
        self.strategy = strategy


def parts(strategy: Any) -> dict[str, Any]:
    """Return the state of a strategy by name: arrays (not copied) and numbers."""
    sampler, steps = strategy.sm, strategy.adapt_sigma
    return {
        **{name: int(getattr(strategy, name)) for name in _COUNTS},
        **{name: getattr(strategy, name) for name in _VECTORS},
        **{name: int(getattr(sampler, name)) for name in _SAMPLER_COUNTS},
        **{name: getattr(sampler, name) for name in _MATRICES},
        "sigma": float(strategy.sigma),
        "ps": getattr(steps, "ps", np.zeros_like(strategy.mean)),  # of cumulative step-size adaptation
        "s": float(getattr(steps, "s", 0.0)),  # of two-point adaptation, which takes over in 200 dimensions
    }


def as_state(found: dict[str, Any]) -> dict[str, Any]:
    """Return the result of `parts` as copied tensors and numbers."""
    arrays = {name: value for name, value in found.items() if isinstance(value, np.ndarray)}
    tensors = {name: th.from_numpy(np.array(array, order="C")) for name, array in arrays.items()}
    return {**found, **tensors, "columns_first": bool(np.isfortran(found["B"]))}  # B's memory order affects rounding


class Normal:
    """Standard Gaussian numbers for `cma` from a given generator."""

    generator: th.Generator

    def __call__(self, *shape: int) -> NDArray[np.float64]:
        """Return float64 numbers of a shape."""
        drawn = th.randn(shape, generator=self.generator, device=self.generator.device, dtype=th.float64)
        return drawn.cpu().numpy()
