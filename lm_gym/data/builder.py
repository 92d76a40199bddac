"""One split while it is read: flat arrays that grow, and never a list of strings for the whole file."""

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lm_gym.data.errors import DataError
from lm_gym.data.field_builders import FieldBuilder, Words
from lm_gym.data.schemes import RawTags, TagError


class CorpusBuilder:
    """Words, raw tags and other fields of one split, as flat arrays, with the place each text came from.

    Args:
        place: the file or split that error messages name.
        words: the words of the dataset, shared by its splits.
        unit: what `lines` counts: "line" of a file, "row" of a table, "text" of a list.

    Attributes:
        word_per_line: whether each word of a text stands on a line of its own; the reader says so.
        remarks: what a user of the data should know.
        fields: the fields beside words and tags, by name; the reader adds them before the first text.
        unread: names of columns that no field is read from.
        unnamed: number of columns if they have no names and `unread` holds their indices, else 0.
    """

    def __init__(self, place: str, words: Words, unit: str = "line") -> None:
        self.place = place
        self.vocabulary = words
        self.unit = unit
        self.word_per_line = False
        self.remarks: list[str] = []
        self.fields: dict[str, FieldBuilder] = {}
        self.unread: dict[str, None] = {}  # in order
        self.unnamed = 0
        self.words = array("i")
        self.tags = array("h")
        self.raw_tags = RawTags()
        self.offsets = array("q", [0])
        self.lines = array("i")  # where each text begins

    def __len__(self) -> int:
        return len(self.lines)

    def add(self, words: Sequence[str], tags: Sequence[str] | None, line: int) -> None:
        """Append one text.

        Raises:
            DataError: no words, more or fewer tags than words, a tag that fits no scheme, or a text with tags beside
                one without.
        """
        if not words:
            raise self.error(line, "a text without words: leave it out")
        if len(self) and bool(self.tags) != (tags is not None):
            raise self.error(line, "some texts have tags and some have none: tag all of them, or none")
        try:
            self.words.extend([self.vocabulary[word] for word in words])
            if tags is not None:
                if len(tags) != len(words):
                    raise self.error(line, f"{len(words)} words but {len(tags)} tags: give each word one tag")
                self.tags.extend([self.raw_tags[tag] for tag in tags])
        except TagError as error:
            first = next(i for i, tag in enumerate(tags or ()) if tag not in self.raw_tags)
            raise self.error(line + first * self.word_per_line, str(error)) from None
        self.lines.append(line)
        self.offsets.append(len(self.words))

    def place_of(self, line: int) -> str:
        """The place and the line, as errors name them."""
        return f"{self.place}, {self.unit} {line}"

    def error(self, line: int, message: str) -> DataError:
        """A `DataError` that names the place and the line."""
        return DataError(f"{self.place_of(line)}: {message}")

    def error_at_word(self, word: int, message: str) -> DataError:
        """The same for the word at flat index `word`."""
        text = int(np.searchsorted(np.frombuffer(self.offsets, np.int64), word, side="right")) - 1
        line = self.lines[text] + (word - self.offsets[text] if self.word_per_line else 0)
        return self.error(line, message)

    def flat_words(self) -> NDArray[np.int32]:
        """The words as int32 [W], a view."""
        return np.frombuffer(self.words, np.int32)

    def flat_offsets(self) -> NDArray[np.int64]:
        """The offsets as int64 [N + 1], a view."""
        return np.frombuffer(self.offsets, np.int64)

    def flat_tags(self) -> NDArray[np.int16] | None:
        """The raw tags as int16 [W], a view, or None where the texts have no tags."""
        return np.frombuffer(self.tags, np.int16) if self.tags else None

    def check(self) -> None:
        """What can only be seen at the end.

        Raises:
            DataError: no text at all, or a word that is empty or no string.
        """
        if not len(self):
            raise DataError(f"{self.place}: no text in it: an empty file, or one of blank lines only")
        bad = {index: word for word, index in self.vocabulary.items() if not isinstance(word, str) or not word.strip()}
        if bad:
            found = np.flatnonzero(np.isin(self.flat_words(), [*bad]))
            if found.size:
                word = bad[int(self.words[found[0]])]
                message = f"{word!r} is an empty word" if isinstance(word, str) else f"{word!r} is no string"
                raise self.error_at_word(int(found[0]), f"{message}: remove it, and its tag")
