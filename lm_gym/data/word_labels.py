"""Labels of words that are derived from plain text."""

from array import array
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lm_gym.data.corpus import Corpus
from lm_gym.data.errors import DataError
from lm_gym.data.field_builders import Words
from lm_gym.ragged import to_offsets

WordLabeller = Callable[[list[str]], tuple[Sequence[str], Sequence[int]]]
"""Maps the words of a text to new words and the index of each word's label."""


def label_each_word(
    name: str, splits: Mapping[str, Corpus], label: WordLabeller, names: Sequence[str]
) -> dict[str, Corpus]:
    """Return splits with a label for each word; see `lm_gym.Dataset.with_word_labels` for arguments and errors."""
    if len(set(names)) < len(names):
        raise DataError(f"two labels have the same name: {', '.join(map(str, names))}")
    words = Words()
    found = {split: _labelled(f"{name}, {split}", corpus, label, len(names), words) for split, corpus in splits.items()}
    vocabulary = tuple(words)
    return {
        split: Corpus(flat, vocabulary, to_offsets(lengths), labels, tuple(names))
        for split, (flat, labels, lengths) in found.items()
    }


def _labelled(
    place: str,
    corpus: Corpus,
    label: WordLabeller,
    num_labels: int,
    vocabulary: Words,
) -> tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.int64]]:
    """Return words, labels and lengths of the relabelled texts of a split."""
    words, labels, lengths = array("i"), array("h"), array("q")
    for number in range(len(corpus)):
        text, its_labels = label(corpus.text(number))
        if len(text) != len(its_labels):
            raise DataError(f"{place}, text {number}: {len(text)} words but {len(its_labels)} labels")
        if its_labels and not 0 <= min(its_labels) <= max(its_labels) < num_labels:
            raise DataError(f"{place}, text {number}: labels are 0 to {num_labels - 1}, got {list(its_labels)}")
        if text:
            words.extend(vocabulary[word] for word in text)
            labels.extend(its_labels)
            lengths.append(len(text))
    if not lengths:
        raise DataError(f"{place}: no text is left")
    return np.frombuffer(words, np.int32), np.frombuffer(labels, np.int16), np.frombuffer(lengths, np.int64)
