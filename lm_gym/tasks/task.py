"""The base class of tasks, which turn a split into texts with positions to decide."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm_gym.costs import Costs
from lm_gym.data.fields import WORDS, Field
from lm_gym.data.spans import blank_spans
from lm_gym.metrics import Report
from lm_gym.ragged import windows, with_margin
from lm_gym.tasks.baseline import RANDOM, Baseline
from lm_gym.tasks.encoded import Encoded, Source, WordTable
from lm_gym.tasks.metric import ACCURACY, COMMON, Metric
from lm_gym.tasks.parts import Mark, Nouns, Part
from lm_gym.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from lm_gym.data import Corpus, Dataset
    from lm_gym.tasks.evaluation import DecidedText, Evaluation

HeadKind = Literal["labels", "text_labels", "vocabulary", "label_words", "pointer", "similarity"]


class OpenedTexts(NamedTuple):
    """Padded texts at the start of episodes.

    Attributes:
        input_ids: int64 [R, L].
        lengths: int64 [R], number of sub-tokens.
        positions: int64 [R, T]; 0 where padded.
        counts: int64 [R], number of positions.
        targets: int64 [R, T]; n where padded.
        order: int64 [R, T], slots of each row in the order in which they are decided, padded ones last; None for left
            to right.
    """

    input_ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    positions: NDArray[np.int64]
    counts: NDArray[np.int64]
    targets: NDArray[np.int64]
    order: NDArray[np.int64] | None = None


class Progress(NamedTuple):
    """The progress of texts that take several steps.

    Attributes:
        open: bool [N, T], positions that are not decided.
        filled: bool [N, T], positions that are decided.
        order: int64 [N, T], slots in the order in which they are decided (see `OpenedTexts.order`).
        decided: int64 [N], number of positions decided.
        last: bool [N], whether the next step is the last one.
    """

    open: NDArray[np.bool_]
    filled: NDArray[np.bool_]
    order: NDArray[np.int64]
    decided: NDArray[np.int64]
    last: NDArray[np.bool_]


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


@dataclass(frozen=True)
class NoOptions:
    """The options of a task without options."""


class Task(ABC):
    """Base class of tasks; an instance is an encoded split, ready to play.

    A task defines the fields of a record, the encoding of texts, the choices, the effect of a choice on the text, the
    metrics, the baselines, and the display of a decided text. Register a task with `lm_gym.register_task`. The
    docstring of the class becomes the description in the manual of its environment.

    Attributes:
        name: key in `TASKS`.
        env_id: id of the Gymnasium environment.
        fields: fields of a record; the first is the text.
        builtin: the dataset for `dataset="builtin"`: a name, or a function that returns splits. None if the task has
            none.
        default_reward: name of the default reward.
        metric_reward: name of the reward that pays the first metric, for searches that need no smooth reward; None if
            they do not prefer it to a smooth one.
        gold: kinds of gold that the targets offer to rewards (see `lm_gym.rewards.Reward.gold`).
        optional_gold: kinds of gold that some options add.
        head: the policy's output at a position: one logit per label, from a token classifier ("labels") or a text
            classifier ("text_labels"); one per vocabulary entry ("vocabulary"); one per label, from the words of the
            vocabulary that stand for it ("label_words"); or one per candidate in the text, from a token classifier at
            the candidate's marker ("pointer"), or by the similarity of its embedding to that of the context
            ("similarity").
        metrics: the task's own metrics; the first chooses the best model.
        baselines: baselines that any agent must beat.
        nouns: nouns for positions and choices.
        Options: frozen dataclass of the task's own arguments; its fields become arguments of the environment and
            `--env.<name>` on the command line. Runs store the paths of fields with the metadata `{"file": True}` as
            absolute ones.
        static_masks: whether the legal choices are independent of earlier choices.
        masked: whether observations always have `action_mask`, whatever `mask_actions` is.
        ranked: whether metrics need the rank of the gold choice (`Evaluation.target_ranks`).
        weighting: whether every `"position"` or every `"text"` has equal weight in supervised learning.
        choice_is_text: whether a choice replaces text (a token) instead of labelling it (a tag).
        quiet: the choice that is not displayed when it is correct, such as O; None to display all.
        by_word: whether every word is a position, in order, so that predictions can be written as CoNLL columns.
        predictions_suffix: suffix of files of predictions.
        usage: Markdown that shows how to use a checkpoint in transformers, `FOLDER` being its folder; empty if the
            pipeline of its head does.
        encoded: the encoded split.
        tokenizer: the tokenizer.
        shape: L, T and n.
        target_counts: int64 [n], frequency of each choice as gold in the training split.
        choice_names: the names of the choices; None if they are vocabulary ids.
        options: the task's own arguments.
        corpus: the split as text.
        train: the training split as text; None if the dataset has none.
    """

    name: ClassVar[str]
    env_id: ClassVar[str]
    fields: ClassVar[tuple[Field, ...]] = (WORDS,)
    builtin: ClassVar[Any] = None
    default_reward: ClassVar[str] = "accuracy"
    metric_reward: ClassVar[str | None] = None
    gold: frozenset[str] = frozenset({"choice"})
    optional_gold: ClassVar[frozenset[str]] = frozenset()
    head: HeadKind = "labels"
    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY,)
    baselines: ClassVar[tuple[Baseline, ...]] = (RANDOM,)
    nouns: ClassVar[Nouns] = Nouns()
    Options: ClassVar[type[Any]] = NoOptions
    static_masks: ClassVar[bool] = True
    masked: ClassVar[bool] = False
    ranked: ClassVar[bool] = False
    weighting: ClassVar[Literal["position", "text"]] = "position"
    choice_is_text: ClassVar[bool] = False
    quiet: ClassVar[int | None] = None
    by_word: ClassVar[bool] = False
    predictions_suffix: ClassVar[str] = "jsonl"
    usage: ClassVar[str] = ""

    def __init__(
        self,
        encoded: Encoded,
        tokenizer: TextTokenizer,
        shape: Shape,
        target_counts: NDArray[np.int64],
        choice_names: tuple[str, ...] | None,
        options: Any,
        corpus: Corpus,
        train: Corpus | None,
    ) -> None:
        self.tokenizer = tokenizer
        self.shape = shape
        self.target_counts = target_counts
        self.choice_names = choice_names
        self.options, self.corpus, self.train = options, corpus, train
        self._ids = with_margin(encoded.ids, shape.tokens)
        self.encoded = replace(encoded, ids=self._ids[: len(encoded.ids)])  # a view, to avoid a second copy

    # ------------------------------------------------------------------ encoding

    @classmethod
    def prepare(cls, dataset: Dataset, options: Any) -> Dataset:
        """Return the dataset to play, by default the dataset as it was read."""
        return dataset

    @classmethod
    def relabel(cls, dataset: Dataset, labels: Sequence[str]) -> Dataset:
        """Return the dataset with its choices renumbered to the labels of a trained model.

        Args:
            dataset: the result of `load_data`.
            labels: the model's labels, in order.

        Raises:
            DataError: the model lacks a label that the data uses.
        """
        for field in cls.fields:
            if field.kind in ("label", "labels"):
                return dataset.with_label_names(field.name, labels)
        return dataset

    @classmethod
    def labels_of(cls, config: Mapping[str, Any]) -> list[str]:
        """Return the labels that a trained model knows, in order; by default the names of its head's rows.

        Args:
            config: the content of its `config.json`.
        """
        labels = config.get("id2label", {})
        return [labels[number] for number in sorted(labels, key=int)]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that a trained model must know; by default the names of the choices."""
        return self.choice_names or ()

    @classmethod
    def encode(
        cls,
        corpus: Corpus,
        tokenizer: TextTokenizer,
        max_length: int,
        *,
        table: WordTable | None = None,
        options: Any = None,
        labelled: bool = True,
    ) -> Encoded:
        """Encode a split.

        Args:
            corpus: the prepared split.
            tokenizer: the tokenizer.
            max_length: maximum number of sub-tokens of a text, including special tokens.
            table: the ids of the corpus's vocabulary, if already computed.
            options: the task's own arguments; None for their defaults.
            labelled: False for texts to predict, whose gold is a placeholder (`without_gold`).

        Raises:
            ValueError: no text can be played.
        """
        room = cls.room(tokenizer, max_length)
        table = WordTable.build(corpus, tokenizer) if table is None else table
        source = Source(corpus, tokenizer, max_length, room, table, cls.Options() if options is None else options)
        return cls.encode_labelled(source) if labelled else cls.encode_unlabelled(source)

    @classmethod
    @abstractmethod
    def encode_labelled(cls, source: Source) -> Encoded:
        """Encode a split with gold.

        Raises:
            ValueError: no text can be played.
        """

    @classmethod
    def encode_unlabelled(cls, source: Source) -> Encoded:
        """Encode texts to predict, one encoded text for each.

        By default, this calls `encode_labelled`. Override it if positions depend on gold or are random.
        """
        return cls.encode_labelled(source)

    @classmethod
    def inputs(cls) -> tuple[Field, ...]:
        """Return the fields that a prediction needs: by default, all fields without gold."""
        return tuple(field for field in cls.fields if not field.gold)

    @classmethod
    def split(cls, text: str) -> list[tuple[int, int]]:
        """Return the start and end of each word of a text to predict, in characters; by default, split at blanks."""
        return blank_spans(text)

    @classmethod
    @abstractmethod
    def count_targets(cls, encoded: Encoded, tokenizer: TextTokenizer, num_choices: int) -> NDArray[np.int64]:
        """Return the frequency of each choice as a (possible) target in a split, int64 [n]."""

    @classmethod
    @abstractmethod
    def choices(
        cls, corpus: Corpus, tokenizer: TextTokenizer, *, options: Any = None
    ) -> tuple[int, tuple[str, ...] | None]:
        """Return the number of choices n and their names, or None for the names if they are vocabulary ids.

        The environments of a dataset have the largest n of its splits.
        """

    # ------------------------------------------------------------------ dynamics

    @classmethod  # noqa: B027  (most options conflict with nothing)
    def check(cls, unit: str, options: Any) -> None:
        """Raise ValueError if the task's own arguments conflict with the environment's `unit`."""

    @classmethod
    def whole(cls, options: Any) -> Any:
        """Return the options for deciding whole texts (`unit="sequence"`), as evaluations do."""
        return options

    @classmethod
    def evaluated_in(cls, options: Any) -> dict[str, Any]:
        """Return arguments of the environment that evaluations need for these options, besides `unit="sequence"`."""
        return {}

    @classmethod
    def explored_in(cls, options: Any) -> dict[str, Any]:
        """Return the arguments of the environment that policy gradients learn best with, for these options."""
        return {}

    @classmethod
    def learned_from(cls, options: Any) -> Any:
        """Return the options with which the supervised twin learns from gold choices."""
        return options

    def draw_counts(self, texts: NDArray[np.int64], visits: NDArray[np.int64], key: int) -> NDArray[np.int64]:
        """Return the number of positions of each text at a visit, int64 [R]; for the arguments, see `open`."""
        return self.encoded.counts[texts].astype(np.int64)

    @abstractmethod
    def open(self, texts: NDArray[np.int64], visits: NDArray[np.int64], key: int) -> OpenedTexts:
        """Return padded rows of texts at the start of episodes.

        Args:
            texts: int64 [R], indices of texts.
            visits: int64 [R], number of earlier visits of each text.
            key: key of the random positions of this visit, if positions are random.
        """

    def legal(self, predictions: NDArray[np.int64], cursor: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Return the legal choices at the cursor, bool [N, n]; None if they do not depend on earlier choices."""
        return None

    def allowed(self, texts: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Return the choices that texts have, int64 [R] → bool [R, n]; None if every text has all of them."""
        return None

    def gains(self, texts: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Return the relevance of each choice of some texts, int64 [R] → float64 [R, n]; None if there is none."""
        return None

    def obeys(self, observation: Mapping[str, NDArray[Any]], choices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which texts obey the task's rule (called only if `gold` has the kind "rule").

        Args:
            observation: the observation of N texts, with or without their decisions.
            choices: int64 [..., N, T], what is at the positions; n where they are open.

        Returns:
            bool [..., N].
        """
        raise NotImplementedError(f"{self.env_id} has no rule")

    @property
    def abstention(self) -> int | None:
        """The choice that abstains from the others; None if there is none."""
        return None

    @property
    def distinct(self) -> bool:
        """Whether the choices of a text must differ from one another."""
        return False

    @property
    def always_legal(self) -> NDArray[np.bool_]:
        """Choices that can be legal at any position, bool [n]."""
        return np.ones(self.shape.choices, np.bool_)

    @property
    def writes(self) -> bool:
        """Whether decisions change the text for later decisions."""
        return False

    def write(  # noqa: B027  (most tasks do not change the text)
        self,
        observation: Mapping[str, NDArray[Any]],
        rows: NDArray[np.int64],
        slots: NDArray[np.int64],
        choices: NDArray[np.int64],
    ) -> None:
        """Change the texts of some rows after a decision; called only if `writes` is True.

        Args:
            observation: the live observation, [N, …], changed in place.
            rows: int64 [R], the rows that decided.
            slots: int64 [R], the decided position of each row.
            choices: int64 [R], the choice of each row.
        """

    @property
    def in_steps(self) -> bool:
        """Whether texts take several steps with `unit="sequence"`, each of which decides some of the positions."""
        return False

    @property
    def may_wait(self) -> bool:
        """Whether an action may leave positions open, by the choice n (only if `in_steps`)."""
        return False

    @property
    def max_steps(self) -> int | None:
        """Maximum number of steps, after which a text ends; None for no limit (only if `in_steps`)."""
        return None

    @property
    def may_end_open(self) -> bool:
        """Whether a text may end with open positions (only if `in_steps`)."""
        return self.may_wait

    @property
    def step_cost(self) -> float:
        """Cost of each step, which is subtracted from its reward (only if `in_steps`)."""
        return 0.0

    @property
    def may_reopen(self) -> bool:
        """Whether an action may open decided positions again, by the choice n (only if `in_steps`)."""
        return False

    @property
    def reopen_cost(self) -> float:
        """Cost of each position that is opened again."""
        return 0.0

    def reopen(
        self, observation: Mapping[str, NDArray[Any]], rows: NDArray[np.int64], slots: NDArray[np.int64]
    ) -> None:
        """Undo what `write` did to some positions (called only if `may_reopen`).

        Args:
            observation: the live observation, [N, …], changed in place.
            rows: int64 [R], the rows of the positions.
            slots: int64 [R], the positions.
        """
        raise NotImplementedError(f"{self.env_id} cannot open a position again")

    @property
    def needs_distributions(self) -> bool:
        """Whether actions must be distributions; `choose` and `score` then get normalised log-probabilities."""
        return False

    def due(self, progress: Progress) -> NDArray[np.bool_]:
        """Return the positions that the next step may decide, bool [N, T] (called only if `in_steps`)."""
        return progress.open

    def taken(
        self, due: NDArray[np.bool_], choices: NDArray[np.int64], scores: NDArray[np.float64] | None, last: NDArray[Any]
    ) -> NDArray[np.bool_]:
        """Return the due positions that a step decides, bool [N, T] (called only if `in_steps`).

        Args:
            due: bool [N, T].
            choices: int64 [N, T]; n if a position is left open.
            scores: float64 [N, T], the `score` of each distribution; None if actions are choices.
            last: bool [N], whether this is the last step.
        """
        return due & (choices < self.shape.choices)

    @property
    def draws_choices(self) -> bool:
        """Whether the choice of a distribution is drawn from it, instead of its most probable one."""
        return False

    def choose(self, log_probs: NDArray[Any], uniforms: NDArray[np.float64] | None) -> NDArray[np.int64]:
        """Return the choices of distributions, [Q, n] log-probabilities → int64 [Q].

        Args:
            log_probs: [Q, n]; up to a constant for each position, unless the task `needs_distributions`.
            uniforms: float64 [Q], random numbers in [0, 1); None if choices are not drawn (`draws_choices`).
        """
        chosen: NDArray[np.int64] = log_probs.argmax(-1)
        return chosen

    def score(self, log_probs: NDArray[Any], choices: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Return the certainty of distributions [Q, n] with these choices [Q], float64 [Q]; None if it is not used."""
        return None

    def ended(self, decided: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which episodes have ended, bool [N], by the numbers of decided and of all positions, int64 [N]."""
        return decided >= counts

    @property
    def policy_arguments(self) -> dict[str, Any]:
        """Return arguments of an `LMPolicy` for this task, as plain values: the head and the names of the labels."""
        return {"head": self.head, "labels": self.choice_names}

    @property
    def costs(self) -> Costs | None:
        """The costs of wrong choices; None if the task defines none."""
        return None

    def other_ways(self, played: Evaluation) -> dict[str, dict[str, Any]]:
        """Return other ways to play the texts with the same policy, to compare with.

        Args:
            played: an evaluation of the policy with this task.

        Returns:
            By their names in reports, the options that differ from `options`; none by default.
        """
        return {}

    # ------------------------------------------------------------------ metrics and display

    @classmethod
    def all_metrics(cls) -> tuple[Metric, ...]:
        """Return the task's own metrics, then those of every task."""
        return (*cls.metrics, *COMMON)

    def reports(self, played: Evaluation) -> dict[str, Report]:
        """Return reports by name; none by default."""
        return {}

    def choice_keys(self) -> Sequence[Any]:
        """Return the name of each choice for users, [n]."""
        return self.choice_names or range(self.shape.choices)

    def choice_name(self, choice: int) -> str:
        """Return a choice as text."""
        return str(self.choice_keys()[choice])

    def choice_text(self, choice: int) -> str:
        """Return a choice as it appears in the text; called only if `choice_is_text` is True."""
        return self.choice_name(choice)

    def marks(self, choices: Sequence[int]) -> list[Mark]:
        """Return the marks of the choices of a text, in order."""
        return [Mark("" if choice == self.quiet else self.choice_name(choice)) for choice in choices]

    @abstractmethod
    def parts(self, text: DecidedText) -> list[Part]:
        """Return the parts of a text, in order; its positions are the parts with a slot."""

    @abstractmethod
    def format_prediction(self, text: DecidedText) -> str:
        """Return a text with gold and predicted choices for a file of predictions, including the line end."""

    def predicted(self, text: DecidedText, spans: Sequence[tuple[int, int]] | None) -> dict[str, Any]:
        """Return the choices of a text to predict as JSON values, which `predict` adds to its record.

        Args:
            text: the text with its choices; its targets are placeholders.
            spans: start and end of each word in the record's string; None if the record holds a list of words.

        Returns:
            By default, `predicted`, the names of the choices, and `probability`, their probabilities, if known.
        """
        return {
            "predicted": [self.choice_name(choice) for choice in text.choices.tolist()],
            **({} if text.log_probs is None else {"probability": probabilities(text.log_probs)}),
        }

    def text(self, index: int) -> str:
        """Return a text by its index, as the tokenizer spells it, without special tokens."""
        start = self.encoded.offsets[index] + len(self.tokenizer.prefix)
        end = self.encoded.offsets[index + 1] - len(self.tokenizer.suffix)
        return self.tokenizer.decode(self.encoded.ids[start:end].tolist())

    # ------------------------------------------------------------------ for subclasses

    @staticmethod
    def room(tokenizer: TextTokenizer, max_length: int) -> int:
        """Return the maximum number of content sub-tokens of a text.

        Raises:
            ValueError: `max_length` leaves no room for content.
        """
        frame = len(tokenizer.prefix) + len(tokenizer.suffix)
        if max_length <= frame:
            raise ValueError(
                f"max_length={max_length} leaves no room beside the {frame} special tokens of {tokenizer.source}: "
                f"give at least {frame + 1}"
            )
        return max_length - frame

    def _rows(self, texts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return padded ids int64 [R, L], lengths int64 [R], and a mask of sub-tokens, bool [R, L]."""
        starts = self.encoded.offsets[texts]
        lengths = self.encoded.offsets[texts + 1] - starts
        ids = windows(self._ids, starts, self.shape.tokens)
        inside = np.arange(self.shape.tokens) < lengths[:, None]
        ids[~inside] = self.tokenizer.pad
        return ids, lengths, inside


def probabilities(log_probs: NDArray[np.float32]) -> list[float]:
    """Return probabilities as numbers with four decimals."""
    return [round(value, 4) for value in np.exp(log_probs.astype(np.float64)).tolist()]
