"""Full CMA-ES by the `cma` package, with randomness of our own and a state that can be saved."""

from __future__ import annotations

import io
import math
import pickle
import warnings
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from lm_gym.agents.search.optimizers.optimizer import VectorOptimizer
from lm_gym.agents.search.population.population import Domain, Population, Sampled

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Could not import matplotlib", UserWarning)
    import cma

LIMIT = 2000  # dimensions: covariance, eigenvectors and copies are d² numbers each, an eigendecomposition d³ operations
READABLE = {
    ("lm_gym.agents.search.optimizers.cma_es", "Normal"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.linalg", "eigh"),
    ("cma.evolution_strategy", "_pass"),
    ("cma.options_parameters", "is_feasible"),
}


class CMAES(VectorOptimizer):
    """CMA-ES: Hansen & Ostermeier, 2001; "The CMA Evolution Strategy: A Tutorial", 2016; pycma's implementation.

    Members x_i ~ N(m, σ² C); the mean moves to the weighted mean of the better half, σ follows the length of the path
    of the mean, C the path and the members (also the worse half, with negative weights). Invariant to rotations and to
    any order-preserving change of fitness.

    Sampling, the mean and C are float64 and told back as they were drawn; only what is evaluated is rounded. A
    generation in which all tie teaches nothing; other ties count in the order of their members, which is random.

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
        seed: int = 0,
        popsize: int | None = None,
        sigma: float = 1.0,
    ) -> None:
        d = len(initial)
        if d > LIMIT:
            raise ValueError(
                f"{d:,} dimensions: full CMA-ES holds several {d:,} × {d:,} matrices and is for {LIMIT:,} at most. "
                "Take snes, sep_cma_es or es, or a smaller search space"
            )
        super().__init__(initial, domain, seed=seed, popsize=popsize or 4 + int(3 * math.log(d)))
        if sigma <= 0:
            raise ValueError(f"sigma={sigma}: give more than 0")
        options = {"popsize": self.popsize, "seed": math.nan, "randn": Normal(), "verbose": -9, "verb_log": 0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.strategy = cma.CMAEvolutionStrategy(initial.double().cpu().numpy(), sigma, options)

    @property
    def centre(self) -> th.Tensor:
        """[d], the mean of the search distribution."""
        return th.as_tensor(self.strategy.mean).to(self.device, self.dtype)

    def _ask(self) -> Population:
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
            "axis_ratio": float(self.strategy.D.max() / self.strategy.D.min()),
        }

    def _state(self) -> dict[str, Any]:
        state = {"strategy": th.frombuffer(bytearray(pickle.dumps(self.strategy)), dtype=th.uint8)}
        if isinstance(self._asked, Sampled):  # the strategy has already drawn them
            state["asked"] = self._asked.noise.clone()
        return state

    def _load(self, state: dict[str, Any]) -> None:
        strategy = Loader(io.BytesIO(state["strategy"].cpu().numpy().tobytes())).load()
        if not isinstance(strategy, cma.CMAEvolutionStrategy):
            raise pickle.UnpicklingError(f"a {type(strategy).__name__} has no place in the state of a CMA-ES")
        self.strategy = strategy
        if "asked" in state:
            self._asked = self._sampled(state["asked"].cpu().numpy())


class Normal:
    """Standard Gaussian numbers as `cma` asks for them, from whatever generator it is given."""

    generator: th.Generator

    def __call__(self, *shape: int) -> NDArray[np.float64]:
        """Float64 numbers of a shape."""
        drawn = th.randn(shape, generator=self.generator, device=self.generator.device, dtype=th.float64)
        return drawn.cpu().numpy()

    def __getstate__(self) -> None:
        """Nothing: a generator is made anew for each generation."""


class Loader(pickle.Unpickler):
    """Reads a strategy, and no names but those of `cma`'s classes and of what numpy's arrays are made of."""

    def find_class(self, module: str, name: str) -> Any:
        """A class or function by name.

        Raises:
            UnpicklingError: any other.
        """
        if (module, name) in READABLE:
            return super().find_class(module, name)
        if module.startswith("cma.") and "." not in name:
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module:  # not what that module itself imports
                return found
        raise pickle.UnpicklingError(f"{module}.{name} has no place in the state of a CMA-ES")
