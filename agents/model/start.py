"""The properties of a policy at the start of training on which default settings depend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lm_gym.agents.model.heads import Head

Weights = Literal["random", "fresh head", "trained"]


@dataclass(frozen=True)
class Start:
    """The model of a policy before any update.

    Attributes:
        head: kind of the head, see `LMPolicy`.
        weights: `"random"`: a configuration without a checkpoint. `"fresh head"`: a checkpoint that lacks a part of the
            head (for labels, the row of at least one label). `"trained"`: a checkpoint with the whole head; a head of
            labels was then trained on this task or on one with the same labels.
        hidden_size: H, width of the encoder's states.
    """

    head: Head
    weights: Weights
    hidden_size: int

    def __str__(self) -> str:
        head = "vocabulary head" if self.head == "vocabulary" else "head of labels"
        weights = {"random": "random weights", "fresh head": "fresh", "trained": "trained"}
        return f"{head}, {weights[self.weights]}, hidden size {self.hidden_size}"
