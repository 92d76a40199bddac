"""Texts as flat ragged arrays of sub-token ids, and the way there from a corpus."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm_gym.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from lm_gym.data import Corpus

_SAMPLE = 64  # texts encoded whole, to check that words encode independently of one another


class Cut(NamedTuple):
    """What `max_length` removed.

    Attributes:
        texts: texts longer than `max_length`.
        positions: positions that were dropped with what stood beyond it.
    """

    texts: int
    positions: int


@dataclass(frozen=True, eq=False)
class Encoded:
    """One split, encoded. Text i has ids[offsets[i]:offsets[i + 1]], special tokens included.

    Attributes:
        ids: uint16 or int32 [S], sub-token ids.
        offsets: int64 [N + 1].
        counts: int32 [N], positions of each text.
        cut: what `max_length` removed.
        position_offsets: int64 [N + 1] where positions are fixed, else None.
        positions: uint16 or int32 [P], index of each position in its text's ids, or None where drawn anew.
        targets: int16 or wider [P], the gold choices, or None where drawn anew.
        fixed: bool [S], sub-tokens that never become positions, or None if there are none.
        mean_positions: positions in one pass over the texts on average, where their number is drawn anew; else None.
    """

    ids: NDArray[np.integer]
    offsets: NDArray[np.int64]
    counts: NDArray[np.int32]
    cut: Cut
    position_offsets: NDArray[np.int64] | None = None
    positions: NDArray[np.integer] | None = None
    targets: NDArray[np.integer] | None = None
    fixed: NDArray[np.bool_] | None = None
    mean_positions: int | None = None

    @property
    def num_texts(self) -> int:
        """Number of texts."""
        return len(self.offsets) - 1

    @cached_property
    def max_tokens(self) -> int:
        """Sub-tokens in the longest text, special tokens included."""
        return int(np.diff(self.offsets).max(initial=0))

    @cached_property
    def max_positions(self) -> int:
        """Positions in the text that has most."""
        return int(self.counts.max(initial=0))

    @cached_property
    def num_positions(self) -> int:
        """Positions in one pass over all the texts."""
        return self.mean_positions or int(self.counts.sum(dtype=np.int64))


class WordTable(NamedTuple):
    """The sub-token ids of every distinct word: word w is ids[offsets[w]:offsets[w + 1]]."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    counts: NDArray[np.int32]

    @classmethod
    def build(cls, corpus: "Corpus", tokenizer: TextTokenizer) -> "WordTable":
        """Encode each distinct word of a corpus once.

        Raises:
            ValueError: if words don't encode independently of one another under this tokenizer.
        """
        ids, offsets = tokenizer.encode_words(corpus.vocabulary)
        table = cls(ids, offsets, np.diff(offsets).astype(np.int32))
        table._check(corpus, tokenizer)
        return table

    def _check(self, corpus: "Corpus", tokenizer: TextTokenizer) -> None:
        """Compare a sample of texts with encoding each of them whole."""
        num_texts = len(corpus.offsets) - 1
        for text in np.unique(np.linspace(0, num_texts - 1, _SAMPLE).astype(np.int64)) if num_texts else ():
            words = corpus.words[corpus.offsets[text] : corpus.offsets[text + 1]]
            ours = np.concatenate([self.ids[self.offsets[w] : self.offsets[w + 1]] for w in words])
            strings = [corpus.vocabulary[w] for w in words]
            whole = tokenizer.encode_text(strings)
            replaced = any(
                tokenizer.unknown in self.ids[self.offsets[w] : self.offsets[w + 1]] for w in words
            )  # words that give no token, or the literal unknown word, are ours to replace
            if not replaced and whole != ours.tolist():
                raise ValueError(
                    f"the tokenizer {tokenizer.source} encodes words differently inside a text than alone (text "
                    f"{text}: {' '.join(strings)[:80]!r} gives {whole[:8]}, its words give {ours[:8].tolist()}): "
                    "take one that splits a text into words first (WordPiece, byte-level BPE, Unigram with Metaspace)"
                )


def id_type(size: int) -> type[np.uint16] | type[np.int32]:
    """The narrowest of uint16 and int32 that holds range(size)."""
    return np.uint16 if size < 65_536 else np.int32


def expand(table: WordTable, words: NDArray[np.int32]) -> NDArray[np.int32]:
    """Concatenate the ids of words, int32 [S]."""
    counts = table.counts[words].astype(np.int64)
    ends = np.cumsum(counts)
    shift = np.repeat(table.offsets[words] - (ends - counts), counts)
    return np.asarray(table.ids[shift + np.arange(len(shift))], np.int32)


def lay_out(flat: NDArray[np.int32], lengths: NDArray[np.int64], tokenizer: TextTokenizer) -> NDArray[np.integer]:
    """Put the special tokens around ragged texts.

    Args:
        flat: int32 [sum(lengths)], content ids.
        lengths: int64 [N], content ids of each text.
        tokenizer: where the special tokens come from.

    Returns:
        uint16 or int32 [sum(lengths) + N * frame].
    """
    opening, closing = len(tokenizer.prefix), len(tokenizer.suffix)
    ends = np.cumsum(lengths + opening + closing)
    starts = ends - lengths - opening - closing
    out = np.empty(int(ends[-1]) if len(ends) else 0, id_type(tokenizer.size))
    shift = np.repeat(starts + opening - (np.cumsum(lengths) - lengths), lengths)
    out[shift + np.arange(len(flat))] = flat
    for index, id_ in enumerate(tokenizer.prefix):
        out[starts + index] = id_
    for index, id_ in enumerate(tokenizer.suffix):
        out[ends - closing + index] = id_
    return out
