"""Masked language modelling: positions are masked tokens, and choices are the vocabulary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lm_gym import ragged
from lm_gym.bounds import PositiveFraction, bounded
from lm_gym.data.fields import WORDS
from lm_gym.hashing import mix
from lm_gym.naming import check_choice
from lm_gym.tasks.baseline import RANDOM, Baseline, unigram
from lm_gym.tasks.encoded import Cut, Encoded, WordTable, expand, lay_out
from lm_gym.tasks.parts import Nouns, Part
from lm_gym.tasks.task import OpenedTexts, Task

if TYPE_CHECKING:
    from lm_gym.data import Corpus
    from lm_gym.tasks.evaluation import DecidedText
    from lm_gym.tokenizer import TextTokenizer

_NEVER = np.uint64(2**64 - 1)


@bounded
@dataclass(frozen=True)
class MaskedLMOptions:
    """Arguments of masked language modelling.

    Args:
        mask_probability: fraction of a text's tokens to mask, in (0, 1].
        fill: `"parallel"`: masks stay during an episode; `"sequential"`: a prediction replaces its mask in
            `input_ids`, so that later decisions see it (with `unit="token"`).

    Raises:
        ValueError: a value is unknown or out of range.
    """

    mask_probability: PositiveFraction = 0.15
    fill: Literal["parallel", "sequential"] = "parallel"

    def __post_init__(self) -> None:
        check_choice("fill", self.fill, ("parallel", "sequential"))


class MaskedLM(Task):
    """Restore the masked tokens of a text.

    An episode is one text, or a piece of at most `max_length` sub-tokens of a longer text, cut between words. Exactly
    max(1, round(`mask_probability` × number of maskable tokens)) of its tokens are replaced by the mask token, and each
    of them is a position. (Unlike BERT's training loss, which uses 80/10/10, every chosen token is masked.) Special
    tokens and unknown words are never masked; pieces without other tokens are dropped. The agent predicts the masked
    tokens, from left to right or all at once.

    The masked tokens depend on the seed, the text, and the number of its earlier visits. For texts selected by
    `indices` they depend only on the text, so that evaluations are the same everywhere. `action_masks()` excludes
    special tokens and the unknown word.
    """

    name = "masked_lm"
    env_id = "lm_gym/MaskedLM-v0"
    fields = (WORDS,)
    builtin = "builtin/masked_lm"
    default_reward = "log_likelihood"
    head = "vocabulary"
    baselines = (RANDOM, Baseline("majority", "most frequent token", unigram))
    nouns = Nouns("masked token", "masked tokens", "token", "tokens")
    Options = MaskedLMOptions
    choice_is_text = True

    @classmethod
    def encode(
        cls,
        corpus: Corpus,
        tokenizer: TextTokenizer,
        max_length: int,
        *,
        table: WordTable | None = None,
        options: MaskedLMOptions | None = None,
    ) -> Encoded:
        """Encode a split (see `Task.encode`).

        Raises:
            ValueError: the tokenizer has no mask token, or no text has a maskable token.
        """
        tokenizer.require_mask()
        mask_probability = (options or MaskedLMOptions()).mask_probability
        room = cls.room(tokenizer, max_length)
        table = WordTable.build(corpus, tokenizer) if table is None else table
        parts = [_encode_chunk(corpus, table, tokenizer, room, *chunk) for chunk in ragged.chunks(corpus.offsets)]
        ids, lengths, maskable, long = (np.concatenate(part) for part in zip(*parts, strict=True))
        del parts
        if not len(lengths):
            raise ValueError(f"no text has a maskable token under the tokenizer {tokenizer.source}")
        counts = np.maximum(1, np.rint(mask_probability * maskable)).astype(np.int32)
        frame = len(tokenizer.prefix) + len(tokenizer.suffix)
        return Encoded(ids, ragged.to_offsets(lengths + frame), counts, Cut(int(long.sum()), 0))

    @classmethod
    def count_targets(cls, encoded: Encoded, tokenizer: TextTokenizer, num_choices: int) -> NDArray[np.int64]:
        """Return the frequency of each maskable token, int64 [n]."""
        counts = np.zeros(num_choices, np.int64)
        for start in range(0, len(encoded.ids), 1_000_000):
            counts += np.bincount(encoded.ids[start : start + 1_000_000], minlength=num_choices)
        counts[~tokenizer.maskable] = 0
        return counts

    @classmethod
    def choices(cls, corpus: Corpus, tokenizer: TextTokenizer) -> tuple[int, tuple[str, ...] | None]:
        """Return the size of the vocabulary, and None for its names."""
        return tokenizer.size, None

    @classmethod
    def check(cls, unit: str, options: MaskedLMOptions) -> None:
        """See `Task.check`."""
        if options.fill == "sequential" and unit == "sequence":
            raise ValueError(
                "fill='sequential' shows earlier predictions to later decisions, but unit='sequence' decides all at "
                "once: use unit='token' or fill='parallel'"
            )

    @classmethod
    def whole(cls, options: MaskedLMOptions) -> MaskedLMOptions:
        """Return options with `fill="parallel"`, because whole texts are decided at once."""
        return replace(options, fill="parallel")

    def open(self, texts: NDArray[np.int64], visits: NDArray[np.int64], key: int) -> OpenedTexts:
        """Return padded rows of masked texts.

        Each token of a visit has its own key, hashed from (key, visit, text, index of the token), and the tokens with
        the smallest keys are masked. The masks of a visit are therefore independent of the batch.
        """
        ids, lengths, inside = self._rows(texts)
        keys = mix(np.uint64(key), visits[:, None], texts[:, None], np.arange(ids.shape[1]))
        keys[~(inside & self.tokenizer.maskable[ids])] = _NEVER
        counts = self.encoded.counts[texts].astype(np.int64)
        limit = np.sort(keys, axis=1)[np.arange(len(texts)), counts - 1]
        rows, columns = np.nonzero(keys <= limit[:, None])  # row by row, left to right; ties have a chance of 2^-64
        place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        positions = np.zeros((len(texts), self.shape.positions), np.int64)
        targets = np.full((len(texts), self.shape.positions), self.shape.choices, np.int64)
        positions[rows, place] = columns
        targets[rows, place] = ids[rows, columns]
        ids[rows, columns] = self.tokenizer.require_mask()
        return OpenedTexts(ids, lengths, positions, counts, targets)

    @property
    def always_legal(self) -> NDArray[np.bool_]:
        """All tokens except special tokens and the unknown word, bool [n]."""
        return self.tokenizer.maskable.copy()

    @property
    def writes(self) -> bool:
        """Whether predictions replace their masks."""
        return bool(self.options.fill == "sequential")

    def write(
        self,
        observation: Mapping[str, NDArray[Any]],
        rows: NDArray[np.int64],
        slots: NDArray[np.int64],
        choices: NDArray[np.int64],
    ) -> None:
        """Replace masks by predictions (see `Task.write`)."""
        observation["input_ids"][rows, observation["positions"][rows, slots]] = choices

    def choice_name(self, choice: int) -> str:
        """Return the token as text."""
        return self.tokenizer.decode([choice]).strip()

    def choice_text(self, choice: int) -> str:
        """Return the token's characters, without the tokenizer's markers."""
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

    def format_prediction(self, text: DecidedText) -> str:
        """Return a JSON object with the masked text, and the gold and predicted token of each mask."""
        tokenizer = self.tokenizer
        start, end = self.encoded.offsets[text.index : text.index + 2]
        ids = self.encoded.ids[start:end].astype(np.int64)
        ids[text.places] = tokenizer.require_mask()
        record = {
            "text": tokenizer.decode(ids[len(tokenizer.prefix) : len(ids) - len(tokenizer.suffix)].tolist()),
            "gold": [tokenizer.decode([target]) for target in text.targets.tolist()],
            "predicted": [tokenizer.decode([choice]) for choice in text.choices.tolist()],
        }
        return json.dumps(record, ensure_ascii=False) + "\n"


def _encode_chunk(
    corpus: Corpus, table: WordTable, tokenizer: TextTokenizer, room: int, first: int, last: int
) -> tuple[NDArray[np.integer], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Encode texts first … last - 1; return ids, lengths and maskable counts of pieces, and which texts are long."""
    offsets = corpus.offsets[first : last + 1] - corpus.offsets[first]
    words = corpus.words[corpus.offsets[first] : corpus.offsets[last]]
    counts = table.counts[words]
    lengths = ragged.sums(counts, offsets)
    long = lengths > room
    pieces = _cut(lengths, counts, offsets, room) if long.any() else lengths
    flat = expand(table, words)
    maskable = ragged.sums(tokenizer.maskable[flat], ragged.to_offsets(pieces))
    if not maskable.all():
        flat = flat[np.repeat(maskable > 0, pieces)]
        pieces, maskable = pieces[maskable > 0], maskable[maskable > 0]
    return lay_out(flat, pieces, tokenizer), pieces, maskable, long


def _cut(
    lengths: NDArray[np.int64], counts: NDArray[np.int32], offsets: NDArray[np.int64], room: int
) -> NDArray[np.int64]:
    """Return the lengths of pieces: each holds as many whole words as fit; a word longer than `room` is cut."""
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
