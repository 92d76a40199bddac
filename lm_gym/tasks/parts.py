"""The parts of a text for display, and their links to decisions."""

from typing import NamedTuple


class Part(NamedTuple):
    """A part of a text.

    Attributes:
        text: its characters; the gold text if a choice fills in the part.
        spaced: whether a space precedes it.
        slot: index of the position decided here; None if there is nothing to decide.
        undecided: text to show until the decision, such as a mask; None for the part's own text.
        note: a note for readers, such as why the part is not decided.
    """

    text: str
    spaced: bool = True
    slot: int | None = None
    undecided: str | None = None
    note: str = ""


class Mark(NamedTuple):
    """The display of a choice next to its part.

    Attributes:
        label: the text of the mark; empty for a choice without a mark, such as O.
        joined: whether it continues the mark of the previous part, as I-PER continues B-PER.
    """

    label: str
    joined: bool = False


class Nouns(NamedTuple):
    """The nouns for positions and choices of a task, for manuals and displays.

    Attributes:
        position: noun for a position.
        positions: its plural.
        choice: noun for a choice.
        choices: its plural.
    """

    position: str = "position"
    positions: str = "positions"
    choice: str = "choice"
    choices: str = "choices"
