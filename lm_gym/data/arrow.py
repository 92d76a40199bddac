"""Readers of Arrow tables: Parquet and Arrow files, and objects of the `datasets` package."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.errors import DataError
from lm_gym.data.options import ReadOptions
from lm_gym.data.records import LOOKED_AT, RecordReader

_ROWS = 1000  # rows converted from Arrow at a time


def read_parquet(path: Path, builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of a Parquet file; raises the same errors as `read_arrow`."""
    datasets = import_datasets(path)
    import pyarrow.parquet

    with _refused(path, "Parquet"), pyarrow.parquet.ParquetFile(path) as file:
        features = datasets.Features.from_arrow_schema(file.schema_arrow)
        read_batches(file.iter_batches(_ROWS), features, builder, options)


def read_arrow(path: Path, builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of an Arrow file.

    Raises:
        DataError: the `datasets` package is missing, the file is not a table, or as in `RecordReader.add`.
    """
    datasets = import_datasets(path)
    with _refused(path, "Arrow"):
        read_rows(datasets.Dataset.from_file(str(path)), builder, options)


def parquet_records(path: Path, builder: CorpusBuilder, options: ReadOptions) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a Parquet file with their numbers; raises the same errors as `arrow_records`."""
    import_datasets(path)
    import pyarrow.parquet

    with _refused(path, "Parquet"), pyarrow.parquet.ParquetFile(path) as file:
        yield from _numbered(file.iter_batches(_ROWS))


def arrow_records(path: Path, builder: CorpusBuilder, options: ReadOptions) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of an Arrow file with their numbers.

    Raises:
        DataError: the `datasets` package is missing, or the file is not a table.
    """
    datasets = import_datasets(path)
    with _refused(path, "Arrow"):
        yield from _numbered(datasets.Dataset.from_file(str(path)).with_format("arrow").iter(_ROWS))


def _numbered(batches: Iterable[Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    return enumerate(row for batch in batches for row in _rows_of(batch))


def read_rows(rows: Any, builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of a `datasets.Dataset` or `datasets.IterableDataset`.

    Raises:
        DataError: as in `RecordReader.add`.
    """
    read_batches(rows.with_format("arrow").iter(_ROWS), rows.features or {}, builder, options)


def read_batches(batches: Iterable[Any], features: Any, builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of Arrow tables, reading only the needed columns; `ClassLabel` features name integers.

    Raises:
        DataError: as in `RecordReader.add`.
    """
    reader = RecordReader(builder, options, {name: names for name, each in features.items() if (names := _names(each))})
    row = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        layout = reader.begin(_rows_of(batch.slice(0, LOOKED_AT)), row)
        builder.unread |= dict.fromkeys(name for name in batch.column_names if name not in layout.columns)
        for record in _rows_of(batch.select([*dict.fromkeys(layout.columns)])):
            reader.add(record, row)
            row += 1


def _rows_of(batch: Any) -> list[dict[str, Any]]:
    """Return the rows of an Arrow table after checking it; reading a damaged one could access memory outside it."""
    batch.validate(full=True)
    rows: list[dict[str, Any]] = batch.to_pylist()
    return rows


@contextmanager
def _refused(path: Path, format_: str) -> Iterator[None]:
    """Turn errors of a damaged file into a DataError."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # pyarrow and datasets raise many types
        raise DataError(f"{path}: not a valid {format_} file ({' '.join(str(error).split())})") from error


def import_datasets(needs: str | Path) -> Any:
    """Import and return the `datasets` package.

    Raises:
        DataError: it is not installed.
    """
    try:
        import datasets
    except ImportError:
        raise DataError(f"{needs} needs the package datasets: pip install 'lm-gym[hub]'") from None
    return datasets


def _names(feature: Any) -> list[str] | None:
    """Return the names of integers if a feature is a ClassLabel or a list of them."""
    return getattr(getattr(feature, "feature", feature), "names", None)
