"""What every reader raises, and how it suggests the way out."""

import difflib
from collections.abc import Iterable


class DataError(ValueError):
    """Data that cannot be used as it is; the message names the place, the value and the way out."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for the known name closest to `name`, or the empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
