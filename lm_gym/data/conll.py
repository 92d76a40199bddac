"""CoNLL columns: a word a line, a blank line after each text, `-DOCSTART-` lines between documents."""

from collections.abc import Iterable

from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.errors import DataError, OtherFields
from lm_gym.data.fields import DESCRIPTIONS
from lm_gym.data.options import ColumnKey, ReadOptions
from lm_gym.data.schemes import TagError, is_tag

DOCUMENT = "-DOCSTART-"


def read_conll(lines: Iterable[str], builder: CorpusBuilder, options: ReadOptions) -> None:
    """Append the texts of a CoNLL file.

    Words stand in the first column and tags in the last one, unless `options` names others; if no tags are read, or
    there is one column only, the texts are plain.

    Raises:
        DataError: a line with more or fewer columns than the first one, a column that is not there, a tag that fits no
            scheme, or a field that no CoNLL file has.
        OtherFields: such a field, in a file with tags.
    """
    builder.word_per_line = True
    delimiter = options.delimiter
    width = 0
    token = tag = 0
    tagged = True
    vocabulary, raw_tags = builder.vocabulary, builder.raw_tags
    add_word, add_tag = builder.words.append, builder.tags.append
    add_offset, add_line = builder.offsets.append, builder.lines.append
    begun = 0  # the line where the text begins, 0 between texts
    number = 0
    try:
        for number, line in enumerate(lines, 1):
            cells = line.split() if delimiter is None else line.rstrip("\n").split(delimiter)
            if cells[:1] == [DOCUMENT] or (len(cells) < 2 and not line.strip()):
                if begun:
                    add_offset(len(builder.words))
                    add_line(begun)
                    begun = 0
                continue
            if len(cells) != width:
                if width:
                    raise builder.error(
                        number,
                        f"{len(cells)} columns, where the lines before have {width}: {line.strip()[:60]!r}",
                    )
                width = len(cells)
                _refuse_others(builder, number, cells, options)
                asked, tags = options.asked, options.tags
                token = _index(builder, number, width, asked.get(options.fields[0].name), 0)
                tag_column = asked.get(tags.name) if tags else None
                tag = _index(builder, number, width, tag_column, -1)
                tagged = tags is not None and (width > 1 or tag_column is not None)
                read = {token, tag} if tagged else {token}
                builder.unnamed = width
                builder.unread |= dict.fromkeys(str(i) for i in range(width) if i not in read)
            if not begun:
                begun = number
            add_word(vocabulary[cells[token]])
            if tagged:
                add_tag(raw_tags[cells[tag]])
    except TagError as error:
        raise builder.error(number, f"{error}; tags are read from column {tag}, tag_column chooses another") from None
    if begun:
        add_offset(len(builder.words))
        add_line(begun)


def _index(builder: CorpusBuilder, line: int, width: int, wanted: ColumnKey | None, default: int) -> int:
    """The column asked for as an index from the left, checked."""
    index = default if wanted is None else wanted
    if isinstance(index, str):
        raise builder.error(line, f"column {index!r}: the columns of a CoNLL file have no names, give a number")
    if not -width <= index < width:
        raise builder.error(line, f"there is no column {index}: it has {width} columns, 0 to {width - 1}")
    return index % width


def _refuse_others(builder: CorpusBuilder, line: int, cells: list[str], options: ReadOptions) -> None:
    """Refuse what no CoNLL file has, and tags of a file with one column."""
    tagged = len(cells) > 1 and is_tag(cells[-1].strip())
    for field in options.fields[1:]:
        absent = len(cells) == 1 if field.kind == "tags" else True
        if absent and (field.required or field.name in options.asked):
            held = f"words and {DESCRIPTIONS['tags']}" if tagged else "words"
            message = f"{builder.place_of(line)}: CoNLL columns hold {held}: {DESCRIPTIONS[field.kind]} is needed"
            raise OtherFields(message, kinds={"tags"}) if tagged else DataError(message)
