"""The fields of a record, with the usual names of their columns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lm_gym.data.errors import DataError

Kind = Literal["words", "tags", "label", "labels", "text", "texts", "numbers"]


@dataclass(frozen=True)
class Field:
    """One field of a record.

    Attributes:
        name: key in `Corpus.columns` and in the argument `columns` of `load_dataset`.
        kind: "words": the words of the text; "tags": a tag per word; "label": one label per text; "labels": any number
            of labels per text; "text": a second text per text; "texts": a list of texts per text; "numbers": a list of
            numbers per text.
        columns: usual names of its column in lower case, in order of preference.
        required: whether data without the field is refused.
        beside: for "numbers": the name of the "texts" field with one item per number; None if the list may have any
            length.
    """

    name: str
    kind: Kind
    columns: tuple[str, ...]
    required: bool = True
    beside: str | None = None

    @property
    def gold(self) -> bool:
        """Whether the field holds what a task predicts: tags or labels."""
        return self.kind in ("tags", "label", "labels")


WHOLE_TEXTS = ("text", "sentence", "content")  # columns of strings to split; others may hold one word per row

WORDS = Field("words", "words", ("tokens", "words", "token", "word", *WHOLE_TEXTS))
TAGS = Field("tags", "tags", ("tags", "ner_tags", "tag", "ner_tag", "ner", "labels", "label", "entities", "spans"))
LABEL = Field("label", "label", ("label", "class", "category", "sentiment", "topic", "intent", "target"))
LABELS = Field("labels", "labels", ("labels", "classes", "categories", "topics", "label"))
SECOND = Field(
    "second", "text", ("second", "sentence2", "text2", "text_pair", "question2", "hypothesis"), required=False
)
TURNS = Field("turns", "texts", ("turns", "history", "previous_turns", "dialog", "dialogue"), required=False)
CANDIDATES = Field("candidates", "texts", ("candidates", "options", "choices", "replies", "responses", "items"))
RELEVANCE = Field("relevance", "numbers", ("relevance", "relevances", "gains", "scores"), beside="candidates")

WORDS_AND_TAGS = (WORDS, replace(TAGS, required=False))  # the default fields
USUAL = (WORDS, TAGS, LABEL, LABELS, CANDIDATES, RELEVANCE)

DESCRIPTIONS: dict[Kind, str] = {
    "words": "words",
    "tags": "a tag for each word",
    "label": "one label for each text",
    "labels": "a list of labels for each text",
    "text": "a second text for each text",
    "texts": "a list of texts for each text",
    "numbers": "a list of numbers for each text",
}


def check_fields(fields: Sequence[Field]) -> tuple[Field, ...]:
    """Return checked fields as a tuple.

    Raises:
        DataError: the first field is not of kind "words" or another one is, two fields are of kind "tags" or have the
            same name, or `beside` does not name a field of kind "texts".
    """
    kinds = [field.kind for field in fields]
    names = [field.name for field in fields]
    if kinds[:1] != ["words"] or kinds.count("words") > 1:
        raise DataError(f"fields {', '.join(names) or '(none)'}: the first one, and no other, must be of kind 'words'")
    if kinds.count("tags") > 1:
        raise DataError(f"fields {', '.join(names)}: two are of kind 'tags', and a corpus has one tag for each word")
    if len({*names}) < len(names):
        raise DataError(f"fields {', '.join(names)}: two have the same name")
    texts = [field.name for field in fields if field.kind == "texts"]
    for field in fields:
        if field.beside is not None and field.beside not in texts:
            raise DataError(f"field {field.name!r}: beside={field.beside!r} is no field of kind 'texts'")
    return tuple(fields)
