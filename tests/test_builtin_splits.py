"""The builtin puzzles, headlines and conversations are unchanged, and their splits share nothing."""

import hashlib
import itertools
import json
import re
from collections import Counter

import numpy as np
import pytest

from lm_gym.builtin.headlines import AMOUNTS, SENTIMENTS, SUBJECTS, HeadlineMaker, headline_splits, templates
from lm_gym.builtin.names import SPLITS, own_words
from lm_gym.builtin.puzzles import arithmetic_splits, num_solutions, sudoku_class, sudoku_grids, sudoku_splits
from lm_gym.builtin.replies import reply_splits, sentences

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
    for one, other in itertools.combinations(pairs.values(), 2):
        assert not one & other


REPLIES_SHA256 = "2b8be8f3c631c4f23b615d2f02a28fe590f2ede081ab8ef2e35e3b8f992b2107"


@pytest.fixture(scope="module")
def conversations():
    return reply_splits()


def test_the_conversations_are_unchanged(conversations):
    assert hashlib.sha256(json.dumps(conversations).encode()).hexdigest() == REPLIES_SHA256


def test_there_are_forty_intents_and_more(conversations):
    intents, _ = sentences()
    assert len(intents) >= 40
    for rows in conversations.values():
        assert {row["intent"] for row in rows} == set(intents)
    for intent in intents.values():
        assert len(intent.messages) == 6
        assert all(re.search(r"{(product|order|date)}", reply) for reply in intent.replies)


def test_splits_share_no_wording_and_no_product():
    intents, lists = sentences()
    for lines in ([*lists.values()], [intent.messages for intent in intents.values()]):
        for own in lines:
            parts = [set(own_words(own, split)) for split in SPLITS]
            assert all(parts)
            assert not (parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2])


def test_replies_differ_by_one_slot(conversations):
    products = "|".join(sentences()[1]["products"])

    def blank(reply):
        return re.sub(rf"{products}|\d{{4}}|\d+ [A-Z][a-z]+", "_", reply)

    near = sum(
        len({blank(reply) for reply in row["candidates"]}) < len(row["candidates"]) for row in conversations["train"]
    )
    assert near > 0.2 * len(conversations["train"])
    assert sum(bool(row["turns"]) for row in conversations["train"]) > 0.3 * len(conversations["train"])


HEADLINES_SHA256 = "46df1084fe3baf02bb7ab9689580d8550488a57b84beed75bb43b3ba08f4038c"


@pytest.fixture(scope="module")
def headlines():
    return headline_splits()


def test_the_headlines_are_unchanged(headlines):
    assert hashlib.sha256(json.dumps(headlines).encode()).hexdigest() == HEADLINES_SHA256
    assert {split: len(rows) for split, rows in headlines.items()} == {"train": 8000, "validation": 500, "test": 500}


def test_labels_are_balanced(headlines):
    for rows in headlines.values():
        for key, kinds in (("sentiment", SENTIMENTS), ("topic", SUBJECTS)):
            counts = Counter(row[key] for row in rows)
            assert set(counts) == set(kinds)
            assert min(counts.values()) > 0.9 * len(rows) / len(kinds)


PAIRS = [("train", "validation"), ("train", "test"), ("validation", "test")]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_splits_share_no_template_and_no_company(one, other):
    lines, companies = (
        [set(made(split)) for split in (one, other)]
        for made in (
            lambda split: [line for kind, found in templates(split).items() if kind != "joined" for line in found],
            lambda split: HeadlineMaker(split).companies,
        )
    )
    for first, second in (lines, companies):
        assert min(len(first), len(second)) >= 15
        assert not first & second


@pytest.mark.parametrize("split", SPLITS)
def test_splits_share_no_pattern_of_a_number(split, headlines):
    patterns = {
        of: "|".join(
            rf"(?<!\S){re.escape(pattern.format(a='@', b='@')).replace('@', '[0-9]+')}(?!\S)" for pattern in found
        )
        for of, found in AMOUNTS.items()
    }
    for row in headlines[split]:
        assert not re.search(r"\d", re.sub(patterns[split], "", row["text"])), row
        assert not any(re.search(patterns[other], row["text"]) for other in SPLITS if other != split), row
