"""The display of decided texts: their parts, the names of choices, and lines of files of predictions."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lm_gym.tasks.encoded_split import EncodedSplit
from lm_gym.tasks.parts import Mark, Nouns, Part

if TYPE_CHECKING:
    from lm_gym.tasks.evaluation import DecidedText


class Display(EncodedSplit):
    """The members of a task that show decided texts to users.

    Attributes:
        nouns: nouns for positions and choices.
        choice_is_text: whether a choice replaces text (a token) instead of labelling it (a tag).
        quiet: the choice that is not displayed when it is correct, such as O; None to display all.
        by_word: whether every word is a position, in order, so that predictions can be written as CoNLL columns.
        predictions_suffix: suffix of files of predictions.
    """

    nouns: ClassVar[Nouns] = Nouns()
    choice_is_text: ClassVar[bool] = False
    quiet: ClassVar[int | None] = None
    by_word: ClassVar[bool] = False
    predictions_suffix: ClassVar[str] = "jsonl"

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


def json_line(record: Mapping[str, Any]) -> str:
    """Return a record as a line of a JSONL file."""
    return json.dumps(record, ensure_ascii=False) + "\n"


def probabilities(log_probs: NDArray[np.float32]) -> list[float]:
    """Return probabilities as numbers with four decimals."""
    return [round(value, 4) for value in np.exp(log_probs.astype(np.float64)).tolist()]
