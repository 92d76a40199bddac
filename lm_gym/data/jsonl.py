"""JSONL: an object a line, `{"tokens": [...], "tags": [...]}`, `{"text": "...", "label": "..."}` and the like."""

import json
from collections.abc import Iterable
from typing import Any

from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.options import ReadOptions
from lm_gym.data.records import RecordReader


def read_jsonl(lines: Iterable[str], builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of a JSONL file.

    Raises:
        DataError: a line that is no JSON object, or as `RecordReader.add`.
    """
    reader = RecordReader(builder, options)
    for number, line in enumerate(lines, 1):
        if not line.isspace():
            reader.add(_record(line, builder, number), number)


def _record(line: str, builder: CorpusBuilder, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise builder.error(number, f"no JSON object ({error.msg}): {line.strip()[:60]!r}") from None
    if not isinstance(record, dict):
        raise builder.error(number, f"{line.strip()[:60]!r} is no object: write one {{…}} on each line")
    return record
