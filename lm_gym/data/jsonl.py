"""JSONL: an object a line, `{"tokens": [...], "tags": [...]}` or `{"text": "..."}`."""

import json
from collections.abc import Iterable
from typing import Any

from lm_gym.data.columns import Columns
from lm_gym.data.fields import Fields, choose_fields
from lm_gym.data.options import ReadOptions


def read_jsonl(lines: Iterable[str], columns: Columns, options: ReadOptions) -> None:
    """Append the texts of a JSONL file; the keys of the first object say what all are read by.

    Raises:
        DataError: a line that is no JSON object, a key missing, words or tags that are no list of strings, as many
            tags as words not given, a text without words.
    """
    fields: Fields | None = None
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        record = _record(line, columns, number)
        if fields is None:
            fields = choose_fields([*record], options, f"{columns.place}, line {number}")
        words, tags = words_and_tags(record, fields, columns, number)
        columns.add(words, tags, number)


def words_and_tags(
    record: dict[str, Any], fields: Fields, columns: Columns, number: int
) -> tuple[list[str], list[str] | None]:
    """The words and the tags of one object.

    Raises:
        DataError: a key missing, or a value of another type.
    """
    for key in (fields.words, fields.tags):
        if key is not None and key not in record:
            raise columns.error(number, f"no {key!r}, which the texts before have; keys: {', '.join(record)}")
    words = record[fields.words]
    if fields.whole:
        if not isinstance(words, str):
            raise columns.error(number, f"{fields.words!r} is {words!r:.60}: a string is needed")
        return words.split(), None
    tags = None if fields.tags is None else _strings(record[fields.tags], fields.tags, columns, number)
    return _strings(words, fields.words, columns, number), tags


def _strings(values: Any, key: str, columns: Columns, number: int) -> list[str]:
    if not isinstance(values, list):
        raise columns.error(number, f"{key!r} is {values!r:.60}: a list of strings is needed")
    for value in values:
        if not isinstance(value, str):
            hint = "; write tags by name, such as 'B-PER'" if isinstance(value, int) else ""
            raise columns.error(number, f"{key!r} holds {value!r:.60}: strings are needed{hint}")
    return values


def _record(line: str, columns: Columns, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise columns.error(number, f"no JSON object ({error.msg}): {line.strip()[:60]!r}") from None
    if not isinstance(record, dict):
        raise columns.error(number, f"{line.strip()[:60]!r} is no object: write one {{…}} on each line")
    return record
