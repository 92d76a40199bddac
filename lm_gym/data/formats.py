"""The file formats, and how a file is opened and its format told."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from lm_gym.data.arrow import read_arrow, read_parquet
from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.conll import DOCUMENT, read_conll
from lm_gym.data.errors import DataError
from lm_gym.data.field_builders import Words
from lm_gym.data.jsonl import read_jsonl
from lm_gym.data.options import ReadOptions
from lm_gym.data.plain import read_text
from lm_gym.data.tables import read_csv, read_tsv

Reader = Callable[[Path, CorpusBuilder, ReadOptions], None]
LineReader = Callable[[Iterable[str], CorpusBuilder, ReadOptions], None]
_LOOKED_AT = 100  # lines that tell CoNLL columns from plain text
_TAG = re.compile(r"O|[A-Z]-\S*")


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
    if options.text_column is None and (options.asked or (options.tags and options.tags.required)):
        return "conll"
    with open_text(path) as lines:
        return "conll" if _has_columns(islice(lines, _LOOKED_AT), options) else "text"


def _has_columns(lines: Iterable[str], options: ReadOptions) -> bool:
    """Whether lines have one number of columns, two at least, the last of them tags."""
    rows = [line.split(options.delimiter) for line in lines if line.strip() and not line.startswith(DOCUMENT)]
    return bool(rows) and all(
        len(row) == len(rows[0]) > 1 and _TAG.fullmatch(row[-1].strip()) is not None for row in rows
    )


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """A file as lines of UTF-8.

    Raises:
        DataError: bytes that are not UTF-8, by file and line.
    """
    try:
        with path.open(encoding="utf-8-sig") as lines:
            yield lines
    except UnicodeDecodeError:
        with path.open("rb") as raw:
            for number, line in enumerate(raw, 1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as error:
                    message = f"byte {line[error.start]:#04x} is not UTF-8: convert the file to UTF-8"
                    raise DataError(f"{path}, line {number}: {message}") from None
        raise
