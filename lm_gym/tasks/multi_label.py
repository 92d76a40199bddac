"""Multi-label text classification: any number of labels for each text, a decision per label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lm_gym import ragged
from lm_gym.data.columns import LabelColumn
from lm_gym.data.errors import DataError
from lm_gym.data.fields import LABELS, SECOND
from lm_gym.metrics import Report, label_report
from lm_gym.tasks.baseline import RANDOM, Baseline, by_probability
from lm_gym.tasks.candidate_texts import Layout
from lm_gym.tasks.display import json_line, probabilities
from lm_gym.tasks.encoded import Cut, Encoded, Source, id_type
from lm_gym.tasks.fixed import FixedPositions
from lm_gym.tasks.linear import tfidf_one_vs_rest
from lm_gym.tasks.metric import ACCURACY, MACRO_F1, Metric
from lm_gym.tasks.parts import Nouns, Part
from lm_gym.tasks.templates import Template, between, joined
from lm_gym.tasks.whole_texts import TEXT, encode_in_template, text_names, texts_of, words_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from lm_gym.data import Corpus
    from lm_gym.tasks.baseline import Batch, Prediction
    from lm_gym.tasks.evaluation import DecidedText, Evaluation
    from lm_gym.tasks.task import Task
    from lm_gym.tokenizer import TextTokenizer

NO, YES = 0, 1
_LEAST = 8  # minimum number of sub-tokens of the texts in addition to the labels
_USAGE = """\
```python
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

model, tokenizer = AutoModelForTokenClassification.from_pretrained("FOLDER"), AutoTokenizer.from_pretrained("FOLDER")
facts = model.config.lm_gym
text = tokenizer("…", add_special_tokens=False).input_ids
with torch.no_grad():
    logits = model(torch.tensor([facts["before"] + text + facts["after"]])).logits[0]
print(dict(zip(facts["labels"], logits[facts["places"]].softmax(-1)[:, 1].tolist())))
```

`lm_gym` in `config.json` holds the labels, the token ids before and after a text, and the places of the decisions.
"""


@dataclass(frozen=True)
class MultiLabelOptions:
    """Arguments of multi-label classification.

    Args:
        marker: token behind each label, where the decision is made; None: the mask token, or the end-of-text token of
            a causal LM
    """

    marker: str | None = None


class MultiLabelClassification(FixedPositions):
    """Give a text, or a pair of texts, any number of labels.

    An episode is one text. Each label is a position, and the action decides whether the text has this label: 1 is yes,
    0 is no. The training split defines the labels, in alphabetical order (numerical if all are integers).

    The text is read with the names of all labels behind it, each with a marker, and the decision about a label is made
    at its marker. The policy is a token classifier with two labels, no and yes, which all positions share, so that the
    model reads what the labels mean. Texts that do not fit in `max_length` with the labels lose their last words; of
    a pair, the longer text is cut first.

    A record has a text, for pairs a second text, and its `labels`: a list, or a string with commas, semicolons or bars
    between them. A text may have no label.

    The reward `label_f1` pays the F1 of the labels that a text is given, and `exact_match` pays for texts whose labels
    are all right.
    """

    name = "multi_label"
    env_id = "lm_gym/MultiLabelClassification-v0"
    fields = (TEXT, SECOND, LABELS)
    builtin = "builtin/headlines"
    gold = frozenset({"choice", "set"})
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("micro_f1", "micro F1", lambda played: played.reports["label"].micro.f1, while_training=True),
        MACRO_F1,
        Metric("subset_accuracy", "subset", lambda played: _subset_accuracy(played), while_training=True),
        ACCURACY,
    )
    baselines = (
        RANDOM,
        Baseline("majority", "majority", lambda task: majority_per_label(task)),
        Baseline("tfidf", "TF-IDF + logreg", tfidf_one_vs_rest),
    )
    nouns = Nouns("label", "labels", "decision", "decisions")
    quiet = NO
    usage = _USAGE
    Options = MultiLabelOptions

    @classmethod
    def labels_of(cls, config: Mapping[str, Any]) -> list[str]:
        """Return the labels that a trained model knows, which its configuration stores in addition to no and yes."""
        return [*config["lm_gym"]["labels"]]

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels."""
        return labels_of_corpus(self.corpus).names

    @property
    def policy_arguments(self) -> dict[str, Any]:
        """The head, no and yes, and for checkpoints the names of the labels and how texts are read."""
        block, ends = label_block(self.labels, self.tokenizer, self.options.marker)
        after = (*block, *self.tokenizer.suffix)
        facts = {
            "labels": [*self.labels],
            "before": [*self.tokenizer.prefix],
            "after": [*after],
            "places": (ends - len(after)).tolist(),
        }
        return {**super().policy_arguments, "facts": facts}

    @classmethod
    def encode_labelled(cls, source: Source) -> Encoded:
        """Encode a labelled split.

        Raises:
            ValueError: the corpus has no labels, the tokenizer has no marker, or `max_length` leaves no room for a text
                beside the labels.
        """
        corpus, tokenizer, max_length, room, table, options = source
        column = labels_of_corpus(corpus)
        block, ends = label_block(column.names, tokenizer, options.marker)
        if room < len(block) + _LEAST:
            raise DataError(
                f"the {len(column.names)} labels need {len(block)} sub-tokens and a text at least {_LEAST}, but "
                f"max_length={max_length} leaves {room}: raise it to {max_length - room + len(block) + _LEAST} or more"
            )
        alone = joined(text_names(corpus), tokenizer)
        template = Template((*alone.parts, block), alone.prefix, alone.suffix, "end")
        ids, lengths, last, cut = encode_in_template(corpus, table, tokenizer, template, max_length, room)
        count, places = len(corpus), last[:, None] - (len(block) - 1 - ends)
        return Encoded(
            ids,
            ragged.to_offsets(lengths),
            np.full(count, len(ends), np.int32),
            Cut(int(cut.sum()), 0),
            np.arange(count + 1) * len(ends),
            places.ravel().astype(id_type(max_length)),
            column.flags().ravel().astype(np.int16),
        )

    @classmethod
    def choices(
        cls, corpus: Corpus, tokenizer: TextTokenizer, *, options: Any = None
    ) -> tuple[int, tuple[str, ...] | None]:
        """Return the two choices, no and yes.

        Raises:
            DataError: no text has a label.
        """
        if not labels_of_corpus(corpus).names:
            raise DataError("no text has a label: give at least one text of the training split a label")
        return 2, ("no", "yes")

    def reports(self, played: Evaluation) -> dict[str, Report]:
        """Return precision, recall and F1 by label."""
        gold, predicted = (_flags(values, played) for values in (played.targets, played.choices))
        return {"label": label_report(gold, predicted, self.labels)}

    def parts(self, text: DecidedText) -> list[Part]:
        """Return the words, those of both texts of a pair, and the labels after an arrow."""
        labels = (Part(name, slot=slot) for slot, name in enumerate(self.labels))
        return [*map(Part, words_of(self.corpus, text.index)), Part("→"), *labels]

    def format_prediction(self, text: DecidedText) -> str:
        """Return a JSON object with the text or pair, and its gold and predicted labels."""
        texts = {name: " ".join(words) for name, words in texts_of(self.corpus, text.index).items()}
        labels = {"gold": self._given(text.targets), "predicted": self._given(text.choices)}
        return json_line(texts | labels)

    def predicted(self, text: DecidedText, spans: Sequence[tuple[int, int]] | None) -> dict[str, Any]:
        """Return `predicted`, the labels of the text, and `probability`, the probability of each label by name."""
        found: dict[str, Any] = {"predicted": self._given(text.choices)}
        if text.log_probs is not None:
            likely = zip(text.choices.tolist(), probabilities(text.log_probs), strict=True)
            yes = (p if choice == YES else round(1 - p, 4) for choice, p in likely)
            found["probability"] = dict(zip(self.labels, yes, strict=True))
        return found

    def _given(self, choices: NDArray[np.int64]) -> list[str]:
        """Return the names of the labels that a text has by these decisions."""
        return [name for name, choice in zip(self.labels, choices.tolist(), strict=True) if choice == YES]


def labels_of_corpus(corpus: Corpus) -> LabelColumn:
    """Return the labels of a corpus.

    Raises:
        DataError: there are none.
    """
    column = corpus.columns.get(LABELS.name)
    if not isinstance(column, LabelColumn):
        raise DataError("the data has no labels: multi-label classification needs a list of them per text")
    return column


def label_block(
    names: Sequence[str], tokenizer: TextTokenizer, marker: str | None
) -> tuple[tuple[int, ...], NDArray[np.int64]]:
    """Return the sub-tokens that follow every text, and the index of each label's marker among them, int64 [L].

    Raises:
        ValueError: the tokenizer has no such marker, or two labels have the same sub-tokens.
    """
    mark = Layout.of(tokenizer, marker, abstains=False).marker
    block, ends = [*(between(tokenizer) or (mark,))], list[int]()
    known: dict[tuple[int, ...], str] = {}
    for name in names:
        ids = tokenizer.encode_words(name.split())[0].tolist()
        same = known.setdefault(tuple(ids), name)
        if same != name:
            raise DataError(
                f"the labels {same!r} and {name!r} have the same tokens under the tokenizer {tokenizer.source}, so a "
                "model could not distinguish them: rename one"
            )
        block += [*ids, mark]
        ends.append(len(block) - 1)
    return tuple(block), np.array(ends, np.int64)


def majority_per_label(task: Task) -> Callable[[Batch], Prediction]:
    """Return a predictor that gives each label its frequency in the training split, plus one text with and without it.

    Raises:
        ValueError: the dataset has no training split.
    """
    if task.train is None:
        raise ValueError("the majority per label needs a labelled training split")
    flags = labels_of_corpus(task.train).flags()
    shares = (flags.sum(0) + 1.0) / (len(flags) + 2.0)
    return by_probability(lambda texts: np.broadcast_to(shares, (len(texts), len(shares))))


def _flags(values: NDArray[np.int64], played: Evaluation) -> NDArray[np.bool_]:
    """Return flat decisions by text and label, bool [M, L]."""
    return np.asarray(values.reshape(len(played), -1) == YES)


def _subset_accuracy(played: Evaluation) -> float:
    return float((_flags(played.targets, played) == _flags(played.choices, played)).all(1).mean())
