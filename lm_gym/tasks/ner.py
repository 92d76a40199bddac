"""Named-entity recognition: the first sub-token of each word is a position, its tag the choice."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.tasks.encoded import (
    Cut,
    Encoded,
    WordTable,
    chunks,
    expand,
    id_type,
    lay_out,
    ragged_sums,
    to_offsets,
    windows,
    with_margin,
)
from lm_gym.tasks.task import Shape, Task, Texts
from lm_gym.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from lm_gym.data import Corpus


class NER(Task):
    """Tag every word.

    A word whose first sub-token stands beyond `max_length` is dropped, and counted in `Encoded.cut`.
    """

    name = "ner"
    default_reward = "f1"

    def __init__(
        self,
        encoded: Encoded,
        tokenizer: TextTokenizer,
        shape: Shape,
        target_counts: NDArray[np.int64],
        choice_names: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(encoded, tokenizer, shape, target_counts, choice_names)
        if encoded.positions is None or encoded.targets is None or encoded.position_offsets is None:
            raise ValueError("NER needs fixed positions: encode the split with NER.encode")
        self._positions = with_margin(encoded.positions, shape.positions)
        self._targets = with_margin(encoded.targets, shape.positions)
        self._starts = encoded.position_offsets
        num_positions = len(encoded.positions)
        self.encoded = replace(
            self.encoded, positions=self._positions[:num_positions], targets=self._targets[:num_positions]
        )
        self._follows = _may_follow(choice_names or ())

    @classmethod
    def encode(
        cls,
        corpus: "Corpus",
        tokenizer: TextTokenizer,
        max_length: int,
        *,
        table: WordTable | None = None,
        **options: Any,
    ) -> Encoded:
        """Encode a tagged split (see `Task.encode`).

        Raises:
            ValueError: if the corpus has no tags, or `max_length` leaves no room for a word.
        """
        if corpus.tags is None:
            raise ValueError(
                "the data has no tags, and NER needs one for each word: give tagged data (CoNLL columns, or JSONL or "
                "CSV with tags), or play lm_gym/MaskedLM-v0 on plain text"
            )
        room = cls.room(tokenizer, max_length)
        table = WordTable.build(corpus, tokenizer) if table is None else table
        parts = [_encode_chunk(corpus, table, tokenizer, room, *chunk) for chunk in chunks(corpus.offsets)]
        ids, lengths, positions, keep, long = (np.concatenate(part) for part in zip(*parts, strict=True))
        del parts
        counts, targets = np.diff(corpus.offsets), corpus.tags
        if not keep.all():
            counts = ragged_sums(keep, corpus.offsets)
            positions, targets = positions[keep], targets[keep]
        cut = Cut(int(long.sum()), int(len(keep) - keep.sum()))
        frame = len(tokenizer.prefix) + len(tokenizer.suffix)
        return Encoded(
            ids, to_offsets(lengths + frame), counts.astype(np.int32), cut, to_offsets(counts), positions, targets
        )

    @classmethod
    def count_targets(cls, encoded: Encoded, tokenizer: TextTokenizer, num_choices: int) -> NDArray[np.int64]:
        """How often each tag is gold, int64 [n]."""
        return np.bincount(np.asarray(encoded.targets), minlength=num_choices).astype(np.int64)

    @classmethod
    def choices(cls, corpus: "Corpus", tokenizer: TextTokenizer) -> tuple[int, tuple[str, ...] | None]:
        """The tags."""
        return len(corpus.tag_names), corpus.tag_names

    def open(self, texts: NDArray[np.int64], visits: NDArray[np.int64], key: int) -> Texts:
        """Give padded rows of texts; nothing is drawn."""
        ids, lengths, _ = self._rows(texts)
        starts = self._starts[texts]
        counts = self._starts[texts + 1] - starts
        outside = np.arange(self.shape.positions) >= counts[:, None]
        positions = windows(self._positions, starts, self.shape.positions)
        targets = windows(self._targets, starts, self.shape.positions)
        positions[outside] = 0
        targets[outside] = self.shape.choices
        return Texts(ids, lengths, positions, counts, targets)

    def legal(self, predictions: NDArray[np.int64], cursor: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Forbid I-X but after B-X or I-X, bool [N, n]."""
        before = predictions[np.arange(len(cursor)), np.maximum(cursor - 1, 0)]
        before = np.where(cursor == 0, 0, np.minimum(before, self.shape.choices - 1))
        return self._follows[before]


def _encode_chunk(
    corpus: "Corpus", table: WordTable, tokenizer: TextTokenizer, room: int, first: int, last: int
) -> tuple[NDArray[np.integer], NDArray[np.int64], NDArray[np.integer], NDArray[np.bool_], NDArray[np.bool_]]:
    """Encode texts first … last - 1: framed ids; content lengths; of words positions, and which stay; long texts."""
    offsets = corpus.offsets[first : last + 1] - corpus.offsets[first]
    words = corpus.words[corpus.offsets[first] : corpus.offsets[last]]
    counts = table.counts[words]
    lengths = ragged_sums(counts, offsets)
    long = lengths > room
    word_starts = to_offsets(counts)[:-1]
    word_starts -= np.repeat(to_offsets(lengths)[:-1], np.diff(offsets))  # counted from the text's start
    flat = expand(table, words)
    if long.any():
        inside = np.arange(len(flat)) - np.repeat(to_offsets(lengths)[:-1], lengths) < room
        flat, lengths = flat[inside], np.minimum(lengths, room)
    keep = word_starts < room
    positions = np.where(keep, word_starts + len(tokenizer.prefix), 0).astype(id_type(room + 64))
    return lay_out(flat, lengths, tokenizer), lengths, np.asarray(positions), keep, long


def _may_follow(tags: tuple[str, ...]) -> NDArray[np.bool_]:
    """Table [before, after] of IOB2: I-X only after B-X or I-X."""
    table = np.ones((len(tags), len(tags)), np.bool_)
    for after, tag in enumerate(tags):
        if tag.startswith("I-"):
            table[:, after] = [before[2:] == tag[2:] and before != "O" for before in tags]
    return table
