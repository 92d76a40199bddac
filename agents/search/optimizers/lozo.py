"""LOZO: simultaneous perturbation within a random column space that stays for a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch as th

from lm_gym.agents.search.optimizers.estimate import Scaling, combined
from lm_gym.agents.search.optimizers.spsa import SPSA
from lm_gym.agents.search.population.population import Block, Noise, Perturbed, Population, keyed_seed
from lm_gym.bounds import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveFraction, PositiveInt

_LAZY = 2  # keeps the key of a right factor apart from those of a generation's numbers


@dataclass(frozen=True)
class LazyNoise(Noise):
    """Low-rank noise U Vᵀ/√r whose right factor V, the same for all directions, is drawn anew every few generations.

    Attributes:
        interval: ν, generations that a V stays.
    """

    interval: int = 50

    def low_rank(self, index: int, block: Block, directions: int, device: th.device) -> tuple[th.Tensor, th.Tensor]:
        """See Noise."""
        rank = self.rank or 1
        U = self._draw((directions, block.shape[0], rank), self._generator(device, index, 0, 1)) / rank**0.5
        V = self.right_factor(index, block, self.generation // self.interval, device)
        return U, V.expand(directions, *V.shape)

    def right_factor(self, index: int, block: Block, number: int, device: th.device) -> th.Tensor:
        """The V of that number, [columns, r]."""
        key = keyed_seed(self.seed, number, index, 0, _LAZY)
        return self._draw((block.shape[1], self.rank or 1), th.Generator(device).manual_seed(key))


class LOZO(SPSA):
    """Low-rank zeroth-order SGD: Chen et al., 2024 (arXiv 2410.07698), algorithms 1 and 2.

    Directions of a matrix are Z_i = U_i Vᵀ/√r, U_i drawn for each direction and V [columns, r] for ν generations; other
    tensors get full noise. With the slopes g_i of both sides and N = (1/q) Σ_i g_i U_i/√r,

        W ← W + α N Vᵀ                                          LOZO
        M ← β M + (1 − β) N,        W ← W + α M Vᵀ              LOZO-M

    so that momentum costs r numbers a row. When V changes, M is carried into the new column space: M Vᵀ V'/columns.
    Tensors that are no matrices are moved without momentum.

    A direction of which a side failed is left out.

    Args:
        centre, blocks, seed: see StructuredOptimizer.
        popsize: P = 2q.
        rank: r.
        interval: ν.
        momentum: β, in [0, 1); the paper's LOZO-M has 0.9.
        sigma: σ, in natural steps.
        learning_rate: α, in natural steps; without `adaptive`, for a slope of one unit of fitness a natural step.
            None: 0.3 σ.
        clip, adaptive, decay, weight_decay, scaling: as MeZO's.
    """

    def __init__(
        self,
        centre: Sequence[th.Tensor],
        blocks: Sequence[Block],
        *,
        seed: NonNegativeInt = 0,
        popsize: PositiveInt = 64,
        rank: PositiveInt = 2,
        interval: PositiveInt = 50,
        momentum: Fraction = 0.0,
        sigma: PositiveFloat = 1.0,
        learning_rate: NonNegativeFloat | None = None,
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
        self.rank, self.interval, self.momentum = rank, interval, momentum
        self.learning_rate = 0.3 * sigma if learning_rate is None else learning_rate
        self.moments = {
            index: tensor.new_zeros(tensor.shape[0], rank, dtype=th.float32)
            for index, tensor in enumerate(self.centre)
            if momentum and tensor.dim() == 2
        }

    def _noise(self) -> LazyNoise:
        return LazyNoise(self.seed, self.generation, self.rank, self.interval)

    def _tell(self, population: Population, fitness: th.Tensor) -> None:
        assert isinstance(population, Perturbed)
        weights, noise = self._weights(fitness).float(), population.noise
        alpha = self.learning_rate * self.decay**self.generation * self.rate
        self._pull()
        for index, (tensor, block) in enumerate(zip(self.centre, self.blocks, strict=True)):
            if index in self.moments:
                estimate = self._with_momentum(noise, index, block, weights)
            else:
                estimate = combined(noise, index, block, weights)
            tensor.add_(estimate.to(tensor.dtype), alpha=alpha * block.scale)

    def _with_momentum(self, noise: Noise, index: int, block: Block, weights: th.Tensor) -> th.Tensor:
        assert isinstance(noise, LazyNoise)
        U, V = noise.low_rank(index, block, len(weights), weights.device)
        moment, V = self.moments[index], V[0]
        number, within = divmod(self.generation, self.interval)
        if number and not within:
            before = noise.right_factor(index, block, number - 1, weights.device)
            moment.copy_(moment @ (before.T @ V) / len(V))
        moment.lerp_((U * weights[:, None, None]).sum(0), 1 - self.momentum)
        return moment @ V.T

    def _state(self) -> dict[str, Any]:
        return super()._state() | {f"m_{index}": moment.clone() for index, moment in self.moments.items()}

    def _load(self, state: dict[str, Any]) -> None:
        super()._load(state)
        for index, moment in self.moments.items():
            moment.copy_(state[f"m_{index}"])
