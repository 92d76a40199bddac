"""The base class of tasks that choose among candidates in the text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lm_gym import ragged
from lm_gym.data.columns import NumbersColumn, TextsColumn
from lm_gym.data.errors import TextError
from lm_gym.data.fields import CANDIDATES, RELEVANCE, TURNS
from lm_gym.tasks.baseline import Batch, Prediction, by_scores
from lm_gym.tasks.candidate_texts import Layout, candidates_of, encode_candidates
from lm_gym.tasks.encoded import Cut, Encoded, Source, id_type
from lm_gym.tasks.fixed import FixedPositions
from lm_gym.tasks.task import HeadKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from lm_gym.data import Corpus
    from lm_gym.tokenizer import TextTokenizer

OFFERED = replace(CANDIDATES, required=False)
GRADED = replace(RELEVANCE, required=False)


class AmongCandidates(FixedPositions):
    """Base class of tasks whose choices are the candidates of each text, and perhaps to abstain.

    The prepared corpus has the columns `candidates` and `relevance`. Options have `head`, `marker`, `abstain` and
    `similarity`.
    """

    gold = frozenset({"choice", "relevance"})
    head: HeadKind = "pointer"
    ranked = True

    def __init__(self, encoded: Encoded, tokenizer: TextTokenizer, *arguments: Any) -> None:
        super().__init__(encoded, tokenizer, *arguments)
        self.head = self.options.head
        self._layout = self.layout(tokenizer, self.options)
        self.candidates = candidates_of(self.corpus)
        self._relevance = ragged.with_margin(relevance_of(self.corpus).values, self.shape.choices)

    @classmethod
    def layout(cls, tokenizer: TextTokenizer, options: Any) -> Layout:
        """Return the layout of texts."""
        return Layout.of(tokenizer, options.marker, options.abstain, apart=options.head == "similarity")

    @classmethod
    def choices(
        cls, corpus: Corpus, tokenizer: TextTokenizer, *, options: Any = None
    ) -> tuple[int, tuple[str, ...] | None]:
        """Return the largest number of candidates, and one more for abstaining; they have no names."""
        abstain = options is not None and options.abstain
        return int(candidates_of(corpus).lengths.max()) + abstain, None

    @classmethod
    @abstractmethod
    def gold_of(cls, corpus: Corpus, options: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the number of positions of each text, int64 [N], and the gold choices of all positions, text by text.

        Args:
            corpus: a prepared split.
            options: of the task.
        """

    @classmethod
    def encode_labelled(cls, source: Source) -> Encoded:
        """Encode a prepared split; the last tokens of a text are its positions.

        Raises:
            ValueError: the candidates of a text are too long, or the tokenizer has no marker.
        """
        corpus, tokenizer, _, room, table, options = source
        layout = cls.layout(tokenizer, options)
        ids, lengths, cut, longest = encode_candidates(corpus, table, layout, room)
        counts, targets = cls.gold_of(corpus, options)
        offsets = ragged.to_offsets(counts)
        before_end = np.repeat(offsets[1:], counts) - np.arange(int(offsets[-1]))
        return Encoded(
            ids,
            ragged.to_offsets(lengths),
            counts.astype(np.int32),
            Cut(int(cut.sum()), 0),
            offsets,
            (np.repeat(lengths, counts) - before_end).astype(id_type(int(lengths.max()))),
            targets,
            part=longest if layout.apart else None,
        )

    @property
    def policy_arguments(self) -> dict[str, Any]:
        """Return the head, and how it finds the candidates in a text."""
        pointer: dict[str, Any] = {"marker": self._layout.marker, "abstains": self._layout.abstains}
        if self._layout.apart:
            frame = {"prefix": [*self.tokenizer.prefix], "suffix": [*self.tokenizer.suffix]}
            pointer |= {**frame, "longest": self.encoded.part}
        else:
            pointer["similarity"] = self.options.similarity
        return {"head": self.head, "pointer": pointer}

    @property
    def abstention(self) -> int | None:
        """Choice 0 if `abstain` is True."""
        return 0 if self.options.abstain else None

    def allowed(self, texts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return the choices that texts have, bool [R, n]."""
        counts = self.candidates.lengths[texts] + self.options.abstain
        return np.asarray(np.arange(self.shape.choices) < counts[:, None])

    def gains(self, texts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the relevance of each choice, float64 [R, n]; 0 for abstaining and for choices that a text lacks."""
        first = int(self.options.abstain)
        places = self.candidates.offsets[texts][:, None] + np.arange(self.shape.choices - first)
        there = np.arange(self.shape.choices - first) < self.candidates.lengths[texts][:, None]
        gains = np.zeros((len(texts), self.shape.choices))
        gains[:, first:] = np.where(there, self._relevance[places], 0.0)
        return gains

    def choice_keys(self) -> Sequence[str]:
        """Return the numbers of the candidates from 1, and "abstain"."""
        first = int(self.options.abstain)
        return ["abstain"] * first + [str(number) for number in range(1, self.shape.choices - first + 1)]

    def choice_words(self, text: int, choice: int) -> list[str] | None:
        """Return the words of the candidate that a choice names; None for abstaining and for other numbers."""
        found = self.candidates.of(text)
        number = choice - self.options.abstain
        return found[number] if 0 <= number < len(found) else None

    def candidate_text(self, text: int, choice: int) -> str | None:
        """Return the candidate that a choice names as a string (see `choice_words`)."""
        words = self.choice_words(text, choice)
        return None if words is None else " ".join(words)

    def shown_words(self, text: int) -> list[str]:
        """Return the words of a text for display: its context, with bars between turns, and numbered candidates."""
        words = [word for turn in context_of(self.corpus, text) for word in (*turn, "|")][:-1]
        for number, candidate in enumerate(self.candidates.of(text), 1):
            words += [f"[{number}]", *candidate]
        return words


def relevance_of(corpus: Corpus) -> NumbersColumn:
    """Return the relevance of the candidates of a prepared corpus."""
    column = corpus.columns[RELEVANCE.name]
    assert isinstance(column, NumbersColumn)
    return column


def check_candidates(split: str, corpus: Corpus) -> None:
    """Check the candidates and their relevance.

    Raises:
        DataError: a text has no candidates, two candidates of a text are the same, or a relevance is negative.
    """
    column = candidates_of(corpus)
    refuse_empty(split, column)
    keys = item_keys(column)
    owner = np.repeat(np.arange(len(corpus)), column.lengths)
    pairs = np.unique(np.stack([owner, keys]), axis=1, return_counts=True)
    if (pairs[1] > 1).any():
        text = int(pairs[0][0, pairs[1] > 1][0])
        raise TextError(split, text, "two candidates are the same: list each once")
    graded = relevance_of(corpus)
    if (graded.values < 0).any():
        first = int(np.flatnonzero(graded.values < 0)[0])
        raise TextError(split, int(owner[first]), f"relevance {graded.values[first]:g}: give 0 or more")


def refuse_empty(split: str, candidates: TextsColumn) -> None:
    """Raise DataError if a text has no candidates."""
    if not candidates.lengths.all():
        empty = int(np.flatnonzero(candidates.lengths == 0)[0])
        raise TextError(split, empty, "the list of candidates is empty: give at least one, or drop the text")


def item_keys(column: TextsColumn) -> NDArray[np.int64]:
    """Return a number for each item, int64 [M], that is the same for items of the same words."""
    numbers: dict[bytes, int] = {}
    ends = column.item_offsets * column.words.itemsize
    data = np.ascontiguousarray(column.words).tobytes()
    return np.array([numbers.setdefault(data[a:b], len(numbers)) for a, b in pairwise(ends)], np.int64)


def best_candidates(corpus: Corpus) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the first most relevant candidate of each text, int64 [N], and whether it is relevant, bool [N]."""
    column = relevance_of(corpus)
    best = by_relevance(corpus)[column.offsets[:-1]]
    return best, column.values[column.offsets[:-1] + best] > 0


def by_relevance(corpus: Corpus) -> NDArray[np.int64]:
    """Return the candidates of each text by relevance, the most relevant first, int64 [M]; ties in their order."""
    column = relevance_of(corpus)
    texts = np.repeat(np.arange(len(corpus)), column.lengths)
    order = np.lexsort((np.arange(len(texts)), -column.values, texts))
    return np.asarray(order - column.offsets[:-1][texts])


def ungraded(corpus: Corpus) -> Corpus:
    """Return texts to predict with a relevance of 0 for each candidate."""
    candidates = candidates_of(corpus)
    nothing = NumbersColumn("numbers", candidates.offsets, np.zeros(len(candidates.item_offsets) - 1))
    return replace(corpus, columns={**corpus.columns, RELEVANCE.name: nothing})


def context_of(corpus: Corpus, text: int) -> list[list[str]]:
    """Return the words of the turns before a text, and of the text."""
    turns = corpus.columns.get(TURNS.name)
    return [*(turns.of(text) if isinstance(turns, TextsColumn) else []), corpus.text(text)]


def context_words(corpus: Corpus, text: int) -> list[str]:
    """Return the words of a text and of the turns before it."""
    return [word for turn in context_of(corpus, text) for word in turn]


def scored(task: AmongCandidates, score: Callable[[int], NDArray[np.float64]]) -> Callable[[Batch], Prediction]:
    """Return a predictor of the candidate with the highest score.

    Args:
        task: the task.
        score: maps a text to the scores of its candidates.
    """
    first = int(task.options.abstain)

    def predict(batch: Batch) -> Prediction:
        table = np.full((len(batch.text_index), task.shape.choices), -np.inf)
        for row, text in enumerate(batch.text_index.tolist()):
            scores = score(text)
            table[row, first : first + len(scores)] = scores
        table[:, :first] = np.where(np.isfinite(table).any(1), table[:, first:].min(1, initial=0.0) - 1e9, 0.0)[:, None]
        return by_scores(np.broadcast_to(table[:, None], (*batch.targets.shape, table.shape[1])), batch.targets)

    return predict
