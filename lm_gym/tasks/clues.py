"""Clues: the words of a text that are given, such as the digits of a Sudoku."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lm_gym.data.columns import NumbersColumn
from lm_gym.data.errors import TextError
from lm_gym.data.fields import Field

if TYPE_CHECKING:
    from lm_gym.data import Corpus

CLUES = Field("clues", "numbers", ("clues", "given", "givens"), required=False)


def clue_words(corpus: Corpus) -> NDArray[np.bool_] | None:
    """Return the words of a split that are clues, bool [W]; None if its records have no clues.

    Raises:
        DataError: a clue is not the number of a word of its text.
    """
    clues = corpus.columns.get(CLUES.name)
    if not isinstance(clues, NumbersColumn):
        return None
    texts = np.repeat(np.arange(len(corpus)), clues.lengths)
    wrong = (clues.values < 0) | (clues.values >= np.diff(corpus.offsets)[texts]) | (clues.values % 1 != 0)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        fault = f"the clue {clues.values[first]:g} is not a word of it: clues number the words of their text from 0"
        raise TextError(None, int(texts[first]), fault)
    found = np.zeros(len(corpus.words), np.bool_)
    found[corpus.offsets[texts] + clues.values.astype(np.int64)] = True
    return found
