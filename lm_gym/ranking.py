"""The arithmetic of rankings: discounts by rank, and discounted cumulative gain (Järvelin and Kekäläinen 2002).

Clicks of logged slates depend on the places where items were shown. `clicked` weighs each click by the inverse of the
probability that its place is looked at (Joachims, Swaminathan and Schnabel, arXiv 1608.04468). A ranking that was never
shown can then be compared with the logged one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


def discounts(k: int) -> NDArray[np.float64]:
    """Return 1 / log2(rank + 1) for the ranks 1 … k, float64 [k]."""
    return np.asarray(1.0 / np.log2(np.arange(2, k + 2)))


def ideal(gains: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return the highest discounted gain of k ranks.

    Args:
        gains: float64 [N, n], 0 or more; what each item is worth.
        k: number of ranks.

    Returns:
        float64 [N]: the discounted gain of the items in the order of their gains.
    """
    best = -np.sort(-gains, axis=1)[:, :k]
    return np.asarray(best @ discounts(best.shape[1]))


def repeated(choices: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which choices of a text an earlier rank has already made, bool [..., T] for int64 [..., T]."""
    same = choices[..., :, None] == choices[..., None, :]
    return np.asarray((same & np.tri(choices.shape[-1], k=-1, dtype=np.bool_)).any(-1))


class Clicked(NamedTuple):
    """The discounted clicks of rankings, estimated from logged clicks.

    Attributes:
        naive: the mean discount of the logged clicks, 0 to 1. Items that were shown at the top count too much.
        ips: the sum of inversely weighted, discounted clicks of a slate, averaged over slates: an unbiased estimate of
            the discounted gain (inverse propensity scores).
        snips: the mean discount of the clicks, inversely weighted, 0 to 1: self-normalised, with less variance
            (Swaminathan and Joachims 2015).
    """

    naive: float
    ips: float
    snips: float


def clicked(clicks: NDArray[np.float64], propensities: NDArray[np.float64], weights: NDArray[np.float64]) -> Clicked:
    """Estimate the discounted clicks of rankings.

    Args:
        clicks: float64 [M, n], the clicks on the items of M slates; 0 where padded.
        propensities: float64 [M, n] in (0, 1], the probability that a user looks at the place of the item in the logged
            slate.
        weights: float64 [M, n], the discount of the rank that the ranking to assess gives the item, 0 for none.

    Returns:
        NaN for `naive` and `snips` if there are no clicks.
    """
    weighted = clicks / propensities
    with np.errstate(invalid="ignore"):
        naive = (clicks * weights).sum() / clicks.sum()
        snips = (weighted * weights).sum() / weighted.sum()
    return Clicked(float(naive), float((weighted * weights).sum(1).mean()), float(snips))
