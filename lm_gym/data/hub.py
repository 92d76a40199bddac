"""The source `hub:<id>`: everything that `datasets.load_dataset` reads, including local folders of Parquet files."""

from typing import Any

from lm_gym.data.arrow import import_datasets
from lm_gym.data.errors import DataError
from lm_gym.hub import hub_or_cache

PREFIX = "hub:"


def fetch(source: str) -> Any:
    """Return the `datasets.DatasetDict` of "hub:<id>" or "hub:<id>:<config>".

    Raises:
        DataError: the `datasets` package or the dataset is missing, or the hub cannot be reached.
    """
    datasets = import_datasets(source)
    name, _, config = source.removeprefix(PREFIX).partition(":")
    if not name.strip("/ "):
        raise DataError(f"dataset {source!r} names nothing on the hub: give hub:<id> or hub:<id>:<config>")
    with hub_or_cache(name) as unreachable:
        try:
            return datasets.load_dataset(name, config or None)
        except (OSError, ValueError) as error:
            way_out = f"{unreachable}, and the dataset is not in the cache"
            raise DataError(f"{source}: {way_out if unreachable else error}") from error
