"""Builders of fields other than words and tags, one growing column for each."""

from abc import ABC, abstractmethod
from array import array
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.data.columns import Column, LabelColumn, NumbersColumn, TextsColumn
from lm_gym.data.errors import DataError
from lm_gym.data.fields import Field, Kind

Complaint = Callable[[int, str], DataError]
"""Maps a text and a message to an error that names the place of the text."""


class Words(defaultdict[str, int]):
    """Word → index; a new word gets the next index. All splits of a dataset share one."""

    def __init__(self) -> None:
        super().__init__()
        self.default_factory = self.__len__


class FieldBuilder(ABC):
    """Base class of builders, which collect the values of one field.

    Args:
        field: the field.
        vocabulary: the words of the dataset, shared by its splits.
    """

    def __init__(self, field: Field, vocabulary: Words) -> None:
        self.field = field
        self.vocabulary = vocabulary
        self.offsets = array("q", [0])

    @abstractmethod
    def add(self, values: list[Any]) -> None:
        """Append the values of one text."""

    @abstractmethod
    def build(self, vocabulary: tuple[str, ...], names: tuple[str, ...], complain: Complaint) -> Column:
        """Return the column.

        Args:
            vocabulary: the words of the dataset.
            names: the labels of the dataset.
            complain: creates an error about a text.

        Raises:
            DataError: a label is not among `names`.
        """

    def first_with(self, words: list[int]) -> tuple[int, int] | None:
        """Return the first text with one of these words in this field, and the word; None if there is none."""
        return None

    def flat_offsets(self) -> NDArray[np.int64]:
        """Return a view of the offsets, int64 [N + 1]."""
        return np.frombuffer(self.offsets, np.int64)


class LabelBuilder(FieldBuilder):
    """Builder of labels; `raw` holds the distinct labels in order of appearance."""

    def __init__(self, field: Field, vocabulary: Words) -> None:
        super().__init__(field, vocabulary)
        self.values = array("i")
        self.raw = Words()

    def add(self, values: list[Any]) -> None:
        """Append labels, by name."""
        self.values.extend([self.raw[value] for value in values])
        self.offsets.append(len(self.values))

    def build(self, vocabulary: tuple[str, ...], names: tuple[str, ...], complain: Complaint) -> LabelColumn:
        """Return the labels as indices into `names`."""
        values = np.frombuffer(self.values, np.int32)
        index = {name: i for i, name in enumerate(names)}
        for raw, label in enumerate(self.raw):
            if label not in index:
                first = int(np.flatnonzero(values == raw)[0])
                text = int(np.searchsorted(self.flat_offsets(), first, side="right")) - 1
                raise complain(
                    text,
                    f"label {label!r} is not in the training split, whose labels are {', '.join(names) or '(none)'}: "
                    f"add texts with {label!r}, or remove this one",
                )
        table = np.array([index[label] for label in self.raw], np.int32)
        return LabelColumn(self.field.kind, self.flat_offsets(), table[values], names)


class TextsBuilder(FieldBuilder):
    """Builder of lists of texts."""

    def __init__(self, field: Field, vocabulary: Words) -> None:
        super().__init__(field, vocabulary)
        self.words = array("i")
        self.item_offsets = array("q", [0])

    def add(self, values: list[Any]) -> None:
        """Append the items of one text, each a list of words."""
        for words in values:
            self.words.extend([self.vocabulary[word] for word in words])
            self.item_offsets.append(len(self.words))
        self.offsets.append(len(self.item_offsets) - 1)

    def first_with(self, words: list[int]) -> tuple[int, int] | None:
        """Return the first text with one of these words in an item, and the word."""
        found = np.flatnonzero(np.isin(np.frombuffer(self.words, np.int32), words))
        if not found.size:
            return None
        item = int(np.searchsorted(np.frombuffer(self.item_offsets, np.int64), found[0], side="right")) - 1
        return int(np.searchsorted(self.flat_offsets(), item, side="right")) - 1, self.words[found[0]]

    def build(self, vocabulary: tuple[str, ...], names: tuple[str, ...], complain: Complaint) -> TextsColumn:
        """Return the items as indices into the vocabulary."""
        words, item_offsets = np.frombuffer(self.words, np.int32), np.frombuffer(self.item_offsets, np.int64)
        return TextsColumn(self.field.kind, self.flat_offsets(), words, item_offsets, vocabulary)


class NumbersBuilder(FieldBuilder):
    """Builder of lists of numbers."""

    def __init__(self, field: Field, vocabulary: Words) -> None:
        super().__init__(field, vocabulary)
        self.values = array("d")

    def add(self, values: list[Any]) -> None:
        """Append the numbers of one text."""
        self.values.extend(values)
        self.offsets.append(len(self.values))

    def build(self, vocabulary: tuple[str, ...], names: tuple[str, ...], complain: Complaint) -> NumbersColumn:
        """Return the numbers."""
        return NumbersColumn(self.field.kind, self.flat_offsets(), np.frombuffer(self.values, np.float64))


FIELD_BUILDERS: dict[Kind, Callable[[Field, Words], FieldBuilder]] = {
    "label": LabelBuilder,
    "labels": LabelBuilder,
    "text": TextsBuilder,
    "texts": TextsBuilder,
    "numbers": NumbersBuilder,
}


def label_names(found: set[str]) -> tuple[str, ...]:
    """Sort labels by number if all are integers, else by name."""
    if all(label.removeprefix("-").isdecimal() for label in found):
        return tuple(sorted(found, key=lambda label: (int(label), label)))
    return tuple(sorted(found))
