"""Checks of names, with suggestions for misspelt ones."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for the known name closest to `name`, or the empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def among(name: object, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known name, and all known names."""
    names = sorted(known)
    return f"{nearest(str(name), names)}: there are {', '.join(names) or 'none'}"


def check_choice(argument: str, value: object, known: Iterable[str]) -> str:
    """Return `value` if it is one of the known names.

    Raises:
        ValueError: the value is unknown; the message names the argument, the value and the nearest known name.
    """
    names = list(known)
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"unknown {argument}={value!r}{among(value, names)}")
    return value
