"""Reader of CoNLL columns: one word per line, a blank line after each text, `-DOCSTART-` lines between documents."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.errors import DataError, OtherFields
from lm_gym.data.fields import DESCRIPTIONS, TAGS, WORDS
from lm_gym.data.options import ColumnKey, ReadOptions
from lm_gym.data.tags import TagError, are_tags, is_tag

DOCUMENT = "-DOCSTART-"
COMMENT = "#"
_LOOKED_AT = 100  # lines from which columns are inferred


def read_conll(lines: Iterable[str], builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of a CoNLL file.

    Words are in the first column and tags in the last one, unless `options` names others. If no tags are requested, or
    there is only one column, the texts have no tags. A line before the first word of a text is a comment if it begins
    with # and is not a word with a tag.

    Raises:
        DataError: lines have different numbers of columns, a column does not exist, a tag fits no scheme, or a required
            field cannot be in a CoNLL file.
        OtherFields: the latter, in a file with tags.
    """
    lines = iter(lines)
    head = [*islice(lines, _LOOKED_AT)]
    delimiter = options.delimiter
    first, sample = _sample(head, delimiter)
    if not sample:
        return
    builder.word_per_line = True
    width = len(sample[0])
    token, tag = _columns(builder, first, width, options, sample)
    tagged = options.tags is not None and (width > 1 or options.tags.name in options.asked)
    known = {cells[tag] for cells in sample if len(cells) == width}
    header = sample[0][token].lower() in WORDS.columns and sample[0][tag].lower() in TAGS.columns and width > 1
    vocabulary, raw_tags = builder.vocabulary, builder.raw_tags
    add_word, add_tag = builder.words.append, builder.tags.append
    add_offset, add_line = builder.offsets.append, builder.lines.append
    begun = 0  # first line of the text, 0 between texts
    comments = number = 0
    try:
        for number, line in enumerate(chain(head, lines), 1):
            cells = line.split() if delimiter is None else line.rstrip("\n").split(delimiter)
            if ((len(cells) < 2 or not cells[0]) and not line.strip()) or cells[0] == DOCUMENT:
                if begun:
                    add_offset(len(builder.words))
                    add_line(begun)
                    begun = 0
                continue
            if not begun:
                if cells[0].startswith(COMMENT) and _is_comment(cells, width, tag, known):
                    comments += 1
                    continue
                if header and number == first:
                    builder.remarks.append(f"line {number} names the columns and is not a text")
                    continue
                begun = number
            if len(cells) != width:
                message = f"{len(cells)} columns, but earlier lines have {width}: {line.strip()[:60]!r}"
                raise builder.error(number, message)
            add_word(vocabulary[cells[token]])
            if tagged:
                add_tag(raw_tags[cells[tag]])
    except TagError as error:
        raise builder.error(number, f"{error}; tags are read from column {tag}, tag_column chooses another") from None
    if begun:
        add_offset(len(builder.words))
        add_line(begun)
    if comments:
        builder.remarks.append(f"{comments} comment lines ({COMMENT}) are skipped")
    if tagged and options.tags and options.tags.name in options.names:
        builder.name_tags(options.names[options.tags.name])


def conll_records(
    lines: Iterable[str], builder: CorpusBuilder, options: ReadOptions
) -> Iterator[tuple[int, dict[str, list[str]]]]:
    """Yield the texts of a CoNLL file as records `{"tokens": […]}` with their first lines; raises as `read_conll`."""
    read_conll(lines, builder, options)
    words = tuple(builder.vocabulary)
    for line, start, end in zip(builder.lines, builder.offsets, builder.offsets[1:], strict=False):
        yield line, {"tokens": [words[word] for word in builder.words[start:end]]}


def one_column(word: str) -> str:
    """Return a word for a column: spaces inside become "_", so that conlleval and `load_dataset` find its columns."""
    return re.sub(r"\s", "_", word)


def _is_comment(cells: list[str], width: int, tag: int, known: set[str]) -> bool:
    """Return whether a line that begins with # and may begin a text is a comment, and not a word with a tag.

    Args:
        cells: cells of the line.
        width: number of columns.
        tag: index of the column of tags.
        known: tags of other lines. If tags are types alone, any cell could be one, except after "# ".
    """
    if len(cells) != width:
        return True
    apart = cells[0] == COMMENT or all(map(is_tag, known))
    return width > 1 and not is_tag(cells[tag]) and cells[tag] not in known and apart


def _sample(head: Sequence[str], delimiter: str | None) -> tuple[int, list[list[str]]]:
    """Return the number of the first line that is not a comment, and the cells of the non-comment lines in `head`."""
    split = [
        (n, line.split() if delimiter is None else line.rstrip("\n").split(delimiter)) for n, line in enumerate(head, 1)
    ]
    filled = [(n, cells) for n, cells in split if any(cells) and cells[0] != DOCUMENT]
    words = [(n, cells) for n, cells in filled if not cells[0].startswith(COMMENT)] or filled
    return (words[0][0] if words else 0), [cells for _, cells in words]


def _columns(
    builder: CorpusBuilder, line: int, width: int, options: ReadOptions, sample: list[list[str]]
) -> tuple[int, int]:
    """Return the columns of words and tags, and pass them to the builder.

    Raises:
        DataError, OtherFields: a column or a field is missing.
    """
    if width == 1 and options.delimiter is None:
        _refuse_delimiter(builder, sample)
    _refuse_others(builder, line, sample, options)
    asked, tags = options.asked, options.tags
    token = _index(builder, line, width, asked.get(options.fields[0].name), 0)
    tag_column = asked.get(tags.name) if tags else None
    tag = _index(builder, line, width, tag_column, -1)
    tagged = tags is not None and (width > 1 or tag_column is not None)
    read = {token, tag} if tagged else {token}
    builder.tag_column = tag if tagged else None
    builder.unnamed = width
    builder.unread |= dict.fromkeys(str(i) for i in range(width) if i not in read)
    return token, tag


def _index(builder: CorpusBuilder, line: int, width: int, wanted: ColumnKey | None, default: int) -> int:
    """Return the requested column as a checked index from the left."""
    index = default if wanted is None else wanted
    if isinstance(index, str):
        raise builder.error(line, f"column {index!r}: the columns of a CoNLL file have no names, give a number")
    if not -width <= index < width:
        raise builder.error(line, f"there is no column {index}: give 0 to {width - 1}")
    return index % width


def _refuse_delimiter(builder: CorpusBuilder, sample: list[list[str]]) -> None:
    """Raise DataError if columns are separated by other characters than whitespace."""
    for delimiter in ",;|":
        parts = [cells[0].split(delimiter) for cells in sample]
        if {len(part) for part in parts} in ({2}, {3}, {4}) and are_tags([part[-1] for part in parts]):
            raise DataError(
                f"{builder.place}: columns seem to be separated by {delimiter!r}: set delimiter={delimiter!r}"
            )


def _refuse_others(builder: CorpusBuilder, line: int, sample: list[list[str]], options: ReadOptions) -> None:
    """Raise an error for fields that a CoNLL file cannot have, and for tags in a file with one column."""
    width = len(sample[0])
    tagged = width > 1 and are_tags([cells[-1] for cells in sample])
    for field in options.fields[1:]:
        absent = width == 1 if field.kind == "tags" else True
        if absent and (field.required or field.name in options.asked):
            held = f"words and {DESCRIPTIONS['tags']}" if tagged else "words"
            message = f"{builder.place_of(line)}: CoNLL columns hold {held}: {DESCRIPTIONS[field.kind]} is needed"
            raise OtherFields(message, kinds={"tags"}) if tagged else DataError(message)
