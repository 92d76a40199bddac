"""`hub:<id>`: whatever `datasets.load_dataset` reads, a local folder of parquet files among it."""

from collections.abc import Mapping
from typing import Any

from lm_gym.data.columns import Columns, Words
from lm_gym.data.errors import DataError
from lm_gym.data.fields import choose_fields
from lm_gym.data.folder import NAMES
from lm_gym.data.jsonl import words_and_tags
from lm_gym.data.options import ReadOptions

PREFIX = "hub:"
_ROWS = 1000  # rows taken out of Arrow at a time


def read_hub(source: str, words: Words, options: ReadOptions, splits: Mapping[str, str] | None) -> dict[str, Columns]:
    """The texts of "hub:<id>" or "hub:<id>:<config>", by split.

    Args:
        source: the name, prefix included.
        words: the words of the dataset.
        options: which columns; tags may be names, or numbers that a ClassLabel feature names.
        splits: their splits by ours; None goes by the usual names.

    Raises:
        DataError: the `datasets` package or the dataset is missing, no split has a usual name, or its columns cannot
            be used.
    """
    found = _fetch(source)
    if splits is None:
        splits = {}
        for name in found:
            if name in NAMES:
                splits.setdefault(NAMES[name], name)
    missing = [name for name in splits.values() if name not in found]
    if missing or not splits:
        wrong = f"no split {missing[0]!r}" if missing else "no split of a usual name"
        raise DataError(f"{source}: {wrong}; it has {', '.join(found)}: say splits={{'train': …}}")
    return {ours: _read_split(f"{source}, {theirs}", found[theirs], words, options) for ours, theirs in splits.items()}


def _fetch(source: str) -> Any:
    """The `datasets.DatasetDict` of a name."""
    try:
        import datasets
    except ImportError:
        raise DataError(f"{source} needs the package datasets: pip install 'lm-gym[hub]'") from None
    name, _, config = source.removeprefix(PREFIX).partition(":")
    try:
        return datasets.load_dataset(name, config or None)
    except (OSError, ValueError) as error:
        raise DataError(f"{source}: {error}") from error


def _read_split(place: str, rows: Any, words: Words, options: ReadOptions) -> Columns:
    columns = Columns(place, words, unit="row")
    fields = choose_fields(rows.column_names, options, place)
    names = _label_names(rows.features[fields.tags]) if fields.tags else None
    kept = [name for name in (fields.words, fields.tags) if name]
    known = range(len(names or ()))
    row = 0
    for batch in rows.select_columns(kept).iter(_ROWS):
        for values in zip(*(batch[name] for name in kept), strict=True):
            record = dict(zip(kept, values, strict=True))
            if fields.tags and names:
                record[fields.tags] = [names[tag] if tag in known else tag for tag in record[fields.tags]]
            columns.add(*words_and_tags(record, fields, columns, row), row)
            row += 1
    columns.check()
    return columns


def _label_names(feature: Any) -> list[str] | None:
    """The names behind numbers, where a feature is a list of ClassLabel."""
    return getattr(getattr(feature, "feature", None), "names", None)
