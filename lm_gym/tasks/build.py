"""Creation of a task from a dataset."""

from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from gymnasium import logger

from lm_gym.data import Dataset
from lm_gym.naming import among
from lm_gym.tasks.encoded import Encoded, Shape, WordTable
from lm_gym.tasks.task import Task
from lm_gym.tokenizer import TextTokenizer

_BUILT: "WeakKeyDictionary[Dataset, dict[tuple[Any, ...], Task]]" = WeakKeyDictionary()


def build_task(
    kind: type[Task],
    dataset: Dataset,
    split: str,
    tokenizer: TextTokenizer,
    max_length: int,
    options: Any = None,
) -> Task:
    """Encode a split, with sizes that fit every split of its dataset.

    Tasks are immutable, so environments of the same dataset share them as long as the dataset lives. A warning (through
    `gymnasium.logger`) reports the positions that `max_length` drops.

    Args:
        kind: the task.
        dataset: the result of `load_data` for the task.
        split: name of the split to play.
        tokenizer: the tokenizer.
        max_length: maximum number of sub-tokens of a text, including special tokens.
        options: the task's own arguments (`kind.Options`, hashable); None for their defaults.

    Raises:
        ValueError: the split does not exist, or no text can be played.
    """
    options = kind.Options() if options is None else options
    if split not in dataset.splits:
        raise ValueError(f"no split {split!r} in {dataset.name}{among(split, dataset.splits)}")
    built = _BUILT.setdefault(dataset, {})
    key = (kind, split, tokenizer.fingerprint, max_length, options)
    if key not in built:
        built[key] = _build(kind, dataset, split, tokenizer, max_length, options)
    cut = built[key].encoded.cut
    if cut.positions:
        logger.warn(
            f"max_length={max_length} cuts {cut.texts} texts of {dataset.name}/{split} and drops {cut.positions} of "
            f"their {kind.nouns.positions}: raise it to keep them"
        )
    return built[key]


def _build(
    kind: type[Task], dataset: Dataset, split: str, tokenizer: TextTokenizer, max_length: int, options: Any
) -> Task:
    splits = kind.prepare(dataset, options).splits
    tables: dict[int, WordTable] = {}  # by vocabulary, which splits share
    played: Encoded | None = None
    counts = None
    tokens = positions = part = 0
    _, names = kind.choices(splits[split], tokenizer, options=options)
    num_choices = max(kind.choices(corpus, tokenizer, options=options)[0] for corpus in splits.values())
    for other, corpus in splits.items():
        table = tables.get(id(corpus.vocabulary))
        if table is None:
            table = tables[id(corpus.vocabulary)] = WordTable.build(corpus, tokenizer)
        encoded = kind.encode(corpus, tokenizer, max_length, table=table, options=options, labelled=dataset.labelled)
        tokens, positions = max(tokens, encoded.max_tokens), max(positions, encoded.max_positions)
        part = max(part, encoded.part or 0)
        if other == split:
            played = encoded
        if other == "train" or (other == split and "train" not in splits):
            counts = kind.count_targets(encoded, tokenizer, num_choices)
    assert played is not None
    assert counts is not None
    shape = Shape(tokens, max(1, positions), num_choices)  # texts to predict may have none
    if part:
        played = replace(played, part=part)
    return kind(played, tokenizer, shape, counts, names, options, splits[split], splits.get("train"))
