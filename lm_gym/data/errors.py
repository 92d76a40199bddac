"""The errors of readers, and suggestions of known names."""

import difflib
from collections.abc import Iterable


class DataError(ValueError):
    """Error: the data cannot be used; the message names the place, the value and a remedy.

    Args:
        message: one line; characters that cannot be printed are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


class OtherFields(DataError):  # noqa: N818
    """Error: the data has other fields than the required ones, such as one label per text instead of a tag per word.

    Attributes:
        kinds: kinds of the fields that the data has (see `lm_gym.data.fields.Field`).
    """

    def __init__(self, message: str, *, kinds: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.kinds = frozenset(kinds)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `" (did you mean 'x'?)"` for the known name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
