"""Messages of the commands on standard error."""

import re
import sys
import warnings
from typing import Any, NoReturn

from lm_gym.rendering import printable


def fail(program: str, error: Exception) -> NoReturn:
    """End a program that was used wrongly: one message on stderr, exit status 2."""
    sys.stderr.write(f"{program}: {printable(str(error))}\n")
    raise SystemExit(2)


def show_warnings_plainly() -> None:
    """Print each warning once, as one line, without its place in the code."""
    said: set[str] = set()

    def show(message: Warning | str, *_place: Any, **_more: Any) -> None:
        text = re.sub(r"\x1b\[\d+m", "", str(message)).removeprefix("WARN: ")  # Gymnasium's are coloured
        if text not in said:
            said.add(text)
            sys.stderr.write(f"warning: {printable(text)}\n")

    warnings.showwarning = show
