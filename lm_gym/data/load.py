"""`load_dataset`: a dataset from whatever names it."""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from lm_gym.builtin import BUILTIN
from lm_gym.data.columns import Columns, Words
from lm_gym.data.dataset import SPLITS, Dataset
from lm_gym.data.errors import DataError, nearest
from lm_gym.data.folder import split_files, split_of
from lm_gym.data.formats import read_file
from lm_gym.data.hub import PREFIX, read_hub
from lm_gym.data.options import Column, ReadOptions

TaskHint = Literal["ner", "masked_lm"]


def load_dataset(
    source: str | os.PathLike[str] | Dataset,
    *,
    fields: object = None,
    builtin: object = None,
    task_hint: TaskHint | None = None,
    token_column: Column | None = None,
    tag_column: Column | None = None,
    text_column: Column | None = None,
    delimiter: str | None = None,
    scheme: str = "auto",
    splits: Mapping[str, str] | None = None,
    max_overlap: float = 0.1,
    train_texts: int | None = None,
    train_texts_per_type: int | None = None,
    train_seed: int = 0,
) -> Dataset:
    """A dataset from a builtin name, a file, a folder, `hub:<id>`, or a Dataset (returned as it is, or cut).

    Args:
        source: "builtin/ner", "builtin/masked_lm", or "builtin" (the one for the task); a file; a folder
            with a file for each split; `hub:<id>` or `hub:<id>:<config>`, through the `datasets` package.
        task_hint: "ner" demands tags; "masked_lm" reads the words of files without their tags.
        token_column: column of the words: an index (negative from the right), or a name.
        tag_column: column of the tags.
        text_column: column of whole texts, split at blanks.
        delimiter: between columns; None is the format's own.
        scheme: of the tags: "auto", "iob1", "iob2", "iobes" (BILOU included) or "conlleval" (any sequence).
        splits: for a folder, file names by split; for the hub, its splits by ours. None finds them.
        max_overlap: the greatest part of a split, 0 to 1, that may stand in another split too.
        train_texts: keep so many texts of train, chosen by a hash of their words: for training with few labels.
        train_texts_per_type: keep so many texts of train for each entity type (`lm_gym.data.few.few_texts`).
        train_seed: which texts these are.

    Returns:
        The dataset, its tags in IOB2. A single file is the split that its name says, or train.

    Raises:
        DataError: nothing there by this name, or data that cannot be used; the message names file and line.
    """
    if isinstance(builtin, str):
        task_hint = builtin.removeprefix("builtin/")
    if isinstance(source, Dataset):
        dataset = source
    else:
        tags = {"ner": True, "masked_lm": False}.get(task_hint or "")
        options = ReadOptions(token_column, tag_column, text_column, delimiter, scheme, tags)
        dataset = _load(os.fspath(source), task_hint, options, splits, max_overlap)
    if task_hint == "ner":
        _demand_tags(dataset)
    if train_texts is None and train_texts_per_type is None:
        return dataset
    return dataset.with_few_texts(train_texts, train_texts_per_type, train_seed)


def _load(
    name: str, task_hint: TaskHint | None, options: ReadOptions, splits: Mapping[str, str] | None, max_overlap: float
) -> Dataset:
    """The whole dataset of that name."""
    if name.split("/")[0] == "builtin":
        return _builtin(_builtin_name(name, task_hint))
    label, columns = _read(name, options, splits)
    return Dataset.from_columns(label, columns, scheme=options.scheme, max_overlap=max_overlap)


def _read(name: str, options: ReadOptions, splits: Mapping[str, str] | None) -> tuple[str, dict[str, Columns]]:
    """The columns of each split, in the order of `SPLITS`, and a name for the dataset."""
    words = Words()
    for split in splits or ():
        if split not in SPLITS:
            raise DataError(f"unknown split {split!r}{nearest(split, SPLITS)}: splits are {', '.join(SPLITS)}")
    if name.startswith(PREFIX):
        found = read_hub(name, words, options, splits)
        return name, {split: found[split] for split in SPLITS if split in found}
    path = Path(name).expanduser()
    if path.is_dir():
        files = split_files(path, splits)
        return path.resolve().name, {
            split: read_file(files[split], words, options) for split in SPLITS if split in files
        }
    if path.is_file():
        if splits is not None:
            raise DataError(f"{name} is one file: splits={dict(splits)!r} is for a folder or the hub")
        return path.stem, {split_of(path) or "train": read_file(path, words, options)}
    raise DataError(
        f"no dataset {name!r}{nearest(name, BUILTIN)}: it is no file or folder, not hub:<id>, and not one of "
        f"{', '.join(sorted(BUILTIN))}"
    )


def _demand_tags(dataset: Dataset) -> None:
    if not dataset.tag_names:
        raise DataError(f"dataset {dataset.name!r} is plain text: named-entity recognition needs a tag for each word")


def _builtin_name(name: str, task_hint: TaskHint | None) -> str:
    wanted = f"builtin/{task_hint}" if name == "builtin" and task_hint else name
    if wanted not in BUILTIN:
        raise DataError(
            f"no dataset {name!r}{nearest(name, BUILTIN)}: the builtin ones are {', '.join(sorted(BUILTIN))}"
        )
    return wanted


@cache
def _builtin(name: str) -> Dataset:
    splits = BUILTIN[name]()
    return Dataset.from_sentences(name, splits["train"], splits["validation"], splits["test"])
