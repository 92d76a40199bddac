"""Predictions as files and as tables: CoNLL columns for tags, JSON lines for masked words."""

import json
from itertools import islice
from pathlib import Path

from lm_gym.agents.evaluation.playing import Evaluation
from lm_gym.agents.files import write_text


def is_tagging(evaluation: Evaluation) -> bool:
    """Whether texts were tagged, and not filled in."""
    return evaluation.env.task.choice_names is not None


def format_predictions(evaluation: Evaluation) -> str:
    """NER: a line `word gold predicted` for each word, a blank line after each text. Masked LM: JSON lines."""
    if is_tagging(evaluation):
        return "".join(
            "".join(f"{word} {gold} {predicted}\n" for word, gold, predicted in text) + "\n"
            for text in evaluation.tagged_texts()
        )
    return "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in evaluation.filled_texts())


def write_predictions(evaluation: Evaluation, folder: Path) -> Path:
    """Write predictions.conll or predictions.jsonl into `folder`; the path comes back."""
    path = folder / ("predictions.conll" if is_tagging(evaluation) else "predictions.jsonl")
    write_text(path, format_predictions(evaluation))
    return path


def samples_table(evaluation: Evaluation, count: int) -> str:
    """The first texts with what was predicted, as a Markdown table; wrong choices are bold, gold beside them.

    Args:
        evaluation: what was played.
        count: texts shown.
    """
    lines = ["| how many are right, and the text (**predicted**, gold) |", "|---|"]  # TensorBoard breaks narrow columns
    if is_tagging(evaluation):
        for text in islice(evaluation.tagged_texts(), count):
            cells = " ".join(_tagged(*word) for word in text)
            lines.append(f"| {sum(g == p for _, g, p in text)}/{len(text)}: {cells} |")
    else:
        for parts in islice(evaluation.masked_texts(), count):
            right = [is_right for _, filled, is_right in parts if filled is not None]
            cells = "".join(_filled(*part) for part in parts)
            lines.append(f"| {sum(right)}/{len(right)}: {cells.strip()} |")
    return "\n".join(lines)


def _tagged(word: str, gold: str, predicted: str) -> str:
    word = _escape(word)
    if gold == predicted:
        return word if gold == "O" else f"{word} `{gold}`"
    return f"{word} **`{predicted}`** (gold `{gold}`)"


def _filled(part: str, filled: str | None, right: bool) -> str:
    if filled is None:
        return _escape(part)
    space, gold = part[: len(part) - len(part.lstrip())], _escape(part.strip())
    return f"{space}[{gold}]" if right else f"{space}[**{_escape(filled.strip())}**, gold {gold}]"


def _escape(text: str) -> str:
    for character in "\\|*`_<[]":
        text = text.replace(character, f"\\{character}")
    return text
