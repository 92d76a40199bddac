"""One split of a dataset, columnar: a million texts cost a few bytes a word."""

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
        tags: int16 [W], a label for each word, index into `tag_names`, or None for plain text.
        tag_names: of readers, IOB2: "O" first, then "B-X", "I-X" by type, types sorted; empty for plain text.
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
            raise DataError(f"offsets must run from 0 to the {len(self.words)} words, over one text at least")
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
        """A corpus of `(words, tags)` pairs, or of word lists.

        Raises:
            DataError: no texts, a text without words, tags that do not match the words or fit no scheme.
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
        """The corpus of what a reader has gathered, tags converted to IOB2.

        Args:
            builder: what a reader has gathered.
            vocabulary: the words of the dataset.
            tag_names: the tags of the dataset.
            raw_tags: the tags of all its files, and how each is read.
            scheme: of the tags (`lm_gym.data.schemes.to_iob2`).
            label_names: the labels of the dataset, for each field that has labels.

        Raises:
            DataError: tags that fit no scheme, tags or labels that the names lack, no texts, or an empty word.
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
        """Words of each text, int64 [N]."""
        return np.diff(self.offsets)

    def text(self, index: int) -> list[str]:
        """The words of text `index`."""
        return [self.vocabulary[word] for word in self.words[self._span(index)]]

    def tags_of(self, index: int) -> list[str]:
        """The IOB2 tags of text `index`.

        Raises:
            DataError: the corpus is plain text.
        """
        if self.tags is None:
            raise DataError("the corpus is plain text: it has no tags")
        return [self.tag_names[tag] for tag in self.tags[self._span(index)]]

    def take(self, indices: ArrayLike) -> "Corpus":
        """The corpus of some texts, in the order given; the vocabulary and all names stay."""
        words, offsets = take_rows(self.offsets, indices)
        tags = None if self.tags is None else self.tags[words]
        columns = {name: column.take(indices) for name, column in self.columns.items()}
        return replace(self, words=self.words[words], offsets=offsets, tags=tags, columns=columns)

    def with_tag_names(self, tag_names: Sequence[str]) -> "Corpus":
        """The same texts with tags that index `tag_names`, as a model trained on other data needs them.

        Raises:
            DataError: plain text, or a tag in use that `tag_names` lacks.
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
        """The same texts with labels in column `name` that index `label_names`, as a model of other data needs them.

        Raises:
            DataError: there is no such column of labels, or a label in use is not among `label_names`.
        """
        column = self.columns.get(name)
        if not isinstance(column, LabelColumn):
            raise DataError(f"the corpus has no column of labels called {name!r}: there are {[*self.columns]}")
        return replace(self, columns={**self.columns, name: column.with_names(label_names)})

    def _span(self, index: int) -> slice:
        return span(self.offsets, index)


def names_of_labels(builders: Iterable[CorpusBuilder]) -> dict[str, tuple[str, ...]]:
    """The different labels of some splits, in order, for each field that has labels."""
    found: dict[str, set[str]] = {}
    for builder in builders:
        for name, gathered in builder.fields.items():
            if isinstance(gathered, LabelBuilder):
                found.setdefault(name, set()).update(gathered.raw)
    return {name: label_names(labels) for name, labels in found.items()}


def parse_raw_tags(builders: Iterable[CorpusBuilder], scheme: str) -> dict[str, Tag]:
    """How each of the different tags of some splits is read (`lm_gym.data.tags.parse_tags`).

    Raises:
        DataError: a tag that fits no scheme, by its place.
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
    """The tags of a builder as indices into `tag_names`."""
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
    """A builder of `(words, tags)` pairs or word lists; errors name `place` and the text, from 0."""
    builder = CorpusBuilder(place, words, unit="text")
    for number, sentence in enumerate(sentences):
        if isinstance(sentence, str):
            raise builder.error(number, f"{sentence[:40]!r} is a string: give a list of words")
        if len(sentence) == 2 and isinstance(sentence[0], list | tuple):
            builder.add(sentence[0], sentence[1], number)
        else:
            builder.add(cast(Sequence[str], sentence), None, number)
    return builder
