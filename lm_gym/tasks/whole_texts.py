"""Encoding of whole texts, or pairs of texts, in a template."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lm_gym import ragged
from lm_gym.data.columns import TextsColumn
from lm_gym.data.fields import SECOND, WORDS
from lm_gym.tasks.encoded import WordTable, expand, lay_out
from lm_gym.tasks.templates import Template, Texts

if TYPE_CHECKING:
    from lm_gym.data import Corpus
    from lm_gym.tokenizer import TextTokenizer

TEXT = replace(
    WORDS, columns=(*WORDS.columns, "sentence1", "text1", "premise", "question1", "headline", "title", "review")
)


def text_names(corpus: Corpus) -> tuple[str, ...]:
    """Return the names of a record's texts in templates."""
    return ("text", SECOND.name) if SECOND.name in corpus.columns else ("text",)


def texts_of(corpus: Corpus, index: int) -> dict[str, list[str]]:
    """Return the words of a text, and of the second text of a pair, by name."""
    texts = {"text": corpus.text(index)}
    second = corpus.columns.get(SECOND.name)
    if second is not None:
        assert isinstance(second, TextsColumn)  # of one item each
        texts[SECOND.name] = second.of(index)[0]
    return texts


def words_of(corpus: Corpus, index: int) -> list[str]:
    """Return the words of a text, or those of both texts of a pair with a bar between them, for display."""
    return [word for words in texts_of(corpus, index).values() for word in [*words, "|"]][:-1]


def encode_in_template(
    corpus: Corpus, table: WordTable, tokenizer: TextTokenizer, template: Template, max_length: int, room: int
) -> tuple[NDArray[np.integer], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Encode the texts of a corpus in a template; texts that are too long lose their ends.

    Args:
        corpus: the texts.
        table: the ids of its vocabulary.
        tokenizer: the tokenizer.
        template: the template.
        max_length: maximum number of sub-tokens of a text, including special tokens.
        room: the same without special tokens (see `Task.room`).

    Returns:
        Framed ids, flat; the length of each text, int64 [N]; the position of the decision in each (see
        `Template.fill`), int64 [N]; and which texts were cut, bool [N].

    Raises:
        ValueError: `max_length` leaves no room for a text next to the template.
    """
    least = max_length - room + template.literal + len(template.names)
    if max_length < least:
        raise ValueError(f"max_length={max_length} leaves no room next to the template: give at least {least}")
    parts = [_encode_chunk(corpus, table, tokenizer, template, room, *c) for c in ragged.chunks(corpus.offsets)]
    ids, lengths, places, cut = (np.concatenate(part) for part in zip(*parts, strict=True))
    return ids, lengths, places, cut


def _encode_chunk(
    corpus: Corpus, table: WordTable, tokenizer: TextTokenizer, template: Template, room: int, first: int, last: int
) -> tuple[NDArray[np.integer], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Encode texts first … last - 1."""
    texts = {"text": _expanded(table, corpus.words, corpus.offsets[first : last + 1])}
    if SECOND.name in corpus.columns:
        second = corpus.columns[SECOND.name]
        assert isinstance(second, TextsColumn)  # of one item each
        texts[SECOND.name] = _expanded(table, second.words, second.item_offsets[first : last + 1])
    filled, place, cut = template.fill(texts, room)
    framed = lay_out(filled.flat, filled.lengths, tokenizer)
    return framed, filled.lengths + tokenizer.frame, place, cut


def _expanded(table: WordTable, words: NDArray[np.int32], offsets: NDArray[np.int64]) -> Texts:
    """Return the sub-tokens of the texts that start at `offsets`."""
    own = words[offsets[0] : offsets[-1]]
    return Texts(expand(table, own), ragged.sums(table.counts[own], offsets - offsets[0]))
