"""One split of a dataset, columnar: a million texts cost a few bytes a word."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lm_gym.data.columns import Columns, Words
from lm_gym.data.errors import DataError
from lm_gym.data.schemes import TagError, tag_names_of, to_iob2, types_of

Sentence = Sequence[str] | tuple[Sequence[str], Sequence[str]]
"""A text as words, or as a pair (words, tags)."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Texts as flat arrays, read-only.

    Attributes:
        words: int32 [W], index into `vocabulary`.
        vocabulary: the distinct words, shared by the splits of a dataset.
        offsets: int64 [N + 1]; text i is `words[offsets[i]:offsets[i + 1]]`.
        tags: int16 [W], index into `tag_names`, or None for plain text.
        tag_names: IOB2: "O" first, then "B-X", "I-X" by type, types sorted; empty for plain text.
    """

    words: NDArray[np.int32]
    vocabulary: tuple[str, ...]
    offsets: NDArray[np.int64]
    tags: NDArray[np.int16] | None = None
    tag_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.offsets) < 2 or self.offsets[0] != 0 or self.offsets[-1] != len(self.words):
            raise DataError(f"offsets must run from 0 to the {len(self.words)} words, over one text at least")
        if self.tags is not None and len(self.tags) != len(self.words):
            raise DataError(f"{len(self.words)} words and {len(self.tags)} tags: give each word one tag")
        for values in (self.words, self.offsets, self.tags):
            if values is not None:
                values.flags.writeable = False

    @classmethod
    def from_sentences(cls, sentences: Iterable[Sentence], scheme: str = "auto") -> "Corpus":
        """A corpus of `(words, tags)` pairs, or of word lists.

        Raises:
            DataError: no texts, a text without words, tags that do not match the words or fit no scheme.
        """
        columns = fill("sentences", sentences, Words())
        return cls.from_columns(columns, tuple(columns.vocabulary), tag_names_of(types_of([*columns.raw_tags])), scheme)

    @classmethod
    def from_columns(
        cls, columns: Columns, vocabulary: tuple[str, ...], tag_names: tuple[str, ...], scheme: str = "auto"
    ) -> "Corpus":
        """The corpus of what a reader has gathered, tags converted to IOB2.

        Raises:
            DataError: tags that fit no scheme, or that `tag_names` lacks; no texts; an empty word.
        """
        columns.check()
        raw = columns.flat_tags()
        if raw is None:
            return cls(columns.flat_words(), vocabulary, columns.flat_offsets())
        raw_tags = [*columns.raw_tags]
        known = types_of(tag_names)
        for index, tag in enumerate(raw_tags):
            if unknown := types_of([tag]) - known:
                types = ", ".join(sorted(known)) or "(none)"
                message = f"tag {tag!r} is not in the training split, whose types are {types}"
                at = int(np.flatnonzero(raw == index)[0])
                raise columns.error_at_word(at, f"{message}: add texts with {unknown.pop()}, or remove this one")
        try:
            tags, remark = to_iob2(raw, raw_tags, columns.flat_offsets(), tag_names, scheme)
        except TagError as error:
            if error.index < 0:
                raise DataError(str(error)) from None
            raise columns.error_at_word(error.index, str(error)) from None
        if remark:
            columns.remarks.append(remark)
        return cls(columns.flat_words(), vocabulary, columns.flat_offsets(), tags, tag_names)

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
        """The corpus of some texts, in the order given; vocabulary and tag names stay."""
        chosen = np.asarray(indices, np.int64)
        lengths = self.lengths[chosen]
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        words = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], lengths)
        tags = None if self.tags is None else self.tags[words]
        return replace(self, words=self.words[words], offsets=offsets, tags=tags)

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

    def _span(self, index: int) -> slice:
        if not -len(self) <= index < len(self):
            raise IndexError(f"text {index} of {len(self)}")
        at = index % len(self)
        return slice(int(self.offsets[at]), int(self.offsets[at + 1]))


def fill(place: str, sentences: Iterable[Sentence], words: Words) -> Columns:
    """`Columns` of `(words, tags)` pairs or word lists; errors name `place` and the text, from 0."""
    columns = Columns(place, words, unit="text")
    for number, sentence in enumerate(sentences):
        if isinstance(sentence, str):
            raise columns.error(number, f"{sentence[:40]!r} is a string: give a list of words")
        if len(sentence) == 2 and isinstance(sentence[0], list | tuple):
            columns.add(sentence[0], sentence[1], number)
        else:
            columns.add(cast(Sequence[str], sentence), None, number)
    return columns
