"""A part of the training texts, for few labels: so many texts, or so many for each entity type."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lm_gym.data.corpus import Corpus
from lm_gym.data.errors import DataError
from lm_gym.data.overlap import text_keys
from lm_gym.hashing import mix


def few_texts(corpus: Corpus, texts: int | None, per_type: int | None, seed: int) -> NDArray[np.int64]:
    """Indices of some texts, ascending, chosen by a hash of the seed and their words; copies of a text are one.

    Args:
        corpus: the training split.
        texts: take so many; a greater number takes the same ones and more.
        per_type: take so many that hold an entity of a type, for each type in turn (texts with several types count
            for all of them, so that fewer than types · per_type come out; a type with fewer texts gives all it has).
        seed: another one chooses other texts.

    Returns:
        int64 [n].

    Raises:
        DataError: both numbers, or one below 1; more texts than there are distinct ones; `per_type` of texts
            without tags or without entities.
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
    if corpus.tags is None:
        raise DataError(f"train_texts_per_type={per_type}: plain text has no types, give train_texts")
    if per_type < 1:
        raise DataError(f"train_texts_per_type={per_type}: give 1 or more")
    text_of = np.repeat(np.arange(len(corpus)), corpus.lengths)
    holds = np.zeros((len(corpus), (len(corpus.tag_names) + 1) // 2), np.bool_)
    holds[text_of, (corpus.tags + 1) // 2] = True  # O, then B-X and I-X by type
    ranked = holds[order, 1:]
    if not ranked.any():
        raise DataError(f"train_texts_per_type={per_type}: no text of train holds an entity, give train_texts")
    kept = (ranked & (np.cumsum(ranked, axis=0) <= per_type)).any(axis=1)
    return np.sort(order[kept])
