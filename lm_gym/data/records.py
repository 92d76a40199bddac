"""Reader of records with named columns: JSON objects, rows of tables and frames, Python dicts."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.errors import OtherFields
from lm_gym.data.field_builders import FIELD_BUILDERS
from lm_gym.data.fields import DESCRIPTIONS
from lm_gym.data.layout import Layout, choose_layout, example_of
from lm_gym.data.options import ReadOptions
from lm_gym.data.spans import read_tagged_text
from lm_gym.data.values import READERS, FieldError, count_words, kind_of, name_integers, plain, read_tags, read_words

LOOKED_AT = 100  # records from which the columns of fields are inferred


class RecordReader:
    """Read records into a builder; the first hundred determine the column of each field.

    Args:
        builder: receives the texts.
        options: the fields and their columns.
        class_names: names of integers, by column.
    """

    def __init__(
        self, builder: CorpusBuilder, options: ReadOptions, class_names: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.builder = builder
        self.options = options
        self.class_names = dict(class_names or {})
        self._layout: Layout | None = None
        self._columns: tuple[str, ...] = ()

    def read(self, records: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Append the texts of records with their lines.

        Raises:
            DataError: as in `begin` and `add`.
        """
        records = iter(records)
        first = [*islice(records, LOOKED_AT)]
        if first:
            self.begin([record for _, record in first], first[0][0])
        for line, record in chain(first, records):
            self.add(record, line)

    def begin(self, records: Sequence[Mapping[str, Any]], line: int) -> Layout:
        """Choose the columns by the first records, if not yet done.

        Raises:
            DataError: as in `choose_layout`.
            OtherFields: a column holds another kind of field than the requested one.
        """
        if self._layout is None:
            known = [self._with_names(record) for record in records]
            layout = choose_layout(known, self.options, self.builder.place_of(line))
            self._refuse_tags(layout, known, line)
            for field, _ in layout.others:
                self.builder.fields[field.name] = FIELD_BUILDERS[field.kind](field, self.builder.vocabulary)
            tags = self.options.tags
            for field, column in (*layout.others, *([(tags, layout.tags)] if tags and layout.tags else ())):
                if field.name in self.options.names:
                    self.class_names[column] = self.options.names[field.name]
            self.builder.tag_column = layout.tags
            self._layout = layout
        return self._layout

    def add(self, record: Mapping[str, Any], line: int) -> None:
        """Append one text; a record without words is counted and skipped.

        Raises:
            DataError: a column is missing, or a value does not fit its field.
            OtherFields: a value is of another kind of field.
        """
        layout = self._layout or self.begin([record], line)
        if tuple(record) != self._columns:
            self._compare(record, layout, line)
        column = layout.words
        try:
            words = read_words(record[column], layout.whole)
            column, tags = layout.tags or "", None
            if not words and (layout.tags is None or not plain(record[column])):
                return self.builder.count("rows have no words and are left out", left_out=True)
            if layout.spans:
                words, tags = read_tagged_text(record[layout.words], plain(record[column]), self.builder.spans)
            elif layout.tags is not None:
                tags = read_tags(self._value(record, column), len(words))
            values = {}
            for field, column in layout.others:
                values[field.name] = READERS[field.kind](self._value(record, column), len(words))
        except FieldError as problem:
            message = f"{column!r} {problem}"
            if problem.kinds:
                raise OtherFields(f"{self.builder.place_of(line)}: {message}", kinds=problem.kinds) from None
            raise self.builder.error(line, message) from None
        self.builder.add(words, tags, line)
        for field, column in layout.others:
            self.builder.fields[field.name].add(values[field.name])
            items = values.get(field.beside or "")
            if items is not None and len(items) != len(values[field.name]):
                message = f"{len(items)} {field.beside} but {len(values[field.name])} numbers in {column!r}"
                raise self.builder.error(line, f"{message}: give each item one number")

    def _compare(self, record: Mapping[str, Any], layout: Layout, line: int) -> None:
        """Compare the columns of a record with those of earlier records, and record which are not read."""
        self._columns = tuple(record)
        for column in layout.columns:
            if column not in record:
                keys = ", ".join(record)
                raise self.builder.error(line, f"no {column!r}, which earlier texts have; keys: {keys}")
        fresh = [column for column in record if column not in layout.columns and column not in self.builder.unread]
        if fresh and len(self.builder):
            now = choose_layout([self._with_names(record)], self.options, self.builder.place_of(line)).columns
            if len(now) > len(layout.columns):
                new = next(column for column in now if column not in layout.columns)
                raise self.builder.error(line, f"{new!r} is not in earlier texts: give it to all texts, or to none")
        self.builder.unread |= dict.fromkeys(fresh)

    def _value(self, record: Mapping[str, Any], column: str) -> Any:
        """Return a value with names for integers; raise FieldError for an integer without a name."""
        if column not in self.class_names:
            return record[column]
        value = name_integers(record[column], self.class_names[column])
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, int):
                raise FieldError(f"holds {item}, for which the column has no name")
        return value

    def _with_names(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return the record with names for integers that have names."""
        return {
            column: name_integers(value, self.class_names[column]) if column in self.class_names else value
            for column, value in record.items()
        }

    def _refuse_tags(self, layout: Layout, records: Sequence[Mapping[str, Any]], line: int) -> None:
        """Refuse a tag for each word if labels are wanted: as labels, tags would be nonsense."""
        record = example_of(records, layout.words, layout.whole)
        words = count_words(record[layout.words], layout.whole)
        for field, column in layout.others:
            if field.kind in ("label", "labels") and words > 1 and kind_of(record[column], words) == "tags":
                message = f"{column!r} holds {DESCRIPTIONS['tags']}: {DESCRIPTIONS[field.kind]} is needed"
                raise OtherFields(f"{self.builder.place_of(line)}: {message}", kinds={"tags"})
