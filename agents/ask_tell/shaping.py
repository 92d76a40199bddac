"""What fitness counts for: ranks and scores that don't change with its units, pure functions of [P] numbers.

Fitness is float64, higher is better, -inf where an evaluation failed. Members that tie count the same: F1 and accuracy
tie all the time, and an optimizer that told ties apart by their order would drift where there is nothing to learn.
"""

from __future__ import annotations

from typing import Literal

import torch as th

Shaping = Literal["centred_ranks", "z_scores"]


def by_rank(fitness: th.Tensor, worth: th.Tensor) -> th.Tensor:
    """What each member's rank is worth; members that tie share the mean of their ranks' worth.

    Args:
        fitness: [P].
        worth: [P], of the ranks, the worst first.

    Returns:
        [P], in the order of the members.
    """
    first, end = _places(fitness)
    total = th.nn.functional.pad(worth.cumsum(0), (1, 0))
    return (total[end] - total[first]) / (end - first)


def centred_ranks(fitness: th.Tensor) -> th.Tensor:
    """Ranks from −1/2, the worst, to 1/2, ties averaged, float64 [P]; their sum is zero.

    Source: Wierstra et al., 2014 (fitness shaping); Salimans et al., 2017, section 2.1.
    """
    first, end = _places(fitness)
    return (first + end - len(fitness)).double() / (2 * max(len(fitness) - 1, 1))


def _places(fitness: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """How many members are worse, and how many are no better, than each: [P] and [P]."""
    ordered = fitness.sort().values
    return th.searchsorted(ordered, fitness), th.searchsorted(ordered, fitness, right=True)


def z_scores(fitness: th.Tensor) -> th.Tensor:
    """(f − mean)/standard deviation, [P]; zeros where all members tie.

    Failed members stand one standard deviation of the others below the worst of these (by 1 where the others tie).
    """
    worked = fitness[fitness > -th.inf]
    low, high = worked.min(), worked.max()
    if len(worked) < len(fitness):
        spread = worked.std(correction=0) if high > low else 1.0
        fitness = fitness.clamp(min=low - spread)
    elif high == low:
        return th.zeros_like(fitness)
    return (fitness - fitness.mean()) / fitness.std(correction=0)


SHAPINGS = {"centred_ranks": centred_ranks, "z_scores": z_scores}
