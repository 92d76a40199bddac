"""Which column of a record holds which field."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lm_gym.data.errors import DataError, OtherFields, nearest
from lm_gym.data.fields import DESCRIPTIONS, USUAL, WHOLE_TEXTS, Field, Kind
from lm_gym.data.options import ColumnKey, ReadOptions
from lm_gym.data.values import FieldError, kind_of, read_words


@dataclass(frozen=True)
class Layout:
    """Columns of a record.

    Attributes:
        words: column of the words.
        whole: whether that column holds whole texts.
        tags: column of the tags, or None.
        others: the other fields, each with its column.
    """

    words: str
    whole: bool
    tags: str | None = None
    others: tuple[tuple[Field, str], ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read."""
        tags = () if self.tags is None else (self.tags,)
        return (self.words, *tags, *(column for _, column in self.others))


def choose_layout(record: Mapping[str, Any], options: ReadOptions, place: str) -> Layout:
    """The columns to read: those asked for, else those with a usual name.

    Args:
        record: the first one.
        options: the fields, and the columns asked for.
        place: what errors name.

    Raises:
        DataError: a column asked for is missing, or no column has a usual name of a required field.
        OtherFields: such a column is missing, and others hold fields that were not asked for.
    """
    names, asked = [*record], options.asked
    field, *fields = options.fields
    words = find_column(names, asked.get(field.name), field.columns, place)
    if words is None:
        raise DataError(
            f"{place}: no column of words or texts among {listed(names)}: say token_column and tag_column, or "
            "text_column"
        )
    whole = options.text_column is not None or words.strip().lower() in WHOLE_TEXTS
    taken: list[tuple[Field, str]] = []
    for field in fields:
        left = [name for name in names if name != words and name not in [column for _, column in taken]]
        column = find_column(names if field.name in asked else left, asked.get(field.name), field.columns, place)
        if column is None and field.required:
            raise _missing(field, record, words, whole, place)
        if column is None or (field.name not in asked and _passed_over(field, column, record, words, whole)):
            continue
        taken.append((field, column))
    tags = next((column for field, column in taken if field.kind == "tags"), None)
    return Layout(words, whole, tags, tuple(pair for pair in taken if pair[0].kind != "tags"))


def find_column(names: list[str], wanted: ColumnKey | None, usual: tuple[str, ...], place: str) -> str | None:
    """The name of the column asked for, or the first usual one (in any case) that is there.

    Raises:
        DataError: the column asked for is not there.
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
    """Names with commas between them."""
    return ", ".join(names) or "(none)"


def _passed_over(field: Field, column: str, record: Mapping[str, Any], words: str, whole: bool) -> bool:
    """Whether optional tags are not read: beside whole texts, or where a column such as "label" holds none."""
    if field.required or field.kind != "tags":
        return False
    name = column.strip().lower()
    shared = any(name in other.columns for other in USUAL if other.kind != "tags")
    return whole or (shared and kind_of(record[column], count_words(record, words, whole)) != "tags")


def _missing(field: Field, record: Mapping[str, Any], words: str, whole: bool, place: str) -> DataError:
    """The error about a field that has no column."""
    names = [*record]
    found: dict[str, Kind] = {}
    for column in names:
        usual = any(column.strip().lower() in other.columns for other in USUAL[1:])
        kind = kind_of(record[column], count_words(record, words, whole)) if usual and column != words else None
        if kind is not None and kind != field.kind:
            found[column] = kind
    held = "".join(f"; {column!r} holds {DESCRIPTIONS[kind]}" for column, kind in found.items())
    message = (
        f"{place}: no column of {field.name} among {listed(names)}{held}: {DESCRIPTIONS[field.kind]} is needed; say "
        f"columns={{{field.name!r}: …}}, or call it {field.columns[0]!r}"
    )
    return OtherFields(message, kinds=found.values()) if found else DataError(message)


def count_words(record: Mapping[str, Any], words: str, whole: bool) -> int:
    """Number of words in column `words`, or 0 if it holds none: the reader of the record will say so."""
    try:
        return len(read_words(record[words], whole))
    except FieldError:
        return 0
