"""The source `hub:<id>`: everything that `datasets.load_dataset` reads, including local folders of Parquet files."""

from typing import Any

from lm_gym.data.arrow import import_datasets
from lm_gym.data.errors import DataError

PREFIX = "hub:"


def fetch(source: str) -> Any:
    """Return the `datasets.DatasetDict` of "hub:<id>" or "hub:<id>:<config>".

    Raises:
        DataError: the `datasets` package or the dataset is missing.
    """
    datasets = import_datasets(source)
    name, _, config = source.removeprefix(PREFIX).partition(":")
    try:
        return datasets.load_dataset(name, config or None)
    except (OSError, ValueError) as error:
        raise DataError(f"{source}: {error}") from error
