"""Candidates from a bank of replies, selected by BM25, including the right reply."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from gymnasium import logger
from numpy.typing import NDArray

from lm_gym import ragged
from lm_gym.data import load_dataset
from lm_gym.data.columns import NumbersColumn, TextsColumn
from lm_gym.data.fields import CANDIDATES, RELEVANCE, WORDS
from lm_gym.hashing import mix
from lm_gym.tasks.bm25 import BM25
from lm_gym.tasks.candidates import context_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lm_gym.data import Dataset

Reply = tuple[str, ...]  # its words
IN_BANK = replace(WORDS, columns=("reply", "response", *WORDS.columns))
_ORDER = 0xBA  # key of the order of candidates


@dataclass(frozen=True)
class Message:
    """A message and the turns before it, oldest first."""

    text: str
    turns: tuple[str, ...] = ()


def read_bank(source: str) -> list[Reply]:
    """Read the distinct replies of a bank, in order; a warning counts the others.

    Args:
        source: a file with one reply per line or record (see `lm_gym.load_dataset`).

    Raises:
        DataError: the bank cannot be read.
    """
    splits = load_dataset(source, fields=(IN_BANK,), text_column=None).splits.values()
    replies = [tuple(corpus.text(number)) for corpus in splits for number in range(len(corpus))]
    distinct = [*dict.fromkeys(replies)]
    if len(distinct) < len(replies):
        logger.warn(f"{len(replies) - len(distinct)} of {len(replies)} replies of {source} are duplicates: left out")
    return distinct


def with_candidates(dataset: Dataset, right: Mapping[str, Sequence[Reply]] | None, bank: str, k: int) -> Dataset:
    """Return a dataset whose candidates come from a bank: for each text the k replies with the highest BM25 scores.

    If BM25 does not find the right reply of a text, it replaces the last candidate; a warning counts these texts. The
    order of candidates is random, but the same in every run.

    Args:
        dataset: texts.
        right: the right reply of each text, by split; None for texts to predict, whose candidates all have relevance 0.
        bank: see `read_bank`.
        k: number of candidates.
    """
    replies = read_bank(bank)
    index, number = BM25(replies), {reply: i for i, reply in enumerate(replies)}
    known = {word: i for i, word in enumerate(dataset.vocabulary)}
    for word in chain.from_iterable(replies):
        known.setdefault(word, len(known))
    vocabulary = tuple(known)
    splits = {}
    for split, corpus in dataset.splits.items():
        queries = [context_words(corpus, text) for text in range(len(corpus))]
        found = index.best(queries, min(k, len(replies)))
        own: Sequence[Reply] = [()] * len(corpus) if right is None else right[split]
        answers = np.zeros(found.shape, np.bool_)
        if right is not None:
            answers = _with_answers(split, found, np.array([number.get(reply, -1) for reply in own]))
        order = np.argsort(mix(_ORDER, np.arange(len(found))[:, None], np.arange(found.shape[1])), axis=1)
        chosen, answers = np.take_along_axis(found, order, axis=1), np.take_along_axis(answers, order, axis=1)
        texts = [replies[i] if i >= 0 else reply for row, reply in zip(chosen, own, strict=True) for i in row]
        offsets = ragged.to_offsets(np.full(len(corpus), found.shape[1]))
        columns = {
            **corpus.columns,
            CANDIDATES.name: as_column(texts, offsets, known, vocabulary),
            RELEVANCE.name: NumbersColumn("numbers", offsets, answers.ravel().astype(np.float64)),
        }
        splits[split] = replace(corpus, vocabulary=vocabulary, columns=columns)
    return replace(dataset, splits=splits)


def _with_answers(split: str, found: NDArray[np.int64], gold: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Put the right reply of each text in the last place if BM25 has not found it; return where it is, bool [N, k].

    Args:
        split: name of the split.
        found: int64 [N, k], numbers of replies, changed in place.
        gold: int64 [N], the number of the right one; -1 if the bank lacks it.
    """
    missed = ~(found == gold[:, None]).any(1)
    if missed.any():
        logger.warn(
            f"{split}: BM25 does not find the right reply of {int(missed.sum())} of {len(found)} texts among its "
            f"{found.shape[1]} best; it takes the last place there"
        )
    found[missed, -1] = gold[missed]
    same = found == gold[:, None]
    return np.asarray(same & (np.cumsum(same, 1) == 1))


def as_column(
    texts: Sequence[Sequence[str]], offsets: NDArray[np.int64], known: dict[str, int], vocabulary: tuple[str, ...]
) -> TextsColumn:
    """Return a column of texts, given as words, by the numbers of words in a vocabulary."""
    words = np.array([known[word] for text in texts for word in text], np.int32)
    item_offsets = ragged.to_offsets(np.array([len(text) for text in texts]))
    return TextsColumn("texts", offsets, words, item_offsets, vocabulary)
