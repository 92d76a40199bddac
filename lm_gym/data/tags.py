"""Tags as files write them: a letter and a type ("B-PER"), a letter alone ("B"), or a type alone ("PER").

This module is the only one that reads raw tags; `lm_gym.data.schemes` reads sequences of them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

LETTERS = {"O": 0, "B": 1, "I": 2, "M": 2, "E": 3, "L": 3, "S": 4, "U": 4, "W": 4}
"""Letter to its role: outside, begin, inside, end, single. BILOU, BMES and BMEWO are IOBES in other letters."""

UNTYPED = "_"  # the entity type of letters alone, as seqeval calls it
_PREFIXED = re.compile(r"([BIESLUMW])-(\S+)")
_DOUBTFUL = re.compile(r"[A-Za-z][-_.:/|].*|.*[-_.:/|][BIESLUMW]|.|[\W\d_]*")  # no type alone, but written otherwise
_HELP = "tags are O, B-TYPE and I-TYPE (E-, S-, L-, U-, M-, W- too), these letters alone, or types alone beside O"


class TagError(ValueError):
    """A tag, or a sequence of tags, that fits no scheme.

    Attributes:
        index: the flat index of the tag, or -1.
        tag: the tag, if it fits nowhere, or "".
    """

    def __init__(self, message: str, index: int = -1, tag: str = "") -> None:
        super().__init__(message)
        self.index = index
        self.tag = tag


class Tag(NamedTuple):
    """A tag, read: a letter of `LETTERS`, and the entity type ("" for O)."""

    letter: str
    type: str


OUTSIDE = Tag("O", "")


class RawTags(dict[str, int]):
    """Tag → index for the tags of a file as they stand, each checked when first seen to be one word."""

    def __missing__(self, tag: str) -> int:
        if not isinstance(tag, str) or len(tag.split()) != 1 or not tag.isprintable():
            raise TagError(f"tag {tag!r} fits no scheme: {_HELP}")
        if len(self) >= np.iinfo(np.int16).max:
            raise TagError(f"more than {len(self)} different tags: is this the column of the tags?")
        self[tag] = len(self)
        return self[tag]


def is_tag(tag: object) -> bool:
    """Whether `tag` can only be a tag: O, or a letter with a type."""
    return isinstance(tag, str) and (tag == "O" or _PREFIXED.fullmatch(tag) is not None)


def are_tags(values: Iterable[object]) -> bool:
    """Whether these values look like a column of tags: letters with types, or O and letters or types alone."""
    tags = [*dict.fromkeys(values)]
    if not tags or not all(isinstance(tag, str) and len(tag.split()) == 1 for tag in tags):
        return False
    try:
        parse_tags(tags)  # type: ignore[arg-type]
    except TagError:
        return False
    return "O" in tags or all(map(is_tag, tags))


def parse_tags(tags: Sequence[str], scheme: str = "auto") -> dict[str, Tag]:
    """Read the different tags of a dataset.

    Args:
        tags: all of them, since one tag alone does not tell the notation.
        scheme: "io" reads types alone, or after "I-". Any other reads letters with types or, if no tag has a type,
            letters alone; "auto" and "conlleval" also read types alone, if O is among the tags.

    Raises:
        TagError: a tag in another notation; `tag` is that tag.
    """
    others = [tag for tag in tags if tag != "O"]
    prefixed = {tag: Tag(*match.groups()) for tag in others if (match := _PREFIXED.fullmatch(tag))}
    if prefixed and scheme != "io":
        read = prefixed
    elif scheme != "io" and any(tag in LETTERS for tag in others):
        read = {tag: Tag(tag, UNTYPED) for tag in others if tag in LETTERS}
    elif scheme == "io":
        read = {tag: prefixed.get(tag, Tag("I", tag)) for tag in others}
        read = {tag: part for tag, part in read.items() if part.letter == "I"}
    elif scheme in ("auto", "conlleval") and "O" in tags:
        read = {tag: Tag("I", tag) for tag in others if not _DOUBTFUL.fullmatch(tag)}
    else:
        read = {}
    for tag in others:
        if tag not in read:
            raise TagError(f"tag {tag!r} fits no scheme: {_way_out(tag, scheme, bool(prefixed))}", tag=tag)
    return {tag: read.get(tag, OUTSIDE) for tag in tags}


def are_types_alone(read: Mapping[str, Tag]) -> bool:
    """Whether tags that were read are types alone, without letters."""
    return any(part.type == tag for tag, part in read.items())


def tag_names_of(types: Iterable[str]) -> tuple[str, ...]:
    """The tags of a dataset: "O", then "B-X", "I-X" for each type, types sorted."""
    return ("O", *(f"{letter}-{name}" for name in sorted(types) for letter in "BI"))


def types_of(tags: Iterable[Tag]) -> set[str]:
    """The entity types among tags."""
    return {tag.type for tag in tags} - {""}


def _way_out(tag: str, scheme: str, prefixed: bool) -> str:
    if scheme == "io":
        return "scheme='io' reads O and types, alone or after I-"
    if re.fullmatch(r"-?\d+", tag):
        return "it is a number: name them, as in names={'tags': ['O', 'B-PER', 'I-PER']}"
    if not prefixed and not _DOUBTFUL.fullmatch(tag):
        return f"{_HELP}; scheme='io' reads any tags as types"
    return _HELP
