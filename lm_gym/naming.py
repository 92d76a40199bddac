"""Names that a user may have misspelt."""

from collections.abc import Iterable

from lm_gym.data.errors import nearest


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
