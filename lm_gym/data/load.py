"""`load_dataset`, which loads a dataset from a name, a path or Python data."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lm_gym.bounds import NonNegativeInt, PositiveInt, UnitInterval, bounded
from lm_gym.builtin import BUILTIN, RECORDS
from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.dataset import SPLITS, Dataset
from lm_gym.data.errors import DataError, OtherFields, nearest
from lm_gym.data.field_builders import Words
from lm_gym.data.fields import DESCRIPTIONS, WORDS_AND_TAGS, Field
from lm_gym.data.folder import choose_splits, split_files, split_of
from lm_gym.data.formats import read_file
from lm_gym.data.frames import read_data
from lm_gym.data.hub import PREFIX, fetch
from lm_gym.data.notes import not_read
from lm_gym.data.options import ColumnKey, ReadOptions

Source = str | os.PathLike[str] | Dataset | Mapping[str, Any] | Iterable[Any]
IN_MEMORY = "Python data"  # name of Python data in reports
Builtin = str | Callable[[], Mapping[str, Any]]


@bounded
def load_dataset(
    source: Source,
    *,
    fields: Sequence[Field] | None = None,
    builtin: Builtin | None = None,
    columns: Mapping[str, ColumnKey] | None = None,
    token_column: ColumnKey | None = None,
    tag_column: ColumnKey | None = None,
    text_column: ColumnKey | None = None,
    delimiter: str | None = None,
    scheme: str = "auto",
    names: Mapping[str, Sequence[str]] | None = None,
    header: bool | None = None,
    splits: Mapping[str, str] | None = None,
    max_overlap: UnitInterval = 0.1,
    train_texts: PositiveInt | None = None,
    train_texts_per_type: PositiveInt | None = None,
    train_seed: NonNegativeInt = 0,
) -> Dataset:
    """Load a dataset from a builtin name, a file, a folder, the hub or Python data.

    Args:
        source: "builtin/ner", "builtin/masked_lm", or "builtin" (see `builtin`); a file; a folder with a file for each
            split; `hub:<id>` or `hub:<id>:<config>`, through the `datasets` package; a list of records, of word lists
            or of (words, tags) pairs; a pandas or Polars frame; a `datasets` object; a dict of such data by split; or
            a `Dataset`.
        fields: fields of a text, words first; None for words, and tags if there are any.
        builtin: meaning of the source "builtin": a name such as "builtin/ner", or a function without arguments that
            returns Python data by split.
        columns: columns by the name of a field, each an index (negative from the right) or a name.
        token_column: column of the words.
        tag_column: column of the tags.
        text_column: column of whole texts, which are split at whitespace.
        delimiter: delimiter of columns; None for the format's default.
        scheme: scheme of the tags: "auto", "iob1", "iob2", "iobes" (BILOU and BMES included), "io" (types alone) or
            "conlleval" (any sequence).
        names: names of integers by field, in order: {"tags": ["O", "B-PER", "I-PER"]}.
        header: whether the first row of a table names its columns; None to infer it.
        splits: for a folder: file names by split; for the hub and Python data: names of their splits by ours. None to
            infer them.
        max_overlap: maximum fraction of a split, 0 to 1, that may also occur in another split.
        train_texts: number of training texts to keep, chosen by a hash of their words, for training with few labels.
        train_texts_per_type: number of texts to keep for each entity type or label (`lm_gym.data.few.few_texts`).
        train_seed: seed of this choice.

    Returns:
        The dataset, with tags in IOB2. A single file becomes the split in its name, or train; a single list or frame
        becomes train.

    Raises:
        DataError: the source does not exist, or the data cannot be used; the message names the file and line.
        OtherFields: the data lacks a required field but has others (`kinds`).
    """
    wanted = WORDS_AND_TAGS if fields is None else tuple(fields)
    options = ReadOptions(
        token_column, tag_column, text_column, delimiter, scheme, wanted, columns or {}, names or {}, header
    )
    if not 0 <= max_overlap <= 1:
        raise DataError(f"max_overlap={max_overlap!r}: give a fraction, 0 to 1")
    if isinstance(source, Dataset):
        dataset = source
    elif not isinstance(source, str | os.PathLike):
        dataset = _of_data(IN_MEMORY, source, options, splits, max_overlap)
    elif (name := os.fspath(source)).split("/")[0] == "builtin":
        dataset = _of_builtin(name, builtin, options)
    else:
        dataset = _of_name(name, options, splits, max_overlap)
    _demand(dataset, options.fields)
    if train_texts is None and train_texts_per_type is None:
        return dataset
    return dataset.with_few_texts(train_texts, train_texts_per_type, train_seed)


def _of_name(name: str, options: ReadOptions, splits: Mapping[str, str] | None, max_overlap: float) -> Dataset:
    """Return the dataset of a file, a folder or the hub."""
    _check_splits(splits)
    if name.startswith(PREFIX):
        return _of_data(name, fetch(name), options, splits, max_overlap)
    path = Path(name).expanduser()
    if path.is_dir():
        label = path.resolve().name
        files, unread = split_files(path, splits)
    elif path.is_file():
        if splits is not None:
            raise DataError(f"{name} is a single file: splits={dict(splits)!r} needs a folder or the hub")
        label, files, unread = path.stem, {split_of(path) or "train": path}, []
    else:
        raise DataError(
            f"no dataset {name!r}{nearest(name, BUILTIN)}: it is not a file or folder, not hub:<id>, and not one of "
            f"{', '.join(sorted(BUILTIN))}"
        )
    words = Words()
    builders = {split: read_file(files[split], words, options) for split in SPLITS if split in files}
    notes = [f"{not_read('file', unread)}: no usual name of a split"] if unread else []
    return Dataset.from_builders(label, builders, scheme=options.scheme, max_overlap=max_overlap, notes=notes)


def _of_data(
    name: str, data: Any, options: ReadOptions, splits: Mapping[str, str] | None, max_overlap: float
) -> Dataset:
    """Return the dataset of Python data: one split, or a mapping of splits."""
    _check_splits(splits)
    if not isinstance(data, Mapping):
        if splits is not None:
            raise DataError(f"{name}: splits={dict(splits)!r} needs a dict of splits, and this is one split")
        data = {"train": data}
    chosen = choose_splits(name, data, splits)
    words, builders = Words(), {}
    for split in SPLITS:
        if split in chosen:
            builders[split] = CorpusBuilder(f"{name}, {chosen[split]}", words, unit="row")
            read_data(data[chosen[split]], builders[split], options)
    unread = [] if splits else [str(split) for split in data if split not in chosen.values()]
    notes = [not_read("split", unread)] if unread else []
    return Dataset.from_builders(name, builders, scheme=options.scheme, max_overlap=max_overlap, notes=notes)


def _of_builtin(name: str, builtin: Builtin | None, options: ReadOptions) -> Dataset:
    """Return a dataset of the package or of a task; calls with the same fields return the same object."""
    columns = tuple(sorted(options.columns.items()))
    if name == "builtin" and callable(builtin):
        return _read("builtin", builtin, options.fields, columns)
    wanted = builtin if name == "builtin" and isinstance(builtin, str) else name
    if wanted not in BUILTIN:
        raise DataError(
            f"no dataset {wanted!r}{nearest(wanted, BUILTIN)}: the builtin ones are {', '.join(sorted(BUILTIN))}"
        )
    if wanted in RECORDS:
        return _read(wanted, BUILTIN[wanted], options.fields, columns)
    return _shipped(wanted)


@cache
def _shipped(name: str) -> Dataset:
    splits: Mapping[str, Any] = BUILTIN[name]()
    return Dataset.from_sentences(name, splits["train"], splits["validation"], splits["test"])


@cache
def _read(
    name: str,
    builtin: Callable[[], Mapping[str, Any]],
    fields: tuple[Field, ...],
    columns: tuple[tuple[str, ColumnKey], ...],
) -> Dataset:
    return _of_data(name, builtin(), ReadOptions(fields=fields, columns=dict(columns)), None, max_overlap=0.1)


def _check_splits(splits: Mapping[str, str] | None) -> None:
    for split in splits or ():
        if split not in SPLITS:
            raise DataError(f"unknown split {split!r}{nearest(split, SPLITS)}: splits are {', '.join(SPLITS)}")


def _demand(dataset: Dataset, fields: Sequence[Field]) -> None:
    """Raise an error if a dataset lacks a required field."""
    columns = next(iter(dataset.splits.values())).columns
    held = {name: column.kind for name, column in columns.items()}
    if dataset.tag_names:
        held["tags"] = "tags"
    for field in fields[1:]:
        there = "tags" in held.values() if field.kind == "tags" else held.get(field.name) == field.kind
        if field.required and not there:
            has = f"has words and {', '.join(held)}" if held else "is plain text"
            message = f"dataset {dataset.name!r} {has}: field {field.name!r} needs {DESCRIPTIONS[field.kind]}"
            raise OtherFields(message, kinds=held.values()) if held else DataError(message)
