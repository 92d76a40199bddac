"""Gaussian noise that is regenerated from counters wherever it is used."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch as th

from lm_gym.agents.search.population.domain import Block


def keyed_seed(*counters: int) -> int:
    """Return a generator's seed computed from counters: the same on every machine, and unrelated for different keys.

    The seed has 63 bits, of which torch's CPU generator uses 32.
    """
    return int.from_bytes(hashlib.blake2b(repr(counters).encode(), digest_size=8).digest(), "little") >> 1


@dataclass(frozen=True)
class Noise:
    """Standard Gaussian directions of one generation, regenerated on demand.

    With a rank, matrices get E = A Bᵀ/√r (`low_rank`, EGGROLL, 2025), and all entries of other tensors are drawn
    independently (`vectors`). One draw serves all directions and is kept as long as this object (`factors`, `beside`).
    Without a rank, every entry of every tensor is drawn independently (`slabs`), for one direction and a few leading
    rows at a time. Nothing is kept, so memory holds one slab, and parts can be drawn alone.

    Numbers are keyed by (seed, generation, index of the block); those of slabs also by the direction and the slab. They
    are distinct for every block, and the same for every use of a tied parameter and in every process.

    Attributes:
        seed: seed of the run.
        generation: number of the generation.
        rank: r, or None for full rank.
    """

    seed: int
    generation: int
    rank: int | None = 1
    _kept: dict[tuple[int, int], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def is_low_rank(self, block: Block) -> bool:
        """Return whether the noise of a block consists of factors."""
        return self.rank is not None and len(block.shape) == 2

    def low_rank(self, index: int, block: Block, directions: int, device: th.device) -> tuple[th.Tensor, th.Tensor]:
        """Return the factors of a matrix's noise: A/√r [directions, rows, r] and B [directions, columns, r]."""
        rows, columns = block.shape
        assert self.rank is not None
        both = self._draw((directions, rows + columns, self.rank), self._generator(device, index, 0, 1))
        both[:, :rows] /= math.sqrt(self.rank)
        return both[:, :rows], both[:, rows:]

    def vectors(self, index: int, block: Block, directions: int, device: th.device) -> th.Tensor:
        """Return the noise of a tensor that is not a matrix, [directions, *shape], if matrices have low-rank noise."""
        return self._draw((directions, *block.shape), self._generator(device, index, 0, 1))

    def factors(self, index: int, block: Block, directions: int, device: th.device) -> tuple[th.Tensor, th.Tensor]:
        """Return `low_rank`, drawn once and kept: evaluating members and learning from them both need it."""
        if (index, directions) not in self._kept:
            self._kept[index, directions] = self.low_rank(index, block, directions, device)
        A, B = self._kept[index, directions]
        return A, B

    def beside(self, index: int, block: Block, directions: int, device: th.device) -> th.Tensor:
        """Return `vectors`, drawn once and kept."""
        if (index, directions) not in self._kept:
            self._kept[index, directions] = self.vectors(index, block, directions, device)
        drawn: th.Tensor = self._kept[index, directions]
        return drawn

    def slabs(
        self, index: int, block: Block, direction: int, device: th.device, wanted: Container[int] | None = None
    ) -> Iterator[tuple[slice, th.Tensor]]:
        """Yield the full-rank noise of one direction of a block, slab by slab.

        Args:
            index: index of the block.
            block: the block.
            direction: index of the direction.
            device: device of the noise.
            wanted: indices of the slabs (row // block.slab_rows) to draw; None for all.

        Yields:
            leading rows (a slice) and their noise [k, …].
        """
        height = block.slab_rows
        for slab in range(math.ceil(block.shape[0] / height)):
            if wanted is None or slab in wanted:
                rows = slice(slab * height, min((slab + 1) * height, block.shape[0]))
                shape = (rows.stop - rows.start, *block.shape[1:])
                yield rows, self._draw(shape, self._generator(device, index, 1 + direction, slab))

    def dense(self, index: int, block: Block, direction: int, directions: int, device: th.device) -> th.Tensor:
        """Return the noise of one direction of a block as a tensor of the block's shape; for small spaces and tests."""
        if self.rank is None:
            return th.cat([noise for _, noise in self.slabs(index, block, direction, device)])
        if not self.is_low_rank(block):
            return self.beside(index, block, directions, device)[direction]
        A, B = self.factors(index, block, directions, device)
        return A[direction] @ B[direction].T

    def _draw(self, shape: tuple[int, ...], generator: th.Generator) -> th.Tensor:
        """Draw independent numbers of mean 0 and variance 1."""
        return th.randn(shape, generator=generator, device=generator.device)

    def _generator(self, device: th.device, *key: int) -> th.Generator:
        return th.Generator(device).manual_seed(keyed_seed(self.seed, self.generation, *key))
