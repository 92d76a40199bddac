"""CSV and TSV: a text a row (`text`, or `tokens` beside `tags`), or a word a row as in CoNLL columns."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Literal

from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.errors import DataError, OtherFields
from lm_gym.data.fields import DESCRIPTIONS, TAGS, WORDS
from lm_gym.data.layout import Layout
from lm_gym.data.options import ReadOptions
from lm_gym.data.records import RecordReader
from lm_gym.data.schemes import is_tag

Row = tuple[int, list[str]]  # the line where it begins, and its cells
_LOOKED_AT = 100  # rows that tell the layout
_TOO_LONG = 1000  # words of a file that is one text: more, and the texts were not told apart


def read_csv(lines: Iterable[str], builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of comma-separated values, cells quoted by `"` where they need it. Raises as `read_tsv`."""
    _read_table(_rows(lines, builder, options.delimiter or ",", csv.QUOTE_MINIMAL), builder, options)


def read_tsv(lines: Iterable[str], builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of tab-separated values, nothing quoted.

    Raises:
        DataError: rows of different lengths, columns that cannot be told or are not there, bad quoting, or as
            `RecordReader.add`.
    """
    _read_table(_rows(lines, builder, options.delimiter or "\t", csv.QUOTE_NONE), builder, options)


def _rows(lines: Iterable[str], builder: CorpusBuilder, delimiter: str, quoting: Literal[0, 3]) -> Iterator[Row]:
    """Rows with the line each begins on; a blank line is a row without cells."""
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    begins = width = 0
    try:
        for cells in reader:
            blank = not any(cell.strip() for cell in cells)
            width = width or (0 if blank else len(cells))
            if not blank and len(cells) != width:
                message = f"{len(cells)} columns, where the rows before have {width}: {delimiter.join(cells)[:60]!r}"
                raise builder.error(begins + 1, message)
            yield begins + 1, [] if blank else cells
            begins = reader.line_num
    except csv.Error as error:
        raise builder.error(
            begins + 1, f'not a table ({error}): quote cells as "…", and a quote in them twice'
        ) from None


def _read_table(rows: Iterator[Row], builder: CorpusBuilder, options: ReadOptions) -> None:
    head = [*islice(rows, _LOOKED_AT)]
    filled = [cells for _, cells in head if cells]
    if not filled:
        return
    if _has_header(filled[0], options):
        head = head[next(i for i, (_, cells) in enumerate(head) if cells) + 1 :]
        names = _distinct(filled.pop(0))
    else:
        options = _without_header(filled, builder, options)
        builder.unnamed = len(filled[0])
        names = [str(i) for i in range(builder.unnamed)]
    body = chain(head, rows)
    line, first = next(((line, cells) for line, cells in head if cells), (0, None))
    if first is None:
        return
    reader = RecordReader(builder, options)
    layout = reader.begin(dict(zip(names, first, strict=True)), line)
    words = names.index(layout.words)
    tags = None if layout.tags is None else names.index(layout.tags)
    sentence = next(
        (i for i, name in enumerate(names) if name.strip().lower().startswith("sentence") and i != words), None
    )
    _refuse_words(head, layout, names, builder)
    if _word_a_row(head, layout, words, tags, sentence):
        read = {words, tags, sentence}
        builder.unread |= dict.fromkeys(name for i, name in enumerate(names) if i not in read)
        _read_words(body, builder, words, tags, sentence)
    else:
        for line, cells in body:
            if cells:
                reader.add(dict(zip(names, cells, strict=True)), line)


def _has_header(first: Sequence[str], options: ReadOptions) -> bool:
    """Whether the first row is a header: it has a name asked for or a usual one, and no tag."""
    usual = {*WORDS.columns, *TAGS.columns, *(column for field in options.fields for column in field.columns)}
    named = any(cell.strip().lower() in usual for cell in first) and not any(map(is_tag, first))
    return named or any(isinstance(column, str) for column in options.asked.values())


def _distinct(names: Sequence[str]) -> list[str]:
    """The names of a header; one that is blank, or stands there before, is told by its number."""
    return [
        name if name.strip() and name not in names[:i] else f"{name} (column {i})".strip()
        for i, name in enumerate(names)
    ]


def _without_header(filled: list[list[str]], builder: CorpusBuilder, options: ReadOptions) -> ReadOptions:
    """Options that say which column is which: as asked, or the only one, or the first with tags in the last."""
    width = len(filled[0])
    if not options.asked:
        if width == 1:
            return replace(options, text_column=0)
        if not all(is_tag(cells[-1]) for cells in filled):
            raise DataError(
                f"{builder.place}: {width} columns and no header: say text_column=0 to {width - 1}, or token_column "
                "and tag_column; columns={…} names those of other fields"
            )
    if options.text_column is not None:
        return options
    words, tags = options.fields[0], options.tags
    first = {} if words.name in options.asked else {words.name: 0}
    last = {tags.name: -1} if tags and tags.name not in options.asked and len(options.fields) == 2 else {}
    return replace(options, columns={**options.columns, **first, **last})


def _word_a_row(head: list[Row], layout: Layout, words: int, tags: int | None, sentence: int | None) -> bool:
    """Whether rows are words: texts are set apart by blank rows or a sentence column, or no row has two words."""
    filled = [cells for _, cells in head if cells]
    if layout.whole or layout.others:
        return False
    if tags is not None and any(len(cells[tags].split()) > 1 or cells[tags].startswith("[") for cells in filled):
        return False
    return sentence is not None or all(len(cells[words].split()) <= 1 for cells in filled)


def _refuse_words(head: list[Row], layout: Layout, names: list[str], builder: CorpusBuilder) -> None:
    """Refuse a word a row beside tags where labels of whole texts are asked for."""
    words = names.index(layout.words)
    filled = [cells for _, cells in head if cells]
    if layout.whole or any(len(cells[words].split()) > 1 for cells in filled):
        return
    for field, column in layout.others:
        if field.kind in ("label", "labels") and all(is_tag(cells[names.index(column)]) for cells in filled):
            message = f"{builder.place}: a word a row, and a {column!r} for each: {DESCRIPTIONS[field.kind]} is needed"
            raise OtherFields(message, kinds={"tags"})


def _read_words(
    rows: Iterable[Row], builder: CorpusBuilder, words: int, tags: int | None, sentence: int | None
) -> None:
    builder.word_per_line = True
    text: list[str] = []
    its_tags: list[str] = []
    begun, current, count = 0, "", 0
    for line, cells in chain(rows, [(0, [])]):
        changed = sentence is not None and bool(cells) and cells[sentence].strip() not in ("", current)
        if text and (not cells or changed):
            builder.add(text, None if tags is None else its_tags, begun)
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
    if len(builder) == 1 and count > _TOO_LONG:
        raise DataError(
            f"{builder.place}: a word a row, and all {count} are one text: set texts apart by blank lines, or by a "
            "column named 'sentence'"
        )
