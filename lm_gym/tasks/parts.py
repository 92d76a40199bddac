"""A text in parts, as it is shown: what stands where, and which part a decision is about."""

from typing import NamedTuple


class Part(NamedTuple):
    """A part of a text.

    Attributes:
        text: its characters; of a part that a choice fills in, the gold ones.
        spaced: whether a space stands before it.
        slot: number of the position that is decided here, None where there is nothing to decide.
        undecided: what stands here until it is decided, such as a mask; None for the text itself.
        note: what a reader should know of it, such as why it is not decided.
    """

    text: str
    spaced: bool = True
    slot: int | None = None
    undecided: str | None = None
    note: str = ""


class Mark(NamedTuple):
    """How a choice is drawn beside its part.

    Attributes:
        label: what is written; empty for a choice that needs no mark, such as O.
        joined: whether it continues the mark of the part before, as I-PER continues B-PER.
    """

    label: str
    joined: bool = False


class Nouns(NamedTuple):
    """What a task's positions and choices are called, in the manual and in what is shown.

    Attributes:
        position: one position.
        positions: several.
        choice: one choice.
        choices: several.
    """

    position: str = "position"
    positions: str = "positions"
    choice: str = "choice"
    choices: str = "choices"
