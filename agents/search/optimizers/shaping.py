"""Shaping of fitness to ranks and scores that are independent of its units, as pure functions of [P] numbers.

Fitness is float64; higher is better, and -inf marks a failed evaluation. Tied members get equal values: F1 and accuracy
often tie, and an optimizer that broke ties by order would drift without learning.

The functions use numpy, which takes a quarter of torch's time on few numbers.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Shaping = Literal["centred_ranks", "z_scores"]


def by_rank(fitness: Floats, worth: Floats) -> Floats:
    """Return the value of each member's rank; tied members share the mean of their ranks' values.

    Args:
        fitness: [P].
        worth: values of the ranks, the worst rank first, [P] or [P, k].

    Returns:
        The values in the order of the members, with the shape of `worth`.
    """
    order = fitness.argsort()
    ordered = fitness[order]
    if (ordered[1:] == ordered[:-1]).any():
        first, end = np.searchsorted(ordered, ordered), np.searchsorted(ordered, ordered, side="right")
        total = np.concatenate((np.zeros_like(worth[:1]), worth.cumsum(0)))
        worth = ((total[end] - total[first]).T / (end - first)).T
    shared = np.empty_like(worth)
    shared[order] = worth
    return shared


def centred_ranks(fitness: Floats) -> Floats:
    """Return ranks from −1/2 (worst) to 1/2 with ties averaged, [P]; their sum is zero.

    Source: Wierstra et al., 2014 (fitness shaping); Salimans et al., 2017, section 2.1.
    """
    last = max(len(fitness) - 1, 1)
    return by_rank(fitness, (np.arange(len(fitness)) * 2 - (len(fitness) - 1)) / (2 * last))


def z_scores(fitness: Floats) -> Floats:
    """Return (f − mean)/standard deviation, [P]; zeros if all members tie.

    Failed members count as one standard deviation below the worst of the others (or 1 below, if the others tie).
    """
    worked = fitness[fitness > -np.inf]
    low, high = worked.min(), worked.max()
    if len(worked) < len(fitness):
        fitness = np.maximum(fitness, low - (worked.std() if high > low else 1.0))
    elif high == low:
        return np.zeros_like(fitness)
    scores: Floats = (fitness - fitness.mean()) / fitness.std()
    return scores


SHAPINGS = {"centred_ranks": centred_ranks, "z_scores": z_scores}
