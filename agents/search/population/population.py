"""Populations that optimizers propose: P members of a search space, stored as vectors or regenerated from counters."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch as th

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


def keyed_seed(*counters: int) -> int:
    """Return a generator's seed computed from counters: the same on every machine, and unrelated for different keys.

    The seed has 63 bits, of which torch's CPU generator uses 32.
    """
    return int.from_bytes(hashlib.blake2b(repr(counters).encode(), digest_size=8).digest(), "little") >> 1


class Population(ABC):
    """P members.

    Attributes:
        size: P.
        unit: number of consecutive members that are compared with one another, such as 2 for antithetic pairs. They
            always read the same texts.
    """

    size: int
    unit: int = 1

    @abstractmethod
    def vectors(self, members: slice = slice(None)) -> th.Tensor:
        """The members' vectors, [p, d]."""

    def by_unit(self) -> tuple[Population, th.Tensor | None]:
        """Return the members with units side by side, and their indices here, int64 [P]; None for the same order."""
        return self, None

    def __len__(self) -> int:
        return self.size


class Dense(Population):
    """Members stored as vectors.

    Args:
        members: [P, d], with the dtype of the domain's kind.
        unit: see Population.
        apart: whether the members of a unit are P/unit members apart (all parents, then their trials) instead of side
            by side.
    """

    def __init__(self, members: th.Tensor, unit: int = 1, *, apart: bool = False) -> None:
        self.members, self.size, self.unit, self.apart = members, len(members), unit, apart

    def vectors(self, members: slice = slice(None)) -> th.Tensor:
        """The members' vectors, [p, d]."""
        return self.members[members]

    def by_unit(self) -> tuple[Population, th.Tensor | None]:
        """See Population."""
        if not self.apart:
            return self, None
        order = th.arange(self.size).view(self.unit, -1).T.flatten()
        return Dense(self.members[order.to(self.members.device)], self.unit), order


class Sampled(Dense):
    """Members together with the noise that they were computed from, which `tell` needs.

    Args:
        members: [P, d].
        noise: the noise, for the optimizer.
        unit, apart: see Dense.
    """

    def __init__(self, members: th.Tensor, noise: th.Tensor, unit: int = 1, *, apart: bool = False) -> None:
        super().__init__(members, unit, apart=apart)
        self.noise = noise


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


def check_pairs(popsize: int) -> None:
    """Raise ValueError if the number of members is odd."""
    check_units(popsize, 2)


def check_units(popsize: int, unit: int) -> None:
    """Raise ValueError unless the number of members is a multiple of the unit."""
    if popsize < unit or popsize % unit:
        what = "pairs, give an even number of at least 2" if unit == 2 else f"units of {unit}, give a multiple of it"
        raise ValueError(f"popsize={popsize}: members come in {what}")


@dataclass(frozen=True)
class Pattern:
    """The positions of the members of a unit around the centre.

    Attributes:
        directions: for each member, the index of its direction within the unit, 0, 1, …
        sides: for each member, its step along the direction: +1, −1, or 0 at the centre.
    """

    directions: tuple[int, ...]
    sides: tuple[float, ...]

    @property
    def count(self) -> int:
        """Number of directions of a unit."""
        return max(self.directions) + 1


PAIRS = Pattern((0, 0), (1.0, -1.0))


class Perturbed(Population):
    """Members around a centre: centre ± σ ε, with the noise ε regenerated block by block wherever it is used.

    By default, members are antithetic pairs: member 2i is centre + σ ε_i, member 2i + 1 is centre − σ ε_i. For any P,
    only the centre is in memory.

    Args:
        centre: one live tensor for each block, in units of the tensors; not copied.
        blocks: description of the tensors.
        noise: ε.
        sigma: σ, in units of the vector; the entries of a block move by σ · scale · ε.
        size: P, a multiple of the number of members in the pattern.
        pattern: the members of a unit.
    """

    def __init__(
        self,
        centre: Sequence[th.Tensor],
        blocks: Sequence[Block],
        noise: Noise,
        sigma: float,
        size: int,
        pattern: Pattern = PAIRS,
    ) -> None:
        self.unit, self.pattern = len(pattern.sides), pattern
        check_units(size, self.unit)
        self.centre, self.blocks, self.noise, self.sigma, self.size = list(centre), tuple(blocks), noise, sigma, size
        units = th.arange(size // self.unit)[:, None] * pattern.count
        self.direction = (units + th.tensor(pattern.directions)).flatten()  # int64 [P]
        self.side = th.tensor(pattern.sides).repeat(len(units))  # float32 [P]

    @property
    def directions(self) -> int:
        """Number of directions of all units; P/2 for pairs."""
        return self.size // self.unit * self.pattern.count

    def tensor(self, index: int, member: int) -> th.Tensor:
        """Return one block of one member in units of the tensor; the batched forward pass must use equal weights."""
        block, centre = self.blocks[index], self.centre[index]
        epsilon = self.noise.dense(index, block, int(self.direction[member]), self.directions, centre.device)
        return centre + float(self.side[member]) * self.sigma * block.scale * epsilon

    def vectors(self, members: slice = slice(None)) -> th.Tensor:
        """Return displacements from the centre in units of the vector, [p, d]; for small spaces and tests."""
        rows = []
        for member in range(self.size)[members]:
            step, direction = float(self.side[member]) * self.sigma, int(self.direction[member])
            parts = (
                self.noise.dense(i, block, direction, self.directions, self.centre[i].device).flatten()
                for i, block in enumerate(self.blocks)
            )
            rows.append(step * th.cat(list(parts)))
        return th.stack(rows)
