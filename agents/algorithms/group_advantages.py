"""Advantages within groups of rows that play the same text in parallel."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch as th
from numpy.typing import NDArray

from lm_gym.agents.algorithms.behaviours import Samples, weights_of_distinct
from lm_gym.agents.algorithms.estimators import coefficients, likelihoods

GroupAdvantage = Literal["gae", "leave_one_out", "group_normalized", "maximum_likelihood"]


def group_advantages(
    returns: NDArray[np.float32],
    group_size: int,
    advantage: str,
    *,
    log_scale: bool = False,
    distinct: NDArray[np.float32] | None = None,
    log_mean: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Compute advantages within the rows k·G … k·G + G - 1 of each step (see `TextRolloutBuffer`).

    Args:
        returns: returns-to-go [T, N].
        group_size: G.
        advantage: any but `gae`.
        log_scale: whether returns are logarithms of likelihoods.
        distinct: log-probabilities [T, N] of the choices, if the rows of a group drew different choices.
        log_mean: log E_π[R] [T, N], for `maximum_likelihood`; None for the mean of the rows.

    Returns:
        float32 [T, N].
    """

    def grouped(array: NDArray[np.float32]) -> th.Tensor:
        return th.as_tensor(array.reshape(-1, group_size).T)  # [K, Q]

    G = grouped(returns)
    if distinct is None:
        drawn = Samples(th.zeros_like(G, dtype=th.int64), th.zeros_like(G), th.full_like(G, 1.0 / group_size))
    else:
        log_probs = grouped(distinct)
        drawn = Samples(th.zeros_like(G, dtype=th.int64), log_probs, weights_of_distinct(log_probs), independent=False)
    if log_mean is not None:
        c = drawn.weights * ((G if log_scale else G.log()) - grouped(log_mean)).exp() - drawn.weights
    else:
        c = coefficients(
            likelihoods(G) if log_scale else G,
            drawn,
            baseline="leave_one_out",
            advantage="plain" if advantage == "leave_one_out" else advantage,  # type: ignore[arg-type]
        )
    return np.asarray((group_size * c).T.reshape(returns.shape).numpy(), np.float32)
