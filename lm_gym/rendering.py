"""Rendering of decided texts in ANSI colours, and of any text without control characters."""

import re

from lm_gym.tasks import DecidedText, Part, Task

_GREEN, _RED, _YELLOW, _RESET = "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[0m"

_CONTROL = re.compile(  # except line breaks and tabs; half a surrogate pair cannot be printed
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Replace control characters and lone surrogates by their escapes, so that a text only prints itself."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def render_text(task: Task, text: DecidedText) -> str:
    """Render a text: correct decisions green, wrong ones red with the gold choice, undecided positions yellow.

    Labels follow their parts: `Paris[B-LOC]`, or `Paris[O, gold B-LOC]` if wrong. A correct label that needs no
    display, such as O, is left out. Choices that are text replace their parts, as in `cat[gold dog]`.

    Args:
        task: the task.
        text: the text with its decisions so far.
    """
    return "".join(" " * part.spaced + _render(task, _plain(part), text) for part in task.parts(text)).strip()


def _plain(part: Part) -> Part:
    return part._replace(text=printable(part.text))


def _render(task: Task, part: Part, text: DecidedText) -> str:
    if part.slot is None:
        return part.text
    choice, gold = int(text.choices[part.slot]), int(text.targets[part.slot])
    if choice >= task.shape.choices:
        return f"{_YELLOW}{part.text if part.undecided is None else part.undecided}{_RESET}"
    if task.choice_is_text:
        right, wrong = part.text, f"{printable(task.choice_text(choice))}[gold {part.text}]"
    else:
        chosen, named = (printable(task.choice_name(one)) for one in (choice, gold))
        right = part.text if gold == task.quiet else f"{part.text}[{named}]"
        wrong = f"{part.text}[{chosen}, gold {named}]"
    return f"{_GREEN}{right}{_RESET}" if choice == gold else f"{_RED}{wrong}{_RESET}"
