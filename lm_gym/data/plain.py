"""Reader of plain text: one text per line, words separated by whitespace; blank lines are skipped."""

from collections.abc import Iterable, Iterator

from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.errors import DataError
from lm_gym.data.options import ReadOptions

_ENOUGH = 10  # number of equally long lines that cannot be a coincidence


def text_records(
    lines: Iterable[str], builder: CorpusBuilder, options: ReadOptions
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield every line, blank ones included, as a record `{"text": …}` with its number."""
    for number, line in enumerate(lines, 1):
        yield number, {"text": line.rstrip("\r\n")}


def read_text(lines: Iterable[str], builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of a file of plain text.

    Raises:
        DataError: another field than words is required, or a column is named; plain text has neither.
    """
    required = [field.name for field in options.fields[1:] if field.required]
    if required or options.asked:
        wanted = ", ".join({**dict.fromkeys(required), **options.asked})
        raise DataError(
            f"{builder.place}: plain text has no columns and no {wanted}: give JSONL, CSV, TSV or, for tags, CoNLL"
        )
    number = 0
    lengths = set()
    for number, line in enumerate(lines, 1):
        if words := line.split():
            builder.add(words, None, number)
            lengths.add(len(words))
    if len(builder) >= _ENOUGH and len(builder) < number and len(lengths) == 1 and lengths != {1}:
        builder.remarks.append(
            f"every line has {lengths.pop()} words, and some are blank: if each line is a word, rename the file to "
            ".conll"
        )
