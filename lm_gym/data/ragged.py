"""Ragged arrays: row i of flat `values` is `values[offsets[i]:offsets[i + 1]]`."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def to_offsets(lengths: NDArray[np.integer]) -> NDArray[np.int64]:
    """Offsets int64 [N + 1] of rows of these lengths [N]."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def take_rows(offsets: NDArray[np.int64], rows: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose some rows.

    Args:
        offsets: int64 [N + 1].
        rows: indices [n] of rows, in any order.

    Returns:
        The indices of their values, int64 [k], and their offsets, int64 [n + 1].
    """
    chosen = np.asarray(rows, np.int64)
    lengths = np.diff(offsets)[chosen]
    taken = to_offsets(lengths)
    return np.arange(taken[-1]) + np.repeat(offsets[chosen] - taken[:-1], lengths), taken


def span(offsets: NDArray[np.int64], row: int) -> slice:
    """Where the values of a row stand; a negative `row` counts from the end.

    Raises:
        IndexError: there is no such row.
    """
    rows = len(offsets) - 1
    if not -rows <= row < rows:
        raise IndexError(f"text {row} of {rows}")
    return slice(int(offsets[row % rows]), int(offsets[row % rows + 1]))
