"""The errors of readers."""

from collections.abc import Iterable

from lm_gym.naming import nearest

__all__ = ["DataError", "OtherFields", "TextError", "nearest"]


class DataError(ValueError):
    """Error: the data cannot be used; the message names the place, the value and a remedy.

    Args:
        message: one line; characters that cannot be printed are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


class TextError(DataError):
    """Error: a task cannot use one of the texts.

    Args:
        split: the split of the text; None if it is not known.
        text: index of the text.
        fault: what is wrong with it, and a remedy.

    Attributes:
        text: index of the text.
        fault: what is wrong with it.
    """

    def __init__(self, split: str | None, text: int, fault: str) -> None:
        super().__init__(f"text {text}: {fault}" if split is None else f"{split}, text {text}: {fault}")
        self.text, self.fault = text, fault


class OtherFields(DataError):  # noqa: N818
    """Error: the data has other fields than the required ones, such as one label per text instead of a tag per word.

    Attributes:
        kinds: kinds of the fields that the data has (see `lm_gym.data.fields.Field`).
    """

    def __init__(self, message: str, *, kinds: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.kinds = frozenset(kinds)
