"""Values of records, from Python, JSON or a table cell, read as the kind of a field."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from lm_gym.data.cells import CellError, is_list, read_list
from lm_gym.data.fields import DESCRIPTIONS, Kind
from lm_gym.data.tags import are_tags, is_tag

Value = list[str] | list[list[str]] | list[float]
_ONLY_STRINGS = frozenset({str})
_OPENING = "[a("  # the first characters of lists that are written in strings
_LONGEST = 10_000_000  # characters of one text


class FieldError(ValueError):
    """Error: a value has another kind than the requested one; `kinds` are the kinds that it may have."""

    def __init__(self, message: str, *kinds: str) -> None:
        super().__init__(message)
        self.kinds = frozenset(kinds)


def plain(value: Any) -> Any:
    """Return a value as plain Python: tuples, arrays and lists written in a string as lists, missing values as None.

    Raises:
        FieldError: a string looks like a list but cannot be read as one.
    """
    if type(value) is str:  # most values are strings or lists
        return _listed(value) if value[:1] in _OPENING and is_list(value) else value
    if type(value) is list:
        return value
    if hasattr(value, "tolist"):
        value = value.tolist()
        if isinstance(value, list):
            value = [plain(item) if hasattr(item, "tolist") else item for item in value]  # an array of arrays
    if isinstance(value, str) and is_list(value):
        return _listed(value)
    if type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value)):
        return None
    return list(value) if isinstance(value, tuple) else value


def fault_of(word: object) -> str:
    """Return the fault of a word, or an empty string."""
    if not isinstance(word, str):
        return f"{word!r} is not a string: remove it and its tag"
    if not word.strip():
        return f"{word!r} is an empty word: remove it and its tag"
    if "\0" in word:
        return f"{word!r} has a zero byte: is the file UTF-16? convert it to UTF-8"
    if not word.isascii() and any("\ud800" <= character <= "\udfff" for character in word):
        return f"{word!r} has a lone surrogate, half of a character: write the whole character, or U+FFFD"
    return ""


def is_number(value: Any) -> bool:
    """Return whether a value is a number, or a string that holds only a number."""
    if isinstance(value, str):
        return re.fullmatch(r"\s*-?\d+([.,]\d+)?\s*", value) is not None
    return isinstance(plain(value), int | float)


def kind_of(value: Any, words: int) -> Kind | None:
    """Return the kind of field that a value looks like for a text with this number of words, or None."""
    try:
        value = plain(value)
    except FieldError:
        return None
    if isinstance(value, str):
        return "tags" if len(value.split()) == words and are_tags(value.split()) else "label"
    if isinstance(value, int):
        return "label"
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(item, str) for item in value):
        if len(value) == words and are_tags(value):
            return "tags"
        return "texts" if any(" " in item.strip() for item in value) else "labels"
    if all(isinstance(item, int) for item in value):
        return "tags" if len(value) == words else "labels"
    if all(isinstance(item, list) for item in value):
        return "texts"
    return "numbers" if all(isinstance(item, int | float) for item in value) else None


def read_words(value: Any, whole: bool) -> list[str]:
    """Return the words of a string, split at whitespace, or of a list; none for a missing value.

    Args:
        value: the value in a record.
        whole: whether the column holds whole texts, which are never lists written as strings.

    Raises:
        FieldError: the value is neither, or a text has more than ten million characters.
    """
    if type(value) is list:  # most values are lists of strings or strings with spaces
        return _strings(value, "")
    if type(value) is str and (whole or value[:1] not in _OPENING) and len(value) <= _LONGEST:
        return value.split()
    if isinstance(value, str) and len(value) > _LONGEST:
        raise FieldError(f"holds {len(value):,} characters: split it into texts of {_LONGEST:,} at most")
    listed = value if isinstance(value, str) and whole else plain(value)
    if listed is None:
        return []
    if isinstance(value, str) and (isinstance(listed, str) or (len(listed) == 1 and not isinstance(listed[0], str))):
        return value.split()  # "[1]" is a word
    if not isinstance(listed, list):
        raise FieldError(f"is {value!r:.60}: a string or a list of words is needed")
    return _strings(listed, "")


def holds_list(cell: str) -> bool:
    """Return whether a cell is a list of strings."""
    try:
        value = plain(cell)
    except FieldError:
        return False
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def count_words(value: Any, whole: bool) -> int:
    """Return the number of words in a value, or 0 if it holds none, which the reader of the record reports."""
    try:
        return len(read_words(value, whole))
    except FieldError:
        return 0


def name_integers(value: Any, names: Sequence[str]) -> Any:
    """Replace an integer or a list of integers, also in a string, by names; a number without a name stays."""
    if isinstance(value, str) and value.replace(" ", "").isdecimal():
        value = [int(number) for number in value.split()]
        value = value[0] if len(value) == 1 else value
    value = plain(value)
    if isinstance(value, list):
        return [name_integers(item, names) for item in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value


def read_tags(value: Any, words: int) -> list[str]:
    """Return the tags of a list, or of a string with spaces between them."""
    value = plain(value)
    if isinstance(value, str):
        tags = value.split()
        if not tags or "O" in tags or any(map(is_tag, tags)):  # O alone is fast to find
            return tags
    if isinstance(value, str | int):
        raise FieldError(f"is {value!r:.60}, one label: a tag for each word is needed", "label")
    if not isinstance(value, list):
        raise FieldError(f"is {value!r:.60}: a list of strings is needed")
    if len(value) != words and not any(map(is_tag, value)):
        kind = kind_of(value, words)
        if kind is not None:
            raise FieldError(f"is {value!r:.60}, {DESCRIPTIONS[kind]}: a tag for each word is needed", kind)
    return _strings(value, "; name them, as in names={'tags': ['O', 'B-PER', 'I-PER']}")


def read_label(value: Any, words: int) -> list[str]:
    """Return one label, a string or an integer, as a list."""
    value = plain(value)
    if isinstance(value, list):
        kind = kind_of(value, words)
        described = "" if kind is None else f", {DESCRIPTIONS[kind]}"
        raise FieldError(f"is {value!r:.60}{described}: one label for each text is needed", *filter(None, [kind]))
    return [_label(value)]


def read_labels(value: Any, words: int) -> list[str]:
    """Return the labels of a list, of a string with commas, semicolons or bars between them, or a single one."""
    value = plain(value)
    if value is None:
        raise FieldError("is missing: write [] for a text without labels")
    if isinstance(value, str):
        value = [label for label in re.split(r"[,;|]", value) if label.strip()]
    labels = [_label(label) for label in value] if isinstance(value, list) else [_label(value)]
    if len({*labels}) < len(labels):
        raise FieldError(f"is {value!r:.60}: a label occurs twice")
    return labels


def read_text(value: Any, words: int) -> list[list[str]]:
    """Return one text, a string or a list of words, as a list."""
    text = read_words(value, whole=isinstance(value, str))
    if not text or not all(word.strip() for word in text):
        raise FieldError(f"is {value!r:.60}: a text needs words, and a word may not be empty")
    return [text]


def read_texts(value: Any, words: int) -> list[list[str]]:
    """Return the texts of a list, each a string or a list of words."""
    value = plain(value)
    if not isinstance(value, list):
        raise FieldError(f"is {value!r:.60}: a list of texts is needed")
    items = [read_words(item, whole=isinstance(item, str)) for item in value]
    for item, given in zip(items, value, strict=True):
        if not item or not all(word.strip() for word in item):
            raise FieldError(f"holds {given!r:.60}: each text needs words, and a word may not be empty")
    return items


def read_numbers(value: Any, words: int) -> list[float]:
    """Return the numbers of a list, of a string with spaces or commas between them, or a single one."""
    value = plain(value)
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    return [_number(number) for number in (value if isinstance(value, list) else [value])]


READERS: dict[Kind, Callable[[Any, int], Value]] = {
    "tags": read_tags,
    "label": read_label,
    "labels": read_labels,
    "text": read_text,
    "texts": read_texts,
    "numbers": read_numbers,
}
"""Kind → function of a value and the number of words of its text; each raises `FieldError`."""


def _label(value: Any) -> str:
    if isinstance(value, str) and value.strip():
        if fault := fault_of(value):
            raise FieldError(f"is {fault}")
        return value.strip()
    if isinstance(value, int):
        return str(value)
    raise FieldError(f"is {value!r:.60}: a label is a non-empty string or an integer")


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise FieldError(f"holds {value!r:.60}: finite numbers are needed")
    return number


def _strings(values: list[Any], hint: str) -> list[str]:
    if _ONLY_STRINGS.issuperset(map(type, values)):
        return values
    for value in values:
        if not isinstance(value, str):
            raise FieldError(f"holds {value!r:.60}: strings are needed{hint if isinstance(value, int) else ''}")
    return values


def _listed(text: str) -> Any:
    """Return the list written in a string, or the string if it holds none."""
    try:
        return read_list(text)
    except CellError as problem:
        raise FieldError(f"is {text!r:.60}, {problem}") from None
