"""Raw tags in files: a letter and a type ("B-PER"), only a letter ("B"), or only a type ("PER").

Only this module parses raw tags; `lm_gym.data.schemes` interprets their sequences.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

LETTERS = {"O": 0, "B": 1, "I": 2, "M": 2, "E": 3, "L": 3, "S": 4, "U": 4, "W": 4}
"""Letter → role: outside, begin, inside, end, single. BILOU, BMES and BMEWO are IOBES with other letters."""

UNTYPED = "_"  # entity type of tags without a type, as in seqeval
_PREFIXED = re.compile(r"([BIESLUMW])-(\S+)")
_DOUBTFUL = re.compile(r"[A-Za-z][-_.:/|].*|.*[-_.:/|][BIESLUMW]|.|[\W\d_]*")  # not a type, but another notation
_HELP = "tags are O, B-TYPE and I-TYPE (E-, S-, L-, U-, M-, W- too), these letters alone, or types alone and O"


class TagError(ValueError):
    """Error: a tag or a sequence of tags fits no scheme.

    Attributes:
        index: the flat index of the tag, or -1.
        tag: the tag, if it fits no scheme, or "".
    """

    def __init__(self, message: str, index: int = -1, tag: str = "") -> None:
        super().__init__(message)
        self.index = index
        self.tag = tag


class Tag(NamedTuple):
    """A parsed tag: a letter of `LETTERS`, and the entity type ("" for O)."""

    letter: str
    type: str


OUTSIDE = Tag("O", "")


class RawTags(dict[str, int]):
    """Raw tag → index for the tags of a file; each new tag must be a single word."""

    def __missing__(self, tag: str) -> int:
        if not isinstance(tag, str) or len(tag.split()) != 1 or not tag.isprintable():
            raise TagError(f"tag {tag!r} fits no scheme: {_HELP}")
        if len(self) >= np.iinfo(np.int16).max:
            raise TagError(f"more than {len(self)} different tags: is this the column of the tags?")
        self[tag] = len(self)
        return self[tag]


def is_tag(tag: object) -> bool:
    """Return whether `tag` is certainly a tag: O, or a letter with a type."""
    return isinstance(tag, str) and (tag == "O" or _PREFIXED.fullmatch(tag) is not None)


def are_tags(values: Iterable[object]) -> bool:
    """Return whether values look like a column of tags: letters with types, or O with only letters or only types."""
    tags = [*dict.fromkeys(values)]
    if not tags or not all(isinstance(tag, str) and len(tag.split()) == 1 for tag in tags):
        return False
    try:
        parse_tags(tags)  # type: ignore[arg-type]
    except TagError:
        return False
    return "O" in tags or all(map(is_tag, tags))


def parse_tags(tags: Sequence[str], scheme: str = "auto") -> dict[str, Tag]:
    """Parse the distinct tags of a dataset.

    Args:
        tags: all distinct tags, because a single tag does not reveal the notation.
        scheme: "io" accepts types, optionally after "I-". Other schemes accept letters with types, or only letters if
            no tag has a type; "auto" and "conlleval" also accept only types, if O is among the tags.

    Raises:
        TagError: a tag has another notation; `tag` is that tag.
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
    """Return whether parsed tags are types without letters."""
    return any(part.type == tag for tag, part in read.items())


def tag_names_of(types: Iterable[str]) -> tuple[str, ...]:
    """Return the tags of a dataset: "O", then "B-X" and "I-X" for each type, types sorted."""
    return ("O", *(f"{letter}-{name}" for name in sorted(types) for letter in "BI"))


def types_of(tags: Iterable[Tag]) -> set[str]:
    """Return the entity types of tags."""
    return {tag.type for tag in tags} - {""}


def _way_out(tag: str, scheme: str, prefixed: bool) -> str:
    if scheme == "io":
        return "scheme='io' reads O and types, alone or after I-"
    if re.fullmatch(r"-?\d+", tag):
        return "it is a number: name them, as in names={'tags': ['O', 'B-PER', 'I-PER']}"
    if not prefixed and not _DOUBTFUL.fullmatch(tag):
        return f"{_HELP}; scheme='io' reads any tags as types"
    return _HELP
