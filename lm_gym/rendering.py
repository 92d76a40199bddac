"""Texts with their decisions, in ANSI colours."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.tasks import Task
from lm_gym.tokenizer import TextTokenizer

_GREEN, _RED, _YELLOW, _RESET = "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[0m"


def render_text(task: Task, observation: dict[str, NDArray[Any]], targets: NDArray[np.int64]) -> str:
    """Show one text: right decisions green, wrong ones red beside the gold choice, open ones yellow.

    Tags stand behind their words, `Paris[B-LOC]`, a right O unnamed; wrong ones as `Paris[O, gold B-LOC]`. Tokens
    stand in their places, wrong ones as `cat[gold dog]`.

    Args:
        task: the task played.
        observation: the leaves of one row.
        targets: int64 [T], gold choices, n where padded.
    """
    places = observation["positions"][observation["position_mask"] > 0].tolist()
    predictions = observation["predictions"].tolist()
    number = {place: k for k, place in enumerate(places)}
    content = range(len(task.tokenizer.prefix), int(observation["attention_mask"].sum()) - len(task.tokenizer.suffix))
    ids = observation["input_ids"].tolist()
    parts: list[str] = []
    word = ""
    for index in content:
        spaced, piece = spell(task.tokenizer, ids[index])
        if task.choice_names is None:
            if index in number:
                spaced, piece = _token(task.tokenizer, predictions[number[index]], int(targets[number[index]]), piece)
            parts.append((" " if spaced else "") + piece)
            continue
        word = piece if index in number else word + piece
        if index + 1 in number or index + 1 == content.stop:
            known = [k for place, k in number.items() if place <= index]
            parts.append(" " + _tagged(word, task.choice_names, predictions[known[-1]], int(targets[known[-1]])))
    return "".join(parts).strip()


def spell_around(
    tokenizer: TextTokenizer, ids: Sequence[int], places: Sequence[int]
) -> Iterator[tuple[bool, str, int | None]]:
    """A text in parts: each of `places` alone, and what stands between them.

    Args:
        tokenizer: of the text.
        ids: its sub-tokens, special tokens around it included.
        places: indices into ids, ascending.

    Yields:
        Whether a space stands before the part, its characters, and its number in places or None.
    """
    number = {place: k for k, place in enumerate(places)}
    for k, run in groupby(range(len(tokenizer.prefix), len(ids) - len(tokenizer.suffix)), number.get):
        spelled = [spell(tokenizer, ids[index]) for index in run]
        yield spelled[0][0], "".join(" " * spaced + piece for spaced, piece in spelled).lstrip(" "), k


def spell(tokenizer: TextTokenizer, id_: int) -> tuple[bool, str]:
    """How a token is written: whether a space stands before it, and its characters."""
    token = tokenizer.tokenizer.id_to_token(id_) or ""
    if tokenizer.continuation is not None:
        continues = token.startswith(tokenizer.continuation)
        return not continues, token.removeprefix(tokenizer.continuation) if continues else token
    if tokenizer.special[id_]:
        return True, token
    return token[:1] in "Ġ▁", tokenizer.decode([id_]).strip()


def _tagged(word: str, names: tuple[str, ...], predicted: int, gold: int) -> str:
    if predicted >= len(names):
        return f"{_YELLOW}{word}{_RESET}"
    if predicted == gold:
        return f"{_GREEN}{word}{'' if gold == 0 else f'[{names[gold]}]'}{_RESET}"
    return f"{_RED}{word}[{names[predicted]}, gold {names[gold]}]{_RESET}"


def _token(tokenizer: TextTokenizer, predicted: int, gold: int, masked: str) -> tuple[bool, str]:
    spaced, right = spell(tokenizer, gold)
    if predicted >= tokenizer.size:
        return spaced, f"{_YELLOW}{masked}{_RESET}"
    if predicted == gold:
        return spaced, f"{_GREEN}{right}{_RESET}"
    return spaced, f"{_RED}{spell(tokenizer, predicted)[1]}[gold {right}]{_RESET}"
