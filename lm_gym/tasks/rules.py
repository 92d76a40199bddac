"""Rules that a finished text obeys or breaks, by name, such as those of Sudoku."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.registry import Registry, UserCodeError
from lm_gym.tokenizer import TextTokenizer

Rule = Callable[[NDArray[np.str_], NDArray[np.int64]], NDArray[np.bool_]]
"""Says which texts are valid.

It gets the tokens of texts as strings, [R, L], "" after the end of a text, and the numbers of their tokens, int64 [R],
and returns bool [R]. A position that is still open has the mask token.
"""


def sudoku(tokens: NDArray[np.str_], lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether each row, column and box of a grid contains each digit once.

    A grid of n × n cells is a text of n² tokens, row by row, with the digits 1 … n; n is a square of at most 9.
    """
    valid = np.zeros(len(tokens), np.bool_)
    for box in (2, 3):
        side = box * box
        rows = np.flatnonzero(lengths == side * side)
        if not len(rows):
            continue
        digits = np.array([str(digit) for digit in range(1, side + 1)])
        cells = tokens[rows, : side * side].reshape(-1, side, side)[..., None] == digits  # [R, row, column, digit]
        boxes = cells.reshape(-1, box, box, box, box, side).sum((2, 4))
        valid[rows] = (cells.sum(1) == 1).all((1, 2)) & (cells.sum(2) == 1).all((1, 2)) & (boxes == 1).all((1, 2, 3))
    return valid


def arithmetic(tokens: NDArray[np.str_], lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether texts such as `17+25=42`, with one character per token, are right sums of two numbers."""
    inside = np.arange(tokens.shape[1]) < lengths[:, None]
    plus, equals, digit = tokens == "+", tokens == "=", np.isin(tokens, list("0123456789"))
    part = plus.cumsum(1) + equals.cumsum(1)  # 0, 1 and 2 of the two summands and the sum
    well_formed = (plus.sum(1) == 1) & (equals.sum(1) == 1) & (plus.argmax(1) < equals.argmax(1))
    well_formed &= (digit | plus | equals | ~inside).all(1)
    numbers = []
    for number in range(3):
        here = digit & (part == number)
        well_formed &= here.any(1)
        after = here.sum(1, keepdims=True) - here.cumsum(1)  # digits of the number that follow
        values = np.where(here, tokens, "0").astype(np.int64).astype(object)  # of any length
        numbers.append((values * 10 ** np.where(here, after, 0).astype(object)).sum(1))
    return np.asarray(well_formed & (numbers[0] + numbers[1] == numbers[2]).astype(np.bool_))


RULES: Registry[Rule] = Registry("rule", {"arithmetic": arithmetic, "sudoku": sudoku})
"""Rules by name."""


def obeys(name: str, tokens: NDArray[np.str_], lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which texts obey a rule, bool [R].

    Args:
        name: its name in `RULES`, or `my_module:my_rule`.
        tokens: [R, L], the tokens as strings.
        lengths: int64 [R].

    Raises:
        UserCodeError: the rule raises, or returns another shape or type.
    """
    rule = RULES.find(name)
    try:
        said: Any = np.asarray(rule(tokens, lengths))
    except Exception as error:
        raise UserCodeError.of(f"rule {name!r}", error) from error
    if said.dtype != np.bool_ or said.shape != lengths.shape:
        raise UserCodeError(
            f"rule {name!r} returned {said.dtype} of shape {said.shape} for {len(lengths)} texts: it must return "
            f"bool of shape {lengths.shape}"
        )
    return np.asarray(said)


def texts_obey(
    name: str, ids: NDArray[np.int64], lengths: NDArray[np.int64], tokenizer: TextTokenizer
) -> NDArray[np.bool_]:
    """Return which encoded texts obey a rule, bool [R].

    Args:
        name: its name in `RULES`, or `my_module:my_rule`.
        ids: int64 [R, L], sub-token ids with special tokens.
        lengths: int64 [R], number of sub-tokens with special tokens.
        tokenizer: the tokenizer of the ids.

    Raises:
        UserCodeError: as in `obeys`.
    """
    start, end = len(tokenizer.prefix), len(tokenizer.suffix)
    inside = np.arange(ids.shape[1]) < (lengths - end)[:, None]
    tokens = np.where(inside, tokenizer.spellings[ids], "")[:, start:]
    return obeys(name, tokens, lengths - start - end)
