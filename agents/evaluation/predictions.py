"""Predictions as files and as tables."""

import html
from itertools import islice
from pathlib import Path

from lm_gym.agents.files import write_text
from lm_gym.rendering import printable
from lm_gym.tasks import DecidedText, Evaluation, Part, Task


def format_predictions(evaluation: Evaluation) -> str:
    """Return all texts with gold and predicted choices, in the task's format."""
    return "".join(map(evaluation.task.format_prediction, evaluation))


def write_predictions(evaluation: Evaluation, folder: Path) -> Path:
    """Write `predictions.*` with the task's suffix to `folder`, and return its path."""
    path = folder / f"predictions.{evaluation.task.predictions_suffix}"
    write_text(path, format_predictions(evaluation))
    return path


def samples_table(evaluation: Evaluation, count: int) -> str:
    """Return the first texts with their predictions as a Markdown table; wrong choices are bold, followed by gold.

    Args:
        evaluation: the evaluation.
        count: number of texts.
    """
    lines = ["| correct positions, and the text (**predicted**, gold) |", "|---|"]  # TensorBoard breaks narrow columns
    for text in islice(evaluation, count):
        right = int((text.targets == text.choices).sum())
        cells = "".join(" " * part.spaced + _cell(evaluation.task, part, text) for part in evaluation.task.parts(text))
        lines.append(f"| {right}/{len(text.targets)}: {cells.strip()} |")
    return "\n".join(lines)


def _cell(task: Task, part: Part, text: DecidedText) -> str:
    shown = _escape(part.text)
    if part.slot is None:
        return shown
    choice, gold = int(text.choices[part.slot]), int(text.targets[part.slot])
    if task.choice_is_text:
        return f"[{shown}]" if choice == gold else f"[**{_escape(task.choice_name(choice))}**, gold {shown}]"
    chosen, named = (_code(task.choice_name(one)) for one in (choice, gold))
    if choice == gold:
        return shown if gold == task.quiet else f"{shown} {named}"
    return f"{shown} **{chosen}** (gold {named})"


def _code(name: str) -> str:
    """Return a name as Markdown code in a table cell; backticks and bars are replaced."""
    plain = _one_line(name).replace("`", "'").replace("|", "¦")
    return f"`{plain}`"


def _escape(text: str) -> str:
    """Escape text for Markdown and for the HTML in it."""
    text = html.escape(_one_line(text), quote=False)
    for character in "\\|*`_[]":
        text = text.replace(character, f"\\{character}")
    return text


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())
