"""What an optimizer asks to be evaluated: P members of a search space, held dense or regenerated from counters."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch as th

Kind = Literal["real", "binary", "categorical"]


@dataclass(frozen=True)
class Domain:
    """What the entries of a vector are.

    Attributes:
        kind: `"real"` (float32, standardised: 0 is where the search begins, 1 a natural step of the space),
            `"binary"` (bool) or `"categorical"` (int64 in 0 … choices-1).
        dim: d, entries of a vector.
        choices: values of an entry of a categorical vector; 2 of a binary one; 0 of a real one.
    """

    kind: Kind
    dim: int
    choices: int = 0


@dataclass(frozen=True)
class Block:
    """A tensor that is searched, a part of the vector.

    Attributes:
        name: the parameter's, for messages.
        shape: of the tensor; its entries follow one another in the vector, row-major.
        scale: one unit of the vector in the tensor's own units.
    """

    name: str
    shape: tuple[int, ...]
    scale: float = 1.0

    @property
    def size(self) -> int:
        """Entries of the tensor."""
        return math.prod(self.shape)

    @property
    def slab_rows(self) -> int:
        """Leading rows that full-rank noise is drawn for at a time: some 2^15 entries, 128 KiB."""
        return max(1, 2**15 * self.shape[0] // self.size)


def keyed_seed(*counters: int) -> int:
    """A generator's seed out of counters: the same on every machine, unrelated for any two keys.

    Of its 63 bits torch's CPU generator uses 32.
    """
    return int.from_bytes(hashlib.blake2b(repr(counters).encode(), digest_size=8).digest(), "little") >> 1


class Population(ABC):
    """P members.

    Attributes:
        size: P.
    """

    size: int

    @abstractmethod
    def vectors(self, members: slice = slice(None)) -> th.Tensor:
        """The members' vectors, [p, d]."""

    def __len__(self) -> int:
        return self.size


class Dense(Population):
    """Members held as they are.

    Args:
        members: [P, d], of the dtype that the domain's kind asks for.
    """

    def __init__(self, members: th.Tensor) -> None:
        self.members, self.size = members, len(members)

    def vectors(self, members: slice = slice(None)) -> th.Tensor:
        """The members' vectors, [p, d]."""
        return self.members[members]


class Sampled(Dense):
    """Members beside the noise that they were made of, kept for `tell`.

    Args:
        members: [P, d].
        noise: what the optimizer wants back.
    """

    def __init__(self, members: th.Tensor, noise: th.Tensor) -> None:
        super().__init__(members)
        self.noise = noise


@dataclass(frozen=True)
class Noise:
    """Standard Gaussian directions of one generation, regenerated on demand; nothing is stored.

    With a rank, matrices get E = A Bᵀ/√r (`low_rank`, EGGROLL, 2025) and other tensors an entry of their own drawn for
    each (`vectors`), for all pairs in one draw. Without, every entry of everything is drawn on its own (`slabs`), a
    pair and a few leading rows at a time, so that what is held is a slab and a part can be drawn alone.

    Numbers are keyed by (seed, generation, index of the block), those of slabs by the pair and the slab as well:
    distinct in every block, the same for every use of a tied parameter, the same on every process.

    Attributes:
        seed: of the run.
        generation: number of the generation.
        rank: r, or None: full rank.
    """

    seed: int
    generation: int
    rank: int | None = 1

    def is_low_rank(self, block: Block) -> bool:
        """Whether a block's noise comes as factors."""
        return self.rank is not None and len(block.shape) == 2

    def low_rank(self, index: int, block: Block, pairs: int, device: th.device) -> tuple[th.Tensor, th.Tensor]:
        """Factors of a matrix's noise: A [pairs, rows, r] and B [pairs, columns, r], with 1/√r inside A."""
        rows, columns = block.shape
        assert self.rank is not None
        both = th.randn(pairs, rows + columns, self.rank, generator=self._generator(device, index, 0, 1), device=device)
        both[:, :rows] /= math.sqrt(self.rank)
        return both[:, :rows], both[:, rows:]

    def vectors(self, index: int, block: Block, pairs: int, device: th.device) -> th.Tensor:
        """Noise of a tensor that is no matrix, beside low-rank noise of the matrices: [pairs, *shape]."""
        return th.randn(pairs, *block.shape, generator=self._generator(device, index, 0, 1), device=device)

    def slabs(
        self, index: int, block: Block, pair: int, device: th.device, wanted: Container[int] | None = None
    ) -> Iterator[tuple[slice, th.Tensor]]:
        """One pair's full-rank noise of a block, piece by piece.

        Args:
            index: number of the block.
            block: what it is.
            pair: whose noise.
            device: where it is needed.
            wanted: numbers of the slabs (row // block.slab_rows) to draw; None: all.

        Yields:
            leading rows (a slice), their noise [k, …].
        """
        height = block.slab_rows
        for slab in range(math.ceil(block.shape[0] / height)):
            if wanted is None or slab in wanted:
                rows = slice(slab * height, min((slab + 1) * height, block.shape[0]))
                shape = (rows.stop - rows.start, *block.shape[1:])
                generator = self._generator(device, index, 1 + pair, slab)
                yield rows, th.randn(shape, generator=generator, device=device)

    def dense(self, index: int, block: Block, pair: int, pairs: int, device: th.device) -> th.Tensor:
        """One pair's noise of a block, materialised, the block's shape; for small spaces and tests."""
        if self.rank is None:
            return th.cat([noise for _, noise in self.slabs(index, block, pair, device)])
        if not self.is_low_rank(block):
            return self.vectors(index, block, pairs, device)[pair]
        A, B = self.low_rank(index, block, pairs, device)
        return A[pair] @ B[pair].T

    def _generator(self, device: th.device, *key: int) -> th.Generator:
        return th.Generator(device).manual_seed(keyed_seed(self.seed, self.generation, *key))


def check_pairs(popsize: int) -> None:
    """Raise ValueError unless members come in pairs."""
    if popsize < 2 or popsize % 2:
        raise ValueError(f"popsize={popsize}: members come in pairs, give an even number of at least 2")


class Perturbed(Population):
    """Antithetic pairs around a centre: member 2i is centre + σ ε_i, member 2i + 1 is centre − σ ε_i.

    Memory is that of the centre, whatever P: the noise is regenerated block by block where it is used.

    Args:
        centre: one live tensor for each block, in the tensors' own units; not copied.
        blocks: what the tensors are.
        noise: ε.
        sigma: σ, in units of the vector; a block's entries move by σ · scale · ε.
        size: P, even.
    """

    def __init__(
        self, centre: Sequence[th.Tensor], blocks: Sequence[Block], noise: Noise, sigma: float, size: int
    ) -> None:
        check_pairs(size)
        self.centre, self.blocks, self.noise, self.sigma, self.size = list(centre), tuple(blocks), noise, sigma, size

    @property
    def pairs(self) -> int:
        """P/2."""
        return self.size // 2

    @staticmethod
    def sign(member: int) -> float:
        """+1 or −1."""
        return 1.0 if member % 2 == 0 else -1.0

    def tensor(self, index: int, member: int) -> th.Tensor:
        """One block of one member, in the tensor's own units: what the batched forward must equal."""
        block, centre = self.blocks[index], self.centre[index]
        epsilon = self.noise.dense(index, block, member // 2, self.pairs, centre.device)
        return centre + self.sign(member) * self.sigma * block.scale * epsilon

    def vectors(self, members: slice = slice(None)) -> th.Tensor:
        """The members' displacements from the centre in units of the vector, [p, d]; for small spaces and tests."""
        rows = []
        for member in range(self.size)[members]:
            step = self.sign(member) * self.sigma
            parts = (
                self.noise.dense(i, block, member // 2, self.pairs, self.centre[i].device).flatten()
                for i, block in enumerate(self.blocks)
            )
            rows.append(step * th.cat(list(parts)))
        return th.stack(rows)
