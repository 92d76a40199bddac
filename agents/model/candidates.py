"""Heads that choose among candidates in the text: a pointer at their markers, or two towers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lm_gym.agents.model.heads import Head
from lm_gym.agents.model.pointer import Pointer
from lm_gym.agents.model.towers import Towers

Candidates = Pointer | Towers
CANDIDATE_HEADS: dict[Head, type[Candidates]] = {"pointer": Pointer, "similarity": Towers}
_OF_THE_DATA = ("choices", "longest")


def find_candidates(config: Any, head: Head, pointer: Mapping[str, Any], choices: int) -> Candidates:
    """Return how a policy finds the candidates in a text, and store it in the model's configuration.

    Args:
        config: configuration of the model.
        head: a key of `CANDIDATE_HEADS`.
        pointer: the attributes of `Pointer` or `Towers`, from `policy_arguments` of the task.
        choices: n.

    Raises:
        ValueError: the checkpoint was trained with other attributes.
    """
    given: dict[str, Any] = {}
    for name, value in pointer.items():
        given[name] = tuple(value) if isinstance(value, list) else value
    made = CANDIDATE_HEADS[head](**given, choices=choices)
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(made).items()}
    plain = {name: value for name, value in plain.items() if name not in _OF_THE_DATA}
    stored = getattr(config, "pointer", None)
    if stored is not None and stored != plain:
        raise ValueError(
            f"the model was trained with pointer={stored}, but this environment has {plain}: make it with the same "
            "tokenizer, head, marker, abstain and similarity"
        )
    config.pointer = plain
    return made
