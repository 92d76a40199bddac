"""The file formats, and how a file is opened and its format told."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lm_gym.data.arrow import read_arrow, read_parquet
from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.conll import COMMENT, DOCUMENT, read_conll
from lm_gym.data.field_builders import Words
from lm_gym.data.jsonl import read_jsonl
from lm_gym.data.options import ReadOptions
from lm_gym.data.plain import read_text
from lm_gym.data.tables import read_csv, read_tsv
from lm_gym.data.tags import are_tags
from lm_gym.data.text_files import has_doubled_breaks, open_text

Reader = Callable[[Path, CorpusBuilder, ReadOptions], None]
LineReader = Callable[[Iterable[str], CorpusBuilder, ReadOptions], None]
_LOOKED_AT = 100  # lines that tell CoNLL columns from plain text


@dataclass(frozen=True)
class Format:
    """A reader, the endings of the files it is for, and what it counts to tell where a text stands."""

    read: Reader
    suffixes: tuple[str, ...]
    unit: str = "line"


def of_lines(read: LineReader) -> Reader:
    """A reader of files, made of a reader of lines."""

    def read_file(path: Path, builder: CorpusBuilder, options: ReadOptions) -> None:
        with open_text(path) as lines:
            if has_doubled_breaks(path):
                builder.remarks.append("line breaks are doubled (CR CR LF): each is read as one")
            read(lines, builder, options)

    return read_file


FORMATS: dict[str, Format] = {
    "text": Format(of_lines(read_text), (".text", ".tokens", ".raw")),
    "conll": Format(of_lines(read_conll), (".conll", ".iob", ".iob2", ".bio", ".bioes")),
    "jsonl": Format(of_lines(read_jsonl), (".jsonl", ".ndjson", ".json")),
    "csv": Format(of_lines(read_csv), (".csv",)),
    "tsv": Format(of_lines(read_tsv), (".tsv", ".tab")),
    "parquet": Format(read_parquet, (".parquet",), "row"),
    "arrow": Format(read_arrow, (".arrow",), "row"),
}


def read_file(path: Path, words: Words, options: ReadOptions) -> CorpusBuilder:
    """The texts of one file.

    Raises:
        DataError: what the reader of its format raises; bytes that are not UTF-8; no text at all.
    """
    format_ = FORMATS[format_of(path, options)]
    builder = CorpusBuilder(str(path), words, format_.unit)
    format_.read(path, builder, options)
    builder.check()
    return builder


def format_of(path: Path, options: ReadOptions) -> str:
    """The name of the format in `FORMATS`: by the ending of the file, else by its first lines."""
    for name, format_ in FORMATS.items():
        if path.suffix.lower() in format_.suffixes:
            return name
    with open_text(path) as lines:
        head = [line for line in islice(lines, _LOOKED_AT) if line.strip()]
    if head and _is_object(head[0]):
        return "jsonl"
    if options.text_column is None and (options.asked or (options.tags and options.tags.required)):
        return "conll"
    return "conll" if _has_columns(head, options) else "text"


def _is_object(line: str) -> bool:
    """Whether a line is a JSON object."""
    try:
        return line.startswith("{") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _has_columns(lines: Sequence[str], options: ReadOptions) -> bool:
    """Whether lines that are no comments have one number of columns, two at least, the last of them tags."""
    rows = [line.split(options.delimiter) for line in lines if not line.startswith((DOCUMENT, COMMENT))]
    width = len(rows[0]) if rows else 0
    return width > 1 and all(len(row) == width for row in rows) and are_tags([row[-1].strip() for row in rows])
