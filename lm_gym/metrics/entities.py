"""Entities of tagged texts, as conlleval reads and scores them.

Entity scores follow conlleval.pl (Tjong Kim Sang and Buchholz 2000; De Meulder and Tjong Kim Sang 2003): an entity is
correct if its type and both ends are correct, and O never counts.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lm_gym.iob2 import entity_types, split_tag
from lm_gym.metrics.checks import check_same_shape, checked_ids
from lm_gym.metrics.report import EntityReport, averaged


def entity_spans(
    tags: ArrayLike, tag_names: Sequence[str], offsets: ArrayLike | None = None, *, strict: bool = False
) -> NDArray[np.int64]:
    """Return the entities of tagged texts.

    By default, as in conlleval, an I- that follows O or another type begins an entity. In strict IOB2 only B- begins an
    entity, and an I- without its B- belongs to none.

    Args:
        tags: integers [W], index into `tag_names`.
        tag_names: "O", and "B-X", "I-X" for each type X.
        offsets: offsets of texts [N + 1]; None for a single text.
        strict: whether to read the tags as strict IOB2.

    Returns:
        int64 [M, 3]: index into `entity_types(tag_names)`, first word, one past the last word; in text order.

    Raises:
        ValueError: a tag is outside `tag_names`, a name is not IOB2, or offsets do not span the tags.
    """
    ids = checked_ids(tags, tag_names, "tags")
    types = {name: index for index, name in enumerate(entity_types(tag_names))}
    parts = [split_tag(tag) for tag in tag_names]
    begins = np.array([letter == "B" for letter, _ in parts])[ids]
    inside = np.array([letter == "I" for letter, _ in parts])[ids]
    type_of = np.array([types.get(name, -1) for _, name in parts], np.int64)[ids]
    joined = np.zeros(len(ids), np.bool_)  # the word continues the entity of the previous word
    joined[1:] = inside[1:] & (type_of[1:] == type_of[:-1])
    joined[_text_starts(offsets, len(ids))] = False
    starts = np.flatnonzero(~joined)
    stops = np.append(starts, len(ids))[1:]
    kept = begins[starts] if strict else (begins | inside)[starts]
    spans: NDArray[np.int64] = np.stack((type_of[starts], starts, stops), axis=1)[kept]
    return spans


def entity_report(
    gold: ArrayLike,
    predicted: ArrayLike,
    tag_names: Sequence[str],
    offsets: ArrayLike | None = None,
    *,
    strict: bool = False,
) -> EntityReport:
    """Return entity precision, recall and F1 of a corpus, equal to conlleval and to seqeval's default.

    Args:
        gold: integers [W], index into `tag_names`.
        predicted: integers [W], the same.
        tag_names: "O", and "B-X", "I-X" for each type X.
        offsets: offsets of texts [N + 1]; None for a single text.
        strict: whether to read both as strict IOB2 (seqeval's `mode="strict", scheme=IOB2`).

    Raises:
        ValueError: as `entity_spans`, or arrays of different lengths.
    """
    check_same_shape(gold, predicted)
    types = entity_types(tag_names)
    true = entity_spans(gold, tag_names, offsets, strict=strict)
    guess = entity_spans(predicted, tag_names, offsets, strict=strict)
    at = np.searchsorted(guess[:, 1], true[:, 1])  # both sorted by first word, which no two entities share
    found = at < len(guess)
    found[found] = (guess[at[found]] == true[found]).all(axis=1)
    counts = [np.bincount(spans[:, 0], minlength=len(types)) for spans in (true[found], guess, true)]
    name = "strict IOB2" if strict else "conlleval"
    return EntityReport(f"Entity report ({name})", *averaged(types, *counts))


def flat_tags(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...], NDArray[np.int64]]:
    """Convert lists of tags to the arguments of a report: `entity_report(*flat_tags(gold, predicted))`.

    Returns:
        gold int64 [W], predicted int64 [W], tag names, offsets int64 [N + 1].

    Raises:
        ValueError: the numbers of texts, or of tags in a text, differ.
    """
    lengths = [len(tags) for tags in gold]
    if lengths != [len(tags) for tags in predicted]:
        raise ValueError("gold and predicted differ in the number of texts, or of tags in a text")
    names = tuple(sorted({tag for texts in (gold, predicted) for tags in texts for tag in tags} | {"O"}))
    index = {name: i for i, name in enumerate(names)}
    true, guess = (np.array([index[tag] for tags in texts for tag in tags], np.int64) for texts in (gold, predicted))
    return true, guess, names, np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))


def _text_starts(offsets: ArrayLike | None, words: int) -> NDArray[np.int64]:
    """Return the starts of texts, int64 [N], after checking that offsets rise from 0 to the number of words."""
    bounds = np.array([0, words], np.int64) if offsets is None else np.asarray(offsets, np.int64)
    if bounds.ndim != 1 or not len(bounds) or bounds[0] != 0 or bounds[-1] != words or (np.diff(bounds) < 0).any():
        raise ValueError(f"offsets must rise from 0 to the {words} tags")
    return bounds[:-1][bounds[:-1] < words]
