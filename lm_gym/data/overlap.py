"""Texts that occur in two splits; testing on training texts would measure memory instead of learning."""

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lm_gym.data.columns import TextsColumn
from lm_gym.data.corpus import Corpus
from lm_gym.data.errors import DataError
from lm_gym.hashing import mix

_BLOCK = 1 << 18  # words hashed at a time


def text_keys(corpus: Corpus) -> NDArray[np.uint64]:
    """Return a 64-bit hash of the words of each text and of its lists of texts, uint64 [N].

    Splits must share the vocabulary. Tags, labels and numbers are ignored, because they are the targets.
    """
    keys = np.concatenate([*_blocks_of_keys(corpus.words, corpus.offsets)])
    for _, column in sorted(corpus.columns.items()):
        if isinstance(column, TextsColumn):
            keys = mix(keys, _list_keys(column))
    return keys


def _list_keys(column: TextsColumn) -> NDArray[np.uint64]:
    """Return a hash of each list of texts, uint64 [N], which depends on the order of items."""
    place = np.arange(column.offsets[-1]) - np.repeat(column.offsets[:-1], column.lengths)
    items = [np.zeros(0, np.uint64), *_blocks_of_keys(column.words, column.item_offsets)]
    sums = np.concatenate(([np.uint64(0)], np.cumsum(mix(np.concatenate(items), place))))  # modulo 2^64
    return sums[column.offsets[1:]] - sums[column.offsets[:-1]]  # also correct for empty lists


def _blocks_of_keys(words: NDArray[np.int32], offsets: NDArray[np.int64]) -> Iterator[NDArray[np.uint64]]:
    """Yield hashes of non-empty ragged rows of words, in blocks that limit memory."""
    text, total = 0, len(offsets) - 1
    while text < total:
        stop = int(np.searchsorted(offsets, offsets[text] + _BLOCK, side="right")) - 1
        stop = max(stop, text + 1)
        block = offsets[text : stop + 1]
        place = np.arange(block[-1] - block[0]) - np.repeat(block[:-1] - block[0], np.diff(block))
        yield np.add.reduceat(mix(words[block[0] : block[-1]], place), block[:-1] - block[0])
        text = stop


def overlaps(splits: Mapping[str, Corpus]) -> dict[tuple[str, str], int]:
    """Return for each pair of splits the number of texts of the smaller one that also occur in the other."""
    keys = {name: text_keys(corpus) for name, corpus in splits.items()} if len(splits) > 1 else {}
    counts = {}
    for one, other in combinations(keys, 2):
        small, large = sorted((keys[one], keys[other]), key=len)
        counts[one, other] = int(np.isin(small, large).sum())
    return counts


def refuse_overlap(splits: Mapping[str, Corpus], counts: Mapping[tuple[str, str], int], max_overlap: float) -> None:
    """Raise DataError if two splits share more than `max_overlap` of the smaller one."""
    for (one, other), count in counts.items():
        small, large = sorted((one, other), key=lambda name: len(splits[name]))
        total = len(splits[small])
        if count > max_overlap * total:
            enough = np.ceil(100 * count / total) / 100
            raise DataError(
                f"{count} of the {total} texts of {small} also occur in {large}, above "
                f"max_overlap={max_overlap:g}: remove them, or set max_overlap={enough:g}"
            )
