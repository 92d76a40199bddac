"""Readers of CSV and TSV: one text per row (`text`, or `tokens` and `tags`), or one word per row as in CoNLL."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import NamedTuple

from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.cells import is_list
from lm_gym.data.dialect import LOOKED_AT, Dialect, Row, find_dialect, has_header, read_rows
from lm_gym.data.errors import DataError, OtherFields
from lm_gym.data.fields import DESCRIPTIONS
from lm_gym.data.layout import Layout, distinct
from lm_gym.data.options import ReadOptions
from lm_gym.data.records import RecordReader
from lm_gym.data.tags import are_tags, is_tag
from lm_gym.data.values import holds_list, name_integers


def read_csv(lines: Iterable[str], builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of comma-separated values with cells quoted by `"`; raises the same errors as `read_tsv`."""
    _read_table(lines, Dialect(",", csv.QUOTE_MINIMAL), builder, options)


def read_tsv(lines: Iterable[str], builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of tab-separated values without quotes.

    Raises:
        DataError: rows have different lengths, columns are missing or cannot be inferred, quoting is invalid, or as
            in `RecordReader.add`.
    """
    _read_table(lines, Dialect("\t", csv.QUOTE_NONE), builder, options)


def csv_records(
    lines: Iterable[str], builder: CorpusBuilder, options: ReadOptions
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of comma-separated values by column name, with their lines; raises as `tsv_records`."""
    return _table_records(lines, Dialect(",", csv.QUOTE_MINIMAL), builder, options)


def tsv_records(
    lines: Iterable[str], builder: CorpusBuilder, options: ReadOptions
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of tab-separated values by column name, with their lines.

    Raises:
        DataError: each row is a word and not a text, or as in `read_tsv`.
    """
    return _table_records(lines, Dialect("\t", csv.QUOTE_NONE), builder, options)


class _Table(NamedTuple):
    """An opened table: column names, the first rows, the number of the first one, all rows, and refined options."""

    names: list[str]
    filled: list[list[str]]
    line: int
    rows: Iterable[Row]
    options: ReadOptions


def _open_table(lines: Iterable[str], usual: Dialect, builder: CorpusBuilder, options: ReadOptions) -> _Table | None:
    """Read the head of a table; None if it has no rows."""
    lines, dialect = find_dialect(lines, usual, builder, options)
    rows = read_rows(lines, dialect, builder)
    head = [*islice(rows, LOOKED_AT)]
    filled = [cells for _, cells in head if cells]
    if not filled:
        return None
    if has_header(filled, builder, options):
        head = head[next(i for i, (_, cells) in enumerate(head) if cells) + 1 :]
        names = distinct(filled.pop(0))
    else:
        options = _without_header(filled, builder, options)
        builder.unnamed = len(filled[0])
        names = [str(i) for i in range(builder.unnamed)]
    if not filled:
        return None
    return _Table(names, filled, next(line for line, cells in head if cells), chain(head, rows), options)


def _sentence_column(names: list[str], words: int) -> int | None:
    """Return the column that numbers sentences, if any."""
    return next((i for i, name in enumerate(names) if name.strip().lower().startswith("sentence") and i != words), None)


def _table_records(
    lines: Iterable[str], usual: Dialect, builder: CorpusBuilder, options: ReadOptions
) -> Iterator[tuple[int, dict[str, str]]]:
    table = _open_table(lines, usual, builder, options)
    if table is None:
        return
    names, filled, line, rows, options = table
    layout = RecordReader(builder, options).begin([dict(zip(names, cells, strict=True)) for cells in filled], line)
    words = names.index(layout.words)
    if len(filled) > 1 and _word_a_row(filled, layout, words, None, _sentence_column(names, words)):
        raise builder.error(line, f"one word on each row, in {layout.words!r}: give a text on each row, or CoNLL")
    for line, cells in rows:
        if cells:
            yield line, dict(zip(names, cells, strict=True))


def _read_table(lines: Iterable[str], usual: Dialect, builder: CorpusBuilder, options: ReadOptions) -> None:
    table = _open_table(lines, usual, builder, options)
    if table is None:
        return
    names, filled, line, body, options = table
    reader = RecordReader(builder, options)
    layout = reader.begin([dict(zip(names, cells, strict=True)) for cells in filled], line)
    words = names.index(layout.words)
    tags = None if layout.tags is None else names.index(layout.tags)
    sentence = _sentence_column(names, words)
    _refuse_words(filled, layout, names, builder)
    if _word_a_row(filled, layout, words, tags, sentence):
        read = {words, tags, sentence}
        builder.unread |= dict.fromkeys(name for i, name in enumerate(names) if i not in read)
        known = set() if tags is None else {cells[tags] for cells in filled if not cells[0].startswith("#")}
        _read_words(body, builder, options, words, tags, sentence, known)
    else:
        for line, cells in body:
            if cells:
                reader.add(dict(zip(names, cells, strict=True)), line)


def _without_header(filled: list[list[str]], builder: CorpusBuilder, options: ReadOptions) -> ReadOptions:
    """Return options with columns: as requested, or the only column, texts with labels, or words and their tags."""
    width = len(filled[0])
    if not options.asked:
        if width == 1:
            return replace(options, text_column=0)
        labelled = _labelled_texts(filled, options)
        if labelled:
            found = ", ".join(f"{name} from column {column}" for name, column in labelled.items())
            builder.remarks.append(f"there is no header: {found}; set columns={{…}} if that is wrong")
            return replace(options, columns=labelled)
        if not are_tags([tag for cells in filled for tag in cells[-1].split()]):
            raise DataError(
                f"{builder.place}: {width} columns and no header: set text_column=0 to {width - 1}, or token_column "
                "and tag_column; columns={…} names those of other fields"
            )
    if options.text_column is not None:
        return options
    words, tags = options.fields[0], options.tags
    first = {} if words.name in options.asked else {words.name: 0}
    last = {tags.name: -1} if tags and tags.name not in options.asked and len(options.fields) == 2 else {}
    return replace(options, columns={**options.columns, **first, **last})


def _labelled_texts(filled: list[list[str]], options: ReadOptions) -> dict[str, int]:
    """Return the columns of texts and labels, if these are the fields and only one column can hold the labels.

    A column can hold labels if no cell has two words and each value occurs twice on average. All others must be texts.
    """
    words, *others = options.fields
    texts = [words, *(field for field in others if field.kind == "text")]
    labels = [field for field in others if field.kind == "label" and field.required]
    only_these = len(labels) == 1 and len(texts) == len(others)
    if not only_these or not 2 <= len(filled[0]) <= len(texts) + 1:
        return {}
    columns = [*zip(*filled, strict=True)]
    short = [i for i, cells in enumerate(columns) if all(len(cell.split()) == 1 for cell in cells)]
    left = [i for i in range(len(columns)) if i not in short]
    if len(short) != 1:
        return {}
    if 2 * len({*columns[short[0]]}) > len(filled):
        return {}
    return {**{field.name: i for field, i in zip(texts, left, strict=False)}, labels[0].name: short[0]}


def _word_a_row(filled: list[list[str]], layout: Layout, words: int, tags: int | None, sentence: int | None) -> bool:
    """Return whether each row is a word: there is a column of sentences, or no row has two words."""
    if layout.whole or layout.others or any(holds_list(cells[words]) for cells in filled):
        return False
    if tags is not None and any(len(cells[tags].split()) > 1 or is_list(cells[tags]) for cells in filled):
        return False
    return sentence is not None or all(len(cells[words].split()) <= 1 for cells in filled)


def _refuse_words(filled: list[list[str]], layout: Layout, names: list[str], builder: CorpusBuilder) -> None:
    """Raise an error for one tagged word per row if labels of whole texts are required."""
    words = names.index(layout.words)
    if layout.whole or any(len(cells[words].split()) > 1 for cells in filled):
        return
    for field, column in layout.others:
        if field.kind in ("label", "labels") and are_tags([cells[names.index(column)] for cells in filled]):
            message = f"{builder.place}: each row is a word with a {column!r}: {DESCRIPTIONS[field.kind]} is needed"
            raise OtherFields(message, kinds={"tags"})


def _read_words(
    rows: Iterable[Row],
    builder: CorpusBuilder,
    options: ReadOptions,
    words: int,
    tags: int | None,
    sentence: int | None,
    known: set[str],
) -> None:
    """Append texts with one word per row, separated by a sentence column or else by blank rows.

    The first row of a text is a comment if it begins with # and its tag is neither a tag nor in `known`.
    """
    builder.word_per_line = True
    names = options.names.get(options.tags.name, ()) if options.tags else ()
    text: list[str] = []
    its_tags: list[str] = []
    begun, current, comments = 0, "", 0
    for line, cells in chain(rows, [(0, [])]):
        if not cells and sentence is not None and line:
            continue
        changed = sentence is not None and bool(cells) and cells[sentence].strip() not in ("", current)
        if text and (not cells or changed):
            builder.add(text, None if tags is None else its_tags, begun)
            text, its_tags = [], []
        if not cells:
            continue
        tag = None if tags is None else cells[tags].strip()
        if not text and tag is not None and cells[0].startswith("#") and not is_tag(tag) and tag not in known:
            comments += 1
            continue
        if sentence is not None and changed:
            current = cells[sentence].strip()
        begun = begun if text else line
        text.append(cells[words])
        if tag is not None:
            its_tags.append(name_integers(tag, names) if names else tag)
    if comments:
        builder.remarks.append(f"{comments} comment rows (#) are skipped")
