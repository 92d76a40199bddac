"""CSV and TSV: a text a row (`text`, or `tokens` beside `tags`), or a word a row as in CoNLL columns."""

import ast
import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Literal

from lm_gym.data.columns import Columns
from lm_gym.data.errors import DataError
from lm_gym.data.fields import KNOWN, Fields, choose_fields
from lm_gym.data.options import ReadOptions

Row = tuple[int, list[str]]  # the line where it begins, and its cells
_LOOKED_AT = 100  # rows that tell the layout
_TOO_LONG = 1000  # words of a file that is one text: more, and the texts were not told apart
_TAG = re.compile(r"O|[BIESLU]-\S+")


def read_csv(lines: Iterable[str], columns: Columns, options: ReadOptions) -> None:
    """Append the texts of comma-separated values, cells quoted by `"` where they need it. Raises as `read_tsv`."""
    _read_table(_rows(lines, columns, options.delimiter or ",", csv.QUOTE_MINIMAL), columns, options)


def read_tsv(lines: Iterable[str], columns: Columns, options: ReadOptions) -> None:
    """Append the texts of tab-separated values, nothing quoted.

    Raises:
        DataError: rows of different lengths, columns that cannot be told or are not there, bad quoting, as many tags
            as words not given, a text without words.
    """
    _read_table(_rows(lines, columns, options.delimiter or "\t", csv.QUOTE_NONE), columns, options)


def _rows(lines: Iterable[str], columns: Columns, delimiter: str, quoting: Literal[0, 3]) -> Iterator[Row]:
    """Rows with the line each begins on; a blank line is a row without cells."""
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    begins = width = 0
    try:
        for cells in reader:
            blank = not any(cell.strip() for cell in cells)
            width = width or (0 if blank else len(cells))
            if not blank and len(cells) != width:
                message = f"{len(cells)} columns, where the rows before have {width}: {delimiter.join(cells)[:60]!r}"
                raise columns.error(begins + 1, message)
            yield begins + 1, [] if blank else cells
            begins = reader.line_num
    except csv.Error as error:
        raise columns.error(
            begins + 1, f'not a table ({error}): quote cells as "…", and a quote in them twice'
        ) from None


def _read_table(rows: Iterator[Row], columns: Columns, options: ReadOptions) -> None:
    head = [*islice(rows, _LOOKED_AT)]
    filled = [cells for _, cells in head if cells]
    if not filled:
        return
    names = _header(filled[0], options)
    if names is None:
        names = [str(index) for index in range(len(filled[0]))]
        fields = _fields_without_header(names, filled, columns, options)
    else:
        head = head[next(i for i, (_, cells) in enumerate(head) if cells) + 1 :]
        filled = filled[1:]
        fields = choose_fields(names, options, columns.place)
    body = chain(head, rows)
    words = names.index(fields.words)
    tags = None if fields.tags is None else names.index(fields.tags)
    sentence = next(
        (i for i, name in enumerate(names) if name.strip().lower().startswith("sentence") and i != words), None
    )
    if fields.whole:
        for line, cells in body:
            if cells:
                columns.add(cells[words].split(), None, line)
    elif _word_a_row(head, words, tags, sentence):
        _read_words(body, columns, words, tags, sentence)
    else:
        _read_texts(body, columns, words, tags)


def _header(first: Sequence[str], options: ReadOptions) -> list[str] | None:
    """The names of the columns where the first row is a header, that is, has a name asked for or a usual one."""
    asked = (options.token_column, options.tag_column, options.text_column)
    usual = any(cell.strip().lower() in KNOWN for cell in first) and not any(map(_TAG.fullmatch, first))
    return [*first] if usual or any(isinstance(column, str) for column in asked) else None


def _fields_without_header(names: list[str], filled: list[list[str]], columns: Columns, options: ReadOptions) -> Fields:
    """The columns asked for by number, or the only one, or the first with tags in the last."""
    asked = (options.token_column, options.tag_column, options.text_column)
    if all(column is None for column in asked):
        if len(names) == 1:
            return choose_fields(names, ReadOptions(text_column=0, tags=options.tags), columns.place)
        if not all(_TAG.fullmatch(cells[-1]) for cells in filled):
            raise DataError(
                f"{columns.place}: {len(names)} columns and no header: say text_column=0 to {len(names) - 1}, "
                "or token_column and tag_column"
            )
    if options.text_column is not None:
        return choose_fields(names, options, columns.place)
    token = 0 if options.token_column is None else options.token_column
    tag = -1 if options.tag_column is None else options.tag_column
    return choose_fields(names, ReadOptions(token, tag, tags=options.tags), columns.place)


def _word_a_row(head: list[Row], words: int, tags: int | None, sentence: int | None) -> bool:
    """Whether rows are words: texts are set apart by blank rows or a sentence column, or no row has two words."""
    filled = [cells for _, cells in head if cells]
    if tags is not None and any(len(cells[tags].split()) > 1 or cells[tags].startswith("[") for cells in filled):
        return False
    return sentence is not None or all(len(cells[words].split()) <= 1 for cells in filled)


def _read_words(rows: Iterable[Row], columns: Columns, words: int, tags: int | None, sentence: int | None) -> None:
    columns.word_per_line = True
    text: list[str] = []
    its_tags: list[str] = []
    begun, current, count = 0, "", 0
    for line, cells in chain(rows, [(0, [])]):
        changed = sentence is not None and bool(cells) and cells[sentence].strip() not in ("", current)
        if text and (not cells or changed):
            columns.add(text, None if tags is None else its_tags, begun)
            text, its_tags = [], []
        if not cells:
            continue
        if sentence is not None and changed:
            current = cells[sentence].strip()
        begun = begun if text else line
        count += 1
        text.append(cells[words])
        if tags is not None:
            its_tags.append(cells[tags].strip())
    if len(columns) == 1 and count > _TOO_LONG:
        raise DataError(
            f"{columns.place}: a word a row, and all {count} are one text: set texts apart by blank lines, or by a "
            "column named 'sentence'"
        )


def _read_texts(rows: Iterable[Row], columns: Columns, words: int, tags: int | None) -> None:
    for line, cells in rows:
        if cells and tags is not None and cells[tags].startswith("["):
            columns.add(_listed(cells[words], columns, line), _listed(cells[tags], columns, line), line)
        elif cells:
            columns.add(cells[words].split(), None if tags is None else cells[tags].split(), line)


def _listed(cell: str, columns: Columns, line: int) -> list[str]:
    """A cell that is a list of strings, as JSON or as Python writes it."""
    try:
        values = ast.literal_eval(cell)
    except (ValueError, SyntaxError):
        values = None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise columns.error(line, f'{cell[:60]!r} is no list of strings, as the tags are: write ["…", "…"]')
    return values
