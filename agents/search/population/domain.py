"""The domain of a search: the kind and number of the entries of a vector, and the tensors that they form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["real", "binary", "categorical"]


@dataclass(frozen=True)
class Domain:
    """The kind and number of the entries of a vector.

    Attributes:
        kind: `"real"` (float32, standardised: 0 is the start of the search, 1 is a natural step of the space),
            `"binary"` (bool) or `"categorical"` (int64 in 0 … choices-1).
        dim: d, number of entries.
        choices: number of values of a categorical entry; 2 for binary and 0 for real entries.
    """

    kind: Kind
    dim: int
    choices: int = 0


@dataclass(frozen=True)
class Block:
    """A searched tensor, which is a part of the vector.

    Attributes:
        name: name of the parameter, for messages.
        shape: shape of the tensor; the vector contains its entries in row-major order.
        scale: one unit of the vector in units of the tensor.
    """

    name: str
    shape: tuple[int, ...]
    scale: float = 1.0

    @property
    def size(self) -> int:
        """Number of entries of the tensor."""
        return math.prod(self.shape)

    @property
    def slab_rows(self) -> int:
        """Number of leading rows for which full-rank noise is drawn at a time: about 2^15 entries, 128 KiB."""
        return max(1, 2**15 * self.shape[0] // self.size)
