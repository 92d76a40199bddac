"""Texts that stand in two splits: a test on what was trained on measures memory, not learning."""

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lm_gym.data.corpus import Corpus
from lm_gym.data.errors import DataError
from lm_gym.hashing import mix

_BLOCK = 1 << 18  # words hashed at a time


def text_keys(corpus: Corpus) -> NDArray[np.uint64]:
    """A 64-bit hash of the words of each text, uint64 [N]; splits must share the vocabulary."""
    return np.concatenate([*_blocks_of_keys(corpus)])


def _blocks_of_keys(corpus: Corpus) -> Iterator[NDArray[np.uint64]]:
    text, total = 0, len(corpus)
    while text < total:
        stop = int(np.searchsorted(corpus.offsets, corpus.offsets[text] + _BLOCK, side="right")) - 1
        stop = max(stop, text + 1)
        offsets = corpus.offsets[text : stop + 1]
        lengths = np.diff(offsets)
        place = np.arange(offsets[-1] - offsets[0]) - np.repeat(offsets[:-1] - offsets[0], lengths)
        words = corpus.words[offsets[0] : offsets[-1]]
        yield np.add.reduceat(mix(words, place), offsets[:-1] - offsets[0])
        text = stop


def overlaps(splits: Mapping[str, Corpus]) -> dict[tuple[str, str], int]:
    """For each pair of splits, how many texts of the smaller one stand in the other too."""
    keys = {name: text_keys(corpus) for name, corpus in splits.items()} if len(splits) > 1 else {}
    counts = {}
    for one, other in combinations(keys, 2):
        small, large = sorted((keys[one], keys[other]), key=len)
        counts[one, other] = int(np.isin(small, large).sum())
    return counts


def refuse_overlap(splits: Mapping[str, Corpus], counts: Mapping[tuple[str, str], int], max_overlap: float) -> None:
    """Raise DataError where two splits share more than `max_overlap` of the smaller one."""
    for (one, other), count in counts.items():
        small, large = sorted((one, other), key=lambda name: len(splits[name]))
        total = len(splits[small])
        if count > max_overlap * total:
            enough = np.ceil(100 * count / total) / 100
            raise DataError(
                f"{count} of the {total} texts of {small} stand in {large} too, above "
                f"max_overlap={max_overlap:g}: remove them, or say max_overlap={enough:g}"
            )
