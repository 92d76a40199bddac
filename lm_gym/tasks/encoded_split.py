"""The encoding of a split: the fields of its records, its choices, and its sub-token ids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lm_gym.data.fields import WORDS, Field
from lm_gym.data.spans import blank_spans
from lm_gym.ragged import windows, with_margin
from lm_gym.tasks.encoded import Encoded, Shape, Source, WordTable
from lm_gym.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from lm_gym.data import Corpus, Dataset


@dataclass(frozen=True)
class NoOptions:
    """The options of a task without options."""


class EncodedSplit(ABC):
    """The members of a task that turn records into encoded texts; an instance is one encoded split.

    Attributes:
        name: key in `TASKS`.
        env_id: id of the Gymnasium environment.
        fields: fields of a record; the first is the text.
        builtin: the dataset for `dataset="builtin"`: a name, or a function that returns splits. None if the task has
            none.
        Options: frozen dataclass of the task's own arguments; its fields become arguments of the environment and
            `--env.<name>` on the command line. Runs store the paths of fields with the metadata `{"file": True}` as
            absolute ones.
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
    Options: ClassVar[type[Any]] = NoOptions

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

    @classmethod
    def prepare(cls, dataset: Dataset, options: Any) -> Dataset:
        """Return the dataset to play, by default the dataset as it was read."""
        return dataset

    @classmethod
    def inputs(cls) -> tuple[Field, ...]:
        """Return the fields that a prediction needs: by default, all fields without gold."""
        return tuple(field for field in cls.fields if not field.gold)

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
    @abstractmethod
    def choices(
        cls, corpus: Corpus, tokenizer: TextTokenizer, *, options: Any = None
    ) -> tuple[int, tuple[str, ...] | None]:
        """Return the number of choices n and their names, or None for the names if they are vocabulary ids.

        The environments of a dataset have the largest n of its splits.
        """

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

    @staticmethod
    def room(tokenizer: TextTokenizer, max_length: int) -> int:
        """Return the maximum number of content sub-tokens of a text.

        Raises:
            ValueError: `max_length` leaves no room for content.
        """
        if max_length <= tokenizer.frame:
            raise ValueError(
                f"max_length={max_length} leaves no room next to the {tokenizer.frame} special tokens of "
                f"{tokenizer.source}: give at least {tokenizer.frame + 1}"
            )
        return max_length - tokenizer.frame

    @classmethod
    def split(cls, text: str) -> list[tuple[int, int]]:
        """Return the start and end of each word of a text to predict, in characters; by default, at whitespace."""
        return blank_spans(text)

    @classmethod
    @abstractmethod
    def count_targets(cls, encoded: Encoded, tokenizer: TextTokenizer, num_choices: int) -> NDArray[np.int64]:
        """Return the frequency of each choice as a (possible) target in a split, int64 [n]."""

    def text(self, index: int) -> str:
        """Return a text by its index, as the tokenizer spells it, without special tokens."""
        start = self.encoded.offsets[index] + len(self.tokenizer.prefix)
        end = self.encoded.offsets[index + 1] - len(self.tokenizer.suffix)
        return self.tokenizer.decode(self.encoded.ids[start:end].tolist())

    def _rows(self, texts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return padded ids int64 [R, L], lengths int64 [R], and a mask of sub-tokens, bool [R, L]."""
        starts = self.encoded.offsets[texts]
        lengths = self.encoded.offsets[texts + 1] - starts
        ids = windows(self._ids, starts, self.shape.tokens)
        inside = np.arange(self.shape.tokens) < lengths[:, None]
        ids[~inside] = self.tokenizer.pad
        return ids, lengths, inside
