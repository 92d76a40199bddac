"""The file formats, and the detection of a file's format."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lm_gym.data.arrow import arrow_records, parquet_records, read_arrow, read_parquet
from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.conll import COMMENT, DOCUMENT, conll_records, read_conll
from lm_gym.data.field_builders import Words
from lm_gym.data.jsonl import jsonl_records, read_jsonl
from lm_gym.data.options import ReadOptions
from lm_gym.data.plain import read_text, text_records
from lm_gym.data.tables import csv_records, read_csv, read_tsv, tsv_records
from lm_gym.data.tags import are_tags
from lm_gym.data.text_files import has_doubled_breaks, open_text

Reader = Callable[[Path, CorpusBuilder, ReadOptions], None]
LineReader = Callable[[Iterable[str], CorpusBuilder, ReadOptions], None]
_LOOKED_AT = 100  # lines that distinguish CoNLL columns from plain text


Records = Iterator[tuple[int, Mapping[str, Any]]]


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        read: the reader of texts.
        records: the reader of records, one at a time; of lines, or of a path if `binary`.
        suffixes: suffixes of its files.
        unit: noun for its line numbers.
        binary: whether a file is not lines of text.
        named: whether the columns of records are named in the file; otherwise they are `text` or `tokens`.
    """

    read: Reader
    records: Callable[[Any, CorpusBuilder, ReadOptions], Records]
    suffixes: tuple[str, ...]
    unit: str = "line"
    binary: bool = False
    named: bool = True


def of_lines(read: LineReader) -> Reader:
    """Return a reader of files from a reader of lines."""

    def read_file(path: Path, builder: CorpusBuilder, options: ReadOptions) -> None:
        with open_text(path) as lines:
            if has_doubled_breaks(path):
                builder.remarks.append("line breaks are doubled (CR CR LF): each is read as one")
            read(lines, builder, options)

    return read_file


FORMATS: dict[str, Format] = {
    "text": Format(of_lines(read_text), text_records, (".text", ".tokens", ".raw"), named=False),
    "conll": Format(of_lines(read_conll), conll_records, (".conll", ".iob", ".iob2", ".bio", ".bioes"), named=False),
    "jsonl": Format(of_lines(read_jsonl), jsonl_records, (".jsonl", ".ndjson", ".json")),
    "csv": Format(of_lines(read_csv), csv_records, (".csv",)),
    "tsv": Format(of_lines(read_tsv), tsv_records, (".tsv", ".tab")),
    "parquet": Format(read_parquet, parquet_records, (".parquet",), "row", binary=True),
    "arrow": Format(read_arrow, arrow_records, (".arrow",), "row", binary=True),
}


def read_file(path: Path, words: Words, options: ReadOptions) -> CorpusBuilder:
    """Read the texts of a file.

    Raises:
        DataError: as the reader of its format; bytes are not UTF-8; or there are no texts.
    """
    format_ = FORMATS[format_of(path, options)]
    builder = CorpusBuilder(str(path), words, format_.unit)
    format_.read(path, builder, options)
    builder.check()
    return builder


def format_of(path: Path, options: ReadOptions) -> str:
    """Return the name of a file's format in `FORMATS`, by its suffix or else by its first lines."""
    for name, format_ in FORMATS.items():
        if path.suffix.lower() in format_.suffixes:
            return name
    with open_text(path) as lines:
        head = [line for line in islice(lines, _LOOKED_AT) if line.strip()]
    if head and is_object(head[0]):
        return "jsonl"
    if options.text_column is None and (options.asked or (options.tags and options.tags.required)):
        return "conll"
    return "conll" if _has_columns(head, options) else "text"


def is_object(line: str) -> bool:
    """Return whether a line is a JSON object."""
    try:
        return line.startswith("{") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _has_columns(lines: Sequence[str], options: ReadOptions) -> bool:
    """Return whether all lines except comments have the same number of columns, at least two, with tags in the last."""
    rows = [line.split(options.delimiter) for line in lines if not line.startswith((DOCUMENT, COMMENT))]
    width = len(rows[0]) if rows else 0
    return width > 1 and all(len(row) == width for row in rows) and are_tags([row[-1].strip() for row in rows])
