"""Predictions as files and as tables: CoNLL columns for tags, JSON lines for masked words."""

import json
from itertools import islice
from pathlib import Path

from agents.evaluation import Evaluation
from agents.run_folder import write_text


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
    """The first texts with what was predicted, as a Markdown table; wrong choices are bold.

    Args:
        evaluation: what was played.
        count: texts shown.
    """
    lines = ["| text | right |", "|---|---|"]
    if is_tagging(evaluation):
        for text in islice(evaluation.tagged_texts(), count):
            cells = [_tagged(*word) for word in text]
            lines.append(f"| {' '.join(cells)} | {sum(g == p for _, g, p in text)} of {len(text)} |")
    else:
        for filled in islice(evaluation.filled_texts(), count):
            pairs = list(zip(filled["gold"], filled["predicted"], strict=True))
            choices = ", ".join(_escape(g) if g == p else f"**{_escape(p)}** ({_escape(g)})" for g, p in pairs)
            right = sum(g == p for g, p in pairs)
            lines.append(f"| {_escape(filled['text'])}<br>→ {choices} | {right} of {len(pairs)} |")
    return "\n".join(lines)


def _tagged(word: str, gold: str, predicted: str) -> str:
    word = _escape(word)
    if gold == predicted:
        return word if gold == "O" else f"{word} `{gold}`"
    return f"{word} **`{predicted}`** (`{gold}`)"


def _escape(text: str) -> str:
    for character in "\\|*`_<":
        text = text.replace(character, f"\\{character}")
    return text
