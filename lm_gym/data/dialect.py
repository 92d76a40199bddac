"""The dialect of a table: its delimiter, whether the first row names the columns, and which rows are comments."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Literal, NamedTuple

from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.errors import DataError
from lm_gym.data.fields import TAGS, WORDS
from lm_gym.data.options import ReadOptions
from lm_gym.data.tags import are_tags, is_tag
from lm_gym.data.values import is_number

Row = tuple[int, list[str]]  # its first line and its cells
LOOKED_AT = 100  # rows or lines from which the layout is inferred
_DELIMITERS = ",;\t|"
_COMMENT = "#"


class Dialect(NamedTuple):
    """The delimiter and the quoting of cells (`csv.QUOTE_MINIMAL` or `csv.QUOTE_NONE`).

    Attributes:
        skipped: number of lines before the first row.
    """

    delimiter: str
    quoting: Literal[0, 3]
    skipped: int = 0


def find_dialect(
    lines: Iterable[str], usual: Dialect, builder: CorpusBuilder, options: ReadOptions
) -> tuple[Iterator[str], Dialect]:
    """Find the dialect by the requested delimiter, by a first line such as "sep=;" (Excel), or by the rows.

    Returns:
        All lines of the table, and its dialect.

    Raises:
        DataError: the delimiter has several characters, or several delimiters are possible.
    """
    if options.delimiter is not None:
        if len(options.delimiter) > 1 or options.delimiter == '"':
            raise DataError(f"delimiter={options.delimiter!r}: give a single character")
        return iter(lines), usual._replace(delimiter=options.delimiter)
    lines = iter(lines)
    head = [*islice(lines, LOOKED_AT)]
    if head and head[0].lower().startswith("sep=") and len(head[0].strip("\n")) == 5:
        return chain(head[1:], lines), usual._replace(delimiter=head[0][4], skipped=1)
    everything = chain(head, lines)
    shown = {delimiter: rows for delimiter in _DELIMITERS if (rows := _columns(head, usual, delimiter))}
    named = [delimiter for delimiter, rows in shown.items() if _names_columns(rows[0], options)]
    if usual.delimiter in named or not shown or [*shown] == [usual.delimiter]:
        return everything, usual
    if len(named) == 1:
        return everything, usual._replace(delimiter=named[0])
    if any(len(rows) > 1 for rows in shown.values()):
        candidates = " or ".join(repr(delimiter) for delimiter in {usual.delimiter: None, **shown})
        raise DataError(f"{builder.place}: cells may be separated by {candidates}: set delimiter=…")
    return everything, usual


def _columns(head: Sequence[str], usual: Dialect, delimiter: str) -> list[list[str]]:
    """Return the rows of the first lines if this delimiter gives all of them the same number of cells, at least two."""
    try:
        rows = [cells for cells in csv.reader(head, delimiter=delimiter, quoting=usual.quoting) if any(cells)]
    except csv.Error:
        return []
    whole = rows[:-1] if len(head) == LOOKED_AT and len(rows) > 1 else rows  # the last row may be incomplete
    rows = [cells for cells in whole if not cells[0].startswith(_COMMENT)] or whole
    return rows if rows and len(rows[0]) > 1 and all(len(cells) == len(rows[0]) for cells in rows) else []


def read_rows(lines: Iterable[str], dialect: Dialect, builder: CorpusBuilder) -> Iterator[Row]:
    """Yield rows with their first lines; a blank line is a row without cells.

    A row is a comment if it begins with #, is the first row or follows a blank row, and has another number of cells.

    Raises:
        DataError: rows have different lengths, or quoting is invalid.
    """
    rows = _all_rows(lines, dialect, builder)
    head = [*islice(rows, LOOKED_AT)]
    filled = [cells for _, cells in head if cells]
    width = len(next((cells for cells in filled if not cells[0].startswith(_COMMENT)), filled[0] if filled else []))
    comments, between = 0, True
    for line, cells in chain(head, rows):
        if cells and len(cells) != width:
            if between and cells[0].startswith(_COMMENT):
                comments += 1
                continue
            held = dialect.delimiter.join(cells)[:60]
            raise builder.error(line, f"{len(cells)} columns, but earlier rows have {width}: {held!r}")
        between = not cells
        yield line, cells
    if comments:
        builder.remarks.append(f"{comments} comment rows ({_COMMENT}) are skipped")


def _all_rows(lines: Iterable[str], dialect: Dialect, builder: CorpusBuilder) -> Iterator[Row]:
    reader = csv.reader(lines, delimiter=dialect.delimiter, quoting=dialect.quoting, strict=True)
    begins = dialect.skipped
    try:
        for cells in reader:
            yield begins + 1, cells if any(map(str.strip, cells)) else []
            begins = reader.line_num + dialect.skipped
    except csv.Error as error:
        message = f'not a table ({error}): quote cells as "…" and double the quotes inside'
        raise builder.error(begins + 1, message) from None


def has_header(rows: Sequence[Sequence[str]], builder: CorpusBuilder, options: ReadOptions) -> bool:
    """Return whether the first row is a header.

    It is if it has a requested or usual name and no tag, or if all other rows have tags or numbers in some column.
    Doubtful cases are reported in a note.

    Raises:
        DataError: columns are requested by name although `header` is False.
    """
    if options.header is False and any(isinstance(column, str) for column in options.asked.values()):
        raise DataError(f"{builder.place}: header=False, so columns have no names: give their numbers")
    if options.header is not None:
        return options.header
    first, others = rows[0], rows[1:]
    if _names_columns(first, options):
        return True
    if any(_stands_out([cells[column] for cells in rows]) for column in range(len(first))):
        builder.remarks.append("the first row is read as a header: set header=False if it is not")
        return True
    words = options.asked.get(options.fields[0].name, 0)
    if others and isinstance(words, int) and -len(first) <= words < len(first):
        text = first[words]
        if len(text.split()) == 1 and all(len(cells[words].split()) > 1 for cells in others):
            builder.remarks.append(f"the first row, {text!r}, is read as a text: set header=True if it is a header")
    return False


def _stands_out(column: Sequence[str]) -> bool:
    """Return whether all cells of a column but the first hold tags, or numbers."""
    name, others = column[0].split(), [part for cell in column[1:] for part in cell.split()]
    if not name or not others:
        return False
    numbers = not is_number(column[0]) and all(map(is_number, others))
    return numbers or (len(name) == 1 and not are_tags(name) and not are_tags(name + others) and are_tags(others))


def _names_columns(first: Sequence[str], options: ReadOptions) -> bool:
    """Return whether a row has a requested or usual name, and no tag."""
    usual = {*WORDS.columns, *TAGS.columns, *(column for field in options.fields for column in field.columns)}
    named = any(cell.strip().lower() in usual for cell in first) and not any(map(is_tag, first))
    return named or any(isinstance(column, str) for column in options.asked.values())
