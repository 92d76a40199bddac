"""Readers of Python data: lists of records or words, pandas and Polars frames, objects of the `datasets` package.

Frames are recognised by their methods, so that none of these packages needs to be imported.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lm_gym.data.arrow import read_rows
from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.errors import DataError
from lm_gym.data.layout import distinct
from lm_gym.data.options import ReadOptions
from lm_gym.data.records import RecordReader


def read_data(data: Any, builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of one split.

    Args:
        data: a list of records (by column name), of word lists or of pairs; a frame; a `datasets.Dataset`.
        builder: receives the texts.
        options: the fields and their columns.

    Raises:
        DataError: the data has another type, or as in `RecordReader.add`.
    """
    if hasattr(data, "with_format") and hasattr(data, "features"):
        return read_rows(data, builder, options)
    RecordReader(builder, options).read(enumerate(_records(data, builder, options)))


def rows_of(data: Any) -> Iterator[dict[str, Any]] | None:
    """Return the rows of a pandas or Polars frame as records by column name; None if the data is no frame."""
    if hasattr(data, "iter_rows"):  # Polars
        rows: Iterator[dict[str, Any]] = data.iter_rows(named=True)
        return rows
    if hasattr(data, "itertuples"):  # pandas
        names = distinct([str(name) for name in data.columns])
        return (dict(zip(names, cells, strict=True)) for cells in data.itertuples(index=False, name=None))
    return None


def _records(data: Any, builder: CorpusBuilder, options: ReadOptions) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a split as records."""
    frame = rows_of(data)
    if frame is not None:
        index = getattr(data, "index", None)  # of pandas
        builder.unread |= dict.fromkeys(str(name) for name in getattr(index, "names", ()) if name is not None)
        yield from frame
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes | Mapping):
        for row, item in enumerate(data):
            yield item if isinstance(item, Mapping) else _record(item, row, builder, options)
    else:
        raise DataError(
            f"{builder.place}: {type(data).__name__} is not data: give a list of records, of word lists or of (words, "
            "tags) pairs, a pandas or Polars frame, or a datasets.Dataset"
        )


def _record(item: Any, row: int, builder: CorpusBuilder, options: ReadOptions) -> dict[str, Any]:
    """Return a list of words, or a pair of words and the second field, as a record."""
    words, *others = options.fields
    if isinstance(item, str) or not isinstance(item, list | tuple):
        raise builder.error(row, f"{item!r:.40} is not a text: give a list of words, a (words, tags) pair, or a record")
    if len(item) == 2 and isinstance(item[0], list | tuple):
        second = others[0].columns[0] if others else "tags"
        return {words.columns[0]: item[0], second: item[1]}
    return {words.columns[0]: item}
