"""Tagging schemes: IOB1, IOB2, IOBES and BILOU, told apart and converted to IOB2 over flat arrays.

Ramshaw and Marcus (1995) for IOB1; Tjong Kim Sang and Veenstra (1999) for IOB2 and its kin. Where an entity
begins is decided as conlleval.pl does, which gives the right spans for every valid sequence of any scheme.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

SCHEMES = ("auto", "iob1", "iob2", "iobes", "conlleval")
_TAG = re.compile(r"O|([BIESLU])-(\S+)")
_LETTERS = {"O": 0, "B": 1, "I": 2, "E": 3, "S": 4, "L": 3, "U": 4}  # BILOU is IOBES in other letters
_O, _B, _I, _E, _S = range(5)
_BLOCK = 1 << 16  # words converted at a time, so that temporary arrays stay small


class TagError(ValueError):
    """A tag, or a sequence of tags, that fits no scheme. `index` is the flat index of the tag, or -1."""

    def __init__(self, message: str, index: int = -1) -> None:
        super().__init__(message)
        self.index = index


class RawTags(dict[str, int]):
    """Tag → index for the tags of a file as they stand, each checked when first seen."""

    def __missing__(self, tag: str) -> int:
        split_tag(tag)
        if len(self) >= np.iinfo(np.int16).max:
            raise TagError(f"more than {len(self)} different tags: is this the column of the tags?")
        self[tag] = len(self)
        return self[tag]


def is_tag(tag: object) -> bool:
    """Whether `tag` is O, or one of B I E S L U, a hyphen and a type."""
    return isinstance(tag, str) and _TAG.fullmatch(tag) is not None


def split_tag(tag: str) -> tuple[str, str]:
    """("B", "PER") for "B-PER", ("O", "") for "O".

    Raises:
        TagError: anything but O, or one of B I E S L U, a hyphen and a type.
    """
    match = _TAG.fullmatch(tag) if isinstance(tag, str) else None
    if match is None:
        raise TagError(f"tag {tag!r} fits no scheme: tags are O, B-TYPE, I-TYPE (E-, S-, L-, U- in IOBES and BILOU)")
    return match.group(1) or "O", match.group(2) or ""


def tag_names_of(types: Iterable[str]) -> tuple[str, ...]:
    """The tags of a dataset: "O", then "B-X", "I-X" for each type, types sorted."""
    return ("O", *(f"{letter}-{name}" for name in sorted(types) for letter in "BI"))


def types_of(raw_tags: Iterable[str]) -> set[str]:
    """The entity types among tags."""
    return {split_tag(tag)[1] for tag in raw_tags} - {""}


def to_iob2(
    tags: NDArray[np.int16],
    raw_tags: Sequence[str],
    offsets: NDArray[np.int64],
    tag_names: Sequence[str],
    scheme: str = "auto",
) -> tuple[NDArray[np.int16], str]:
    """Tags of any scheme as IOB2.

    Args:
        tags: int16 [W], index into `raw_tags`.
        raw_tags: the different tags of the file.
        offsets: int64 [N + 1], where texts begin and end.
        tag_names: what the result indexes; holds "B-X" and "I-X" for every type X of `raw_tags`.
        scheme: "iob2" and "iobes" (BILOU letters included) demand exactly that; "iob1" takes B- and I- only,
            and "conlleval" anything; "auto" is "iobes" where its letters are, else "iob1".

    Returns:
        int16 [W], index into `tag_names`, and a remark where IOB1 and IOB2 are mixed (else empty).

    Raises:
        TagError: the sequence does not fit the scheme; `index` says where.
    """
    if scheme not in SCHEMES:
        raise TagError(f"unknown scheme {scheme!r}: one of {', '.join(SCHEMES)}")
    parts = [split_tag(tag) for tag in raw_tags]
    letters = np.array([_LETTERS[letter] for letter, _ in parts], np.int8)
    names = sorted({name for _, name in parts})
    types = np.array([names.index(name) for _, name in parts], np.int16)
    index = {name: i for i, name in enumerate(tag_names)}
    begin = np.array([index[f"B-{name}" if name else "O"] for _, name in parts], np.int16)
    inside = np.array([index[f"I-{name}" if name else "O"] for _, name in parts], np.int16)

    kept = _scheme_of(tags, raw_tags, scheme)
    result = np.empty_like(tags)
    bare = odd = 0  # entities that begin as only IOB1 has them, and as only IOB2 has them
    for low, high, first in _blocks(offsets):
        raw = tags[low:high]
        starts, joined = _starts(letters[raw], types[raw], first)
        explicit = (letters[raw] == _B) | (letters[raw] == _S)
        bare += int(np.count_nonzero(starts & ~explicit))
        odd += int(np.count_nonzero(explicit & ~joined))
        if kept == "iob2":
            _refuse(starts & ~explicit, low, "begins an entity, which is for B- to do", kept, tags, raw_tags)
        if kept == "iobes":
            broken = _breaks_iobes(letters[raw], joined, first)
            _refuse(
                broken,
                low,
                "does not go with the tag before it, or leaves the entity open",
                kept,
                tags,
                raw_tags,
            )
        result[low:high] = np.where(starts, begin[raw], inside[raw])
    mixed = f"{bare} entities begin with I- and {odd} with B- where IOB1 has I-: read as conlleval does"
    return result, mixed if kept == "iob" and bare and odd else ""


def _scheme_of(tags: NDArray[np.int16], raw_tags: Sequence[str], scheme: str) -> str:
    """The scheme asked for, or "iob" / "iobes" by the letters; TagError where they do not go together."""
    first = {split_tag(tag)[0]: i for i, tag in reversed(list(enumerate(raw_tags)))}

    def refuse(letter: str, message: str) -> None:
        tag = raw_tags[first[letter]]
        raise TagError(f"tag {tag!r} {message}", int(np.flatnonzero(tags == first[letter])[0]))

    iobes = sorted(first.keys() & {"E", "S"})
    bilou = sorted(first.keys() & {"L", "U"})
    if iobes and bilou and scheme != "conlleval":
        refuse(bilou[0], f"is BILOU, but {raw_tags[first[iobes[0]]]!r} is IOBES: a file has one scheme")
    if scheme in ("iob1", "iob2") and (iobes or bilou):
        refuse((iobes or bilou)[0], f"is not {scheme.upper()}: say scheme='iobes', or 'auto'")
    if scheme in ("auto", "iob1"):
        return "iobes" if iobes or bilou else "iob"
    return scheme


def _blocks(offsets: NDArray[np.int64]) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
    """Runs of whole texts of about _BLOCK words: begin, end, and which words begin a text."""
    text = 0
    while text < len(offsets) - 1:
        stop = int(np.searchsorted(offsets, offsets[text] + _BLOCK, side="right")) - 1
        stop = max(stop, text + 1)
        low, high = int(offsets[text]), int(offsets[stop])
        first = np.zeros(high - low, np.bool_)
        first[offsets[text:stop] - low] = True
        yield low, high, first
        text = stop


def _starts(
    letters: NDArray[np.int8], types: NDArray[np.int16], first: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where entities begin, and where the word before belongs to an entity of the same type."""
    before = np.roll(letters, 1)
    before[first] = _O
    joined = (letters != _O) & (before != _O) & (np.roll(types, 1) == types)
    follows_end = (before == _E) | (before == _S)
    starts = (letters == _B) | (letters == _S) | ((letters != _O) & (~joined | follows_end))
    return starts, joined


def _breaks_iobes(letters: NDArray[np.int8], joined: NDArray[np.bool_], first: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a tag does not continue an open entity, continues a closed one, or leaves one open at the end."""
    opens = (letters == _B) | (letters == _I)
    continues = (letters == _I) | (letters == _E)
    open_before = np.roll(opens, 1) & ~first
    last = np.append(first[1:], True)
    broken: NDArray[np.bool_] = np.where(open_before, ~(continues & joined), continues) | (opens & last)
    return broken


def _refuse(
    broken: NDArray[np.bool_],
    low: int,
    reason: str,
    scheme: str,
    tags: NDArray[np.int16],
    raw_tags: Sequence[str],
) -> None:
    """Raise TagError at the first place that is broken, if there is one."""
    if broken.any():
        at = low + int(np.argmax(broken))
        way_out = "scheme='conlleval' reads any sequence as conlleval does"
        raise TagError(f"tag {raw_tags[tags[at]]!r} {reason}: not {scheme.upper()}; {way_out}", at)
