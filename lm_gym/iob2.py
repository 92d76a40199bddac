"""IOB2 tags ("O", and "B-TYPE" and "I-TYPE" of each entity type), and the rules for where entities begin and end.

The rules are those of conlleval (Tjong Kim Sang and Buchholz 2000): an I-X that follows anything but B-X or I-X
begins an entity.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ENDS, BEGINS = 1, 2  # bits of `Boundaries.codes`
_TAG = re.compile(r"O|([BI])-(.+)")


class Boundaries(NamedTuple):
    """Tables of conlleval's rules for n tags.

    Attributes:
        codes: uint8 [n * n]; codes[before * n + tag] has bit `ENDS` where an entity ends before `tag`, and bit `BEGINS`
            where one begins at it.
        types: int64 [n], 0 for O, else 1 + the index of the tag's type in `entity_types`.
    """

    codes: NDArray[np.uint8]
    types: NDArray[np.int64]


def split_tag(tag: str) -> tuple[str, str]:
    """Split a tag: ("B", "PER") for "B-PER", ("O", "") for "O".

    Raises:
        ValueError: if the tag is not O, B-TYPE or I-TYPE.
    """
    match = _TAG.fullmatch(tag)
    if match is None:
        raise ValueError(f"tag {tag!r} is not IOB2: tags are O, B-TYPE and I-TYPE")
    return match[1] or "O", match[2] or ""


def entity_types(tags: Sequence[str]) -> tuple[str, ...]:
    """List the entity types of tags, sorted.

    Raises:
        ValueError: if a tag is not IOB2.
    """
    return tuple(sorted({name for letter, name in map(split_tag, tags) if letter != "O"}))


def boundaries(tags: Sequence[str]) -> Boundaries:
    """Make the tables of conlleval's rules.

    Raises:
        ValueError: if a tag is not IOB2.
    """
    kinds = entity_types(tags)
    parts = [split_tag(tag) for tag in tags]
    types = np.array([0 if letter == "O" else 1 + kinds.index(name) for letter, name in parts], np.int64)
    begins = np.array([letter == "B" for letter, _ in parts])
    differ = types[:, None] != types[None, :]
    ends = (types[:, None] > 0) & (differ | begins[None, :])
    starts = (types[None, :] > 0) & (differ | begins[None, :])
    return Boundaries((ends * ENDS + starts * BEGINS).astype(np.uint8).reshape(-1), types)


def may_follow(tags: Sequence[str]) -> NDArray[np.bool_]:
    """Make the table bool [n, n] of well-formed IOB2, indexed [before, after]: I-X is allowed only after B-X or I-X.

    Raises:
        ValueError: if a tag is not IOB2.
    """
    parts = [split_tag(tag) for tag in tags]
    table = np.ones((len(tags), len(tags)), np.bool_)
    for after, (letter, name) in enumerate(parts):
        if letter == "I":
            table[:, after] = [before != "O" and kind == name for before, kind in parts]
    return table
