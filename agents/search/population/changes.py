"""The changes that members of a population make to a parameter, in the forms that a batched forward pass supports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch as th

from lm_gym.agents.model.devices import upload
from lm_gym.agents.search.population.domain import Block
from lm_gym.agents.search.population.noise import Noise
from lm_gym.agents.search.population.perturbed import PAIRS, Perturbed
from lm_gym.agents.search.population.population import Dense, Population


@dataclass(frozen=True)
class LowRank:
    """A shared matrix plus, for each member, a step of A Bᵀ; c consecutive members have the same factors.

    Attributes:
        A: [p/c, rows, r].
        B: [p/c, columns, r].
        steps: [p], the step of each member.
        base: the shared matrix [rows, columns]; None for the module's own.
    """

    A: th.Tensor
    B: th.Tensor
    steps: th.Tensor
    base: th.Tensor | None = None


class Own(ABC):
    """Separate entries for every member, computed a few leading rows at a time and never held as a whole.

    Attributes:
        block: the parameter.
    """

    block: Block

    @abstractmethod
    def slabs(self) -> Iterator[tuple[slice, th.Tensor]]:
        """Yield leading rows and the members' entries there, [p, k, …]; together they are the whole parameter."""

    @abstractmethod
    def rows(self, numbers: th.Tensor) -> th.Tensor:
        """Return the members' rows with these indices (int64 [k], ascending), [p, k, …]."""

    @abstractmethod
    def own_rows(self, numbers: th.Tensor) -> th.Tensor:
        """Return different rows of each member (int64 [p, k], in any order), [p, k, …]."""

    def whole(self) -> th.Tensor:
        """Return the members' entries, [p, *shape]; for vectors."""
        return th.cat([values for _, values in self.slabs()], 1)


Change = LowRank | Own


class Displaced(Own):
    """origin + steps · directions, with the directions in memory.

    Args:
        block: the parameter.
        origin: a tensor of its shape.
        directions: [p, *shape].
        steps: one factor per member [p], or one for all.
        dtype: dtype of the members' entries.
    """

    def __init__(
        self, block: Block, origin: th.Tensor, directions: th.Tensor, steps: th.Tensor | float, dtype: th.dtype
    ) -> None:
        self.block, self._origin, self._directions, self._dtype = block, origin, directions, dtype
        self._steps = steps.view(-1, *[1] * len(block.shape)) if isinstance(steps, th.Tensor) else steps

    def slabs(self) -> Iterator[tuple[slice, th.Tensor]]:
        """See Own."""
        height, total = self.block.slab_rows, self.block.shape[0]
        for start in range(0, total, height):
            rows = slice(start, min(start + height, total))
            yield rows, self._at(self._origin[rows], self._directions[:, rows])

    def rows(self, numbers: th.Tensor) -> th.Tensor:
        """See Own."""
        return self._at(self._origin[numbers], self._directions[:, numbers])

    def own_rows(self, numbers: th.Tensor) -> th.Tensor:
        """See Own."""
        members = th.arange(len(numbers), device=numbers.device)[:, None]
        return self._at(self._origin[numbers], self._directions[members, numbers])

    def _at(self, origin: th.Tensor, directions: th.Tensor) -> th.Tensor:
        return (origin + self._steps * directions).to(self._dtype)


class Held(Own):
    """Entries in memory.

    Args:
        block: the parameter.
        entries: [p, *shape].
    """

    def __init__(self, block: Block, entries: th.Tensor) -> None:
        self.block, self._entries = block, entries

    def slabs(self) -> Iterator[tuple[slice, th.Tensor]]:
        """See Own."""
        yield slice(0, self.block.shape[0]), self._entries

    def rows(self, numbers: th.Tensor) -> th.Tensor:
        """See Own."""
        return self._entries[:, numbers]

    def own_rows(self, numbers: th.Tensor) -> th.Tensor:
        """See Own."""
        return self._entries[th.arange(len(numbers), device=numbers.device)[:, None], numbers]

    def whole(self) -> th.Tensor:
        """See Own."""
        return self._entries


class Drawn(Own):
    """centre + steps · full-rank noise, which is drawn again for every use.

    Args:
        block: the parameter.
        index: its number.
        centre: the live tensor.
        noise: its directions.
        directions: int64 [p], the direction of each member.
        steps: [p].
    """

    def __init__(
        self, block: Block, index: int, centre: th.Tensor, noise: Noise, directions: th.Tensor, steps: th.Tensor
    ) -> None:
        self.block, self._index, self._centre, self._noise = block, index, centre, noise
        self._directions, self._which = th.unique(directions, return_inverse=True)
        self._steps = steps.view(-1, *[1] * len(block.shape))

    def slabs(self) -> Iterator[tuple[slice, th.Tensor]]:
        """See Own."""
        yield from self._slabs(None)

    def rows(self, numbers: th.Tensor) -> th.Tensor:
        """See Own."""
        found = []
        for slab, values in self._slabs(set((numbers // self.block.slab_rows).tolist())):
            here = numbers[(numbers >= slab.start) & (numbers < slab.stop)]
            found.append(values[:, here - slab.start])
        return th.cat(found, 1)

    def own_rows(self, numbers: th.Tensor) -> th.Tensor:
        """See Own."""
        found = self._centre.new_empty(*numbers.shape, *self.block.shape[1:])
        for slab, values in self._slabs(set((numbers // self.block.slab_rows).flatten().tolist())):
            members, places = ((numbers >= slab.start) & (numbers < slab.stop)).nonzero(as_tuple=True)
            found[members, places] = values[members, numbers[members, places] - slab.start]
        return found

    def _slabs(self, wanted: set[int] | None) -> Iterator[tuple[slice, th.Tensor]]:
        device = self._centre.device
        drawing = [self._noise.slabs(self._index, self.block, d, device, wanted) for d in self._directions.tolist()]
        for pieces in zip(*drawing, strict=True):
            rows = pieces[0][0]
            centre = self._centre[rows]
            directions = pieces[0][1] if len(pieces) == 1 else th.stack([z for _, z in pieces])[self._which]
            yield rows, (centre + self._steps * directions).to(centre.dtype)


class Members(ABC):
    """The changes that the members of a population make."""

    @abstractmethod
    def changes(self, members: slice) -> list[Change]:
        """Return one change per block for a slice of members."""

    @staticmethod
    def of(
        population: Population, blocks: Sequence[Block], live: Sequence[th.Tensor], origin: Sequence[th.Tensor]
    ) -> Members:
        """Return the changes of a population over parameters.

        Args:
            population: dense vectors, which are displacements from `origin` in units of the blocks; or members around
                `live`.
            blocks: the parameters.
            live: the live parameters.
            origin: the parameters at the zero vector.

        Raises:
            ValueError: the members are around tensors other than the live ones.
        """
        if isinstance(population, Perturbed):
            if not all(a is b for a, b in zip(population.centre, live, strict=True)):
                raise ValueError("the members lie around tensors that are not this search space's tensors()")
            return _Around(population)
        assert isinstance(population, Dense), f"a population over parameters cannot be a {type(population).__name__}"
        return _Vectors(population.members, blocks, origin, [tensor.dtype for tensor in live])


class _Vectors(Members):
    def __init__(
        self, vectors: th.Tensor, blocks: Sequence[Block], origin: Sequence[th.Tensor], dtypes: Sequence[th.dtype]
    ) -> None:
        self._vectors, self._blocks, self._origin, self._dtypes = vectors, blocks, origin, dtypes

    def changes(self, members: slice) -> list[Change]:
        parts = th.split(self._vectors[members], [block.size for block in self._blocks], 1)
        return [
            Displaced(block, origin, part.view(-1, *block.shape), block.scale, dtype)
            for block, origin, part, dtype in zip(self._blocks, self._origin, parts, self._dtypes, strict=True)
        ]


class _Around(Members):
    """Factors and vectors of all directions are drawn once and kept while a population is evaluated.

    The tensors that are not matrices form one long vector, so that their entries are computed together for all members.
    """

    def __init__(self, population: Perturbed) -> None:
        self._population, noise, directions = population, population.noise, population.directions
        self._factors: dict[int, tuple[th.Tensor, th.Tensor]] = {}
        self._beside: list[int] = []
        drawn = []
        for index, (block, centre) in enumerate(zip(population.blocks, population.centre, strict=True)):
            if noise.is_low_rank(block):
                self._factors[index] = noise.factors(index, block, directions, centre.device)
            elif noise.rank is not None:
                self._beside.append(index)
                drawn.append(noise.beside(index, block, directions, centre.device).flatten(1))
        if drawn:
            vectors = th.cat(drawn, 1)  # [directions, D]
            self._centre = th.cat([population.centre[index].flatten() for index in self._beside])  # [D]
            scales = [population.sigma * population.blocks[index].scale for index in self._beside]
            sizes = th.tensor([population.blocks[index].size for index in self._beside])
            self._steps = vectors.mul_(th.tensor(scales).repeat_interleave(sizes).to(vectors.device))  # [directions, D]

    def changes(self, members: slice) -> list[Change]:
        population = self._population
        directions, sides = population.direction[members], population.side[members]
        device = population.centre[0].device
        sides, here = upload(sides, device), upload(directions, device)
        factors_of: th.Tensor | slice = here
        if population.pattern == PAIRS and members.start % 2 == len(directions) % 2 == 0:  # a pair shares its factors
            factors_of = slice(members.start // 2, members.stop // 2)
        held = self._held(factors_of, sides)
        changes: list[Change] = []
        for index, (block, centre) in enumerate(zip(population.blocks, population.centre, strict=True)):
            steps = sides * (population.sigma * block.scale)
            if index in self._factors:
                A, B = (factor[factors_of].to(centre.dtype) for factor in self._factors[index])
                changes.append(LowRank(A, B, steps.to(centre.dtype)))
            elif index in held:
                changes.append(held[index])
            else:
                changes.append(Drawn(block, index, centre, population.noise, directions, steps))
        return changes

    def _held(self, directions: th.Tensor | slice, sides: th.Tensor) -> dict[int, Change]:
        """Return the members' entries of the tensors that are not matrices, by index."""
        if not self._beside:
            return {}
        steps = self._steps[directions]  # of each member, or of each pair
        entries = th.addcmul(self._centre, sides.view(len(steps), -1, 1), steps[:, None])
        entries = entries.view(len(sides), -1).to(self._centre.dtype)  # [p, D]
        blocks = [self._population.blocks[index] for index in self._beside]
        parts = th.split(entries, [block.size for block in blocks], 1)
        return {
            index: Held(block, part.view(-1, *block.shape))
            for index, block, part in zip(self._beside, blocks, parts, strict=True)
        }
