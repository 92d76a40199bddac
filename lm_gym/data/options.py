"""How a file is to be read."""

from dataclasses import dataclass

from lm_gym.data.errors import DataError
from lm_gym.data.schemes import SCHEMES

Column = int | str


@dataclass(frozen=True)
class ReadOptions:
    """What a reader may be told; None lets it find out.

    Attributes:
        token_column: the words: an index (negative from the right), or a name where columns have names.
        tag_column: the tags.
        text_column: whole texts, split at blanks; excludes the two above.
        delimiter: between columns; None is any blanks (CoNLL), "," (CSV) or a tab (TSV).
        scheme: of the tags: "auto", "iob1", "iob2", "iobes" (BILOU included) or "conlleval" (any sequence).
        tags: whether tags are demanded (True), unwanted (False) or taken if there are any (None).
    """

    token_column: Column | None = None
    tag_column: Column | None = None
    text_column: Column | None = None
    delimiter: str | None = None
    scheme: str = "auto"
    tags: bool | None = None

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise DataError(f"unknown scheme {self.scheme!r}: one of {', '.join(SCHEMES)}")
        if self.text_column is not None and (self.token_column is not None or self.tag_column is not None):
            raise DataError("text_column excludes token_column and tag_column: a text is words with tags, or plain")
