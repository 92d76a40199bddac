"""The options of `reset`, with their checks."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm_gym.naming import among

_KNOWN = ("indices", "reset_mask", "draws")


class ResetOptions(NamedTuple):
    """Checked options of a reset.

    Attributes:
        rows: int64 [R], the rows to reset.
        indices: int64 [N], the texts to play, or None.
        draws: the draw at which the sampler continues, or None.
    """

    rows: NDArray[np.int64]
    indices: NDArray[np.int64] | None
    draws: int | None


def read_options(options: Mapping[str, Any] | None, num_envs: int, num_texts: int, group_size: int = 1) -> ResetOptions:
    """Check the options of a reset.

    Args:
        options: the options, as given.
        num_envs: N.
        num_texts: number of texts in the split.
        group_size: number of rows that play the same text and start together.

    Raises:
        TypeError: if a value is of the wrong type.
        ValueError: if an option is unknown, or a value is out of range or of the wrong shape.
    """
    given = dict(options or {})
    for name in given:
        if name not in _KNOWN:
            raise ValueError(f"unknown reset option {name!r}{among(name, _KNOWN)}")
    rows = np.arange(num_envs)
    if given.get("reset_mask") is not None:
        rows = np.flatnonzero(_read_mask(given["reset_mask"], num_envs, group_size))
    indices = None
    if given.get("indices") is not None:
        indices = _read_indices(given["indices"], num_envs, num_texts, group_size)
    draws = given.get("draws")
    if draws is not None:
        if isinstance(draws, bool) or not isinstance(draws, int | np.integer):
            raise TypeError(f"options['draws'] is {draws!r}: give the number of texts drawn")
        if draws < 0:
            raise ValueError(f"options['draws'] is {draws}: give 0 or more")
        draws = int(draws)
    return ResetOptions(rows, indices, draws)


def _read_mask(mask: Any, num_envs: int, group_size: int) -> NDArray[np.bool_]:
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise TypeError(f"options['reset_mask'] must be a numpy array of bool, not {type(mask).__name__} {mask!r}")
    if mask.shape != (num_envs,):
        raise ValueError(f"options['reset_mask'] has shape {mask.shape}: it must be ({num_envs},)")
    if not mask.any():
        raise ValueError("options['reset_mask'] is False everywhere: call reset only where a row has ended")
    groups = mask.reshape(-1, group_size)
    if (groups != groups[:, :1]).any():
        raise ValueError(
            f"options['reset_mask'] splits a group: rows k * {group_size} … k * {group_size} + {group_size - 1} start "
            f"together (group_size={group_size})"
        )
    return mask


def _read_indices(indices: Any, num_envs: int, num_texts: int, group_size: int) -> NDArray[np.int64]:
    given = np.asarray(indices)
    if given.dtype.kind not in "iu":
        raise TypeError(f"options['indices'] are {given.dtype}: give integers in 0 … {num_texts - 1}")
    given = np.atleast_1d(given)
    if given.shape != (num_envs,):
        raise ValueError(f"options['indices'] has shape {given.shape}: it must name {num_envs} texts, one per row")
    outside = (given < 0) | (given >= num_texts)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise ValueError(f"options['indices'][{row}] is {given[row]}: the split has the texts 0 … {num_texts - 1}")
    groups = given.reshape(-1, group_size)
    if (groups != groups[:, :1]).any():
        raise ValueError(
            f"options['indices'] splits a group: rows k * {group_size} … k * {group_size} + {group_size - 1} play the "
            f"same text; repeat each index {group_size} times"
        )
    return given.astype(np.int64)
