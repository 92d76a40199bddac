"""Equal texts of a batch, which are encoded only once."""

from __future__ import annotations

import torch as th


def distinct_texts(ids: th.Tensor, attention: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """Return the index of one row of each distinct text, int64 [U], and the text of every row, int64 [B]."""
    read = th.where(attention > 0, ids, -1)
    _, group = th.unique(read, dim=0, return_inverse=True)
    count = int(group.max()) + 1
    rows = th.arange(len(group), device=group.device)
    first = rows.new_full((count,), len(group)).scatter_reduce_(0, group, rows, "amin")
    return first, group
