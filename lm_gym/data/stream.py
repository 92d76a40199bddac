"""Records of a file or a stream, one at a time, without a dataset."""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.errors import DataError, nearest
from lm_gym.data.field_builders import Words
from lm_gym.data.formats import FORMATS, Records, format_of, is_object
from lm_gym.data.options import ReadOptions
from lm_gym.data.text_files import open_text

STANDARD_INPUT = "standard input"


@dataclass(frozen=True)
class RecordStream:
    """Records with the numbers of their lines, rows or texts.

    Attributes:
        records: the records, read while they are taken.
        place: the file or list that error messages name.
        unit: noun for the numbers.
        options: the fields of a record, and their columns.
    """

    records: Records
    place: str
    unit: str
    options: ReadOptions


def stream_records(source: Path | IO[bytes], options: ReadOptions, format_: str | None = None) -> RecordStream:
    """Open a file or a stream.

    Lines of text become records `{"text": …}`, and texts in CoNLL columns `{"tokens": […]}`. All formats but CoNLL and
    JSON arrays are read while records are taken.

    Args:
        source: a file, or a stream of bytes.
        options: the fields that are read from the records, and their columns.
        format_: a name in `FORMATS`; None to infer it: of a file by its suffix or else by its first lines, of a stream
            by its first line, which is a JSON object or a text.

    Raises:
        DataError: the format is unknown, or the source cannot be read; the message names the line.
    """
    if format_ is not None and format_ not in FORMATS:
        raise DataError(f"no format {format_!r}{nearest(format_, FORMATS)}: formats are {', '.join(FORMATS)}")
    if isinstance(source, Path):
        place, format_ = str(source), format_ or format_of(source, options)
        found = FORMATS[format_]
        records = _of_file(source, format_, options)
    elif format_ is not None and FORMATS[format_].binary:
        raise DataError(f"{format_} cannot be read from {STANDARD_INPUT}: give a file")
    else:
        place, lines = STANDARD_INPUT, _decoded(source)
        first = [*_first(lines)]
        found = FORMATS[format_ or ("jsonl" if first and is_object(first[0]) else "text")]
        records = found.records(chain(first, lines), CorpusBuilder(place, Words(), found.unit), options)
    return RecordStream(records, place, found.unit, options if found.named else ReadOptions(fields=options.fields))


def _of_file(path: Path, format_: str, options: ReadOptions) -> Records:
    found = FORMATS[format_]
    opened: Any = nullcontext(path) if found.binary else open_text(path)
    with opened as content:
        yield from found.records(content, CorpusBuilder(str(path), Words(), found.unit), options)


def _first(lines: Iterator[str]) -> Iterator[str]:
    """Yield the next line, if there is one."""
    line = next(lines, None)
    if line is not None:
        yield line


def _decoded(stream: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(stream, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            byte = f"byte {line[error.start]:#04x} is not UTF-8"
            raise DataError(f"{STANDARD_INPUT}, line {number}: {byte}: convert it to UTF-8") from None
