"""The infos of a vector environment, in the format of `gymnasium.vector.SyncVectorEnv`.

Each key has an entry for every row; `_key`, bool [N], marks the rows whose entry is valid.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Info = dict[str, Any]


def begun_info(text_index: NDArray[np.int64], rows: NDArray[np.int64], text: Callable[[int], str] | None) -> Info:
    """Return the info of texts that start: their indices and optionally their words.

    Args:
        text_index: int64 [N], index of the text of each row.
        rows: int64 [R], the rows that start a text.
        text: returns the text of an index; None to leave out texts.
    """
    here = np.zeros(len(text_index), np.bool_)
    here[rows] = True
    info: Info = {"index": np.where(here, text_index, 0), "_index": here}
    if text is not None:
        texts = np.full(len(text_index), None, dtype=object)
        for row in rows.tolist():
            texts[row] = text(int(text_index[row]))
        info |= {"text": texts, "_text": here.copy()}
    return info


def paid_info(
    position_rewards: NDArray[np.float32], terms: dict[str, NDArray[np.float32]], rows: NDArray[np.bool_]
) -> Info:
    """Return the info of texts decided at once: position rewards, float32 [N, T], and the terms of a sum of rewards."""
    info: Info = {"position_rewards": position_rewards, "_position_rewards": rows.copy()}
    if terms:
        masks = {f"_{name}": rows.copy() for name in terms}
        info |= {"reward_terms": {**terms, **masks}, "_reward_terms": rows.copy()}
    return info


def decided_info(decided: NDArray[np.int64], rows: NDArray[np.bool_]) -> Info:
    """Return the number of positions that this step decided, int64 [N], if texts take several steps."""
    return {"decided": decided, "_decided": rows.copy()}


def final_info(leaves: dict[str, NDArray[Any]], info: Info, ended: NDArray[np.bool_]) -> Info:
    """Return the info of texts that ended in a step that also starts new ones: their last observation and info.

    Args:
        leaves: the observation of the rows that ended, each leaf [R, …].
        info: the step's info so far.
        ended: bool [N], the rows that ended.
    """
    final = np.full(len(ended), None, dtype=object)
    for row, values in zip(np.flatnonzero(ended).tolist(), zip(*leaves.values(), strict=True), strict=True):
        final[row] = dict(zip(leaves, values, strict=True))
    return {
        "final_obs": final,
        "_final_obs": ended.copy(),
        "final_info": _of_rows(info, ended),
        "_final_info": ended.copy(),
    }


def _of_rows(info: Info, rows: NDArray[np.bool_]) -> Info:
    """Return a copy of an info for some of its rows; other rows have zeros."""
    found: Info = {}
    for key, value in info.items():
        if isinstance(value, dict):
            found[key] = _of_rows(value, rows)
        elif key.startswith("_"):
            found[key] = value & rows
        else:
            found[key] = np.where(rows.reshape(-1, *[1] * (value.ndim - 1)), value, np.zeros((), value.dtype))
    return found
