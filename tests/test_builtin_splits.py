"""The builtin puzzles, headlines and conversations are unchanged, and their splits share nothing."""

import hashlib
import itertools
import json

import numpy as np
import pytest

from lm_gym.builtin.puzzles import arithmetic_splits, num_solutions, sudoku_class, sudoku_grids, sudoku_splits

PUZZLES_SHA256 = "b4a1de2a29159a49a43077b45b1716e164a12989ce52171be51bab8bd27837b3"


@pytest.fixture(scope="module")
def sudoku():
    return sudoku_splits()


def test_puzzles_are_what_they_were(sudoku):
    text = json.dumps([sudoku, arithmetic_splits()], sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == PUZZLES_SHA256


def test_every_sudoku_has_one_solution(sudoku):
    assert sudoku_grids().shape == (288, 16)
    for split in sudoku.values():
        for puzzle in split:
            assert num_solutions([int(digit) for digit in puzzle["tokens"]], puzzle["clues"]) == 1
            assert 4 <= len(puzzle["clues"]) <= 12


def test_splits_share_no_grid_up_to_symmetry(sudoku):
    classes = {
        split: {sudoku_class(np.array(grid)) for grid in {tuple(map(int, puzzle["tokens"])) for puzzle in puzzles}}
        for split, puzzles in sudoku.items()
    }
    for one, other in itertools.combinations(classes.values(), 2):
        assert not one & other
    grid = sudoku_grids()[17]
    turned = np.rot90(grid.reshape(4, 4).T).ravel()
    assert sudoku_class(np.array([0, 3, 1, 4, 2])[turned]) == sudoku_class(grid)


def test_sums_are_right_and_no_pair_is_in_two_splits():
    pairs = {}
    for split, sums in arithmetic_splits().items():
        pairs[split] = set()
        for record in sums:
            asked, _, result = "".join(record["tokens"]).partition("=")
            assert sum(map(int, asked.split("+"))) == int(result)
            assert record["clues"] == list(range(len(asked) + 1))
            pairs[split].add(frozenset(asked.split("+")))
    assert not pairs["train"] & pairs["test"]
    assert not pairs["train"] & pairs["validation"]
