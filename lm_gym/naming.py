"""Checks of names, with suggestions for misspelt ones."""

from collections.abc import Iterable

from lm_gym.data.errors import nearest


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
