"""Encoding of texts that contain candidates, each between markers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lm_gym import ragged
from lm_gym.data import DataError
from lm_gym.data.columns import TextsColumn
from lm_gym.data.errors import TextError
from lm_gym.data.fields import CANDIDATES, TURNS
from lm_gym.tasks.encoded import WordTable, expand, lay_out
from lm_gym.tasks.templates import between

if TYPE_CHECKING:
    from lm_gym.data import Corpus
    from lm_gym.tokenizer import TextTokenizer

_ENDS = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<|im_end|>", "<eos>")  # end-of-text tokens of causal LMs
LEAST = 9  # minimum number of sub-tokens of the context, with its marker, next to the candidates


@dataclass(frozen=True)
class Layout:
    """How texts with candidates are laid out: turns, message, candidates.

    Attributes:
        tokenizer: the tokenizer.
        marker: id of the token behind the message and behind each candidate.
        separator: id of the token behind each turn before the message; None if there is none.
        abstains: whether a last marker, without a candidate, stands for abstaining.
        apart: whether a model reads the parts of a text apart, so that only each of them must fit in `max_length`.
    """

    tokenizer: TextTokenizer
    marker: int
    separator: int | None
    abstains: bool
    apart: bool = False

    @classmethod
    def of(cls, tokenizer: TextTokenizer, marker: str | None, abstains: bool, *, apart: bool = False) -> Layout:
        """Return the layout for a tokenizer.

        Args:
            tokenizer: the tokenizer.
            marker: a token; None: the mask token, or else the end-of-text token.
            abstains: see above.
            apart: see above.

        Raises:
            ValueError: the tokenizer has no such token.
        """
        found = tokenizer.mask
        for name in (marker,) if marker is not None else _ENDS:
            if marker is not None or found is None:
                found = tokenizer.tokenizer.token_to_id(name)
        if found in (*tokenizer.prefix, *tokenizer.suffix):
            raise ValueError(f"the tokenizer {tokenizer.source} frames every text with {marker!r}: name another marker")
        if found is None:
            wanted = f"no token {marker!r}" if marker is not None else "neither a mask nor an end-of-text token"
            raise ValueError(f"the tokenizer {tokenizer.source} has {wanted}: name one of its tokens as marker")
        pair = [id_ for id_ in between(tokenizer) if id_ != found]
        return cls(tokenizer, found, pair[-1] if pair else None, abstains, apart)


def encode_candidates(
    corpus: Corpus, table: WordTable, layout: Layout, room: int
) -> tuple[NDArray[np.integer], NDArray[np.int64], NDArray[np.bool_], int]:
    """Encode texts with their candidates.

    A context that is too long loses its beginning; candidates are never cut.

    Args:
        corpus: texts with a column of candidates.
        table: the ids of its vocabulary.
        layout: see `Layout`.
        room: maximum number of sub-tokens of a text, or of each of its parts, without special tokens.

    Returns:
        Framed ids, flat; the length of each text, int64 [N]; which contexts were cut, bool [N]; and the number of
        sub-tokens in the longest part of a text, with special tokens.

    Raises:
        DataError: candidates are too long, or a text contains the marker.
    """
    _refuse_markers(corpus, table, layout)
    parts = [
        _encode_chunk(corpus.take(np.arange(first, last)), table, layout, room, first)
        for first, last in ragged.chunks(candidates_of(corpus).offsets + corpus.offsets)
    ]
    *arrays, longest = zip(*parts, strict=True)
    ids, lengths, cut = (np.concatenate(array) for array in arrays)
    return ids, lengths, cut, max(longest)


def candidates_of(corpus: Corpus) -> TextsColumn:
    """Return the candidates of a corpus.

    Raises:
        DataError: there are none.
    """
    column = corpus.columns.get(CANDIDATES.name)
    if not isinstance(column, TextsColumn):
        raise DataError("the data has no candidates: give each text a list of them, or a bank to choose them from")
    return column


def _encode_chunk(
    corpus: Corpus, table: WordTable, layout: Layout, room: int, first: int
) -> tuple[NDArray[np.integer], NDArray[np.int64], NDArray[np.bool_], int]:
    texts, candidates = np.arange(len(corpus)), candidates_of(corpus)
    separator = [] if layout.separator is None else [layout.separator]
    items = [_items(table, corpus.words, corpus.offsets, texts, [layout.marker])]
    turns = corpus.columns.get(TURNS.name)
    if isinstance(turns, TextsColumn):
        items.insert(0, _items(table, turns.words, turns.item_offsets, np.repeat(texts, turns.lengths), separator))
    context = sum((np.bincount(i.texts, i.lengths, len(texts)) for i in items), np.zeros(len(texts))).astype(np.int64)
    owner = np.repeat(texts, candidates.lengths)
    choices = _items(table, candidates.words, candidates.item_offsets, owner, [layout.marker])
    items.append(choices)
    if layout.abstains:
        nothing = np.zeros(len(texts) + 1, np.int64)
        items.append(_items(table, np.zeros(0, np.int32), nothing, texts, [layout.marker]))
    flat = np.concatenate([i.flat for i in items])
    text_of, sizes = np.concatenate([i.texts for i in items]), np.concatenate([i.lengths for i in items])
    order = np.argsort(text_of, kind="stable")
    flat = flat[ragged.take_rows(ragged.to_offsets(sizes), order)[0]]
    lengths = np.bincount(text_of, sizes, len(texts)).astype(np.int64)
    frame = layout.tokenizer.frame
    if layout.apart:
        _refuse_long_part(candidates, choices, room, first, frame)
        over = np.maximum(context - room, 0)
    else:
        _refuse_long(candidates, choices.lengths, lengths - context, np.minimum(context, LEAST), room, first, frame)
        over = np.maximum(lengths - room, 0)
    longest = max(int((context - over).max()), int(choices.lengths.max())) + frame
    place = np.arange(len(flat)) - np.repeat(ragged.to_offsets(lengths)[:-1], lengths)
    flat, lengths = flat[place >= np.repeat(over, lengths)], lengths - over
    return lay_out(flat, lengths, layout.tokenizer), lengths + frame, over > 0, longest


@dataclass(frozen=True)
class _Items:
    """Pieces of texts: their sub-tokens, flat; the length and the text of each, int64 [M]."""

    flat: NDArray[np.int32]
    lengths: NDArray[np.int64]
    texts: NDArray[np.int64]


def _items(
    table: WordTable, words: NDArray[np.int32], offsets: NDArray[np.int64], texts: NDArray[np.int64], tail: list[int]
) -> _Items:
    """Expand pieces of words, with `tail`, of at most one token, behind each."""
    lengths = ragged.sums(table.counts[words], offsets)
    flat = np.empty(int(lengths.sum()) + len(tail) * len(lengths), np.int32)
    ends = np.cumsum(lengths + len(tail))
    shift = np.repeat(np.arange(len(lengths)) * len(tail), lengths)
    flat[np.arange(len(shift)) + shift] = expand(table, words)
    for id_ in tail:
        flat[ends - 1] = id_
    return _Items(flat, lengths + len(tail), texts)


def _refuse_long(
    candidates: TextsColumn,
    sizes: NDArray[np.int64],
    needed: NDArray[np.int64],
    least: NDArray[np.int64],
    room: int,
    first: int,
    frame: int,
) -> None:
    """Raise DataError for the first text whose candidates leave no room for its context.

    Args:
        candidates: the candidates of N texts.
        sizes: int64 [M], sub-tokens of each candidate with its marker.
        needed: int64 [N], sub-tokens of all candidates of a text.
        least: int64 [N], sub-tokens of the context that must remain.
        room: maximum number of sub-tokens of a text, without special tokens.
        first: index of the first text.
        frame: number of special tokens.
    """
    wrong = np.flatnonzero(needed + least > room)
    if not wrong.size:
        return
    text = int(wrong[0])
    own = sizes[candidates.offsets[text] : candidates.offsets[text + 1]]
    kept = int((np.cumsum(own) + least[text] <= room).sum())
    named = ", ".join(repr(" ".join(words)[:40]) for words in candidates.of(text)[kept : kept + 3])
    raise TextError(
        None,
        first + text,
        f"its {len(own)} candidates need {needed[text]} sub-tokens and the context at least "
        f"{least[text]}, but max_length leaves {room}: {len(own) - kept} of them do not fit ({named}): raise "
        f"max_length to {needed[text] + least[text] + frame} or more, or give fewer candidates",
    )


def _refuse_long_part(candidates: TextsColumn, choices: _Items, room: int, first: int, frame: int) -> None:
    """Raise DataError for the first candidate that does not fit by itself; `choices` are its sub-tokens."""
    wrong = np.flatnonzero(choices.lengths > room)
    if wrong.size:
        item, size = int(wrong[0]), int(choices.lengths[wrong[0]])
        raise TextError(
            None,
            first + int(choices.texts[item]),
            f"the candidate {' '.join(candidates.item(item))[:40]!r} needs "
            f"{size} sub-tokens, but max_length leaves {room}: raise max_length to {size + frame} or more",
        )


def _refuse_markers(corpus: Corpus, table: WordTable, layout: Layout) -> None:
    """Raise DataError if a word of a text contains the marker."""
    marked = np.repeat(np.arange(len(table.counts)), table.counts)[table.ids == layout.marker]
    if not marked.size:
        return
    name = layout.tokenizer.tokenizer.id_to_token(layout.marker)
    columns = [column for column in corpus.columns.values() if isinstance(column, TextsColumn)]
    for words in (corpus.words, *(column.words for column in columns)):
        if np.isin(words, marked).any():
            raise DataError(f"a text contains {name!r}, which marks candidates: remove it, or name another marker")
