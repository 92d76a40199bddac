"""Ragged rows stored in flat arrays: row i is `flat[offsets[i]:offsets[i + 1]]`."""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Number = TypeVar("Number", bound=np.generic)

_CHUNK = 100_000  # elements handled at a time, to limit memory while building


def to_offsets(lengths: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the offsets of rows with these lengths, int64 [N + 1]."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def sums(values: NDArray[np.generic], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sum of each row, int64 [N]; 0 for empty rows."""
    total = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=total[1:])
    return np.asarray(total[offsets[1:]] - total[offsets[:-1]], np.int64)


def take_rows(offsets: NDArray[np.int64], rows: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Select rows.

    Args:
        offsets: int64 [N + 1].
        rows: indices of rows [n], in any order.

    Returns:
        The indices of the selected values, int64 [k], and the new offsets, int64 [n + 1].
    """
    chosen = np.asarray(rows, np.int64)
    lengths = np.diff(offsets)[chosen]
    taken = to_offsets(lengths)
    return np.arange(taken[-1]) + np.repeat(offsets[chosen] - taken[:-1], lengths), taken


def span(offsets: NDArray[np.int64], row: int) -> slice:
    """Return the slice of a row; a negative `row` counts from the end.

    Raises:
        IndexError: the row does not exist.
    """
    rows = len(offsets) - 1
    if not -rows <= row < rows:
        raise IndexError(f"text {row} of {rows}")
    return slice(int(offsets[row % rows]), int(offsets[row % rows + 1]))


def with_margin(flat: NDArray[Number], margin: int) -> NDArray[Number]:
    """Append zeros, so that a window of `margin` elements from any start stays inside."""
    return np.concatenate([flat, np.zeros(margin, flat.dtype)])


def windows(flat: NDArray[np.integer], starts: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Gather `width` elements from each start, int64 [R, width]; `flat` needs a margin of `width`."""
    overlapping: NDArray[np.integer] = np.ndarray(  # a view: copying its rows is faster than gathering elements
        (len(flat) - width + 1, width), flat.dtype, flat, strides=(*flat.strides, *flat.strides)
    )
    return overlapping[starts].astype(np.int64)


def chunks(offsets: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Split rows into runs (first, last) of about 100,000 elements, at least one row each."""
    count, first = len(offsets) - 1, 0
    while first < count:
        last = int(np.searchsorted(offsets, offsets[first] + _CHUNK, side="right")) - 1
        last = min(max(last, first + 1), count)
        yield first, last
        first = last
