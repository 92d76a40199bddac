"""CoNLL columns: a word a line, a blank line after each text, `-DOCSTART-` lines between documents."""

from collections.abc import Iterable

from lm_gym.data.columns import Columns
from lm_gym.data.options import Column, ReadOptions
from lm_gym.data.schemes import TagError

DOCUMENT = "-DOCSTART-"


def read_conll(lines: Iterable[str], columns: Columns, options: ReadOptions) -> None:
    """Append the texts of a CoNLL file.

    Words stand in column `options.token_column` (0), tags in `options.tag_column` (the last one); without
    tags wanted, or with one column only, the texts are plain.

    Raises:
        DataError: a line with more or fewer columns than the first one, a column that is not there, a tag
            that fits no scheme.
    """
    columns.word_per_line = True
    delimiter = options.delimiter
    width = 0
    token = tag = 0
    tagged = True
    vocabulary, raw_tags = columns.vocabulary, columns.raw_tags
    add_word, add_tag = columns.words.append, columns.tags.append
    add_offset, add_line = columns.offsets.append, columns.lines.append
    begun = 0  # the line where the text begins, 0 between texts
    number = 0
    try:
        for number, line in enumerate(lines, 1):
            cells = line.split() if delimiter is None else line.rstrip("\n").split(delimiter)
            if cells[:1] == [DOCUMENT] or (len(cells) < 2 and not line.strip()):
                if begun:
                    add_offset(len(columns.words))
                    add_line(begun)
                    begun = 0
                continue
            if len(cells) != width:
                if width:
                    raise columns.error(
                        number,
                        f"{len(cells)} columns, where the lines before have {width}: {line.strip()[:60]!r}",
                    )
                width = len(cells)
                token = _index(columns, number, width, options.token_column, 0)
                tag = _index(columns, number, width, options.tag_column, -1)
                tagged = options.tags is not False and (width > 1 or options.tag_column is not None)
            if not begun:
                begun = number
            add_word(vocabulary[cells[token]])
            if tagged:
                add_tag(raw_tags[cells[tag]])
    except TagError as error:
        raise columns.error(number, f"{error}; tags are read from column {tag}, tag_column chooses another") from None
    if begun:
        add_offset(len(columns.words))
        add_line(begun)


def _index(columns: Columns, line: int, width: int, wanted: Column | None, default: int) -> int:
    """The column asked for as an index from the left, checked."""
    index = default if wanted is None else wanted
    if isinstance(index, str):
        raise columns.error(line, f"column {index!r}: the columns of a CoNLL file have no names, give a number")
    if not -width <= index < width:
        raise columns.error(line, f"there is no column {index}: it has {width} columns, 0 to {width - 1}")
    return index % width
