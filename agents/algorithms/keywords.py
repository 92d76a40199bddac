"""Keyword arguments that no constructor of an algorithm takes."""

from __future__ import annotations

from collections.abc import Collection

from lm_gym.bounds import argument_names
from lm_gym.naming import nearest


def check_keyword_names(algorithm: type, given: Collection[str]) -> None:
    """Check that the constructors of an algorithm and of its bases take these keyword arguments.

    Args:
        algorithm: the class.
        given: names of the arguments.

    Raises:
        TypeError: a name is unknown; the message suggests the nearest one.
    """
    known = [name for name in argument_names(algorithm) if not name.startswith("_")]
    for name in given:
        if name not in known and not name.startswith("_"):
            raise TypeError(f"{algorithm.__name__} has no argument {name!r}{nearest(name, known)}")
