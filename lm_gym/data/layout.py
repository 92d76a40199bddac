"""Assignment of columns of records to fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_gym.data.errors import DataError, OtherFields, nearest
from lm_gym.data.fields import DESCRIPTIONS, USUAL, WHOLE_TEXTS, Field, Kind
from lm_gym.data.options import ColumnKey, ReadOptions
from lm_gym.data.spans import are_spans
from lm_gym.data.values import count_words, is_number, kind_of


@dataclass(frozen=True)
class Layout:
    """Columns of a record.

    Attributes:
        words: column of the words.
        whole: whether that column holds whole texts.
        tags: column of the tags, or None.
        spans: whether that column holds spans of characters instead of a tag for each word.
        others: the other fields, each with its column.
    """

    words: str
    whole: bool
    tags: str | None = None
    spans: bool = False
    others: tuple[tuple[Field, str], ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read."""
        tags = () if self.tags is None else (self.tags,)
        return (self.words, *tags, *(column for _, column in self.others))


def distinct(names: Sequence[str]) -> list[str]:
    """Return the names of columns, with the number added to blank and repeated names."""
    return [
        name if name.strip() and name not in names[:i] else f"{name} (column {i})".strip()
        for i, name in enumerate(names)
    ]


def choose_layout(records: Sequence[Mapping[str, Any]], options: ReadOptions, place: str) -> Layout:
    """Return the columns to read: the requested ones, or else those with a usual name.

    Args:
        records: the first records; only the columns of the first one count.
        options: the fields and the requested columns.
        place: the place for error messages.

    Raises:
        DataError: a requested column is missing, or no column has a usual name of a required field.
        OtherFields: no column holds a required field, but others hold fields that were not requested.
    """
    names, asked = [*records[0]], options.asked
    field, *fields = options.fields
    candidates = names if field.name in asked else _without_numbers(names, field, records, place)
    words = find_column(candidates, asked.get(field.name), field.columns, place)
    if words is None:
        raise DataError(
            f"{place}: no column of words or texts among {listed(names)}: set token_column and tag_column, or "
            "text_column"
        )
    whole = options.text_column is not None or words.strip().lower() in WHOLE_TEXTS
    record = example_of(records, words, whole)
    taken: list[tuple[Field, str]] = []
    spans = False
    for field in fields:
        left = [name for name in names if name != words and name not in [column for _, column in taken]]
        column = find_column(names if field.name in asked else left, asked.get(field.name), field.columns, place)
        if column is None and field.required:
            raise _missing(field, record, words, whole, place)
        here = column is not None and field.kind == "tags" and are_spans([r.get(column) for r in records])
        optional = field.name not in asked and not here
        if column is None or (optional and _passed_over(field, column, record, words, whole)):
            continue
        spans |= here
        taken.append((field, column))
    tags = next((column for field, column in taken if field.kind == "tags"), None)
    return Layout(words, whole or spans, tags, spans, tuple(pair for pair in taken if pair[0].kind != "tags"))


def example_of(records: Sequence[Mapping[str, Any]], words: str, whole: bool) -> Mapping[str, Any]:
    """Return the first record with words, or the first one."""
    return next((record for record in records if count_words(record.get(words), whole)), records[0])


def _without_numbers(names: list[str], words: Field, records: Sequence[Mapping[str, Any]], place: str) -> list[str]:
    """Return the columns that may hold words. If there is a text, a column "words" of numbers is a count of words."""
    may_count = {name for name in words.columns if name not in ("word", "token")}  # its words may be numbers
    numbers = [
        name
        for name in names
        if name.strip().lower() in may_count and all(is_number(record.get(name)) for record in records)
    ]
    left = [name for name in names if name not in numbers]
    if any(name.strip().lower() in words.columns for name in left):
        return left
    if numbers and len(records) > 1:
        raise DataError(f"{place}: column {numbers[0]!r} holds numbers only: set token_column or text_column")
    return names


def find_column(names: list[str], wanted: ColumnKey | None, usual: tuple[str, ...], place: str) -> str | None:
    """Return the name of the requested column, or the first usual name that exists, ignoring case.

    Raises:
        DataError: the requested column does not exist.
    """
    if isinstance(wanted, int):
        if not -len(names) <= wanted < len(names):
            raise DataError(f"{place}: there is no column {wanted}: there are {len(names)}, 0 to {len(names) - 1}")
        return names[wanted]
    if wanted is not None:
        if wanted not in names:
            raise DataError(f"{place}: no column {wanted!r}{nearest(wanted, names)}: there are {', '.join(names)}")
        return wanted
    by_lower = {name.strip().lower(): name for name in reversed(names)}
    return next((by_lower[name] for name in usual if name in by_lower), None)


def listed(names: list[str]) -> str:
    """Return names separated by commas."""
    return ", ".join(names) or "(none)"


def _passed_over(field: Field, column: str, record: Mapping[str, Any], words: str, whole: bool) -> bool:
    """Return whether to skip optional tags: with whole texts, or if a column such as "label" holds no tags."""
    if field.required or field.kind != "tags":
        return False
    name = column.strip().lower()
    shared = any(name in other.columns for other in USUAL if other.kind != "tags")
    return whole or (shared and kind_of(record[column], count_words(record[words], whole)) != "tags")


def _missing(field: Field, record: Mapping[str, Any], words: str, whole: bool, place: str) -> DataError:
    """Return the error for a field without a column."""
    names = [*record]
    found: dict[str, Kind] = {}
    for column in names:
        usual = any(column.strip().lower() in other.columns for other in USUAL[1:])
        kind = kind_of(record[column], count_words(record[words], whole)) if usual and column != words else None
        if kind is not None and kind != field.kind:
            found[column] = kind
    held = "".join(f"; {column!r} holds {DESCRIPTIONS[kind]}" for column, kind in found.items())
    message = (
        f"{place}: no column of {field.name} among {listed(names)}{held}: {DESCRIPTIONS[field.kind]} is needed; say "
        f"columns={{{field.name!r}: …}}, or call it {field.columns[0]!r}"
    )
    return OtherFields(message, kinds=found.values()) if found else DataError(message)
