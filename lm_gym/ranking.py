"""The arithmetic of rankings: discounts by rank, and discounted cumulative gain (Järvelin and Kekäläinen 2002)."""

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
