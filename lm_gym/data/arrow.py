"""Arrow tables: Parquet and Arrow files, and the objects of the `datasets` package."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.errors import DataError
from lm_gym.data.options import ReadOptions
from lm_gym.data.records import LOOKED_AT, RecordReader

_ROWS = 1000  # rows taken out of Arrow at a time


def read_parquet(path: Path, builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of a Parquet file. Raises as `read_arrow`."""
    datasets = import_datasets(path)
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no Parquet file ({error})") from None
    with file:
        features = datasets.Features.from_arrow_schema(file.schema_arrow)
        read_batches(file.iter_batches(_ROWS), features, builder, options)


def read_arrow(path: Path, builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of an Arrow file.

    Raises:
        DataError: the `datasets` package is missing, the file is no table, or as `RecordReader.add`.
    """
    datasets = import_datasets(path)
    try:
        rows = datasets.Dataset.from_file(str(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no Arrow file ({error})") from None
    read_rows(rows, builder, options)


def read_rows(rows: Any, builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of a `datasets.Dataset` or `datasets.IterableDataset`.

    Raises:
        DataError: as `RecordReader.add`.
    """
    read_batches(rows.with_format("arrow").iter(_ROWS), rows.features or {}, builder, options)


def read_batches(batches: Iterable[Any], features: Any, builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of Arrow tables; `ClassLabel` features give integers their names. Only columns in use are read.

    Raises:
        DataError: as `RecordReader.add`.
    """
    reader = RecordReader(builder, options, {name: names for name, each in features.items() if (names := _names(each))})
    row = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        layout = reader.begin(batch.slice(0, LOOKED_AT).to_pylist(), row)
        builder.unread |= dict.fromkeys(name for name in batch.column_names if name not in layout.columns)
        for record in batch.select([*dict.fromkeys(layout.columns)]).to_pylist():
            reader.add(record, row)
            row += 1


def import_datasets(needs: str | Path) -> Any:
    """The `datasets` package.

    Raises:
        DataError: it is not installed.
    """
    try:
        import datasets
    except ImportError:
        raise DataError(f"{needs} needs the package datasets: pip install 'lm-gym[hub]'") from None
    return datasets


def _names(feature: Any) -> list[str] | None:
    """The names behind integers, where a feature is a ClassLabel or a list of them."""
    return getattr(getattr(feature, "feature", feature), "names", None)
