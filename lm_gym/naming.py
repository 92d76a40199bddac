"""Names that a user may have misspelt."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for the known name closest to `name`, or the empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def among(name: object, known: Iterable[str]) -> str:
    """End a message about an unknown name: the nearest known one, and all of them."""
    names = sorted(known)
    return f"{nearest(str(name), names)}: there are {', '.join(names) or 'none'}"


def check_choice(argument: str, value: object, known: Iterable[str]) -> str:
    """Give `value` back if it is one of the known names.

    Raises:
        ValueError: naming the argument, the value, and the nearest known one.
    """
    names = list(known)
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"unknown {argument}={value!r}{among(value, names)}")
    return value
