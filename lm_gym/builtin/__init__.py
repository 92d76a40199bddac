"""Data and a model that are part of the package: corpora generated or written for it, and a small BERT."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lm_gym.builtin.headlines import headline_splits
from lm_gym.builtin.masked_lm import masked_lm_splits
from lm_gym.builtin.ner import ner_splits
from lm_gym.builtin.puzzles import arithmetic_splits, sudoku_splits
from lm_gym.builtin.recommendations import recommendation_splits
from lm_gym.builtin.replies import reply_splits

__all__ = ["BUILTIN", "RECORDS", "RecordSplits", "TaggedSplits", "TextSplits", "tiny_path"]

TextSplits = dict[str, list[list[str]]]
TaggedSplits = dict[str, list[tuple[list[str], list[str]]]]
RecordSplits = dict[str, list[dict[str, Any]]]

BUILTIN: dict[str, Callable[[], TextSplits | TaggedSplits | RecordSplits]] = {
    "builtin/arithmetic": arithmetic_splits,
    "builtin/headlines": headline_splits,
    "builtin/masked_lm": masked_lm_splits,
    "builtin/ner": ner_splits,
    "builtin/recommendations": recommendation_splits,
    "builtin/replies": reply_splits,
    "builtin/sudoku": sudoku_splits,
}
"""Name → function without arguments that returns train, validation and test.

A split is a list of texts: lists of words for masked LM, (words, IOB2 tags) for NER, and records for `RECORDS`.
"""

RECORDS = frozenset(
    {"builtin/arithmetic", "builtin/headlines", "builtin/recommendations", "builtin/replies", "builtin/sudoku"}
)
"""Builtin data with named columns, from which a task reads those that it needs."""


def tiny_path() -> Path:
    """The folder of the shipped model `tiny`: an ordinary Hugging Face checkpoint with its tokenizer."""
    return Path(__file__).parent / "tiny"
