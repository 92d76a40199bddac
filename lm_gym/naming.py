"""Checks of names, with suggestions for misspelt ones."""

import difflib
import re
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `" (did you mean 'x'?)"` for the known name closest to `name`, or the empty string.

    The closest name has the same letters in another case or with other separators (`CMA-ES` for `cma_es`), has a last
    part that `name` abbreviates (`lr` for `agent.learning_rate`), is spelt similarly, or contains `name`
    (`NER` in `lm_gym/NER-v0`).
    """
    plain: dict[str, str] = {}
    for one in known:
        plain.setdefault(_plain(one), one)
    wanted = _plain(name)
    close = [wanted] if wanted in plain else [one for one in plain if _abbreviates(wanted, one)]
    close = close or difflib.get_close_matches(wanted, plain, n=1, cutoff=0.5)
    close = close or [one for one in plain if wanted in re.split(r"[/._]", one)]
    return f" (did you mean {plain[close[0]]!r}?)" if close else ""


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _abbreviates(short: str, name: str) -> bool:
    """Return whether `short` consists of the initials of a name's last part, in the same section if there is one."""
    (section, _, initials), (own, _, last) = short.rpartition("."), name.rpartition(".")
    words = last.split("_")
    return len(words) > 1 and initials == "".join(word[:1] for word in words) and section in ("", own)


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
