"""The pointer head: a text holds its own choices, each before a marker, and logits are read at the markers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch as th

ABSENT = -1e4  # logit of a candidate that a text lacks; its probability is 0 in float32


@dataclass(frozen=True)
class Pointer:
    """Where the candidates of a text are read.

    Attributes:
        marker: id of the token behind each candidate.
        choices: n, the most candidates of a text.
        abstains: whether the last marker of a text is that of choice 0, which abstains, and candidates count from 1.
    """

    marker: int
    choices: int
    abstains: bool

    def columns(self, input_ids: th.Tensor, attention_mask: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Find the markers of texts; both arguments are [B, L].

        Returns:
            The column of each choice, int64 [B, n], 0 if the text lacks it; and which choices it has, bool [B, n].
        """
        marked = (input_ids == self.marker) & (attention_mask > 0)  # some models pad with the token that marks
        rows, found = marked.nonzero(as_tuple=True)
        choice = marked.cumsum(1)[rows, found] - 1
        if self.abstains:
            last = marked.sum(1)[rows] - 1
            choice = th.where(choice == last, 0, choice + 1)
        columns = found.new_zeros(len(input_ids), self.choices)
        columns[rows, choice] = found
        return columns, columns > 0


def read_candidates(output: th.Tensor, rows: th.Tensor, columns: th.Tensor, there: th.Tensor) -> th.Tensor:
    """Return the states [Q, n, H] of the candidates of the texts `rows` [Q]; zeros for candidates that a text lacks.

    Args:
        output: states of texts [B, L, H].
        rows: int64 [Q].
        columns: int64 [B, n], see `Pointer.columns`.
        there: bool [B, n].
    """
    states = output[rows[:, None], columns[rows]]
    return states.masked_fill(~there[rows][..., None], 0.0)


def pointer_logits(logits: th.Tensor, hidden: th.Tensor) -> th.Tensor:
    """Arrange logits by text, and give `ABSENT` to candidates that it lacks.

    Args:
        logits: the head's, one per state, [Q·n, 1]; or [p·Q·n, 1] if p members of a population share the states.
        hidden: states [Q, n, H] of `read_candidates`.
    """
    absent = (hidden == 0).all(-1)
    return logits.float().view(-1, *absent.shape).masked_fill(absent, ABSENT).flatten(0, 1)


def make_pointer(config: Any, pointer: Mapping[str, Any], choices: int) -> Pointer:
    """Return the pointer of a policy, and store it in the model's configuration.

    Args:
        config: of the model.
        pointer: `marker` and `abstains`, from `policy_arguments` of the task.
        choices: n.

    Raises:
        ValueError: the checkpoint was trained with another marker or with another meaning of its last one.
    """
    stored = getattr(config, "pointer", None)
    if stored is not None and stored != dict(pointer):
        raise ValueError(
            f"the model was trained with pointer={stored}, but this environment has {dict(pointer)}: make it with the "
            "same tokenizer, marker and abstain"
        )
    config.pointer = dict(pointer)
    return Pointer(pointer["marker"], choices, pointer["abstains"])
