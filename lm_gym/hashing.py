"""Counter-keyed random numbers: the same counters give the same number, regardless of earlier draws.

`mix` is the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014), applied once for each counter. `permute` is a balanced Feistel network with six rounds of it,
with cycle walking (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_ROUNDS = 6  # with 4, permutations of a few thousand elements still correlate with their input


def mix(*counters: Any) -> NDArray[np.uint64]:
    """Hash counters to uniform 64-bit integers.

    Args:
        counters: integers or integer arrays in [0, 2^64), broadcast against one another.

    Returns:
        uint64 of the broadcast shape.
    """
    state: Any = _GOLDEN
    with np.errstate(over="ignore"):
        for counter in counters:
            state = (state ^ np.asarray(counter, np.uint64)) * _GOLDEN + _GOLDEN
            state = (state ^ (state >> np.uint64(30))) * _FIRST
            state = (state ^ (state >> np.uint64(27))) * _SECOND
            state = state ^ (state >> np.uint64(31))
    return np.asarray(state, np.uint64)


def permute(index: NDArray[np.int64], size: int, *key: Any) -> NDArray[np.int64]:
    """Map indices through a pseudorandom permutation of range(size), in constant memory.

    Args:
        index: int64 [k], each in [0, size).
        size: number of elements of the permutation, at least 1.
        key: integers or integer arrays [k] that select the permutation.

    Returns:
        int64 [k], the image of each index, in [0, size).
    """
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    low = np.uint64((1 << int(half)) - 1)
    keys = [mix(*key, round_) for round_ in range(_ROUNDS)]
    block = np.asarray(index, np.uint64)
    outside = np.ones(block.shape, np.bool_)
    while outside.any():  # the domain is at most 4 × size (8 for size < 2), so few walks suffice
        left, right = block >> half, block & low
        for round_key in keys:
            left, right = right, left ^ (mix(round_key, right) & low)
        block = np.where(outside, left << half | right, block)
        outside = block >= np.uint64(size)
    return block.astype(np.int64)
