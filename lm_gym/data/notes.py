"""Notes of a dataset for readers of results, one sentence each."""

from collections.abc import Iterable, Mapping, Sequence

from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.corpus import Corpus
from lm_gym.data.tags import Tag, are_types_alone, types_of


def type_notes(raw_tags: Mapping[str, Tag]) -> list[str]:
    """Return a note on tags that are types alone, without B- and I-, if they are."""
    if not are_types_alone(raw_tags):
        return []
    types = ", ".join(sorted(types_of(raw_tags.values())))
    return [f"tags are types alone ({types}): neighbouring words of one type are read as one entity"]


def unread_notes(builders: Iterable[CorpusBuilder]) -> list[str]:
    """Return a note on the columns that are not read, if any."""
    unread = {column: builder.unnamed for builder in builders for column in builder.unread}
    if not unread:
        return []
    width = max(unread.values())
    return [not_read("column", [*unread], f" of {width}" if width else "")]


def not_read(what: str, names: Sequence[str], of: str = "") -> str:
    """Return a note about columns or splits that are not read."""
    listed = ", ".join(names)
    return f"{what}s {listed}{of} are not read" if len(names) > 1 else f"{what} {listed}{of} is not read"


def overlap_notes(splits: Mapping[str, Corpus], counts: Mapping[tuple[str, str], int]) -> list[str]:
    """Return a note for each pair of splits that share texts (see `lm_gym.data.overlap`)."""
    notes = []
    for pair, count in counts.items():
        small, large = sorted(pair, key=lambda split: len(splits[split]))
        if count:
            notes.append(f"{count} of the {len(splits[small])} texts of {small} also occur in {large}")
    return notes
