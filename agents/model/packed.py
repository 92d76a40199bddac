"""What a policy says at the positions of a batch, padding left out, and choices drawn from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch as th
from numpy.typing import NDArray


@dataclass(frozen=True)
class Packed:
    """What the model says at the Q undecided or decided positions of a batch, padding left out.

    Attributes:
        log_probs: float32 [Q, n], log of the policy at each position.
        hidden: [Q, H], the encoder's states there.
        rows: int64 [Q], the text of each position.
        slots: int64 [Q], its place among the text's positions (0 … T-1).
        steps: int64 [B], of rows that decide one position each (`unit="token"`): which of the Q is theirs, where rows
            that decide the same position of the same text share it; rows and slots are then empty.
    """

    log_probs: th.Tensor
    hidden: th.Tensor
    rows: th.Tensor
    slots: th.Tensor
    steps: th.Tensor | None = None

    def pick(self, values: th.Tensor | NDArray[Any]) -> th.Tensor:
        """Of values [N, T, …] in the order of texts those at the positions, [Q, …]."""
        return th.as_tensor(values, device=self.log_probs.device)[self.rows, self.slots]


def entropy(log_probs: th.Tensor) -> th.Tensor:
    """Entropy in nats of each row of log-probabilities [Q, n] → [Q]; forbidden choices (-inf) count nothing."""
    probs = log_probs.exp()
    return -(probs * log_probs.masked_fill(probs == 0, 0.0)).sum(-1)


def choose(log_probs: th.Tensor, deterministic: bool, steps: th.Tensor | None = None) -> th.Tensor:
    """Choices [Q] at positions, or [B], drawn independently, where rows share the positions that `steps` [B] names."""
    if deterministic:
        best = log_probs.argmax(-1)
        return best if steps is None else best[steps]
    if steps is None:
        return th.multinomial(log_probs.exp(), 1).squeeze(1)
    counts = th.bincount(steps, minlength=len(log_probs))
    drawn = th.multinomial(log_probs.exp(), int(counts.max()), replacement=True)  # [Q, most rows of a position]
    order = steps.argsort(stable=True)
    number = th.empty_like(steps)  # of a row among those of its position
    number[order] = th.arange(len(steps), device=steps.device) - (counts.cumsum(0) - counts)[steps[order]]
    return drawn[steps, number]


def forbid(packed: Packed, action_masks: Any, num_choices: int) -> Packed:
    """The policy of whole texts among the choices that action_masks [B, T · n] allow; None allows all."""
    if action_masks is None:
        return packed
    masks = th.as_tensor(action_masks, device=packed.log_probs.device).bool()
    allowed = packed.pick(masks.view(len(masks), -1, num_choices))
    return replace(packed, log_probs=th.log_softmax(packed.log_probs.masked_fill(~allowed, float("-inf")), -1))
