"""A split while it is read, as growing flat arrays instead of a list of strings."""

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lm_gym.data.errors import DataError
from lm_gym.data.field_builders import FieldBuilder, Words
from lm_gym.data.spans import SpanCounts
from lm_gym.data.tags import RawTags, TagError
from lm_gym.data.values import fault_of

_MOST_WORDS = 1_000_000  # words of a text; more suggest that texts are not separated
_MOST_LINES = 1000  # lines of a file with one word per line and only one text


class CorpusBuilder:
    """Collect words, raw tags and other fields of a split in flat arrays, with the place of each text.

    Args:
        place: the file or split that error messages name.
        words: the words of the dataset, shared by its splits.
        unit: noun for the numbers in `lines`: "line" of a file, "row" of a table, "text" of a list.

    Attributes:
        word_per_line: whether each word has its own line; set by the reader.
        tag_column: the column of the tags, for error messages.
        remarks: notes for users of the data.
        counted: numbers of skipped or changed rows, by description.
        left_out: number of rows that are not texts.
        spans: counts of spans of characters.
        fields: other fields by name; the reader adds them before the first text.
        unread: names of columns that are not read.
        unnamed: number of columns if they have no names, so that `unread` holds indices; else 0.
    """

    def __init__(self, place: str, words: Words, unit: str = "line") -> None:
        self.place = place
        self.vocabulary = words
        self.unit = unit
        self.word_per_line = False
        self.tag_column: int | str | None = None
        self.remarks: list[str] = []
        self.counted: dict[str, int] = {}
        self.left_out = 0
        self.spans = SpanCounts()
        self.fields: dict[str, FieldBuilder] = {}
        self.unread: dict[str, None] = {}  # in order
        self.unnamed = 0
        self.words = array("i")
        self.tags = array("h")
        self.raw_tags = RawTags()
        self.offsets = array("q", [0])
        self.lines = array("i")  # first line of each text

    def __len__(self) -> int:
        return len(self.lines)

    def add(self, words: Sequence[str], tags: Sequence[str] | None, line: int) -> None:
        """Append a text.

        Raises:
            DataError: the text has no words or more than a million, the numbers of words and tags differ, a tag fits no
                scheme, or only some texts have tags.
        """
        if not words and not tags:
            raise self.error(line, "a text without words: leave it out")
        if len(words) > _MOST_WORDS:
            raise self.error(line, f"a text of {len(words):,} words: split it into texts of {_MOST_WORDS:,} at most")
        if len(self) and bool(self.tags) != (tags is not None):
            raise self.error(line, "some texts have tags and some have none: tag all of them, or none")
        try:
            self.words.extend([*map(self.vocabulary.__getitem__, words)])
            if tags is not None:
                if len(tags) != len(words):
                    raise self.error(line, f"{len(words)} words but {len(tags)} tags: give each word one tag")
                self.tags.extend([*map(self.raw_tags.__getitem__, tags)])
        except TagError as error:
            first = next(i for i, tag in enumerate(tags or ()) if tag not in self.raw_tags)
            raise self.error(line + first * self.word_per_line, str(error)) from None
        self.lines.append(line)
        self.offsets.append(len(self.words))

    def count(self, what: str, *, left_out: bool) -> None:
        """Count a row that is skipped or changed, for a note such as "2 of 8 rows have no words"."""
        self.counted[what] = self.counted.get(what, 0) + 1
        self.left_out += left_out

    def place_of(self, line: int) -> str:
        """Return the place and the line for error messages."""
        return f"{self.place}, {self.unit} {line}"

    def error(self, line: int, message: str) -> DataError:
        """Return a `DataError` with the place and the line."""
        return DataError(f"{self.place_of(line)}: {message}")

    def error_at_word(self, word: int, message: str) -> DataError:
        """Return a `DataError` for the word at flat index `word`."""
        text = int(np.searchsorted(np.frombuffer(self.offsets, np.int64), word, side="right")) - 1
        line = self.lines[text] + (word - self.offsets[text] if self.word_per_line else 0)
        return self.error(line, message)

    def error_at_tag(self, tag: str, message: str) -> DataError:
        """Return a `DataError` for the first word with a tag, with the column of the tags."""
        first = int(np.flatnonzero(np.frombuffer(self.tags, np.int16) == self.raw_tags[tag])[0])
        column = f"; tags are read from column {self.tag_column!r}, tag_column chooses another"
        return self.error_at_word(first, message + column * (self.tag_column is not None))

    def name_tags(self, names: Sequence[str]) -> None:
        """Replace numbers among the raw tags by names.

        Raises:
            DataError: a number has no name, or two tags have the same name.
        """
        named: dict[str, str] = {}  # name → tag
        for tag in self.raw_tags:
            number = int(tag) if tag.removeprefix("-").isdecimal() else None
            if number is not None and not 0 <= number < len(names):
                raise self.error_at_tag(tag, f"tag {tag} has no name: there are {len(names)}, 0 to {len(names) - 1}")
            name = tag if number is None else names[number]
            if name in named:
                raise self.error_at_tag(tag, f"tags {named[name]!r} and {tag!r} are both {name!r}")
            named[name] = tag
        self.raw_tags = RawTags(zip(named, range(len(named)), strict=True))

    def flat_words(self) -> NDArray[np.int32]:
        """Return a view of the words, int32 [W]."""
        return np.frombuffer(self.words, np.int32)

    def flat_offsets(self) -> NDArray[np.int64]:
        """Return a view of the offsets, int64 [N + 1]."""
        return np.frombuffer(self.offsets, np.int64)

    def flat_tags(self) -> NDArray[np.int16] | None:
        """Return a view of the raw tags, int16 [W], or None without tags."""
        return np.frombuffer(self.tags, np.int16) if self.tags else None

    def check(self) -> None:
        """Check everything that can only be seen at the end.

        Raises:
            DataError: there are no texts, texts are not separated, or a word is invalid.
        """
        if not len(self):
            raise DataError(f"{self.place}: no texts: the file is empty or has only blank lines")
        if self.word_per_line and len(self) == 1 and len(self.words) > _MOST_LINES:
            raise DataError(
                f"{self.place}: each {self.unit} is a word, and all {len(self.words)} form one text: separate texts by "
                "blank lines, or by a column named 'sentence'"
            )
        faults = {index: fault for word, index in self.vocabulary.items() if (fault := fault_of(word))}
        if not faults:
            return
        places = np.flatnonzero(np.isin(self.flat_words(), [*faults]))
        if places.size:
            raise self.error_at_word(int(places[0]), faults[int(self.words[places[0]])])
        for gathered in self.fields.values():
            found = gathered.first_with([*faults])
            if found is not None:
                raise self.error(self.lines[found[0]], faults[found[1]])

    def notes(self) -> list[str]:
        """Return notes for users of the data: remarks, counts, and whether every text has one word."""
        rows = len(self) + self.left_out
        notes = [
            *self.remarks,
            *(f"{count} of {rows} {what}" for what, count in self.counted.items()),
            *self.spans.notes(),
        ]
        if len(self) == len(self.words) > 1 and (self.word_per_line or self.tags):
            cause = "a blank line after every word?" if self.word_per_line else "one text for every word?"
            notes.append(f"every text has one word ({cause})")
        return notes
