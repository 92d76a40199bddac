"""Masked language modelling: masked tokens are positions, the vocabulary the choices."""

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
        mask_probability: fraction of a text's tokens that is masked, in (0, 1].
        fill: `"parallel"`: masks stay while an episode runs; `"sequential"`: a prediction takes the place of its mask
            in `input_ids`, so that later decisions see it (with `unit="token"`).

    Raises:
        ValueError: a value is unknown or out of range.
    """

    mask_probability: PositiveFraction = 0.15
    fill: Literal["parallel", "sequential"] = "parallel"

    def __post_init__(self) -> None:
        check_choice("fill", self.fill, ("parallel", "sequential"))


class MaskedLM(Task):
    """Restore the masked tokens of a text.

    An episode is one text, or a piece of at most `max_length` sub-tokens of a longer one, cut between words. Of its
    tokens, exactly max(1, round(`mask_probability` × those that may be masked)) are replaced by the mask token; each
    of them is a position. (All are masked: BERT's 80/10/10 is a device of its training loss.) Special tokens and
    unknown words are never masked; a piece of nothing else is dropped. The agent says which token stood there, from
    left to right or all at once.

    Which tokens are masked depends on the seed, the text, and how often it has been played before; for texts asked for
    by `indices` on the text alone, so that an evaluation is the same everywhere. `action_masks()` leaves out special
    tokens and the unknown word.
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
            ValueError: the tokenizer has no mask token, or no text has a token that may be masked.
        """
        tokenizer.require_mask()
        mask_probability = (options or MaskedLMOptions()).mask_probability
        room = cls.room(tokenizer, max_length)
        table = WordTable.build(corpus, tokenizer) if table is None else table
        parts = [_encode_chunk(corpus, table, tokenizer, room, *chunk) for chunk in ragged.chunks(corpus.offsets)]
        ids, lengths, maskable, long = (np.concatenate(part) for part in zip(*parts, strict=True))
        del parts
        if not len(lengths):
            raise ValueError(f"no text has a token that may be masked under the tokenizer {tokenizer.source}")
        counts = np.maximum(1, np.rint(mask_probability * maskable)).astype(np.int32)
        frame = len(tokenizer.prefix) + len(tokenizer.suffix)
        return Encoded(ids, ragged.to_offsets(lengths + frame), counts, Cut(int(long.sum()), 0))

    @classmethod
    def count_targets(cls, encoded: Encoded, tokenizer: TextTokenizer, num_choices: int) -> NDArray[np.int64]:
        """How often each token stands where it may be masked, int64 [n]."""
        counts = np.zeros(num_choices, np.int64)
        for start in range(0, len(encoded.ids), 1_000_000):
            counts += np.bincount(encoded.ids[start : start + 1_000_000], minlength=num_choices)
        counts[~tokenizer.maskable] = 0
        return counts

    @classmethod
    def choices(cls, corpus: Corpus, tokenizer: TextTokenizer) -> tuple[int, tuple[str, ...] | None]:
        """The vocabulary."""
        return tokenizer.size, None

    @classmethod
    def check(cls, unit: str, options: MaskedLMOptions) -> None:
        """See `Task.check`."""
        if options.fill == "sequential" and unit == "sequence":
            raise ValueError(
                "fill='sequential' shows earlier predictions to later decisions, and unit='sequence' decides all at "
                "once: take unit='token' or fill='parallel'"
            )

    @classmethod
    def whole(cls, options: MaskedLMOptions) -> MaskedLMOptions:
        """All masks stay: whole texts are decided at once."""
        return replace(options, fill="parallel")

    def open(self, texts: NDArray[np.int64], visits: NDArray[np.int64], key: int) -> OpenedTexts:
        """Padded rows of texts, masked.

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
        return OpenedTexts(ids, lengths, positions, counts, targets)

    @property
    def always_legal(self) -> NDArray[np.bool_]:
        """Everything but special tokens and the unknown word, bool [n]."""
        return self.tokenizer.maskable.copy()

    @property
    def writes(self) -> bool:
        """Whether predictions take the place of their masks."""
        return bool(self.options.fill == "sequential")

    def write(
        self,
        observation: Mapping[str, NDArray[Any]],
        rows: NDArray[np.int64],
        slots: NDArray[np.int64],
        choices: NDArray[np.int64],
    ) -> None:
        """Put predictions where their masks were (see `Task.write`)."""
        observation["input_ids"][rows, observation["positions"][rows, slots]] = choices

    def choice_name(self, choice: int) -> str:
        """The token as text."""
        return self.tokenizer.decode([choice]).strip()

    def choice_text(self, choice: int) -> str:
        """The token's characters, without the marks of its tokenizer."""
        return self.tokenizer.spell(choice)[1]

    def parts(self, text: DecidedText) -> list[Part]:
        """The masked tokens, and what stands between them."""
        start, end = self.encoded.offsets[text.index : text.index + 2]
        ids = self.encoded.ids[start:end].tolist()
        mask = self.tokenizer.spell(self.tokenizer.require_mask())[1]
        return [
            Part(piece, spaced, slot, None if slot is None else mask)
            for spaced, piece, slot in self.tokenizer.spell_around(ids, text.places.tolist())
        ]

    def format_prediction(self, text: DecidedText) -> str:
        """A JSON object: the text with its masks, and the gold and the predicted token of each."""
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
    """Encode texts first … last - 1: framed ids; content lengths, maskable tokens (of pieces); long texts."""
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
