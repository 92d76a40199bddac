"""The gain of a ranking, discounted by rank (Järvelin and Kekäläinen 2002)."""

import numpy as np
from numpy.typing import NDArray

from lm_gym.ranking import discounts, ideal
from lm_gym.rewards.relevance import Relevance


class DiscountedGain(Relevance):
    """Pay the gain of the choice at each rank, divided by log2(rank + 1), as the rank is decided.

    The sum over a text is the DCG of its ranks or, normalised, the NDCG. A choice that a higher rank has made pays 0.

    Args:
        normalize: whether to divide by the highest sum that the text allows, so that the best ranking earns 1.
        exponential: whether the gain of relevance r is 2^r - 1 instead of r.
    """

    name = "ndcg"
    minimum = total_minimum = 0.0
    summary = "the relevance of the {choice} at each rank, divided by log2(rank + 1) and by the best sum (NDCG)"

    def __init__(self, normalize: bool = True, exponential: bool = False) -> None:
        super().__init__()
        self.normalize, self.exponential = normalize, exponential
        if not normalize:
            self.name = "discounted_gain"
            self.summary = "the relevance of the {choice} at each rank, divided by log2(rank + 1) (DCG)"

    def weights(self, positions: int) -> NDArray[np.float64]:
        """Return the discount of each rank, float64 [T]."""
        return discounts(positions)

    def payoffs(self, gains: NDArray[np.float64], positions: int) -> NDArray[np.float64]:
        """Return the gain of each choice at the first rank, float64 [N, n] → [N, n], for texts of T ranks."""
        gained = np.exp2(gains) - 1.0 if self.exponential else gains
        if not self.normalize:
            return gained
        best = ideal(gained, positions)[:, None]
        return np.divide(gained, best, out=np.zeros_like(gained), where=best > 0)
