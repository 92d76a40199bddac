"""What an optimizer asks to be evaluated: P members of a search space, held dense or regenerated from counters."""

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
        unit: members that are compared with one another, one after another in the population: both of an antithetic
            pair, for example. They always read the same texts.
    """

    size: int
    unit: int = 1

    @abstractmethod
    def vectors(self, members: slice = slice(None)) -> th.Tensor:
        """The members' vectors, [p, d]."""

    def by_unit(self) -> tuple[Population, th.Tensor | None]:
        """The same members with those of a unit side by side, and which member each is, int64 [P]; None: as here."""
        return self, None

    def __len__(self) -> int:
        return self.size


class Dense(Population):
    """Members held as they are.

    Args:
        members: [P, d], of the dtype that the domain's kind asks for.
        unit: see Population.
        apart: the members of a unit are P/unit members apart (each parent, then each parent's trial), not side by side.
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
    """Members beside the noise that they were made of, kept for `tell`.

    Args:
        members: [P, d].
        noise: what the optimizer wants back.
        unit, apart: see Dense.
    """

    def __init__(self, members: th.Tensor, noise: th.Tensor, unit: int = 1, *, apart: bool = False) -> None:
        super().__init__(members, unit, apart=apart)
        self.noise = noise


@dataclass(frozen=True)
class Noise:
    """Standard Gaussian directions of one generation, regenerated on demand.

    With a rank, matrices get E = A Bᵀ/√r (`low_rank`, EGGROLL, 2025) and other tensors an entry of their own drawn for
    each (`vectors`), for all directions in one draw that is kept as long as this object (`factors`, `beside`). Without,
    nothing is kept: every entry of everything is drawn on its own
    (`slabs`), a direction and a few leading rows at a time, so that what is held is a slab and a part can be drawn
    alone.

    Numbers are keyed by (seed, generation, index of the block), those of slabs by the direction and the slab as well:
    distinct in every block, the same for every use of a tied parameter, the same on every process.

    Attributes:
        seed: of the run.
        generation: number of the generation.
        rank: r, or None: full rank.
    """

    seed: int
    generation: int
    rank: int | None = 1
    _kept: dict[tuple[int, int], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def is_low_rank(self, block: Block) -> bool:
        """Whether a block's noise comes as factors."""
        return self.rank is not None and len(block.shape) == 2

    def low_rank(self, index: int, block: Block, directions: int, device: th.device) -> tuple[th.Tensor, th.Tensor]:
        """Factors of a matrix's noise: A [directions, rows, r] and B [directions, columns, r], with 1/√r inside A."""
        rows, columns = block.shape
        assert self.rank is not None
        both = self._draw((directions, rows + columns, self.rank), self._generator(device, index, 0, 1))
        both[:, :rows] /= math.sqrt(self.rank)
        return both[:, :rows], both[:, rows:]

    def vectors(self, index: int, block: Block, directions: int, device: th.device) -> th.Tensor:
        """Noise of a tensor that is no matrix, beside low-rank noise of the matrices: [directions, *shape]."""
        return self._draw((directions, *block.shape), self._generator(device, index, 0, 1))

    def factors(self, index: int, block: Block, directions: int, device: th.device) -> tuple[th.Tensor, th.Tensor]:
        """Return `low_rank`, drawn once and kept: a generation needs it to evaluate members and to learn from them."""
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
        """One direction's full-rank noise of a block, piece by piece.

        Args:
            index: number of the block.
            block: what it is.
            direction: its number.
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
                yield rows, self._draw(shape, self._generator(device, index, 1 + direction, slab))

    def dense(self, index: int, block: Block, direction: int, directions: int, device: th.device) -> th.Tensor:
        """One direction's noise of a block, materialised, the block's shape; for small spaces and tests."""
        if self.rank is None:
            return th.cat([noise for _, noise in self.slabs(index, block, direction, device)])
        if not self.is_low_rank(block):
            return self.beside(index, block, directions, device)[direction]
        A, B = self.factors(index, block, directions, device)
        return A[direction] @ B[direction].T

    def _draw(self, shape: tuple[int, ...], generator: th.Generator) -> th.Tensor:
        """Independent numbers of mean 0 and variance 1."""
        return th.randn(shape, generator=generator, device=generator.device)

    def _generator(self, device: th.device, *key: int) -> th.Generator:
        return th.Generator(device).manual_seed(keyed_seed(self.seed, self.generation, *key))


def check_pairs(popsize: int) -> None:
    """Raise ValueError unless members come in pairs."""
    check_units(popsize, 2)


def check_units(popsize: int, unit: int) -> None:
    """Raise ValueError unless members come in units of so many."""
    if popsize < unit or popsize % unit:
        what = "pairs, give an even number of at least 2" if unit == 2 else f"units of {unit}, give a multiple of it"
        raise ValueError(f"popsize={popsize}: members come in {what}")


@dataclass(frozen=True)
class Pattern:
    """How the members of a unit lie around the centre.

    Attributes:
        directions: of each member, the number of its direction within the unit, 0, 1, …
        sides: of each member, how far it goes along it: +1, −1, or 0 at the centre.
    """

    directions: tuple[int, ...]
    sides: tuple[float, ...]

    @property
    def count(self) -> int:
        """Directions of a unit."""
        return max(self.directions) + 1


PAIRS = Pattern((0, 0), (1.0, -1.0))


class Perturbed(Population):
    """Members around a centre: centre ± σ ε, with the noise ε regenerated block by block where it is used.

    By default antithetic pairs: member 2i is centre + σ ε_i, member 2i + 1 is centre − σ ε_i. Memory is that of the
    centre, whatever P.

    Args:
        centre: one live tensor for each block, in the tensors' own units; not copied.
        blocks: what the tensors are.
        noise: ε.
        sigma: σ, in units of the vector; a block's entries move by σ · scale · ε.
        size: P, a multiple of the pattern's members.
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
        """Directions of all units; P/2 where members are pairs."""
        return self.size // self.unit * self.pattern.count

    def tensor(self, index: int, member: int) -> th.Tensor:
        """One block of one member, in the tensor's own units: what the batched forward must equal."""
        block, centre = self.blocks[index], self.centre[index]
        epsilon = self.noise.dense(index, block, int(self.direction[member]), self.directions, centre.device)
        return centre + float(self.side[member]) * self.sigma * block.scale * epsilon

    def vectors(self, members: slice = slice(None)) -> th.Tensor:
        """The members' displacements from the centre in units of the vector, [p, d]; for small spaces and tests."""
        rows = []
        for member in range(self.size)[members]:
            step, direction = float(self.side[member]) * self.sigma, int(self.direction[member])
            parts = (
                self.noise.dense(i, block, direction, self.directions, self.centre[i].device).flatten()
                for i, block in enumerate(self.blocks)
            )
            rows.append(step * th.cat(list(parts)))
        return th.stack(rows)
