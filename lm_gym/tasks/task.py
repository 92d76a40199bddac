"""What a task is: how a split becomes texts with positions to decide, and everything that is the task's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm_gym.data.fields import WORDS, Field
from lm_gym.metrics import Report
from lm_gym.ragged import windows, with_margin
from lm_gym.tasks.baseline import RANDOM, Baseline
from lm_gym.tasks.encoded import Encoded, WordTable
from lm_gym.tasks.metric import ACCURACY, COMMON, Metric
from lm_gym.tasks.parts import Mark, Nouns, Part
from lm_gym.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from lm_gym.data import Corpus, Dataset
    from lm_gym.tasks.evaluation import DecidedText, Evaluation

HeadKind = Literal["labels", "vocabulary"]


class OpenedTexts(NamedTuple):
    """Texts opened for play, padded.

    Attributes:
        input_ids: int64 [R, L].
        lengths: int64 [R], sub-tokens.
        positions: int64 [R, T], 0 where padded.
        counts: int64 [R], positions.
        targets: int64 [R, T], n where padded.
        order: int64 [R, T], the slots of each row in the order in which they are decided, padded ones last; None: from
            left to right.
    """

    input_ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    positions: NDArray[np.int64]
    counts: NDArray[np.int64]
    targets: NDArray[np.int64]
    order: NDArray[np.int64] | None = None


class Progress(NamedTuple):
    """How far texts in steps have come.

    Attributes:
        open: bool [N, T], positions that are not decided.
        order: int64 [N, T], slots in the order in which they are decided (see `OpenedTexts.order`).
        decided: int64 [N], number of positions decided.
        last: bool [N], whether no step but the next one is left.
    """

    open: NDArray[np.bool_]
    order: NDArray[np.int64]
    decided: NDArray[np.int64]
    last: NDArray[np.bool_]


class Shape(NamedTuple):
    """Sizes shared by every split of a dataset, so that all of them have the same spaces.

    Attributes:
        tokens: L, sub-tokens in the longest text.
        positions: T, positions in the text that has most.
        choices: n, choices of an action.
    """

    tokens: int
    positions: int
    choices: int


@dataclass(frozen=True)
class NoOptions:
    """The options of a task that has none."""


class Task(ABC):
    """A split of a dataset, ready to play.

    A task is one file. It says what a record must hold, how texts are encoded, what may be chosen, what a choice
    changes, what results are measured by, which rows any agent must beat, and how a decided text is shown. Register
    one with `lm_gym.register_task`; the class docstring is the description in its environment's manual.

    Attributes:
        name: the key in `TASKS`.
        env_id: id of the Gymnasium environment.
        fields: what a record must have; the first is the text.
        builtin: the builtin dataset that `dataset="builtin"` means, or a function that returns the splits; None: the
            task has none.
        default_reward: the reward if none is asked for.
        gold: kinds of gold that rewards may take the targets for (see `lm_gym.rewards.Reward.gold`).
        head: what the policy's output must be: one logit per label, or one per vocabulary entry.
        metrics: the task's own metrics; the first chooses the best model.
        baselines: rows that any agent must beat.
        nouns: what positions and choices are called.
        Options: frozen dataclass of the task's own arguments; its fields are arguments of the environment and, as
            `--env.<name>`, of the command line.
        static_masks: whether the choices that make sense are independent of earlier choices.
        weighting: what counts the same when gold choices are learned: every `"position"`, or every `"text"`.
        choice_is_text: whether a choice is itself what stands in the text (a token), or a label beside it (a tag).
        quiet: the choice that needs no mention when it is right, such as O; None if every choice does.
        predictions_suffix: ending of the files of predictions.
        encoded: the split, encoded.
        tokenizer: the tokenizer.
        shape: L, T and n.
        target_counts: int64 [n], how often each choice is gold in the training split.
        choice_names: the names of the choices, or None where they are vocabulary ids.
        options: the task's own arguments.
        corpus: the split, as text.
        train: the training split, as text; None if the dataset has none.
    """

    name: ClassVar[str]
    env_id: ClassVar[str]
    fields: ClassVar[tuple[Field, ...]] = (WORDS,)
    builtin: ClassVar[Any] = None
    default_reward: ClassVar[str] = "accuracy"
    gold: ClassVar[frozenset[str]] = frozenset({"choice"})
    head: ClassVar[HeadKind] = "labels"
    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY,)
    baselines: ClassVar[tuple[Baseline, ...]] = (RANDOM,)
    nouns: ClassVar[Nouns] = Nouns()
    Options: ClassVar[type[Any]] = NoOptions
    static_masks: ClassVar[bool] = True
    weighting: ClassVar[Literal["position", "text"]] = "position"
    choice_is_text: ClassVar[bool] = False
    quiet: ClassVar[int | None] = None
    predictions_suffix: ClassVar[str] = "jsonl"

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
        self.encoded = replace(encoded, ids=self._ids[: len(encoded.ids)])  # a view: one copy, not two

    # ------------------------------------------------------------------ from a dataset to positions

    @classmethod
    def prepare(cls, dataset: Dataset, options: Any) -> Dataset:
        """The texts to play, where they are not those of the dataset itself (by default they are)."""
        return dataset

    @classmethod
    def relabel(cls, dataset: Dataset, labels: Sequence[str]) -> Dataset:
        """The dataset with its choices numbered as a trained model numbers its labels.

        Args:
            dataset: as `load_data` gives it.
            labels: of the model, in order.
        """
        return dataset

    @classmethod
    @abstractmethod
    def encode(
        cls,
        corpus: Corpus,
        tokenizer: TextTokenizer,
        max_length: int,
        *,
        table: WordTable | None = None,
        options: Any = None,
    ) -> Encoded:
        """Encode a split.

        Args:
            corpus: the split, prepared.
            tokenizer: the tokenizer.
            max_length: most sub-tokens of a text, special tokens included.
            table: the ids of the corpus's vocabulary, if they are known already.
            options: the task's own arguments; None for their defaults.

        Raises:
            ValueError: nothing can be played.
        """

    @classmethod
    @abstractmethod
    def count_targets(cls, encoded: Encoded, tokenizer: TextTokenizer, num_choices: int) -> NDArray[np.int64]:
        """How often each choice is (or, where targets are drawn, could be) gold in a split, int64 [n]."""

    @classmethod
    @abstractmethod
    def choices(cls, corpus: Corpus, tokenizer: TextTokenizer) -> tuple[int, tuple[str, ...] | None]:
        """The number of choices n, and their names or None where they are vocabulary ids."""

    # ------------------------------------------------------------------ the dynamics

    @classmethod  # noqa: B027  (most options contradict nothing)
    def check(cls, unit: str, options: Any) -> None:
        """Raise ValueError where the task's own arguments contradict the environment's `unit`."""

    @classmethod
    def whole(cls, options: Any) -> Any:
        """The options to play texts with that are decided as a whole (`unit="sequence"`), as evaluations do."""
        return options

    @classmethod
    def evaluated_in(cls, options: Any) -> dict[str, Any]:
        """Arguments of the environment that evaluations need for these options, beside `unit="sequence"`."""
        return {}

    @classmethod
    def learned_from(cls, options: Any) -> Any:
        """The options to learn from gold choices with (the supervised twin)."""
        return options

    def draw_counts(self, texts: NDArray[np.int64], visits: NDArray[np.int64], key: int) -> NDArray[np.int64]:
        """The number of positions of each text at a visit, int64 [R]; arguments as those of `open`."""
        return self.encoded.counts[texts].astype(np.int64)

    @abstractmethod
    def open(self, texts: NDArray[np.int64], visits: NDArray[np.int64], key: int) -> OpenedTexts:
        """Padded rows of texts.

        Args:
            texts: int64 [R].
            visits: int64 [R], how often each text has been played before.
            key: what the positions of this visit are drawn with, where they are drawn.
        """

    def legal(self, predictions: NDArray[np.int64], cursor: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Which choices make sense at the cursor, bool [N, n]; None where that depends on no earlier choice."""
        return None

    @property
    def always_legal(self) -> NDArray[np.bool_]:
        """Which choices make sense anywhere, bool [n]."""
        return np.ones(self.shape.choices, np.bool_)

    @property
    def writes(self) -> bool:
        """Whether decisions change the text that later decisions read."""
        return False

    def write(  # noqa: B027  (most tasks write nothing)
        self,
        observation: Mapping[str, NDArray[Any]],
        rows: NDArray[np.int64],
        slots: NDArray[np.int64],
        choices: NDArray[np.int64],
    ) -> None:
        """Change the texts of some rows after a decision (only called where `writes`).

        Args:
            observation: the live leaves, [N, …], changed in place.
            rows: int64 [R], the rows that have decided.
            slots: int64 [R], the position that each has decided.
            choices: int64 [R], what it has chosen.
        """

    @property
    def in_steps(self) -> bool:
        """Whether texts take several steps with `unit="sequence"`, each of which decides some positions."""
        return False

    @property
    def may_wait(self) -> bool:
        """Whether an action may leave positions open: their choice is n (only where `in_steps`)."""
        return False

    @property
    def max_steps(self) -> int | None:
        """Most steps of a text, after which it ends; None for any number (only where `in_steps`)."""
        return None

    @property
    def may_end_open(self) -> bool:
        """Whether a text may end with open positions (only where `in_steps`)."""
        return self.may_wait

    @property
    def step_cost(self) -> float:
        """What each step costs, subtracted from its reward (only where `in_steps`)."""
        return 0.0

    @property
    def needs_distributions(self) -> bool:
        """Whether only distributions as actions can be played (because `taken` needs scores)."""
        return False

    def due(self, progress: Progress) -> NDArray[np.bool_]:
        """Which positions the next step may decide, bool [N, T] (only called where `in_steps`)."""
        return progress.open

    def taken(
        self, due: NDArray[np.bool_], choices: NDArray[np.int64], scores: NDArray[np.float64] | None, last: NDArray[Any]
    ) -> NDArray[np.bool_]:
        """Which of the positions that are due a step decides, bool [N, T] (only called where `in_steps`).

        Args:
            due: bool [N, T].
            choices: int64 [N, T], n where a position is left open.
            scores: float64 [N, T], what `score` says of each distribution; None where actions are choices.
            last: bool [N], whether it is the last step.
        """
        return due & (choices < self.shape.choices)

    def score(self, log_probs: NDArray[Any]) -> NDArray[np.float64] | None:
        """How sure distributions are, [..., n] log-probabilities → float64 [...]; None if the task never asks."""
        return None

    def ended(self, decided: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which episodes are over, bool [N], by positions decided and positions, int64 [N] each."""
        return decided >= counts

    # ------------------------------------------------------------------ what is measured, and shown

    @classmethod
    def all_metrics(cls) -> tuple[Metric, ...]:
        """The task's own metrics, then those of every task."""
        return (*cls.metrics, *COMMON)

    def reports(self, played: Evaluation) -> dict[str, Report]:
        """Reports by class, by name; none by default."""
        return {}

    def choice_keys(self) -> Sequence[Any]:
        """What a user calls each choice where choices are given by name, [n]."""
        return self.choice_names or range(self.shape.choices)

    def choice_name(self, choice: int) -> str:
        """A choice as text."""
        return str(self.choice_keys()[choice])

    def choice_text(self, choice: int) -> str:
        """How a choice reads where it stands in the text (only called where `choice_is_text`)."""
        return self.choice_name(choice)

    def marks(self, choices: Sequence[int]) -> list[Mark]:
        """How the choices of a text, in order, are drawn beside its parts."""
        return [Mark("" if choice == self.quiet else self.choice_name(choice)) for choice in choices]

    @abstractmethod
    def parts(self, text: DecidedText) -> list[Part]:
        """A text in parts, in order; its positions are the parts with a slot."""

    @abstractmethod
    def format_prediction(self, text: DecidedText) -> str:
        """A text with gold and predicted choices as it stands in a file of predictions, line end included."""

    def text(self, index: int) -> str:
        """The text of a number as the tokenizer spells it, special tokens left out."""
        start = self.encoded.offsets[index] + len(self.tokenizer.prefix)
        end = self.encoded.offsets[index + 1] - len(self.tokenizer.suffix)
        return self.tokenizer.decode(self.encoded.ids[start:end].tolist())

    # ------------------------------------------------------------------ for the files of tasks

    @staticmethod
    def room(tokenizer: TextTokenizer, max_length: int) -> int:
        """Content sub-tokens that a text may have.

        Raises:
            ValueError: there is room for none.
        """
        frame = len(tokenizer.prefix) + len(tokenizer.suffix)
        if max_length <= frame:
            raise ValueError(
                f"max_length={max_length} leaves no room beside the {frame} special tokens of {tokenizer.source}: "
                f"give at least {frame + 1}"
            )
        return max_length - frame

    def _rows(self, texts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Padded ids int64 [R, L], lengths int64 [R], and bool [R, L] where a sub-token stands."""
        starts = self.encoded.offsets[texts]
        lengths = self.encoded.offsets[texts + 1] - starts
        ids = windows(self._ids, starts, self.shape.tokens)
        inside = np.arange(self.shape.tokens) < lengths[:, None]
        ids[~inside] = self.tokenizer.pad
        return ids, lengths, inside
