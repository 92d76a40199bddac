"""Standard input and output of the commands."""

import os
import sys
from typing import IO, NoReturn


def standard_input() -> IO[bytes]:
    """Return standard input as a stream of bytes.

    Raises:
        OSError: the command was started without standard input.
    """
    if sys.stdin is None:
        raise OSError("standard input is closed: give a file instead of -")
    return sys.stdin.buffer


def in_terminal() -> bool:
    """Return whether a user types on standard input."""
    return sys.stdin is not None and sys.stdin.isatty()


def output_closed() -> NoReturn:
    """End a command whose reader has closed the pipe of standard output, such as `head`: exit status 1, no message."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(1)
