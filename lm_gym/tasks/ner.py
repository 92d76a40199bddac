"""Named entity recognition: every word gets an IOB2 tag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.data.conll import one_column
from lm_gym.iob2 import may_follow, split_tag
from lm_gym.metrics import Report, entity_report, token_report
from lm_gym.tasks.baseline import RANDOM, Baseline
from lm_gym.tasks.metric import Metric
from lm_gym.tasks.parts import Mark, Nouns
from lm_gym.tasks.words import WordLabels, majority_label

if TYPE_CHECKING:
    from lm_gym.data import Dataset
    from lm_gym.tasks.encoded import Encoded
    from lm_gym.tasks.evaluation import DecidedText, Evaluation


class NER(WordLabels):
    """Tag the words of a text.

    An episode is one text. Each word is a position, at its first sub-token. The agent gives every word an IOB2 tag,
    from left to right or all at once: "B-X" for the first word of an entity of type X, "I-X" for its other words, and
    "O", which is tag 0, for all other words.

    `action_masks()` allows the tags that are valid in IOB2 (I-X only after B-X or I-X). Words whose first sub-token
    lies beyond `max_length` are dropped: `env.cut` counts them, a warning reports their number, and results count them
    as predicted O.
    """

    name = "ner"
    env_id = "lm_gym/NER-v0"
    builtin = "builtin/ner"
    default_reward = "accuracy"
    metric_reward = "f1"  # by likelihood, the best random tagger tags almost every word O
    gold = frozenset({"choice", "iob2"})
    metrics = (
        Metric("entity_f1", "entity F1", lambda played: played.reports["entity"].micro.f1, while_training=True),
        Metric(
            "entity_precision", "entity prec.", lambda played: played.reports["entity"].micro.precision,
            in_terminal=False,
        ),
        Metric("entity_recall", "entity rec.", lambda played: played.reports["entity"].micro.recall, in_terminal=False),
        Metric("token_accuracy", "token acc.", lambda played: played.reports["token"].micro.f1, while_training=True),
        Metric("token_macro_f1", "token macro F1", lambda played: played.reports["token"].macro.f1),
    )  # fmt: skip
    baselines = (RANDOM, Baseline("majority", "majority tag", majority_label))
    nouns = Nouns("word", "words", "tag", "tags")
    static_masks = False
    quiet = 0
    predictions_suffix = "conll"

    def __init__(self, encoded: Encoded, *arguments: Any) -> None:
        super().__init__(encoded, *arguments)
        self._follows = may_follow(self.choice_names or ())

    @classmethod
    def relabel(cls, dataset: Dataset, labels: Sequence[str]) -> Dataset:
        """Return the dataset with its tags renumbered to the labels of a trained model.

        Raises:
            DataError: the model lacks a tag that is used.
        """
        return dataset.with_tag_names(labels)

    def legal(self, predictions: NDArray[np.int64], cursor: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return a mask that allows I-X only after B-X or I-X, bool [N, n]."""
        before = predictions[np.arange(len(cursor)), np.maximum(cursor - 1, 0)]
        before = np.where(cursor == 0, 0, np.minimum(before, self.shape.choices - 1))
        return self._follows[before]

    def reports(self, played: Evaluation) -> dict[str, Report]:
        """Return the entity report (conlleval) and the token report; words cut by max_length count as predicted O."""
        assert self.choice_names is not None
        gold, predicted, offsets = self._all_tags(played)
        return {
            "entity": entity_report(gold, predicted, self.choice_names, offsets),
            "token": token_report(gold, predicted, self.choice_names),
        }

    def _all_tags(self, played: Evaluation) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the gold and predicted tags of every word as flat arrays, and the offsets of texts."""
        corpus = self.corpus
        assert corpus.tags is not None
        lengths = corpus.lengths[played.texts]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        kept = np.diff(played.offsets)
        words = np.repeat(offsets[:-1], kept) + np.arange(len(played.choices)) - np.repeat(played.offsets[:-1], kept)
        predicted = np.zeros(offsets[-1], np.int64)  # O for words cut by max_length
        predicted[words] = played.choices
        starts = np.repeat(corpus.offsets[played.texts] - offsets[:-1], lengths)
        gold = corpus.tags[starts + np.arange(offsets[-1])].astype(np.int64)
        return gold, predicted, offsets

    def marks(self, choices: Sequence[int]) -> list[Mark]:
        """Return the marks of entities (see `entity_marks`)."""
        return entity_marks([self.choice_name(choice) for choice in choices])

    def predicted(self, text: DecidedText, spans: Sequence[tuple[int, int]] | None) -> dict[str, Any]:
        """Return the tags (see `WordLabels.predicted`), and of a string `predicted_entities`, with spans in characters.

        Words that `max_length` cuts are tagged O.
        """
        found = super().predicted(text, spans)
        found["predicted"] = [tag or "O" for tag in found["predicted"]]
        if spans is not None:
            found["predicted_entities"] = _entities(found["predicted"], spans)
        return found

    def format_prediction(self, text: DecidedText) -> str:
        """Return a line `word gold predicted` for each word and a blank line; words that were cut are predicted O.

        Spaces inside a word are written as "_".
        """
        words = [*map(one_column, self.corpus.text(text.index))]
        gold = self.corpus.tags_of(text.index)
        predicted = [self.choice_name(choice) for choice in text.choices.tolist()]
        predicted += ["O"] * (len(words) - len(predicted))
        lines = (f"{word} {g} {p}\n" for word, g, p in zip(words, gold, predicted, strict=True))
        return "".join(lines) + "\n"


def entity_marks(tags: Sequence[str]) -> list[Mark]:
    """Return a mark for each tag; marks of the same entity are joined, as conlleval reads tags.

    Raises:
        ValueError: a tag is not IOB2.
    """
    found: list[Mark] = []
    for letter, kind in map(split_tag, tags):
        found.append(Mark(kind, letter == "I" and bool(found) and found[-1].label == kind))
    return found


def _entities(tags: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Return the entities of a text, with their spans in characters."""
    found: list[dict[str, Any]] = []
    for mark, (start, end) in zip(entity_marks(tags), spans, strict=True):
        if mark.joined:
            found[-1]["end"] = end
        elif mark.label:
            found.append({"start": start, "end": end, "label": mark.label})
    return found
