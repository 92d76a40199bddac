"""A split of a dataset in columnar form, which takes a few bytes per word."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.columns import Column, LabelColumn
from lm_gym.data.errors import DataError
from lm_gym.data.field_builders import LabelBuilder, Words, label_names
from lm_gym.data.schemes import check_scheme, to_iob2
from lm_gym.data.tags import Tag, TagError, parse_tags, tag_names_of, types_of
from lm_gym.ragged import span, take_rows

Sentence = Sequence[str] | tuple[Sequence[str], Sequence[str]]
"""A text as words, or as a pair (words, tags)."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Texts as flat arrays, read-only.

    Attributes:
        words: int32 [W], index into `vocabulary`.
        vocabulary: the distinct words, shared by the splits of a dataset.
        offsets: int64 [N + 1]; text i is `words[offsets[i]:offsets[i + 1]]`.
        tags: int16 [W], a label for each word, index into `tag_names`; None for plain text.
        tag_names: names of the tags. Readers produce IOB2: "O" first, then "B-X", "I-X" by sorted type. Empty for plain
            text.
        columns: other fields by name: labels, lists of texts, numbers.
    """

    words: NDArray[np.int32]
    vocabulary: tuple[str, ...]
    offsets: NDArray[np.int64]
    tags: NDArray[np.int16] | None = None
    tag_names: tuple[str, ...] = ()
    columns: Mapping[str, Column] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.offsets) < 2 or self.offsets[0] != 0 or self.offsets[-1] != len(self.words):
            raise DataError(f"offsets must run from 0 to the {len(self.words)} words, over at least one text")
        if self.tags is not None and len(self.tags) != len(self.words):
            raise DataError(f"{len(self.words)} words but {len(self.tags)} tags: give each word one tag")
        for name, column in self.columns.items():
            if len(column) != len(self):
                raise DataError(f"{len(self)} texts but {len(column)} rows in column {name!r}: give each text one row")
        for values in (self.words, self.offsets, self.tags):
            if values is not None:
                values.flags.writeable = False

    @classmethod
    def from_sentences(cls, sentences: Iterable[Sentence], scheme: str = "auto") -> "Corpus":
        """Create a corpus from `(words, tags)` pairs or word lists.

        Raises:
            DataError: there are no texts, a text has no words, or tags do not match the words or fit no scheme.
        """
        builder = fill("sentences", sentences, Words())
        raw_tags = parse_raw_tags([builder], scheme)
        names = tag_names_of(types_of(raw_tags.values()))
        return cls.from_builder(builder, tuple(builder.vocabulary), names, raw_tags, scheme)

    @classmethod
    def from_builder(
        cls,
        builder: CorpusBuilder,
        vocabulary: tuple[str, ...],
        tag_names: tuple[str, ...],
        raw_tags: Mapping[str, Tag],
        scheme: str = "auto",
        label_names: Mapping[str, tuple[str, ...]] | None = None,
    ) -> "Corpus":
        """Create a corpus from a builder, with tags converted to IOB2.

        Args:
            builder: the builder, filled by a reader.
            vocabulary: the words of the dataset.
            tag_names: the tags of the dataset.
            raw_tags: the raw tags of all its files, and their meaning.
            scheme: scheme of the tags (`lm_gym.data.schemes.to_iob2`).
            label_names: the labels of the dataset by field.

        Raises:
            DataError: tags fit no scheme, a tag or label is unknown, there are no texts, or a word is empty.
        """
        builder.check()
        columns = {
            name: gathered.build(
                vocabulary, (label_names or {}).get(name, ()), lambda text, why: builder.error(builder.lines[text], why)
            )
            for name, gathered in builder.fields.items()
        }
        tags = None if builder.flat_tags() is None else _iob2(builder, tag_names, raw_tags, scheme)
        names = () if tags is None else tag_names
        return cls(builder.flat_words(), vocabulary, builder.flat_offsets(), tags, names, columns)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Number of words of each text, int64 [N]."""
        return np.diff(self.offsets)

    def text(self, index: int) -> list[str]:
        """Return the words of text `index`."""
        return [self.vocabulary[word] for word in self.words[self._span(index)]]

    def tags_of(self, index: int) -> list[str]:
        """Return the tags of text `index`.

        Raises:
            DataError: the corpus is plain text.
        """
        if self.tags is None:
            raise DataError("the corpus is plain text: it has no tags")
        return [self.tag_names[tag] for tag in self.tags[self._span(index)]]

    def take(self, indices: ArrayLike) -> "Corpus":
        """Return the corpus of some texts, in the given order, with the same vocabulary and names."""
        words, offsets = take_rows(self.offsets, indices)
        tags = None if self.tags is None else self.tags[words]
        columns = {name: column.take(indices) for name, column in self.columns.items()}
        return replace(self, words=self.words[words], offsets=offsets, tags=tags, columns=columns)

    def with_tag_names(self, tag_names: Sequence[str]) -> "Corpus":
        """Return the same texts with tags that index `tag_names`, for a model trained on other data.

        Raises:
            DataError: the corpus has no tags, or `tag_names` lacks a tag that is used.
        """
        if self.tags is None:
            raise DataError("the corpus is plain text: it has no tags to rename")
        index = {name: i for i, name in enumerate(tag_names)}
        used = np.flatnonzero(np.bincount(self.tags, minlength=len(self.tag_names)))
        missing = [self.tag_names[i] for i in used if self.tag_names[i] not in index]
        if missing:
            raise DataError(f"tags {', '.join(missing)} are not among {', '.join(tag_names)}")
        table = np.array([index.get(name, 0) for name in self.tag_names], np.int16)
        return replace(self, tags=table[self.tags], tag_names=tuple(tag_names))

    def with_label_names(self, name: str, label_names: Sequence[str]) -> "Corpus":
        """Return the same texts with the labels in column `name` renumbered to those of a trained model.

        Raises:
            DataError: the column does not exist, or `label_names` lacks a label that is used.
        """
        column = self.columns.get(name)
        if not isinstance(column, LabelColumn):
            raise DataError(f"the corpus has no column of labels called {name!r}: there are {[*self.columns]}")
        return replace(self, columns={**self.columns, name: column.with_names(label_names)})

    def _span(self, index: int) -> slice:
        return span(self.offsets, index)


def names_of_labels(builders: Iterable[CorpusBuilder]) -> dict[str, tuple[str, ...]]:
    """Return the distinct labels of some splits in order, for each field of labels."""
    found: dict[str, set[str]] = {}
    for builder in builders:
        for name, gathered in builder.fields.items():
            if isinstance(gathered, LabelBuilder):
                found.setdefault(name, set()).update(gathered.raw)
    return {name: label_names(labels) for name, labels in found.items()}


def parse_raw_tags(builders: Iterable[CorpusBuilder], scheme: str) -> dict[str, Tag]:
    """Parse the distinct tags of some splits (`lm_gym.data.tags.parse_tags`).

    Raises:
        DataError: a tag fits no scheme; the message names its place.
    """
    check_scheme(scheme)
    builders = [*builders]
    try:
        return parse_tags([*dict.fromkeys(tag for builder in builders for tag in builder.raw_tags)], scheme)
    except TagError as error:
        builder = next(builder for builder in builders if error.tag in builder.raw_tags)
        raise builder.error_at_tag(error.tag, str(error)) from None


def _iob2(
    builder: CorpusBuilder, tag_names: tuple[str, ...], parsed: Mapping[str, Tag], scheme: str
) -> NDArray[np.int16]:
    """Return the tags of a builder as indices into `tag_names`."""
    raw_tags = {tag: parsed[tag] for tag in builder.raw_tags}
    known = {name.partition("-")[2] for name in tag_names[1:]}
    for tag, (_, type_) in raw_tags.items():
        if type_ and type_ not in known:
            types = ", ".join(sorted(known)) or "(none)"
            message = f"tag {tag!r} is not in the training split, whose types are {types}"
            raise builder.error_at_tag(tag, f"{message}: add texts with {type_}, or remove this one")
    try:
        raw = np.frombuffer(builder.tags, np.int16)
        tags, remark = to_iob2(raw, raw_tags, builder.flat_offsets(), tag_names, scheme)
    except TagError as error:
        raise builder.error_at_word(error.index, str(error)) from None
    if remark:
        builder.remarks.append(remark)
    return tags


def fill(place: str, sentences: Iterable[Sentence], words: Words) -> CorpusBuilder:
    """Return a builder filled with `(words, tags)` pairs or word lists; errors name `place` and the text's index."""
    builder = CorpusBuilder(place, words, unit="text")
    for number, sentence in enumerate(sentences):
        if isinstance(sentence, str):
            raise builder.error(number, f"{sentence[:40]!r} is a string: give a list of words")
        if len(sentence) == 2 and isinstance(sentence[0], list | tuple):
            builder.add(sentence[0], sentence[1], number)
        else:
            builder.add(cast(Sequence[str], sentence), None, number)
    return builder
