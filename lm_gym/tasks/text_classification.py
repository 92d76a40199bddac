"""Text classification: one label for each text or pair of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lm_gym import ragged
from lm_gym.costs import Costs
from lm_gym.data.columns import LabelColumn
from lm_gym.data.errors import DataError
from lm_gym.data.fields import LABEL, SECOND
from lm_gym.metrics import Report, calibration_error, confusion_matrix, confusion_report, matthews
from lm_gym.tasks.baseline import RANDOM, Baseline, unigram
from lm_gym.tasks.display import json_line
from lm_gym.tasks.encoded import Cut, Encoded, Source, id_type
from lm_gym.tasks.fixed import FixedPositions
from lm_gym.tasks.label_words import read_label_words
from lm_gym.tasks.linear import tfidf_regression
from lm_gym.tasks.metric import ACCURACY, MACRO_F1, Metric
from lm_gym.tasks.parts import Nouns, Part
from lm_gym.tasks.task import HeadKind
from lm_gym.tasks.templates import Template, joined, read_template
from lm_gym.tasks.whole_texts import TEXT, encode_in_template, text_names, texts_of, words_of

if TYPE_CHECKING:
    from lm_gym.data import Corpus
    from lm_gym.tasks.evaluation import DecidedText, Evaluation
    from lm_gym.tokenizer import TextTokenizer


@dataclass(frozen=True)
class TextClassificationOptions:
    r"""Arguments of text classification.

    Args:
        template: the prompt for each text, such as `"{{text}} It was {{mask}}."` for a masked LM or
            `"Review: {{text}}\nSentiment:"` for a causal LM; `{{second}}` is the second text of a pair. None: the text
            alone, or the pair as the tokenizer joins it
        label_words: words that stand for each label, `{{label: word}}` or `{{label: [word, …]}}`. The model's own
            vocabulary head predicts them, at the mask or after the template. None: use a classification head
        calibrate: whether to calibrate label words by subtracting the predictions for texts without content
            (contextual calibration)
        costs: costs of wrong {choices}, `{{gold: {{chosen: cost}}}}`, for the reward `"cost"` and the metric
            `expected_cost`; mistakes that are not listed cost 1

    Raises:
        ValueError: an option is missing, or has no effect with the others, or is malformed.
    """

    template: str | None = None
    label_words: dict[str, str | list[str]] | None = None
    calibrate: bool = False
    costs: dict[str, dict[str, float]] | None = None

    def __post_init__(self) -> None:
        for name in ("label_words", "costs"):  # options are keys of a cache
            object.__setattr__(self, name, _frozen(getattr(self, name), name))
        if self.label_words and self.template is None:
            raise ValueError(
                "label_words need a template that says where they stand: '{text} It was {mask}.' for a masked LM, "
                "'{text} It was' for a causal one"
            )
        if self.calibrate and not self.label_words:
            raise ValueError("calibrate=True needs label words: give label_words, or omit calibrate")
        if self.template is not None and "{mask}" in self.template and not self.label_words:
            raise ValueError(f"template {self.template!r} has a {{mask}}: give the label_words that can fill it")


class TextClassification(FixedPositions):
    """Give a text, or a pair of texts, one of several labels.

    An episode is one text with one position, so that a single step decides it. A record has a text, a label, and for
    pairs a second text. Texts longer than `max_length` lose their last words; of a pair, the longer text is cut first.

    Without `label_words` the policy is a text classifier. It predicts the label at the first token if the tokenizer
    adds tokens on both sides of a text (BERT's `[CLS]`), and at the last token otherwise. With `label_words` it is a
    language model: the score of a label is the mean log-probability of the tokens of its words, at the mask or at the
    last token of the template, and a softmax over the labels turns scores into probabilities.
    """

    name = "text_classification"
    env_id = "lm_gym/TextClassification-v0"
    fields = (TEXT, SECOND, LABEL)
    builtin = "builtin/headlines"
    metrics: ClassVar[tuple[Metric, ...]] = (
        ACCURACY,
        MACRO_F1,
        Metric("matthews", "MCC", lambda played: matthews(_confusion(played))),
        Metric("expected_cost", "cost", lambda played: _expected_cost(played), lower_is_better=True),
        Metric("calibration_error", "ECE", lambda played: _calibration_error(played), lower_is_better=True),
    )
    baselines = (
        RANDOM,
        Baseline("majority", "majority label", unigram),
        Baseline("tfidf", "TF-IDF + logreg", tfidf_regression),
    )
    nouns = Nouns(choice="label", choices="labels")
    Options = TextClassificationOptions

    def __init__(self, encoded: Encoded, tokenizer: TextTokenizer, *arguments: Any) -> None:
        super().__init__(encoded, tokenizer, *arguments)
        self.head: HeadKind = "label_words" if self.options.label_words else "text_labels"
        labels = self.choice_names or ()
        self._costs = Costs(
            {gold: dict(row) if isinstance(row, tuple) else row for gold, row in self.options.costs or ()}, labels
        )
        self._label_words = None
        if self.options.label_words:
            template = _template(self.corpus, tokenizer, self.options)
            self._label_words = read_label_words(self.options, template, labels, tokenizer)

    @classmethod
    def encode_labelled(cls, source: Source) -> Encoded:
        """Encode a labelled split.

        Raises:
            ValueError: the corpus has no labels, the template does not fit the tokenizer, or `max_length` leaves no
                room for a text.
        """
        corpus, tokenizer, max_length, room, table, options = source
        targets = _labels(corpus).values
        template = _template(corpus, tokenizer, options)
        ids, lengths, places, cut = encode_in_template(corpus, table, tokenizer, template, max_length, room)
        count = len(corpus)
        return Encoded(
            ids,
            ragged.to_offsets(lengths),
            np.ones(count, np.int32),
            Cut(int(cut.sum()), 0),
            np.arange(count + 1),
            places.astype(id_type(max_length)),
            targets,
        )

    @classmethod
    def choices(
        cls, corpus: Corpus, tokenizer: TextTokenizer, *, options: Any = None
    ) -> tuple[int, tuple[str, ...] | None]:
        """Return the number of labels and their names.

        Raises:
            DataError: there is only one label.
        """
        names = _labels(corpus).names
        if len(names) < 2:
            raise DataError(f"all texts have the label {', '.join(names)}: at least two are needed")
        return len(names), names

    @property
    def policy_arguments(self) -> dict[str, Any]:
        """The head, the labels and the label words, if any (see `lm_gym.tasks.label_words.LabelWords`)."""
        words = {} if self._label_words is None else {"label_words": self._label_words.to_dict()}
        return {**super().policy_arguments, **words}

    @property
    def costs(self) -> Costs:
        """The costs of wrong labels."""
        return self._costs

    def reports(self, played: Evaluation) -> dict[str, Report]:
        """Return precision, recall and F1 by label, and the confusion matrix."""
        assert self.choice_names is not None
        return {"label": confusion_report(played.targets, played.choices, self.choice_names, "Report by label")}

    def parts(self, text: DecidedText) -> list[Part]:
        """Return the words, those of both texts of a pair, and the label after an arrow."""
        return [*map(Part, words_of(self.corpus, text.index)), Part("→"), Part("label", slot=0)]

    def format_prediction(self, text: DecidedText) -> str:
        """Return a JSON object with the text or pair, the gold label and the predicted label."""
        texts = {name: " ".join(words) for name, words in texts_of(self.corpus, text.index).items()}
        labels = {"gold": self.choice_name(int(text.targets[0])), "predicted": self.choice_name(int(text.choices[0]))}
        return json_line(texts | labels)

    def predicted(self, text: DecidedText, spans: Sequence[tuple[int, int]] | None) -> dict[str, Any]:
        """Return `predicted`, the label, and `probability`, the probability of that label."""
        return {key: values[0] for key, values in super().predicted(text, spans).items()}


def _labels(corpus: Corpus) -> LabelColumn:
    column = corpus.columns.get(LABEL.name)
    if not isinstance(column, LabelColumn):
        raise DataError("the data has no labels: text classification needs one per text")
    return column


def _template(corpus: Corpus, tokenizer: TextTokenizer, options: TextClassificationOptions) -> Template:
    """Return the template for the texts of a corpus."""
    if options.template is None:
        return joined(text_names(corpus), tokenizer)
    return read_template(options.template, text_names(corpus), tokenizer, answers=bool(options.label_words))


def _confusion(played: Evaluation) -> NDArray[np.int64]:
    return confusion_matrix(played.targets, played.choices, played.task.shape.choices)


def _expected_cost(played: Evaluation) -> float | None:
    costs = played.task.costs
    return None if costs is None else float(costs(played.targets, played.choices).mean())


def _calibration_error(played: Evaluation) -> float | None:
    if played.choice_log_probs is None:
        return None
    return calibration_error(played.choice_log_probs, played.targets == played.choices)


def _frozen(value: Any, name: str) -> Any:
    """Convert mappings and lists to tuples."""
    if value is None or isinstance(value, tuple):
        return value or None
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}={value!r} is not a mapping: give {{label: …}}")
    return (
        tuple((key, _frozen(of, name) if isinstance(of, Mapping) else _tupled(of)) for key, of in value.items()) or None
    )


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
