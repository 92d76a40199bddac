"""Tagging schemes: IO, IOB1, IOB2 and IOBES, recognised and converted to IOB2 over flat arrays.

IOB1 is from Ramshaw and Marcus (1995), IOB2 and its relatives from Tjong Kim Sang and Veenstra (1999). Entities begin
where conlleval.pl lets them begin, which gives the right spans for every valid sequence of any scheme.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lm_gym.data.errors import DataError, nearest
from lm_gym.data.tags import LETTERS, Tag, TagError

SCHEMES = ("auto", "iob1", "iob2", "iobes", "io", "conlleval")
_O, _B, _I, _E, _S = range(5)  # the roles in `LETTERS`
_BLOCK = 1 << 16  # words converted at a time, to limit memory


def check_scheme(scheme: str) -> None:
    """Check the name of a scheme.

    Raises:
        DataError: the scheme is unknown; the message lists the known ones.
    """
    if scheme not in SCHEMES:
        raise DataError(f"unknown scheme {scheme!r}{nearest(scheme, SCHEMES)}: one of {', '.join(SCHEMES)}")


def to_iob2(
    tags: NDArray[np.int16],
    raw_tags: Mapping[str, Tag],
    offsets: NDArray[np.int64],
    tag_names: Sequence[str],
    scheme: str = "auto",
) -> tuple[NDArray[np.int16], str]:
    """Convert tags of any scheme to IOB2.

    Args:
        tags: int16 [W], index into `raw_tags`.
        raw_tags: the distinct tags of the file and their meaning (`lm_gym.data.tags.parse_tags`).
        offsets: int64 [N + 1], offsets of texts.
        tag_names: names of the resulting tags, with "B-X" and "I-X" for every type X of `raw_tags`.
        scheme: "iob2" and "iobes" (also with the letters of BILOU, BMES and BMEWO) require exactly this scheme; "iob1"
            accepts only B- and I-, "io" only I-, "conlleval" any sequence; "auto" is "iobes" if its letters occur,
            else "iob1".

    Returns:
        int16 [W], index into `tag_names`, and a note if IOB1 and IOB2 are mixed (else empty).

    Raises:
        TagError: the sequence does not fit the scheme; `index` is the place.
    """
    names_of_tags, parts = [*raw_tags], [*raw_tags.values()]
    letters = np.array([LETTERS[letter] for letter, _ in parts], np.int8)
    names = sorted({name for _, name in parts})
    types = np.array([names.index(name) for _, name in parts], np.int16)
    index = {name: i for i, name in enumerate(tag_names)}
    begin = np.array([index[f"B-{name}" if name else "O"] for _, name in parts], np.int16)
    inside = np.array([index[f"I-{name}" if name else "O"] for _, name in parts], np.int16)

    kept = _scheme_of(tags, raw_tags, scheme)
    result = np.empty_like(tags)
    bare = odd = 0  # numbers of entities that begin as in IOB1 only, and as in IOB2 only
    for low, high, first in _blocks(offsets):
        raw = tags[low:high]
        starts, joined = _starts(letters[raw], types[raw], first)
        explicit = (letters[raw] == _B) | (letters[raw] == _S)
        bare += int(np.count_nonzero(starts & ~explicit))
        odd += int(np.count_nonzero(explicit & ~joined))
        if kept == "iob2":
            _refuse(starts & ~explicit, low, "begins an entity, which only B- may do", kept, tags, names_of_tags)
        if kept == "iobes":
            broken = _breaks_iobes(letters[raw], joined, first)
            _refuse(
                broken,
                low,
                "does not fit the previous tag, or leaves the entity open",
                kept,
                tags,
                names_of_tags,
            )
        result[low:high] = np.where(starts, begin[raw], inside[raw])
    mixed = f"{bare} entities begin with I- and {odd} with B- where IOB1 has I-: read as conlleval does"
    return result, mixed if kept == "iob" and bare and odd else ""


def _scheme_of(tags: NDArray[np.int16], raw_tags: Mapping[str, Tag], scheme: str) -> str:
    """Return the requested scheme, or "iob" or "iobes" by the letters; raise TagError if they conflict."""
    first = {part.letter: i for i, part in reversed([*enumerate(raw_tags.values())])}
    names = [*raw_tags]

    def refuse(letter: str, message: str) -> None:
        raise TagError(f"tag {names[first[letter]]!r} {message}", int(np.flatnonzero(tags == first[letter])[0]))

    iobes = sorted(first.keys() & {*"ESMW"})
    bilou = sorted(first.keys() & {*"LU"})
    if iobes and bilou and scheme != "conlleval":
        refuse(bilou[0], f"is BILOU, but {names[first[iobes[0]]]!r} is IOBES: a file may have only one scheme")
    if scheme in ("iob1", "iob2") and (iobes or bilou):
        refuse((iobes or bilou)[0], f"is not {scheme.upper()}: set scheme='iobes', or 'auto'")
    if scheme == "auto":
        return "iobes" if iobes or bilou else "iob"
    return "iob" if scheme in ("iob1", "io") else scheme


def _blocks(offsets: NDArray[np.int64]) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
    """Yield runs of whole texts of about _BLOCK words: start, end, and which words begin a text."""
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
    """Return where entities begin, and where the previous word belongs to an entity of the same type."""
    before = np.roll(letters, 1)
    before[first] = _O
    joined = (letters != _O) & (before != _O) & (np.roll(types, 1) == types)
    follows_end = (before == _E) | (before == _S)
    starts = (letters == _B) | (letters == _S) | ((letters != _O) & (~joined | follows_end))
    return starts, joined


def _breaks_iobes(letters: NDArray[np.int8], joined: NDArray[np.bool_], first: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where a tag fails to continue an open entity, continues a closed one, or leaves one open at the end."""
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
    """Raise TagError at the first broken place, if any."""
    if broken.any():
        at = low + int(np.argmax(broken))
        way_out = "scheme='conlleval' reads any sequence as conlleval does"
        raise TagError(f"tag {raw_tags[tags[at]]!r} {reason}: not {scheme.upper()}; {way_out}", at)
