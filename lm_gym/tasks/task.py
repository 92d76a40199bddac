"""What a task is: how a split becomes texts with positions, and how a text is opened for play."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm_gym.tasks.encoded import Encoded, WordTable, windows, with_margin
from lm_gym.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from lm_gym.data import Corpus


class Texts(NamedTuple):
    """Opened texts, padded.

    Attributes:
        input_ids: int64 [R, L].
        lengths: int64 [R], sub-tokens.
        positions: int64 [R, T], 0 where padded.
        counts: int64 [R], positions.
        targets: int64 [R, T], n where padded.
    """

    input_ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    positions: NDArray[np.int64]
    counts: NDArray[np.int64]
    targets: NDArray[np.int64]


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


class Task(ABC):
    """A split of a dataset, ready to play.

    Attributes:
        name: the key in `TASKS`.
        default_reward: the reward where none is asked for.
        writable: whether a choice is a token that may be written into the text.
        static_masks: whether which choices make sense depends on no earlier choice.
        encoded: the split.
        tokenizer: the tokenizer.
        shape: L, T and n.
        choice_names: the names of the choices, or None where they are vocabulary ids.
        target_counts: int64 [n], how often each choice is gold in the training split.
    """

    name: ClassVar[str]
    default_reward: ClassVar[str]
    writable: ClassVar[bool] = False
    static_masks: ClassVar[bool] = False

    def __init__(
        self,
        encoded: Encoded,
        tokenizer: TextTokenizer,
        shape: Shape,
        target_counts: NDArray[np.int64],
        choice_names: tuple[str, ...] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.shape = shape
        self.target_counts = target_counts
        self.choice_names = choice_names
        self._ids = with_margin(encoded.ids, shape.tokens)
        self.encoded = replace(encoded, ids=self._ids[: len(encoded.ids)])  # a view: one copy, not two

    @classmethod
    @abstractmethod
    def encode(
        cls,
        corpus: "Corpus",
        tokenizer: TextTokenizer,
        max_length: int,
        *,
        table: WordTable | None = None,
        **options: Any,
    ) -> Encoded:
        """Encode a split.

        Args:
            corpus: the split.
            tokenizer: the tokenizer.
            max_length: most sub-tokens of a text, special tokens included.
            table: the ids of the corpus's vocabulary, if they are known already.
            options: arguments of the task's own.

        Raises:
            ValueError: if nothing can be played.
        """

    @classmethod
    @abstractmethod
    def count_targets(cls, encoded: Encoded, tokenizer: TextTokenizer, num_choices: int) -> NDArray[np.int64]:
        """How often each choice is (or, where targets are drawn, could be) gold in a split, int64 [n]."""

    @classmethod
    @abstractmethod
    def choices(cls, corpus: "Corpus", tokenizer: TextTokenizer) -> tuple[int, tuple[str, ...] | None]:
        """Give n, and the names of the choices or None where they are vocabulary ids."""

    @abstractmethod
    def open(self, texts: NDArray[np.int64], visits: NDArray[np.int64], key: int) -> Texts:
        """Give padded rows of texts.

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

    @staticmethod
    def room(tokenizer: TextTokenizer, max_length: int) -> int:
        """Content sub-tokens that a text may have.

        Raises:
            ValueError: if there is room for none.
        """
        frame = len(tokenizer.prefix) + len(tokenizer.suffix)
        if max_length <= frame:
            raise ValueError(
                f"max_length={max_length} leaves no room beside the {frame} special tokens of {tokenizer.source}: "
                f"give at least {frame + 1}"
            )
        return max_length - frame

    def text(self, index: int) -> str:
        """The text of a number as the tokenizer spells it, special tokens left out."""
        start = self.encoded.offsets[index] + len(self.tokenizer.prefix)
        end = self.encoded.offsets[index + 1] - len(self.tokenizer.suffix)
        return self.tokenizer.decode(self.encoded.ids[start:end].tolist())

    def _rows(self, texts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Padded ids int64 [R, L], lengths int64 [R], and bool [R, L] where a sub-token stands."""
        starts = self.encoded.offsets[texts]
        lengths = self.encoded.offsets[texts + 1] - starts
        ids = windows(self._ids, starts, self.shape.tokens)
        inside = np.arange(self.shape.tokens) < lengths[:, None]
        ids[~inside] = self.tokenizer.pad
        return ids, lengths, inside
