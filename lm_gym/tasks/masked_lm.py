"""Masked language modelling: masked tokens are positions, the vocabulary the choices."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.hashing import mix
from lm_gym.tasks.encoded import Cut, Encoded, WordTable, chunks, expand, lay_out, ragged_sums, to_offsets
from lm_gym.tasks.task import Task, Texts
from lm_gym.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from lm_gym.data import Corpus

_NEVER = np.uint64(2**64 - 1)


class MaskedLM(Task):
    """Restore masked tokens.

    A text longer than `max_length` is cut into pieces at word boundaries, each an episode of its own. Of a piece,
    exactly max(1, round(mask_probability × maskable tokens)) tokens are masked, every one by the mask token (not
    BERT's 80/10/10). Special tokens and unknown words are never masked; a piece of nothing else is dropped.
    """

    name = "masked_lm"
    default_reward = "log_likelihood"
    writable = True
    static_masks = True

    @classmethod
    def encode(
        cls,
        corpus: "Corpus",
        tokenizer: TextTokenizer,
        max_length: int,
        *,
        table: WordTable | None = None,
        mask_probability: float = 0.15,
        **options: Any,
    ) -> Encoded:
        """Encode a split (see `Task.encode`).

        Raises:
            ValueError: if the tokenizer has no mask token, `mask_probability` is outside (0, 1], or no text has a
                token that may be masked.
        """
        tokenizer.require_mask()
        if not 0.0 < mask_probability <= 1.0:
            raise ValueError(f"mask_probability={mask_probability} is outside (0, 1]: 0.15 is usual")
        room = cls.room(tokenizer, max_length)
        table = WordTable.build(corpus, tokenizer) if table is None else table
        parts = [_encode_chunk(corpus, table, tokenizer, room, *chunk) for chunk in chunks(corpus.offsets)]
        ids, lengths, maskable, long = (np.concatenate(part) for part in zip(*parts, strict=True))
        del parts
        if not len(lengths):
            raise ValueError(f"no text has a token that may be masked under the tokenizer {tokenizer.source}")
        counts = np.maximum(1, np.rint(mask_probability * maskable)).astype(np.int32)
        frame = len(tokenizer.prefix) + len(tokenizer.suffix)
        return Encoded(ids, to_offsets(lengths + frame), counts, Cut(int(long.sum()), 0))

    @classmethod
    def count_targets(cls, encoded: Encoded, tokenizer: TextTokenizer, num_choices: int) -> NDArray[np.int64]:
        """How often each token stands where it may be masked, int64 [n]."""
        counts = np.zeros(num_choices, np.int64)
        for start in range(0, len(encoded.ids), 1_000_000):
            counts += np.bincount(encoded.ids[start : start + 1_000_000], minlength=num_choices)
        counts[~tokenizer.maskable] = 0
        return counts

    @classmethod
    def choices(cls, corpus: "Corpus", tokenizer: TextTokenizer) -> tuple[int, tuple[str, ...] | None]:
        """The vocabulary."""
        return tokenizer.size, None

    def open(self, texts: NDArray[np.int64], visits: NDArray[np.int64], key: int) -> Texts:
        """Give padded rows of texts, masked.

        Each token of a visit has a key of its own, hashed from (key, visit, text, index of the token); the tokens
        with the smallest keys are masked. So a visit has the same masks whatever else is in the batch.
        """
        ids, lengths, inside = self._rows(texts)
        keys = mix(np.uint64(key), visits[:, None], texts[:, None], np.arange(ids.shape[1]))
        keys[~(inside & self.tokenizer.maskable[ids])] = _NEVER
        counts = self.encoded.counts[texts].astype(np.int64)
        limit = np.sort(keys, axis=1)[np.arange(len(texts)), counts - 1]
        rows, columns = np.nonzero(keys <= limit[:, None])  # row by row, left to right; no ties but by a 2^-64 chance
        place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        positions = np.zeros((len(texts), self.shape.positions), np.int64)
        targets = np.full((len(texts), self.shape.positions), self.shape.choices, np.int64)
        positions[rows, place] = columns
        targets[rows, place] = ids[rows, columns]
        ids[rows, columns] = self.tokenizer.require_mask()
        return Texts(ids, lengths, positions, counts, targets)

    @property
    def always_legal(self) -> NDArray[np.bool_]:
        """Everything but special tokens and the unknown word, bool [n]."""
        return self.tokenizer.maskable.copy()


def _encode_chunk(
    corpus: "Corpus", table: WordTable, tokenizer: TextTokenizer, room: int, first: int, last: int
) -> tuple[NDArray[np.integer], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Encode texts first … last - 1: framed ids; content lengths, maskable tokens (of pieces); long texts."""
    offsets = corpus.offsets[first : last + 1] - corpus.offsets[first]
    words = corpus.words[corpus.offsets[first] : corpus.offsets[last]]
    counts = table.counts[words]
    lengths = ragged_sums(counts, offsets)
    long = lengths > room
    pieces = _cut(lengths, counts, offsets, room) if long.any() else lengths
    flat = expand(table, words)
    maskable = ragged_sums(tokenizer.maskable[flat], to_offsets(pieces))
    if not maskable.all():
        flat = flat[np.repeat(maskable > 0, pieces)]
        pieces, maskable = pieces[maskable > 0], maskable[maskable > 0]
    return lay_out(flat, pieces, tokenizer), pieces, maskable, long


def _cut(
    lengths: NDArray[np.int64], counts: NDArray[np.int32], offsets: NDArray[np.int64], room: int
) -> NDArray[np.int64]:
    """Lengths of the pieces of texts: as many whole words as fit; a word longer than `room` is cut inside."""
    pieces: list[int] = []
    for text, length in enumerate(lengths.tolist()):
        if length <= room:
            pieces.append(length)
            continue
        ends = np.cumsum(counts[offsets[text] : offsets[text + 1]])
        start = 0
        while start < length:
            fitting = int(np.searchsorted(ends, start + room, side="right"))
            end = int(ends[fitting - 1]) if fitting and ends[fitting - 1] > start else start + room
            pieces.append(min(end, length) - start)
            start = min(end, length)
    return np.array(pieces, np.int64)
