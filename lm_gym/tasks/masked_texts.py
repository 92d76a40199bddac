"""Texts with masked tokens: the base class of tasks whose choices are tokens that replace masks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lm_gym import ragged
from lm_gym.data.fields import WORDS, Field
from lm_gym.hashing import mix
from lm_gym.tasks.baseline import RANDOM, Baseline, unigram
from lm_gym.tasks.display import json_line
from lm_gym.tasks.dynamics import OpenedTexts
from lm_gym.tasks.encoded import Cut, Encoded, Source, WordTable, expand, lay_out
from lm_gym.tasks.parts import Nouns, Part
from lm_gym.tasks.task import Task

if TYPE_CHECKING:
    from lm_gym.data import Corpus
    from lm_gym.tasks.evaluation import DecidedText
    from lm_gym.tokenizer import TextTokenizer

_NEVER = np.uint64(2**64 - 1)


class MaskedTexts(Task):
    """Texts with masked tokens. The positions are the masked tokens, and the choices are the vocabulary.

    A subclass defines how many tokens of a text are masked (`num_masked`), and may exclude words from masking
    (`shown`).
    """

    fields: ClassVar[tuple[Field, ...]] = (WORDS,)
    builtin = "builtin/masked_lm"
    head = "vocabulary"
    baselines = (RANDOM, Baseline("majority", "most frequent token", unigram))
    nouns = Nouns("masked token", "masked tokens", "token", "tokens")
    choice_is_text = True

    def __init__(self, encoded: Encoded, *arguments: Any) -> None:
        super().__init__(encoded, *arguments)
        fixed = encoded.fixed
        self._fixed = None if fixed is None else ragged.with_margin(fixed.astype(np.int8), self.shape.tokens)

    @classmethod
    @abstractmethod
    def num_masked(cls, maskable: NDArray[np.int64], options: Any) -> NDArray[np.int64]:
        """Return the number of tokens masked in each text, or its maximum if it is random, int64 [N].

        Args:
            maskable: int64 [N], number of tokens that may be masked, 1 or more.
            options: the task's own arguments.
        """

    @classmethod
    def shown(cls, corpus: Corpus, options: Any) -> NDArray[np.bool_] | None:
        """Return the words of a split that are never masked, bool [W]; None if there are none."""
        return None

    @classmethod
    def encode_labelled(cls, source: Source) -> Encoded:
        """Encode a split.

        Raises:
            ValueError: the tokenizer has no mask token, or no text has a token that may be masked.
        """
        corpus, tokenizer, _, room, table, options = source
        tokenizer.require_mask()
        shown = cls.shown(corpus, options)
        parts = [_encode_chunk(corpus, table, tokenizer, room, shown, *c) for c in ragged.chunks(corpus.offsets)]
        ids, fixed, lengths, maskable, long = (np.concatenate(part) for part in zip(*parts, strict=True))
        del parts
        if not len(lengths):
            raise ValueError(f"no text has a token that may be masked under the tokenizer {tokenizer.source}")
        counts = cls.num_masked(maskable, options).astype(np.int32)
        offsets = ragged.to_offsets(lengths + tokenizer.frame)
        return Encoded(ids, offsets, counts, Cut(int(long.sum()), 0), fixed=None if shown is None else fixed)

    @classmethod
    def encode_unlabelled(cls, source: Source) -> Encoded:
        """Encode texts to predict: their positions are the mask tokens in them. Long texts lose their ends."""
        corpus, tokenizer, _, room, table, _ = source
        mask = tokenizer.require_mask()
        flat = expand(table, corpus.words)
        lengths = ragged.sums(table.counts[corpus.words], corpus.offsets)
        kept = np.minimum(lengths, room)
        inside = np.arange(len(flat)) - np.repeat(ragged.to_offsets(lengths)[:-1], lengths) < room
        counts = ragged.sums(flat[inside] == mask, ragged.to_offsets(kept))
        cut = Cut(int((lengths > room).sum()), int((flat == mask).sum() - counts.sum()))
        offsets = ragged.to_offsets(kept + tokenizer.frame)
        return Encoded(lay_out(flat[inside], kept, tokenizer), offsets, counts.astype(np.int32), cut, given=True)

    @classmethod
    def count_targets(cls, encoded: Encoded, tokenizer: TextTokenizer, num_choices: int) -> NDArray[np.int64]:
        """Return the number of maskable occurrences of each token, int64 [n]."""
        counts = np.zeros(num_choices, np.int64)
        ids = encoded.ids if encoded.fixed is None else encoded.ids[~encoded.fixed]
        for start in range(0, len(ids), 1_000_000):
            counts += np.bincount(ids[start : start + 1_000_000], minlength=num_choices)
        counts[~tokenizer.maskable] = 0
        return counts

    @classmethod
    def choices(
        cls, corpus: Corpus, tokenizer: TextTokenizer, *, options: Any = None
    ) -> tuple[int, tuple[str, ...] | None]:
        """Return the size of the vocabulary; choices have no other names than their ids."""
        return tokenizer.size, None

    def open(self, texts: NDArray[np.int64], visits: NDArray[np.int64], key: int) -> OpenedTexts:
        """Return padded rows of masked texts.

        Each token of a visit has a key, hashed from (key, visit, text, index of the token), and the tokens with the
        smallest keys are masked. The masks of a visit therefore do not depend on the rest of the batch.
        """
        ids, lengths, inside = self._rows(texts)
        if self.encoded.given:
            masked, counts = inside & (ids == self.tokenizer.mask), self.encoded.counts[texts].astype(np.int64)
        else:
            counts = self.draw_counts(texts, visits, key)
            masked = self._draw(ids, inside, counts, texts, visits, key)
        rows, columns = np.nonzero(masked)  # row by row, left to right
        place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        positions = np.zeros((len(texts), self.shape.positions), np.int64)
        targets = np.full((len(texts), self.shape.positions), self.shape.choices, np.int64)
        positions[rows, place] = columns
        targets[rows, place] = ids[rows, columns]
        ids[rows, columns] = self.tokenizer.require_mask()
        return OpenedTexts(ids, lengths, positions, counts, targets)

    def _draw(
        self,
        ids: NDArray[np.int64],
        inside: NDArray[np.bool_],
        counts: NDArray[np.int64],
        texts: NDArray[np.int64],
        visits: NDArray[np.int64],
        key: int,
    ) -> NDArray[np.bool_]:
        """Return the tokens to mask at a visit, bool [R, L]; ties have a probability of 2^-64."""
        keys = mix(np.uint64(key), visits[:, None], texts[:, None], np.arange(ids.shape[1]))
        allowed = inside & self.tokenizer.maskable[ids]
        if self._fixed is not None:
            allowed &= ragged.windows(self._fixed, self.encoded.offsets[texts], ids.shape[1]) == 0
        keys[~allowed] = _NEVER
        limit = np.sort(keys, axis=1)[np.arange(len(texts)), counts - 1]
        return np.asarray(keys <= limit[:, None])

    @property
    def always_legal(self) -> NDArray[np.bool_]:
        """Return all choices except special tokens and the unknown word, bool [n]."""
        return self.tokenizer.maskable.copy()

    def write(
        self,
        observation: Mapping[str, NDArray[Any]],
        rows: NDArray[np.int64],
        slots: NDArray[np.int64],
        choices: NDArray[np.int64],
    ) -> None:
        """Replace masks by their predictions (see `Task.write`)."""
        observation["input_ids"][rows, observation["positions"][rows, slots]] = choices

    def reopen(
        self, observation: Mapping[str, NDArray[Any]], rows: NDArray[np.int64], slots: NDArray[np.int64]
    ) -> None:
        """Replace predictions by masks (see `Task.reopen`)."""
        self.write(observation, rows, slots, np.full(len(rows), self.tokenizer.require_mask()))

    def choice_name(self, choice: int) -> str:
        """Return the token as text, or the mask for an open position."""
        choice = self.tokenizer.require_mask() if choice == self.shape.choices else choice
        return self.tokenizer.decode([choice]).strip()

    def choice_text(self, choice: int) -> str:
        """Return the characters of the token, without the marks of its tokenizer."""
        return self.tokenizer.spell(choice)[1]

    def parts(self, text: DecidedText) -> list[Part]:
        """Return the masked tokens and the text between them."""
        start, end = self.encoded.offsets[text.index : text.index + 2]
        ids = self.encoded.ids[start:end].tolist()
        mask = self.tokenizer.spell(self.tokenizer.require_mask())[1]
        return [
            Part(piece, spaced, slot, None if slot is None else mask)
            for spaced, piece, slot in self.tokenizer.spell_around(ids, text.places.tolist())
        ]

    def predicted(self, text: DecidedText, spans: Sequence[tuple[int, int]] | None) -> dict[str, Any]:
        """Return `predicted` and `probability`, the tokens for the masks, and `filled`, the text with them."""
        filled = np.where(text.choices == self.shape.choices, self.tokenizer.require_mask(), text.choices)
        return {**super().predicted(text, spans), "filled": self._with(text, filled)}

    def format_prediction(self, text: DecidedText) -> str:
        """Return a JSON object with the masked text, and the gold and the predicted token of each mask."""
        record = {
            "text": self._with(text, self.tokenizer.require_mask()),
            "gold": [self.tokenizer.decode([target]) for target in text.targets.tolist()],
            "predicted": [self.tokenizer.decode([choice]) for choice in text.choices.tolist()],
        }
        return json_line(record)

    def _with(self, text: DecidedText, tokens: NDArray[np.int64] | int) -> str:
        """Return a text with other tokens at its positions, without special tokens."""
        start, end = self.encoded.offsets[text.index : text.index + 2]
        ids = self.encoded.ids[start:end].astype(np.int64)
        ids[text.places] = tokens
        return self.tokenizer.decode(ids[len(self.tokenizer.prefix) : len(ids) - len(self.tokenizer.suffix)].tolist())


def _encode_chunk(
    corpus: Corpus,
    table: WordTable,
    tokenizer: TextTokenizer,
    room: int,
    shown: NDArray[np.bool_] | None,
    first: int,
    last: int,
) -> tuple[NDArray[np.integer], NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Encode texts first … last - 1.

    Returns:
        framed ids, and which of them are fixed; content lengths and maskable tokens of pieces; long texts.
    """
    offsets = corpus.offsets[first : last + 1] - corpus.offsets[first]
    span = slice(corpus.offsets[first], corpus.offsets[last])
    words = corpus.words[span]
    counts = table.counts[words]
    lengths = ragged.sums(counts, offsets)
    long = lengths > room
    pieces = _cut(lengths, counts, offsets, room) if long.any() else lengths
    flat = expand(table, words)
    fixed = np.zeros(len(flat), np.bool_) if shown is None else np.repeat(shown[span], counts)
    maskable = ragged.sums(tokenizer.maskable[flat] & ~fixed, ragged.to_offsets(pieces))
    if not maskable.all():
        kept = np.repeat(maskable > 0, pieces)
        flat, fixed = flat[kept], fixed[kept]
        pieces, maskable = pieces[maskable > 0], maskable[maskable > 0]
    framed = lay_out(fixed.astype(np.int32), pieces, tokenizer) > 0  # special tokens are never masked anyway
    return lay_out(flat, pieces, tokenizer), framed, pieces, maskable, long


def _cut(
    lengths: NDArray[np.int64], counts: NDArray[np.int32], offsets: NDArray[np.int64], room: int
) -> NDArray[np.int64]:
    """Return the lengths of the pieces of texts, which contain as many whole words as fit; longer words are cut."""
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
