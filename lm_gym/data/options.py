"""Options of readers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lm_gym.data.errors import DataError, nearest
from lm_gym.data.fields import WORDS_AND_TAGS, Field, check_fields
from lm_gym.data.schemes import check_scheme

ColumnKey = int | str
"""A column, by its index (negative from the right) or its name."""


@dataclass(frozen=True)
class ReadOptions:
    """Options of a reader; None lets the reader infer a value.

    Attributes:
        token_column: column of the words.
        tag_column: column of the tags.
        text_column: column of whole texts, split at whitespace; excludes token_column.
        delimiter: delimiter of columns; None for whitespace (CoNLL), "," (CSV) or a tab (TSV).
        scheme: scheme of the tags: "auto", "iob1", "iob2", "iobes" (BILOU and BMES included), "io" (types alone) or
            "conlleval" (any sequence).
        fields: the fields to read, words first.
        columns: columns by the name of a field.
        names: names of integers, by the name of a field of tags or labels.
        header: whether the first row of a table names its columns.
    """

    token_column: ColumnKey | None = None
    tag_column: ColumnKey | None = None
    text_column: ColumnKey | None = None
    delimiter: str | None = None
    scheme: str = "auto"
    fields: tuple[Field, ...] = WORDS_AND_TAGS
    columns: Mapping[str, ColumnKey] = field(default_factory=dict)
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    header: bool | None = None

    def __post_init__(self) -> None:
        check_scheme(self.scheme)
        if self.text_column is not None and self.token_column is not None:
            raise DataError("text_column excludes token_column: words are read from one column")
        names = [wanted.name for wanted in check_fields(self.fields)]
        for argument, given in (("columns", self.columns), ("names", self.names)):
            for name in given:
                if name not in names:
                    known = ", ".join(names)
                    raise DataError(f"{argument}: no field {name!r}{nearest(name, names)}: fields are {known}")
        if self.delimiter is not None and (not self.delimiter or self.delimiter in "\r\n"):
            raise DataError(f"delimiter={self.delimiter!r}: give the characters between columns, or None")
        tags = self.tags
        if self.tag_column is not None and tags is None:
            raise DataError(f"tag_column={self.tag_column!r}: no tags are read, fields are {', '.join(names)}")
        words = self.token_column if self.text_column is None else self.text_column
        for wanted, key in ((self.fields[0], words), (tags, self.tag_column)):
            if wanted is not None and key is not None and wanted.name in self.columns:
                column = self.columns[wanted.name]
                raise DataError(f"field {wanted.name!r}: columns gives {column!r}, and an option gives {key!r}")

    @property
    def tags(self) -> Field | None:
        """The field of kind "tags", or None."""
        return next((wanted for wanted in self.fields if wanted.kind == "tags"), None)

    @property
    def asked(self) -> dict[str, ColumnKey]:
        """The requested columns, by the name of their field."""
        found = dict(self.columns)
        for wanted, key in (
            (self.fields[0], self.token_column),
            (self.fields[0], self.text_column),
            (self.tags, self.tag_column),
        ):
            if wanted is not None and key is not None:
                found[wanted.name] = key
        return found
