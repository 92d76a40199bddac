"""Checks of the arrays that metrics compare."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def checked_ids(values: ArrayLike, names: Sequence[str], what: str) -> NDArray[np.int64]:
    """Return checked indices into `names`, int64 [W]."""
    given = np.asarray(values)
    ids: NDArray[np.int64] = given.astype(np.int64)
    if ids.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise ValueError(f"{what} must be a flat array of integers, got {given.dtype} of shape {given.shape}")
    if ids.size and not (ids.min() >= 0 and ids.max() < len(names)):
        bad = int(ids[(ids < 0) | (ids >= len(names))][0])
        raise ValueError(f"{what}: tag {bad} is outside the {len(names)} tag names, 0 to {len(names) - 1}")
    return ids


def check_same_shape(gold: ArrayLike, predicted: ArrayLike) -> None:
    """Raise ValueError if gold and predicted differ in shape."""
    if np.shape(gold) != np.shape(predicted):
        raise ValueError(f"gold has shape {np.shape(gold)} and predicted {np.shape(predicted)}: they must be equal")
