"""Names that a user may have misspelt."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the known name nearest to `name` and list them all, as the end of a message."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return (f"; did you mean {close[0]!r}?" if close else "") + f" (known: {', '.join(names)})"


def check_choice(argument: str, value: object, known: Iterable[str]) -> str:
    """Give `value` back if it is one of the known names.

    Raises:
        ValueError: naming the argument, the value, and the nearest known one.
    """
    names = list(known)
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"unknown {argument}={value!r}" + nearest(str(value), names))
    return value
