"""JSONL: an object a line, `{"tokens": [...], "tags": [...]}`, `{"text": "...", "label": "..."}`; or a JSON array."""

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.label_studio import flatten
from lm_gym.data.options import ReadOptions
from lm_gym.data.records import RecordReader


def read_jsonl(lines: Iterable[str], builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of a JSONL file, or of a JSON array of objects.

    Raises:
        DataError: a line that is no JSON object, or as `RecordReader.add`.
    """
    RecordReader(builder, options).read(
        (number, flat) for number, record in _records(lines, builder) if (flat := flatten(record, builder)) is not None
    )


def _records(lines: Iterable[str], builder: CorpusBuilder) -> Iterator[tuple[int, dict[str, Any]]]:
    numbered = ((number, line) for number, line in enumerate(lines, 1) if not line.isspace())
    for number, line in numbered:
        if number == 1 and line.lstrip().startswith("["):
            builder.unit = "record"
            found = _parse("".join(chain([line], (more for _, more in numbered))), builder, number)
        else:
            found = [_parse(line, builder, number)]
        for place, record in enumerate(found, number):
            if not isinstance(record, dict):
                raise builder.error(place, f"{str(record)[:60]!r} is no object: write one {{…}} on each line")
            yield place, record


def _parse(text: str, builder: CorpusBuilder, number: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise builder.error(number, f"no JSON object ({error.msg}): {text.strip()[:60]!r}") from None
    except (ValueError, RecursionError) as error:  # a number of too many digits, brackets in too many brackets
        raise builder.error(number, f"no JSON object that can be read ({error}): {text.strip()[:60]!r}") from None
