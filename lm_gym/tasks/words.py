"""The base class of tasks that label every word of a text, at the first sub-token of the word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lm_gym import ragged
from lm_gym.data.fields import TAGS, WORDS
from lm_gym.data.spans import word_spans
from lm_gym.metrics import Report, class_report
from lm_gym.tasks.baseline import RANDOM, Baseline, Batch, Prediction
from lm_gym.tasks.display import json_line
from lm_gym.tasks.encoded import Cut, Encoded, Source, WordTable, expand, id_type, lay_out
from lm_gym.tasks.fixed import FixedPositions
from lm_gym.tasks.metric import ACCURACY, Metric
from lm_gym.tasks.parts import Nouns, Part
from lm_gym.tasks.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lm_gym.data import Corpus
    from lm_gym.tasks.evaluation import DecidedText, Evaluation
    from lm_gym.tokenizer import TextTokenizer


def majority_label(task: Task) -> Callable[[Batch], Prediction]:
    """Return a predictor that gives each word its most frequent label in the training split."""
    train, corpus, n = task.train, task.corpus, task.shape.choices
    if train is None or train.tags is None:
        raise ValueError("the most frequent label of each word needs a labelled training split")
    pairs = train.words.astype(np.int64) * n + train.tags
    table = np.bincount(pairs, minlength=len(train.vocabulary) * n).reshape(-1, n).argmax(1)
    if corpus.vocabulary != train.vocabulary:  # words that do not occur in train get the first label
        known = {word: i for i, word in enumerate(train.vocabulary)}
        table = np.array([table[known[word]] if word in known else 0 for word in corpus.vocabulary])

    def predict(batch: Batch) -> Prediction:
        places = corpus.offsets[batch.text_index][:, None] + np.arange(batch.targets.shape[1])
        return Prediction(table[corpus.words[np.minimum(places, len(corpus.words) - 1)]], None)

    return predict


class WordLabels(FixedPositions):
    """Give every word a label.

    This is a base class for tasks whose corpus has a tag per word (`Corpus.tags`, named by `Corpus.tag_names`). Words
    whose first sub-token lies beyond `max_length` are dropped and counted in `Encoded.cut`.
    """

    fields = (WORDS, TAGS)
    metrics: ClassVar[tuple[Metric, ...]] = (
        ACCURACY,
        Metric("label_macro_f1", "label macro F1", lambda played: played.reports["label"].macro.f1),
    )
    baselines = (RANDOM, Baseline("majority", "majority label", majority_label))
    nouns = Nouns("word", "words", "label", "labels")
    by_word = True

    @classmethod
    def encode_labelled(cls, source: Source) -> Encoded:
        """Encode a labelled split.

        Raises:
            ValueError: the corpus has no labels, or `max_length` leaves no room for a word.
        """
        corpus, tokenizer, _, room, table, _ = source
        if corpus.tags is None:
            raise ValueError(
                f"the data has no tags, but {cls.env_id} needs a tag for each word: give tagged data (CoNLL columns, "
                "or JSONL or CSV with tags)"
            )
        parts = [_encode_chunk(corpus, table, tokenizer, room, *chunk) for chunk in ragged.chunks(corpus.offsets)]
        ids, lengths, positions, keep, long = (np.concatenate(part) for part in zip(*parts, strict=True))
        del parts
        counts, targets = np.diff(corpus.offsets), corpus.tags
        if not keep.all():
            counts = ragged.sums(keep, corpus.offsets)
            positions, targets = positions[keep], targets[keep]
        cut = Cut(int(long.sum()), int(len(keep) - keep.sum()))
        offsets = ragged.to_offsets(lengths + tokenizer.frame)
        return Encoded(ids, offsets, counts.astype(np.int32), cut, ragged.to_offsets(counts), positions, targets)

    @classmethod
    def split(cls, text: str) -> list[tuple[int, int]]:
        """Return the words of a text with separate punctuation (`lm_gym.data.spans.word_spans`)."""
        return word_spans(text)

    @classmethod
    def choices(
        cls, corpus: Corpus, tokenizer: TextTokenizer, *, options: Any = None
    ) -> tuple[int, tuple[str, ...] | None]:
        """Return the number of labels and their names."""
        return len(corpus.tag_names), corpus.tag_names

    def reports(self, played: Evaluation) -> dict[str, Report]:
        """Return precision, recall and F1 by label over the decided words."""
        assert self.choice_names is not None
        title = f"Report by {self.nouns.choice}"
        return {"label": class_report(played.targets, played.choices, self.choice_names, title)}

    def parts(self, text: DecidedText) -> list[Part]:
        """Return the words; those cut by `max_length` have no slot."""
        decided = len(text.places)
        return [
            Part(word, slot=slot) if slot < decided else Part(word, note="beyond max_length: not decided")
            for slot, word in enumerate(self.corpus.text(text.index))
        ]

    def predicted(self, text: DecidedText, spans: Sequence[tuple[int, int]] | None) -> dict[str, Any]:
        """Return `predicted` and `probability`, and of a string `offsets`, the spans of its words, in characters.

        Words that `max_length` cuts have the label None and the probability None.
        """
        found = super().predicted(text, spans)
        cut = int(self.corpus.lengths[text.index]) - len(text.choices)
        found = {key: [*values, *[None] * cut] for key, values in found.items()}
        return found if spans is None else {"offsets": spans, **found}

    def format_prediction(self, text: DecidedText) -> str:
        """Return a JSON object with the words, and the gold and predicted labels of the decided words."""
        gold, predicted = ([self.choice_name(c) for c in values.tolist()] for values in (text.targets, text.choices))
        record = {"tokens": self.corpus.text(text.index), "gold": gold, "predicted": predicted}
        return json_line(record)


def _encode_chunk(
    corpus: Corpus, table: WordTable, tokenizer: TextTokenizer, room: int, first: int, last: int
) -> tuple[NDArray[np.integer], NDArray[np.int64], NDArray[np.integer], NDArray[np.bool_], NDArray[np.bool_]]:
    """Encode texts first … last - 1; return ids, lengths, word positions, kept words, and which texts are long."""
    offsets = corpus.offsets[first : last + 1] - corpus.offsets[first]
    words = corpus.words[corpus.offsets[first] : corpus.offsets[last]]
    counts = table.counts[words]
    lengths = ragged.sums(counts, offsets)
    long = lengths > room
    word_starts = ragged.to_offsets(counts)[:-1]
    word_starts -= np.repeat(ragged.to_offsets(lengths)[:-1], np.diff(offsets))  # relative to the start of the text
    flat = expand(table, words)
    if long.any():
        inside = np.arange(len(flat)) - np.repeat(ragged.to_offsets(lengths)[:-1], lengths) < room
        flat, lengths = flat[inside], np.minimum(lengths, room)
    keep = word_starts < room
    positions = np.where(keep, word_starts + len(tokenizer.prefix), 0).astype(id_type(room + 64))
    return lay_out(flat, lengths, tokenizer), lengths, np.asarray(positions), keep, long
