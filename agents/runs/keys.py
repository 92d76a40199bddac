"""Keys of the terminal, read as they are pressed."""

import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

_ARROWS = {"\x1b[C": "", "\x1b[B": "", "\x1b[D": "p", "\x1b[A": "p"}  # right and down: next; left and up: previous
_ESCAPE_SECONDS = 0.05  # maximum time for the rest of an arrow's sequence


@contextmanager
def pressed_keys(stream: TextIO) -> Iterator[Callable[[str], str]]:
    """Yield a function that shows a prompt and returns the next key: "" for Enter, Space, → and ↓, "p" for ← and ↑.

    A number is typed digit by digit and ended by Enter. Without a terminal behind `stream`, every key is ended by
    Enter. The function raises EOFError at the end of the input or after Ctrl-D.
    """
    try:
        descriptor = stream.fileno()
        before = termios.tcgetattr(descriptor)
    except (OSError, termios.error):
        yield lambda prompt: input(prompt).strip().lower()
        return
    tty.setcbreak(descriptor)
    try:
        yield lambda prompt: _answer(prompt, descriptor)
    finally:
        with suppress(termios.error):  # the terminal was closed
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _answer(prompt: str, descriptor: int) -> str:
    _echo(prompt)
    key = _key(descriptor)
    if key.isdecimal():
        key = _number(key, descriptor)
    else:
        _echo(key if key.isprintable() else "")
    _echo("\n")
    return _ARROWS.get(key, key.strip().lower())


def _number(typed: str, descriptor: int) -> str:
    """Read the rest of a number, which Enter ends and Backspace shortens."""
    _echo(typed)
    while (key := _key(descriptor)) not in ("\n", "\r"):
        if key in ("\x7f", "\b") and typed:
            typed = typed[:-1]
            _echo("\b \b")
        elif key.isprintable():
            typed += key
            _echo(key)
    return typed


def _key(descriptor: int) -> str:
    data = _byte(descriptor)
    if data == b"\x1b":
        while not data[-1:].isalpha() and select.select([descriptor], [], [], _ESCAPE_SECONDS)[0]:
            data += _byte(descriptor)
    while _incomplete(data):
        data += _byte(descriptor)
    if data == b"\x04":
        raise EOFError
    return data.decode(errors="replace")


def _byte(descriptor: int) -> bytes:
    """Read a byte; the end of the input and a closed terminal raise EOFError."""
    try:
        data = os.read(descriptor, 1)
    except OSError as error:
        raise EOFError from error
    if not data:
        raise EOFError
    return data


def _incomplete(data: bytes) -> bool:
    """Return whether the bytes begin a longer UTF-8 character."""
    length = 1 if data[0] < 0xC0 else 2 if data[0] < 0xE0 else 3 if data[0] < 0xF0 else 4
    return len(data) < length


def _echo(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
