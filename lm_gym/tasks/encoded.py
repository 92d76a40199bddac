"""Encoded texts as flat ragged arrays of sub-token ids."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from gymnasium import logger
from numpy.typing import NDArray

from lm_gym.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from lm_gym.data import Corpus

_SAMPLE = 64  # number of texts encoded whole, to check that words are encoded independently


class Cut(NamedTuple):
    """The effect of `max_length`.

    Attributes:
        texts: number of texts longer than `max_length`.
        positions: number of positions dropped from them.
    """

    texts: int
    positions: int


class Shape(NamedTuple):
    """Sizes shared by all splits of a dataset, so that their environments have the same spaces.

    Attributes:
        tokens: L, number of sub-tokens in the longest text.
        positions: T, maximum number of positions in a text.
        choices: n, number of choices of an action.
    """

    tokens: int
    positions: int
    choices: int


class Source(NamedTuple):
    """A split to encode.

    Attributes:
        corpus: the prepared split.
        tokenizer: the tokenizer.
        max_length: maximum number of sub-tokens of a text, including special tokens.
        room: the same without special tokens.
        table: the ids of the corpus's vocabulary.
        options: the task's own arguments.
    """

    corpus: "Corpus"
    tokenizer: TextTokenizer
    max_length: int
    room: int
    table: "WordTable"
    options: Any


@dataclass(frozen=True, eq=False)
class Encoded:
    """An encoded split. Text i is ids[offsets[i]:offsets[i + 1]], including special tokens.

    Attributes:
        ids: uint16 or int32 [S], sub-token ids.
        offsets: int64 [N + 1].
        counts: int32 [N], number of positions of each text.
        cut: the effect of `max_length`.
        position_offsets: int64 [N + 1]; None if positions are random.
        positions: uint16 or int32 [P], index of each position in its text's ids; None if positions are random.
        targets: int16 or wider [P], the gold choices; None if positions are random.
        fixed: bool [S], sub-tokens that never become positions; None if there are none.
        mean_positions: mean number of positions in one pass over the texts if their number is random; else None.
        given: whether the positions are mask tokens that the texts contain, as in texts to predict.
        part: number of sub-tokens in the longest part of a text, with special tokens, if a model reads the parts
            separately; `build_task` sets it to that of all splits. None: a model reads whole texts.
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
    given: bool = False
    part: int | None = None

    @property
    def num_texts(self) -> int:
        """Number of texts."""
        return len(self.offsets) - 1

    @cached_property
    def max_tokens(self) -> int:
        """Number of sub-tokens in the longest text, including special tokens."""
        return int(np.diff(self.offsets).max(initial=0))

    @cached_property
    def max_positions(self) -> int:
        """Maximum number of positions in a text."""
        return int(self.counts.max(initial=0))

    @cached_property
    def num_positions(self) -> int:
        """Number of positions in one pass over all texts."""
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
            ValueError: the tokenizer does not encode words independently of one another.
        """
        ids, offsets = tokenizer.encode_words(corpus.vocabulary)
        table = cls(ids, offsets, np.diff(offsets).astype(np.int32))
        table._check(corpus, tokenizer)
        return table

    def _check(self, corpus: "Corpus", tokenizer: TextTokenizer) -> None:
        """Compare a sample of texts with their encoding as a whole."""
        num_texts = len(corpus.offsets) - 1
        sample = np.unique(np.linspace(0, num_texts - 1, _SAMPLE).astype(np.int64)) if num_texts else ()
        otherwise: list[str] = []
        for text in sample:
            words = corpus.words[corpus.offsets[text] : corpus.offsets[text + 1]]
            ours = np.concatenate([self.ids[self.offsets[w] : self.offsets[w + 1]] for w in words])
            strings = [corpus.vocabulary[w] for w in words]
            whole = tokenizer.encode_text(strings)
            replaced = any(
                tokenizer.unknown in self.ids[self.offsets[w] : self.offsets[w + 1]] for w in words
            )  # we replace words that give no token, and the literal unknown word
            if not replaced and whole != ours.tolist():
                raise ValueError(
                    f"the tokenizer {tokenizer.source} encodes words differently inside a text than alone (text "
                    f"{text}: {' '.join(strings)[:80]!r} gives {whole[:8]}, its words give {ours[:8].tolist()}): "
                    "use one that first splits a text into words (WordPiece, byte-level BPE, Unigram with Metaspace)"
                )
            if not replaced and tokenizer.encode_whole(strings) != whole:
                otherwise.append(" ".join(strings))
        if otherwise:
            logger.warn(
                f"the tokenizer {tokenizer.source} splits {len(otherwise)} of {len(sample)} texts differently if they "
                f"are given whole ({otherwise[0][:80]!r}): a pipeline on whole texts will read other sub-tokens than "
                "this environment, which encodes word by word"
            )


def id_type(size: int) -> type[np.uint16] | type[np.int32]:
    """Return the smaller of uint16 and int32 that can hold range(size)."""
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
