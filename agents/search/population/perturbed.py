"""Members around a centre, whose noise is regenerated from counters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch as th

from lm_gym.agents.search.population.domain import Block
from lm_gym.agents.search.population.noise import Noise
from lm_gym.agents.search.population.population import Population, check_units


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
