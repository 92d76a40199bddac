"""Alignment of entities given as spans of characters, the format of annotation tools, to words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lm_gym.data.values import FieldError, plain

_WORD = re.compile(r"\w(?:\S*\w)?|\S")  # a word ends with its last letter or digit; other characters are separate words
_START, _END = ("start", "start_offset"), ("end", "end_offset")
Spans = list[tuple[int, int]]
"""Start and end of each word of a text, in characters."""
_LABEL = ("label", "labels", "type", "entity", "entity_group", "tag")


class Span(NamedTuple):
    """Characters start … end - 1 of a text, their label, and their text if the data gives it."""

    start: int
    end: int
    label: str
    text: str | None = None


@dataclass
class SpanCounts:
    """Numbers of the spans of a split: in total, widened to whole words, and left out because they overlap."""

    total: int = 0
    widened: int = 0
    overlapping: int = 0

    def notes(self) -> list[str]:
        """Return a note for each number that is not 0."""
        found = (
            (self.widened, "do not begin and end with words and are widened to whole words"),
            (self.overlapping, "overlap longer ones and are left out"),
        )
        return [f"{count} of {self.total} spans {what}" for count, what in found if count]


def blank_spans(text: str) -> Spans:
    """Return the spans of the words that whitespace separates."""
    spans, end = [], 0
    for word in text.split():
        start = text.index(word, end)
        end = start + len(word)
        spans.append((start, end))
    return spans


def word_spans(text: str) -> Spans:
    """Return the spans of words with separate punctuation.

    Words are separated by whitespace and end with their last letter or digit. Every other character before or after a
    word is a separate word: "(Ada's e-mail)." has the words "(", "Ada's", "e-mail", ")" and ".".
    """
    return [word.span() for word in _WORD.finditer(text)]


def are_spans(values: Sequence[Any]) -> bool:
    """Return whether a column holds lists of spans, judging by the values of the first records."""
    try:
        lists = [plain(value) for value in values if value is not None]
    except FieldError:
        return False
    items = [item for value in lists if isinstance(value, list) for item in value]
    return all(isinstance(value, list) for value in lists) and any(map(_is_span, items))


def read_tagged_text(text: Any, spans: Any, counts: SpanCounts) -> tuple[list[str], list[str]]:
    """Return the words of a text, with separate punctuation, and their tags.

    A span that begins or ends within a word is widened to the whole word. Of two overlapping spans, the longer one is
    kept.

    Args:
        text: the text of a record.
        spans: a list of [start, end, label], or of objects with these keys.
        counts: counts of spans, which are updated.

    Returns:
        Words and IOB2 tags.

    Raises:
        FieldError: the text is not a string, or a span lies outside it.
    """
    if not isinstance(text, str):
        raise FieldError(f"holds spans of characters, but the text is {text!r:.60}: a string is needed")
    if spans is not None and not isinstance(spans, list):
        raise FieldError(f"is {spans!r:.60}: a list of spans is needed")
    words = [*_WORD.finditer(text)]
    tags = ["O"] * len(words)
    found = {_read_span(item, text) for item in spans or ()}
    counts.total += len(found)
    for span in sorted(found, key=lambda span: (span.start - span.end, span)):
        inside = [i for i, word in enumerate(words) if word.end() > span.start and word.start() < span.end]
        if any(tags[i] != "O" for i in inside):
            counts.overlapping += 1
            continue
        counts.widened += words[inside[0]].start() != span.start or words[inside[-1]].end() != span.end
        for i in inside:
            tags[i] = f"{'B' if i == inside[0] else 'I'}-{span.label}"
    return [word[0] for word in words], tags


def _is_span(item: Any) -> bool:
    if isinstance(item, list | tuple):
        return len(item) == 3 and isinstance(item[0], int) and isinstance(item[1], int) and isinstance(item[2], str)
    return isinstance(item, Mapping) and all(any(key in item for key in keys) for keys in (_START, _END, _LABEL))


def _read_span(item: Any, text: str) -> Span:
    """Return a checked span without whitespace at its ends."""
    if not _is_span(item):
        raise FieldError(f"holds {item!r:.60}: a span is [start, end, label], or an object with these keys")
    if isinstance(item, Mapping):
        start, end, label = (next(item[key] for key in keys if key in item) for keys in (_START, _END, _LABEL))
        label = label[0] if isinstance(label, list) and len(label) == 1 else label
        said = item.get("text")
    else:
        (start, end, label), said = item, None
    if not isinstance(start, int) or not isinstance(end, int) or not isinstance(label, str) or not label.strip():
        raise FieldError(f"holds {item!r:.80}: a span has two integers and one label")
    if isinstance(said, str) and _squeezed(text[start:end]) != _squeezed(said):
        start, end = _of_utf16(text, start, end, said)
    if not 0 <= start < end <= len(text) or not text[start:end].strip():
        raise FieldError(f"holds {item!r:.80}, which is outside the text of {len(text)} characters")
    start += len(text[start:end]) - len(text[start:end].lstrip())
    end -= len(text[start:end]) - len(text[start:end].rstrip())
    return Span(start, end, "_".join(label.split()))


def _of_utf16(text: str, start: int, end: int, said: str) -> tuple[int, int]:
    """Convert offsets in UTF-16 units, which tools in browsers use, to offsets in characters.

    Raises:
        FieldError: the text at the span differs from the given text in both units.
    """
    units = text.encode("utf-16-le", "surrogatepass")
    before, inside = units[: 2 * start].decode("utf-16-le", "replace"), units[2 * start : 2 * end]
    found = inside.decode("utf-16-le", "replace")
    if start < 0 or end < 0 or _squeezed(found) != _squeezed(said):
        raise FieldError(f"holds a span {start} to {end} of {said!r:.60}, where the text has {text[start:end]!r:.60}")
    return len(before), len(before) + len(found)


def _squeezed(text: str) -> str:
    return " ".join(text.split())
