"""Sums of a generation's directions, along which the optimizers of live tensors move."""

from __future__ import annotations

import math
from typing import Literal

import torch as th

from lm_gym.agents.search.population.domain import Block
from lm_gym.agents.search.population.noise import Noise
from lm_gym.naming import check_choice

Scaling = Literal["mean", "root"]


def scale_of(scaling: Scaling, count: int) -> float:
    """Return the divisor of a sum over members: their number (`"mean"`), or its square root (`"root"`)."""
    check_choice("scaling", scaling, ("mean", "root"))
    return count if scaling == "mean" else math.sqrt(count)


def combined(noise: Noise, index: int, block: Block, weights: th.Tensor) -> th.Tensor:
    """Return Σ_i w_i E_i of one block, in its shape; directions with a weight of 0 are not drawn again."""
    directions, device = len(weights), weights.device
    if noise.is_low_rank(block):
        left, right = weighted_factors(noise, index, block, weights)
        return left @ right.T
    if noise.rank is not None:
        return (weights @ noise.beside(index, block, directions, device).flatten(1)).view(block.shape)
    total = th.zeros(block.shape, device=device)
    for direction, weight in enumerate(weights.tolist()):
        if weight:
            for rows, part in noise.slabs(index, block, direction, device):
                total[rows].add_(part, alpha=weight)
    return total


def weighted_factors(noise: Noise, index: int, block: Block, weights: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """Return two matrices [rows, k] and [columns, k] whose product, left · rightᵀ, is Σ_i w_i E_i of a matrix."""
    A, B = noise.factors(index, block, len(weights), weights.device)
    if B.stride(0) == 0:  # all directions have the same B
        return (A * weights[:, None, None]).sum(0), B[0]
    if A.shape[1] > B.shape[1]:  # weight the smaller factor
        B = B * weights[:, None, None]
    else:
        A = A * weights[:, None, None]
    return A.transpose(0, 1).flatten(1), B.transpose(0, 1).flatten(1)
