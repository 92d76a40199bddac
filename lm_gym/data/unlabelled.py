"""Texts to predict, without gold: records become corpora, chunk by chunk."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.columns import LabelColumn
from lm_gym.data.corpus import Corpus
from lm_gym.data.field_builders import Words
from lm_gym.data.fields import TAGS, Field
from lm_gym.data.layout import Layout, choose_layout, find_column
from lm_gym.data.options import ReadOptions
from lm_gym.data.records import LOOKED_AT, RecordReader
from lm_gym.data.spans import Spans, blank_spans
from lm_gym.data.values import FieldError, kind_of, read_words

Record = tuple[int, Mapping[str, Any]]
"""A record with the number of its line, row or text."""


class UnlabelledTexts(NamedTuple):
    """The texts of some records.

    Attributes:
        corpus: the texts; None if no record has words.
        rows: for each text of the corpus, the index of its record.
        spans: for each text, where its words are in the record's string; None if the record holds a list of words.
    """

    corpus: Corpus | None
    rows: list[int]
    spans: list[Spans | None]


@dataclass
class UnlabelledReader:
    """Read records for prediction. If a record has gold, it is not read.

    Args:
        place: the file or list that error messages name.
        unit: noun for the numbers of records.
        options: the fields to read, words first, and their columns.
        split: returns the spans of the words of a string.
    """

    place: str
    unit: str
    options: ReadOptions
    split: Callable[[str], Spans]
    _layout: Layout | None = None

    def read(self, records: Sequence[Record]) -> UnlabelledTexts:
        """Return the texts of records, without records that have no words.

        Raises:
            DataError: a record lacks a field, or a value does not fit its field; the message names the record.
        """
        builder = CorpusBuilder(self.place, Words(), self.unit)
        layout, rows, spans = self._layout, list[int](), list[Spans | None]()
        read: list[Record] = []
        for row, (number, record) in enumerate(records):
            if layout is None:
                head = [record for _, record in records[:LOOKED_AT]]
                layout = self._layout = choose_layout(head, self.options, builder.place_of(number))
            if layout.words not in record:
                raise builder.error(number, f"no {layout.words!r}, which earlier texts have; keys: {', '.join(record)}")
            try:
                words, its_spans = self._words(record, layout)
            except FieldError as problem:
                raise builder.error(number, f"{layout.words!r} {problem}") from None
            if words:
                read.append((number, {**record, layout.words: words}))
                rows.append(row)
                spans.append(its_spans)
        if not read or layout is None:
            return UnlabelledTexts(None, rows, spans)
        fields = self.options.fields
        columns = {field.name: column for field, column in ((fields[0], layout.words), *layout.others)}
        RecordReader(builder, ReadOptions(fields=fields, columns=columns)).read(read)
        return UnlabelledTexts(Corpus.from_builder(builder, tuple(builder.vocabulary), (), {}), rows, spans)

    def _words(self, record: Mapping[str, Any], layout: Layout) -> tuple[list[str], Spans | None]:
        """Return the words of a record, and their spans if it holds a string."""
        text = record[layout.words]
        if not isinstance(text, str) or not layout.whole:
            return read_words(text, layout.whole), None
        spans = blank_spans(text) if _has_tags(record, text) else self.split(text)
        return [text[start:end] for start, end in spans], spans


def without_gold(corpus: Corpus, fields: Sequence[Field], names: Sequence[str]) -> Corpus:
    """Return a corpus with placeholders for a task's gold: always the first name, which is never read.

    Args:
        corpus: the texts.
        fields: the fields of the task.
        names: the names of the choices.
    """
    count = len(corpus)
    for field in fields:
        if field.kind == "tags":
            corpus = replace(corpus, tags=np.zeros(len(corpus.words), np.int16), tag_names=tuple(names))
        elif field.gold:
            column = LabelColumn(field.kind, np.arange(count + 1), np.zeros(count, np.int32), tuple(names))
            corpus = replace(corpus, columns={**corpus.columns, field.name: column})
    return corpus


def _has_tags(record: Mapping[str, Any], text: str) -> bool:
    """Return whether a record has one tag for each whitespace-separated word, so that these are its words."""
    column = find_column([*record], None, TAGS.columns, "")
    return column is not None and kind_of(record[column], len(text.split())) == "tags"
