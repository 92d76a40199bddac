"""Values of records as Python, JSON or a table cell has them, read as the kind of a field."""

import ast
import json
import math
import re
from collections.abc import Callable
from typing import Any

from lm_gym.data.fields import DESCRIPTIONS, Kind
from lm_gym.data.schemes import is_tag

Value = list[str] | list[list[str]] | list[float]


class FieldError(ValueError):
    """A value that is not of the kind asked for; `kinds` are the kinds that it may be of instead."""

    def __init__(self, message: str, *kinds: str) -> None:
        super().__init__(message)
        self.kinds = frozenset(kinds)


def plain(value: Any) -> Any:
    """NumPy arrays and scalars as Python values, tuples and lists written in a string as lists."""
    if hasattr(value, "tolist"):
        value = value.tolist()
        if isinstance(value, list):
            value = [plain(item) if hasattr(item, "tolist") else item for item in value]  # an array of arrays
    if isinstance(value, str) and value.startswith("["):
        return _parsed(value)
    return list(value) if isinstance(value, tuple) else value


def kind_of(value: Any, words: int) -> Kind | None:
    """The kind of field that a value beside a text of so many words looks like, or None."""
    value = plain(value)
    if isinstance(value, str):
        return "tags" if len(value.split()) == words and all(map(is_tag, value.split())) else "label"
    if isinstance(value, int):
        return "label"
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(item, str) for item in value):
        if len(value) == words and all(map(is_tag, value)):
            return "tags"
        return "texts" if any(" " in item.strip() for item in value) else "labels"
    if all(isinstance(item, int) for item in value):
        return "tags" if len(value) == words else "labels"
    if all(isinstance(item, list) for item in value):
        return "texts"
    return "numbers" if all(isinstance(item, int | float) for item in value) else None


def read_words(value: Any, whole: bool) -> list[str]:
    """The words of a string (between blanks) or of a list; a `whole` text is never a list written as a string."""
    if isinstance(value, str):
        if whole or not value.startswith("["):
            return value.split()
        listed = _parsed(value)
        strings = isinstance(listed, list) and all(isinstance(word, str) for word in listed)
        return listed if strings else value.split()
    value = plain(value)
    if not isinstance(value, list):
        raise FieldError(f"is {value!r:.60}: a string or a list of words is needed")
    return _strings(value, "")


def read_tags(value: Any, words: int) -> list[str]:
    """The tags of a list, or of a string with blanks between them."""
    value = plain(value)
    if isinstance(value, str):
        tags = value.split()
        if not tags or any(map(is_tag, tags)):
            return tags
    if isinstance(value, str | int):
        raise FieldError(f"is {value!r:.60}, one label: a tag for each word is needed", "label")
    if not isinstance(value, list):
        raise FieldError(f"is {value!r:.60}: a list of strings is needed")
    if len(value) != words and not any(map(is_tag, value)):
        kind = kind_of(value, words)
        if kind is not None:
            raise FieldError(f"is {value!r:.60}, {DESCRIPTIONS[kind]}: a tag for each word is needed", kind)
    return _strings(value, "; write tags by name, such as 'B-PER'")


def read_label(value: Any, words: int) -> list[str]:
    """One label, a string or an integer, as a list of one."""
    value = plain(value)
    if isinstance(value, list):
        kind = kind_of(value, words)
        described = "" if kind is None else f", {DESCRIPTIONS[kind]}"
        raise FieldError(f"is {value!r:.60}{described}: one label for each text is needed", *filter(None, [kind]))
    return [_label(value)]


def read_labels(value: Any, words: int) -> list[str]:
    """The labels of a list, of a string with commas, semicolons or bars between them, or a single one."""
    value = plain(value)
    if isinstance(value, str):
        value = [label for label in re.split(r"[,;|]", value) if label.strip()]
    labels = [_label(label) for label in value] if isinstance(value, list) else [_label(value)]
    if len({*labels}) < len(labels):
        raise FieldError(f"is {value!r:.60}: a label stands in it twice")
    return labels


def read_text(value: Any, words: int) -> list[list[str]]:
    """One text, a string or a list of words, as a list of one."""
    text = read_words(value, whole=isinstance(value, str))
    if not text or not all(word.strip() for word in text):
        raise FieldError(f"is {value!r:.60}: a text needs words, and a word may not be empty")
    return [text]


def read_texts(value: Any, words: int) -> list[list[str]]:
    """The texts of a list, each a string or a list of words."""
    value = plain(value)
    if not isinstance(value, list):
        raise FieldError(f"is {value!r:.60}: a list of texts is needed")
    items = [read_words(item, whole=isinstance(item, str)) for item in value]
    for item, given in zip(items, value, strict=True):
        if not item or not all(word.strip() for word in item):
            raise FieldError(f"holds {given!r:.60}: each text needs words, and a word may not be empty")
    return items


def read_numbers(value: Any, words: int) -> list[float]:
    """The numbers of a list, of a string with blanks or commas between them, or a single one."""
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
"""Kind to a function of a value and the number of words beside it; each raises `FieldError`."""


def _label(value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, int):
        return str(value)
    raise FieldError(f"is {value!r:.60}: a label is a string that is not empty, or an integer")


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise FieldError(f"holds {value!r:.60}: finite numbers are needed")
    return number


def _strings(values: list[Any], hint: str) -> list[str]:
    for value in values:
        if not isinstance(value, str):
            raise FieldError(f"holds {value!r:.60}: strings are needed{hint if isinstance(value, int) else ''}")
    return values


def _parsed(text: str) -> Any:
    """A list as JSON or as Python writes it, or the string itself if it is neither."""
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text)
        except (ValueError, SyntaxError):
            continue
        if isinstance(found, list):
            return found
    return text
