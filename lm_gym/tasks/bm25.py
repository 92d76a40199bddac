"""BM25, the classical ranking of texts by shared words (Robertson and Zaragoza 2009), through the bm25s package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from lm_gym.tasks.candidates import AmongCandidates, context_words, item_keys, scored

if TYPE_CHECKING:
    from lm_gym.tasks.baseline import Batch, Prediction
    from lm_gym.tasks.task import Task


class BM25:
    """An index of texts.

    Args:
        texts: texts as words; case and punctuation do not matter.
    """

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        import bm25s

        self._index: Any = bm25s.BM25()
        self._index.index([plain(text) for text in texts], show_progress=False)
        self._size = len(texts)

    def scores(self, query: Sequence[str]) -> NDArray[np.float64]:
        """Return the score of every text for a query, float64 [D]."""
        known = [word for word in plain(query) if word in self._index.vocab_dict]
        return np.asarray(self._index.get_scores(known), np.float64) if known else np.zeros(self._size)

    def best(self, queries: Sequence[Sequence[str]], k: int) -> NDArray[np.int64]:
        """Return the k texts with the highest scores for each query, best first, int64 [Q, k]; ties in their order."""
        found = np.empty((len(queries), k), np.int64)
        for row, query in enumerate(queries):
            scores = self.scores(query)
            some = np.argpartition(-scores, k - 1)[:k] if k < len(scores) else np.arange(len(scores))
            found[row] = some[np.lexsort((some, -scores[some]))]
        return found


def plain(words: Sequence[str]) -> list[str]:
    """Return words in lower case, without punctuation around them; the words themselves if nothing else is left."""
    stripped = (word.lower().strip(".,;:!?\"'()[]-") for word in words)
    return [word for word in stripped if word] or list(words)


def bm25_candidates(task: Task) -> Callable[[Batch], Prediction]:
    """Return a predictor of the candidate with the highest BM25 score for its context (see `bm25_scores`)."""
    task = cast(AmongCandidates, task)
    return scored(task, bm25_scores(task))


def bm25_scores(task: AmongCandidates) -> Callable[[int], NDArray[np.float64]]:
    """Return a function that maps a text to the BM25 scores of its candidates for its context.

    The index holds each distinct candidate of the split once.
    """
    column = task.candidates
    keys = item_keys(column)
    _, first, number = np.unique(keys, return_index=True, return_inverse=True)
    index = BM25([column.item(item) for item in first.tolist()])

    def score(text: int) -> NDArray[np.float64]:
        own = number[column.offsets[text] : column.offsets[text + 1]]
        return index.scores(context_words(task.corpus, text))[own]

    return score
