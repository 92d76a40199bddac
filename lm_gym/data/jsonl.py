"""Reader of JSONL: an object on each line, such as `{"text": "...", "label": "..."}`; or one JSON array of objects."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.label_studio import flatten
from lm_gym.data.options import ReadOptions
from lm_gym.data.records import RecordReader

_DECODER = json.JSONDecoder()


def read_jsonl(lines: Iterable[str], builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of a JSONL file, or of a JSON array of objects.

    Raises:
        DataError: a line is not a JSON object, or as in `RecordReader.add`.
    """
    RecordReader(builder, options).read(_flattened(jsonl_records(lines, builder, options), builder))


def jsonl_records(
    lines: Iterable[str], builder: CorpusBuilder, options: ReadOptions
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSONL file, or of a JSON array, with their lines.

    Raises:
        DataError: a line is not a JSON object.
    """
    lines = iter(lines)
    first = next(lines, "")
    found: Iterable[tuple[int, Any]]
    if first.lstrip().startswith("["):
        builder.unit = "record"
        found = enumerate(_parse("".join(chain([first], lines)), builder, 1), 1)
    else:
        numbered = enumerate(chain([first], lines), 1)
        found = ((number, _parse(line, builder, number)) for number, line in numbered if line.strip())
    for number, record in found:
        if not isinstance(record, dict):
            raise builder.error(number, f"{str(record)[:60]!r} is not an object: write one {{…}} on each line")
        yield number, record


def _flattened(
    found: Iterable[tuple[int, dict[str, Any]]], builder: CorpusBuilder
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield records; those of Label Studio are flattened."""
    for number, record in found:
        flat = flatten(record, builder) if "annotations" in record else record
        if flat is not None:
            yield number, flat


def _parse(text: str, builder: CorpusBuilder, number: int) -> Any:
    try:
        text = text.strip(" \t\r\n")
        value, end = _DECODER.raw_decode(text)
        return value if end == len(text) else json.loads(text)  # its message shows what follows the value
    except json.JSONDecodeError as error:
        raise builder.error(number, f"not a JSON object ({error.msg}): {text.strip()[:60]!r}") from None
    except (ValueError, RecursionError) as error:  # too many digits in a number, or too deeply nested brackets
        raise builder.error(number, f"not a JSON object that can be read ({error}): {text.strip()[:60]!r}") from None
