"""Selection of few training texts: a number of texts, or a number for each entity type or label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lm_gym.data.columns import LabelColumn
from lm_gym.data.corpus import Corpus
from lm_gym.data.errors import DataError
from lm_gym.data.overlap import text_keys
from lm_gym.hashing import mix


def few_texts(corpus: Corpus, texts: int | None, per_type: int | None, seed: int) -> NDArray[np.int64]:
    """Choose texts by a hash of the seed and their words; copies of a text count once.

    Args:
        corpus: the training split.
        texts: number of texts; a larger number includes the texts of a smaller one.
        per_type: number of texts for each entity type or label. Texts with several types count for each of them, so the
            total can be below types · per_type. A type with fewer texts contributes all of them.
        seed: seed of the choice.

    Returns:
        Ascending indices, int64 [n].

    Raises:
        DataError: both numbers are given, a number is below 1, there are not enough distinct texts, or `per_type` is
            given for texts without entities and labels.
    """
    if texts is not None and per_type is not None:
        raise DataError(f"train_texts={texts} and train_texts_per_type={per_type}: give one of them")
    keys, first = np.unique(text_keys(corpus), return_index=True)
    order = first[np.argsort(mix(seed, keys), kind="stable")]
    if texts is not None:
        if not 1 <= texts <= len(order):
            raise DataError(f"train_texts={texts}: train has {len(order)} distinct texts, give 1 to {len(order)}")
        return np.sort(order[:texts])
    assert per_type is not None
    if per_type < 1:
        raise DataError(f"train_texts_per_type={per_type}: give 1 or more")
    holds = _holds(corpus)
    if corpus.tags is None and not holds.shape[1]:
        raise DataError(f"train_texts_per_type={per_type}: plain text has no types, give train_texts")
    ranked = holds[order]
    if not ranked.any():
        raise DataError(f"train_texts_per_type={per_type}: no training text has an entity or label: use train_texts")
    kept = (ranked & (np.cumsum(ranked, axis=0) <= per_type)).any(axis=1)
    return np.sort(order[kept])


def _holds(corpus: Corpus) -> NDArray[np.bool_]:
    """Return which entity types and labels each text has, bool [N, types + labels]."""
    found = [np.zeros((len(corpus), 0), np.bool_)]
    if corpus.tags is not None:
        types = np.zeros((len(corpus), (len(corpus.tag_names) + 1) // 2), np.bool_)
        types[np.repeat(np.arange(len(corpus)), corpus.lengths), (corpus.tags + 1) // 2] = True  # O, then B-X and I-X
        found.append(types[:, 1:])
    found += [column.flags() for column in corpus.columns.values() if isinstance(column, LabelColumn)]
    return np.concatenate(found, axis=1)
