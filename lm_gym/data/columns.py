"""Columns of a corpus besides words and tags: labels, lists of texts, lists of numbers; flat, ragged and read-only."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lm_gym.data.errors import DataError
from lm_gym.data.fields import Kind
from lm_gym.ragged import span, take_rows


@dataclass(frozen=True, eq=False)
class Column(ABC):
    """One field of N texts.

    Attributes:
        kind: kind of the field.
        offsets: int64 [N + 1], offsets of the values of each text.
    """

    kind: Kind
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        for values in self.arrays():
            values.flags.writeable = False

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of values of each text, int64 [N]."""
        return np.diff(self.offsets)

    @abstractmethod
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """Return all arrays that determine the column, given its names and vocabulary."""

    @abstractmethod
    def take(self, rows: ArrayLike) -> "Column":
        """Return the column of some texts, in the given order."""

    @abstractmethod
    def of(self, index: int) -> list[str] | list[list[str]] | list[float]:
        """Return the values of text `index`."""

    def _span(self, index: int) -> slice:
        return span(self.offsets, index)


@dataclass(frozen=True, eq=False)
class LabelColumn(Column):
    """Labels: one for each text (kind "label"), or any number (kind "labels").

    Attributes:
        values: int32 [K], index into `names`; with one label for each text, text i has `values[i]`.
        names: the labels of the training split, sorted (as numbers if all are integers).
    """

    values: NDArray[np.int32]
    names: tuple[str, ...]

    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """Return the values and the offsets."""
        return self.values, self.offsets

    def take(self, rows: ArrayLike) -> "LabelColumn":
        """Return the labels of some texts."""
        values, offsets = take_rows(self.offsets, rows)
        return replace(self, values=self.values[values], offsets=offsets)

    def of(self, index: int) -> list[str]:
        """Return the names of the labels of text `index`."""
        return [self.names[value] for value in self.values[self._span(index)]]

    def flags(self) -> NDArray[np.bool_]:
        """Return which labels each text has, bool [N, L] for L names."""
        flags = np.zeros((len(self), len(self.names)), np.bool_)
        flags[np.repeat(np.arange(len(self)), self.lengths), self.values] = True
        return flags

    def with_names(self, names: Sequence[str]) -> "LabelColumn":
        """Return the same labels with values that index `names`.

        Raises:
            DataError: `names` lacks a label that is used.
        """
        index = {name: i for i, name in enumerate(names)}
        used = np.unique(self.values)
        missing = [self.names[i] for i in used if self.names[i] not in index]
        if missing:
            raise DataError(f"labels {', '.join(missing)} are not among {', '.join(names)}")
        table = np.array([index.get(name, 0) for name in self.names], np.int32)
        return replace(self, values=table[self.values], names=tuple(names))


@dataclass(frozen=True, eq=False)
class TextsColumn(Column):
    """A list of texts, called items, for each text; `offsets` counts items.

    Attributes:
        words: int32 [W], index into `vocabulary`.
        item_offsets: int64 [M + 1]; item m is `words[item_offsets[m]:item_offsets[m + 1]]`, and has at least one word.
        vocabulary: the vocabulary of the corpus.
    """

    words: NDArray[np.int32]
    item_offsets: NDArray[np.int64]
    vocabulary: tuple[str, ...]

    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """Return the words and both levels of offsets."""
        return self.words, self.item_offsets, self.offsets

    def take(self, rows: ArrayLike) -> "TextsColumn":
        """Return the lists of some texts."""
        items, offsets = take_rows(self.offsets, rows)
        words, item_offsets = take_rows(self.item_offsets, items)
        return replace(self, words=self.words[words], item_offsets=item_offsets, offsets=offsets)

    def of(self, index: int) -> list[list[str]]:
        """Return the items of text `index`, as words."""
        return [self.item(item) for item in range(len(self.item_offsets) - 1)[self._span(index)]]

    def item(self, index: int) -> list[str]:
        """Return the words of item `index`, counted over all texts."""
        return [self.vocabulary[word] for word in self.words[span(self.item_offsets, index)]]


@dataclass(frozen=True, eq=False)
class NumbersColumn(Column):
    """A list of numbers for each text.

    Attributes:
        values: float64 [K], finite.
    """

    values: NDArray[np.float64]

    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """Return the values and the offsets."""
        return self.values, self.offsets

    def take(self, rows: ArrayLike) -> "NumbersColumn":
        """Return the numbers of some texts."""
        values, offsets = take_rows(self.offsets, rows)
        return replace(self, values=self.values[values], offsets=offsets)

    def of(self, index: int) -> list[float]:
        """Return the numbers of text `index`."""
        return [float(value) for value in self.values[self._span(index)]]
