"""Texts with a single right completion: 4×4 Sudoku and sums, generated with a fixed seed.

A record has `tokens`, and `clues`: indices of the words that are given.
"""

from functools import cache
from itertools import permutations, product
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.builtin.names import SPLITS

Record = dict[str, Any]

PUZZLES = {"train": 12, "validation": 4, "test": 8}  # puzzles of each grid
SUMS = {"train": 6_000, "validation": 500, "test": 1_000}
_DIGITS = (1, 2, 3)  # of a summand, at most
_SEED = 4


@cache
def sudoku_grids() -> NDArray[np.int64]:
    """Return all 288 grids, int64 [288, 16]: each row, column and 2×2 box has 1, 2, 3 and 4."""
    lines = np.array(list(permutations((1, 2, 3, 4))))  # [24, 4]
    pairs = np.array([(a, b) for a, b in product(lines, lines) if not {*a[:2]} & {*b[:2]}])  # two rows, boxes right
    grids = np.array([np.concatenate((top, bottom)) for top, bottom in product(pairs, pairs)])  # [9216, 4, 4]
    complete: NDArray[np.bool_] = (np.sort(grids, axis=1) == np.arange(1, 5)[:, None]).all((1, 2))
    solved: NDArray[np.int64] = grids[complete].reshape(-1, 16)
    return solved


def sudoku_class(grid: NDArray[np.int64]) -> tuple[int, ...]:
    """Return a key that two grids [16] share exactly if rotation, reflection and renaming of digits make them equal."""
    square = grid.reshape(4, 4)
    turned = [np.rot90(side, quarter).ravel().tolist() for side in (square, square.T) for quarter in range(4)]
    names: list[dict[int, int]] = [{} for _ in turned]
    return min(tuple(name.setdefault(d, len(name)) for d in digits) for name, digits in zip(names, turned, strict=True))


@cache
def _grids_with() -> dict[tuple[int, int], int]:
    """Return the grids with a digit in a cell, as a number with a bit for each grid, by (cell, digit)."""
    bits = (sudoku_grids()[:, :, None] == np.arange(1, 5)).transpose(1, 2, 0)  # [16, 4, 288]
    return {
        (cell, digit + 1): int("".join(map(str, bits[cell, digit].astype(int))), 2)
        for cell, digit in product(range(16), range(4))
    }


@cache
def grids_of(split: str) -> NDArray[np.int64]:
    """Return the grids of a split, which are whole classes: of 96 grids for train, 48 for validation, 24 for test.

    (Under all symmetries, including permuted rows, there are only two classes, too few for three splits.)
    """
    classes = [sudoku_class(grid) for grid in sudoku_grids()]
    size = {"train": 96, "validation": 48, "test": 24}[split]
    return sudoku_grids()[[classes.count(kind) == size for kind in classes]]


def num_solutions(grid: list[int], clues: list[int]) -> int:
    """Return how many grids have the digits of a grid [16] in these cells."""
    grids, with_digit = (1 << 288) - 1, _grids_with()
    for cell in clues:
        grids &= with_digit[cell, grid[cell]]
    return grids.bit_count()


def sudoku_puzzle(grid: list[int], rng: Random) -> list[int]:
    """Return the clues of a puzzle, ascending: cells are emptied in random order as long as the solution is unique.

    Up to four of these cells are filled again, so that not all puzzles are of the hardest kind.
    """
    clues = list(range(16))
    for cell in rng.sample(clues, 16):
        rest = [clue for clue in clues if clue != cell]
        if num_solutions(grid, rest) == 1:
            clues = rest
    empty = [cell for cell in range(16) if cell not in clues]
    return sorted(clues + rng.sample(empty, rng.randrange(5)))


def sudoku_splits() -> dict[str, list[Record]]:
    """Return puzzles of every grid, each with one solution; a text is the sixteen cells, row by row."""
    splits = {}
    for split in SPLITS:
        rng = Random(f"{_SEED} sudoku {split}")
        splits[split] = [
            {"tokens": [str(digit) for digit in grid], "clues": sudoku_puzzle(grid, rng)}
            for grid in grids_of(split).tolist()
            for _ in range(PUZZLES[split])
        ]
    return splits


def arithmetic_splits() -> dict[str, list[Record]]:
    """Return sums such as 17+25=42, one character per word, with everything before the result given.

    No pair of numbers is in two splits.
    """
    rng = Random(f"{_SEED} arithmetic")
    seen: set[frozenset[int]] = set()
    splits: dict[str, list[Record]] = {}
    for split in reversed(SPLITS):
        splits[split] = []
        while len(splits[split]) < SUMS[split]:
            a, b = (rng.randrange(10 ** rng.choice(_DIGITS)) for _ in range(2))
            if frozenset((a, b)) not in seen:
                seen.add(frozenset((a, b)))
                asked = f"{a}+{b}="
                splits[split].append({"tokens": [*asked, *str(a + b)], "clues": list(range(len(asked)))})
    return splits
