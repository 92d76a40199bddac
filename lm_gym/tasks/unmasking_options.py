"""The arguments of unmasking, with their checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lm_gym.bounds import NonNegativeFloat, PositiveFraction, PositiveInt, bounded
from lm_gym.naming import check_choice
from lm_gym.tasks.decoding_order import FIXED, SCORES
from lm_gym.tasks.rules import RULES


@bounded
@dataclass(frozen=True)
class UnmaskingOptions:
    """Arguments of unmasking.

    Args:
        order: `"left_to_right"` or `"random"` (drawn for each visit of a text); or by the policy's distributions
            (`actions="distribution"`), the most certain first: `"confidence"` by the largest probability, `"margin"` by
            its distance to the second largest, `"entropy"` by the lowest entropy; or `"learned"`: an action chooses a
            token for each position, or waits
        per_step: number of positions decided in a step (`unit="sequence"`); `None`: all of a text at once
        threshold: decide more than `per_step` positions if the policy is this certain: minimum probability or margin,
            or maximum entropy in nats
        block_size: decide blocks of this many positions, one block after another
        max_steps: maximum number of steps of an episode
        leave_open: whether positions that are open after `max_steps` stay masked; `False`: the last step decides them
        step_cost: cost of each step
        remask: whether an action may open a filled position again, by the choice n (`order="learned"`)
        remask_cost: cost of each position opened again
        mask_probability: fraction of a text's tokens that is masked, in (0, 1]; `"uniform"`: a number of tokens from 1
            to all, drawn for each visit of a text
        clues: whether the words named by a text's `clues` are never masked
        temperature: draw tokens from the policy's distributions (`actions="distribution"`) at this temperature; 0: take
            the most probable ones. `order="confidence"` then goes by the probability of the token drawn
        rule: the rule that a valid text obeys, for the reward `"rule"` and the metric `valid`: `"sudoku"`,
            `"arithmetic"`, or `"my_module:my_rule"` (see `lm_gym.tasks.rules`)

    Raises:
        ValueError: a value is unknown or out of range, or two values contradict each other.
    """

    order: Literal["left_to_right", "random", "confidence", "margin", "entropy", "learned"] = "left_to_right"
    per_step: PositiveInt | None = 1
    threshold: NonNegativeFloat | None = None
    block_size: PositiveInt | None = None
    max_steps: PositiveInt | None = None
    leave_open: bool = False
    step_cost: NonNegativeFloat = 0.0
    remask: bool = False
    remask_cost: NonNegativeFloat = 0.0
    mask_probability: PositiveFraction | Literal["uniform"] = 1.0
    clues: bool = True
    temperature: NonNegativeFloat = 0.0
    rule: str | None = None

    def __post_init__(self) -> None:
        check_choice("order", self.order, (*FIXED, *SCORES, "learned"))
        if self.threshold is not None and (self.order not in SCORES or self.per_step is None):
            raise ValueError(
                f"threshold={self.threshold} needs a per_step and an order by the policy's distributions: use order="
                f"'confidence', 'margin' or 'entropy', not {self.order!r}"
            )
        if self.order == "learned" and self.per_step != 1:
            raise ValueError(
                f"per_step={self.per_step}: with order='learned' the action decides how many; leave it at 1"
            )
        if self.order == "learned" and self.max_steps is None:
            raise ValueError(
                "order='learned' allows actions that decide nothing, so episodes need an end: give max_steps"
            )
        if self.order == "learned" and self.leave_open:
            raise ValueError("leave_open=True: with order='learned' the action decides what stays open; leave it out")
        if self.remask and (self.order != "learned" or self.block_size is not None):
            raise ValueError(
                "remask=True needs order='learned', whose actions decide what is opened, and no block_size"
            )
        if self.remask_cost and not self.remask:
            raise ValueError(
                f"remask_cost={self.remask_cost} needs remask=True: it is the price of opening a position again"
            )
        if self.rule is not None:
            RULES.find(self.rule)
        if self.leave_open and self.max_steps is None:
            raise ValueError("leave_open=True keeps positions that are open after max_steps: give max_steps")
        if self.per_step is None and (self.max_steps is not None or self.step_cost or self.block_size is not None):
            raise ValueError("per_step=None decides a text in one step: leave max_steps, step_cost and block_size out")
