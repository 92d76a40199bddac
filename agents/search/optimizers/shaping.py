"""What fitness counts for: ranks and scores that don't change with its units, pure functions of [P] numbers.

Fitness is float64, higher is better, -inf where an evaluation failed. Members that tie count the same: F1 and accuracy
tie all the time, and an optimizer that told ties apart by their order would drift where there is nothing to learn.

In numpy, whose calls on a handful of numbers take a quarter of torch's time.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Shaping = Literal["centred_ranks", "z_scores"]


def by_rank(fitness: Floats, worth: Floats) -> Floats:
    """What each member's rank is worth; members that tie share the mean of their ranks' worth.

    Args:
        fitness: [P].
        worth: [P] or [P, k], of the ranks, the worst first.

    Returns:
        Of the shape of `worth`, in the order of the members.
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
    """Ranks from −1/2, the worst, to 1/2, ties averaged, [P]; their sum is zero.

    Source: Wierstra et al., 2014 (fitness shaping); Salimans et al., 2017, section 2.1.
    """
    last = max(len(fitness) - 1, 1)
    return by_rank(fitness, (np.arange(len(fitness)) * 2 - (len(fitness) - 1)) / (2 * last))


def z_scores(fitness: Floats) -> Floats:
    """(f − mean)/standard deviation, [P]; zeros where all members tie.

    Failed members stand one standard deviation of the others below the worst of these (by 1 where the others tie).
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
