"""Plain text: a text a line, words between blanks; blank lines are skipped."""

from collections.abc import Iterable

from lm_gym.data.columns import Columns
from lm_gym.data.errors import DataError
from lm_gym.data.options import ReadOptions


def read_text(lines: Iterable[str], columns: Columns, options: ReadOptions) -> None:
    """Append the texts of a file of plain text.

    Raises:
        DataError: tags are wanted, or a column is named: plain text has neither.
    """
    wanted = (options.token_column, options.tag_column, options.text_column)
    if options.tags or any(column is not None for column in wanted):
        raise DataError(f"{columns.place}: plain text has no columns and no tags; give CoNLL, JSONL, CSV or TSV")
    for number, line in enumerate(lines, 1):
        if words := line.split():
            columns.add(words, None, number)
