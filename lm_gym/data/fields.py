"""Which named column holds the words, the tags, or whole texts: for JSONL, CSV, TSV and the hub alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from lm_gym.data.errors import DataError, nearest
from lm_gym.data.options import Column, ReadOptions

WORDS = ("tokens", "words", "token", "word")
TAGS = ("tags", "ner_tags", "tag", "ner_tag", "ner", "labels", "label")
TEXTS = ("text", "sentence", "content")
KNOWN = frozenset((*WORDS, *TAGS, *TEXTS))


@dataclass(frozen=True)
class Fields:
    """Names of columns: `words` with `tags` beside them, or `words` alone; `whole` where it is a text to split."""

    words: str
    tags: str | None = None
    whole: bool = False


def choose_fields(names: Sequence[str], options: ReadOptions, place: str) -> Fields:
    """The columns to read: those asked for, else those with a usual name.

    Raises:
        DataError: a column asked for that is not there, tags wanted where there are none, or no usual name.
    """
    text = _named(names, options.text_column, TEXTS, place)
    words = _named(names, options.token_column, WORDS, place)
    listed = ", ".join(names) or "(none)"
    if words is not None and options.text_column is None:
        tags = None if options.tags is False else _named(names, options.tag_column, TAGS, place)
        if tags is None and options.tags:
            raise DataError(f"{place}: no column of tags among {listed}: say tag_column, or call it {TAGS[0]!r}")
        return Fields(words, tags)
    if text is None:
        raise DataError(
            f"{place}: no column of words or texts among {listed}: say token_column and tag_column, or text_column"
        )
    if options.tags or options.tag_column is not None:
        raise DataError(f"{place}: whole texts ({text!r}) have no tag for each word: give tokens and tags")
    return Fields(text, whole=True)


def _named(names: Sequence[str], wanted: Column | None, usual: Sequence[str], place: str) -> str | None:
    """The name of the column asked for, or the first usual one (in any case) that is there."""
    if isinstance(wanted, int):
        if not -len(names) <= wanted < len(names):
            raise DataError(f"{place}: there is no column {wanted}: there are {len(names)}, 0 to {len(names) - 1}")
        return names[wanted]
    if wanted is not None:
        if wanted not in names:
            raise DataError(f"{place}: no column {wanted!r}{nearest(wanted, names)}: there are {', '.join(names)}")
        return wanted
    by_lower = {name.strip().lower(): name for name in reversed(names)}
    return next((by_lower[name] for name in usual if name in by_lower), None)


class Field:
    """Replaced by the fields of records."""
