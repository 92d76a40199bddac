"""What a policy says at the positions of a batch, padding left out, and choices drawn from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch as th
from numpy.typing import NDArray


@dataclass(frozen=True)
class Packed:
    """The policy at all Q positions of whole texts, padding left out.

    Attributes:
        log_probs: float32 [Q, n], log of the policy at each position.
        hidden: [Q, H], the encoder's states there.
        rows: int64 [Q], the text of each position.
        slots: int64 [Q], its place among the text's positions (0 … T-1).
        shape: (B, T), the size of a batch of actions.
        waits: whether the last of the n choices leaves a position open.
    """

    log_probs: th.Tensor
    hidden: th.Tensor
    rows: th.Tensor
    slots: th.Tensor
    shape: tuple[int, int]
    waits: bool = False

    def choose(self, deterministic: bool) -> th.Tensor:
        """Actions [B, T], the most probable or drawn; 0 where padded."""
        return self.unpack(self.most_probable() if deterministic else _draw(self.log_probs))

    def most_probable(self) -> th.Tensor:
        """The most probable choice at each position, int64 [Q].

        Where positions may wait, those more likely to be filled than not are, with their most probable token, and in
        each text the one that is likeliest to be filled, so that every step decides something.
        """
        if not self.waits:
            return self.log_probs.argmax(-1)
        wait = self.log_probs[:, -1]
        least = wait.new_zeros(self.shape[0]).scatter_reduce(0, self.rows, wait, "amin")
        filled = (wait <= -math.log(2)) | (wait <= least[self.rows])
        return th.where(filled, self.log_probs[:, :-1].argmax(-1), self.log_probs.shape[1] - 1)

    def of_tokens(self) -> th.Tensor:
        """Log of the policy at positions that do not wait, float32 [Q, n]."""
        return th.log_softmax(self.log_probs[:, :-1], -1) if self.waits else self.log_probs

    def log_prob(self, actions: th.Tensor) -> th.Tensor:
        """Log-probabilities [B] of actions [B, T]: the sum over a text's positions."""
        return self.total(self.log_probs.gather(1, self.pick(actions)[:, None]).squeeze(1))

    def unpack(self, values: th.Tensor) -> th.Tensor:
        """Values [Q, …] in the places of actions, [B, T, …]; 0 where padded."""
        out = values.new_zeros((*self.shape, *values.shape[1:]))
        out[self.rows, self.slots] = values
        return out

    def pick(self, values: th.Tensor | NDArray[Any]) -> th.Tensor:
        """Of values [B, T, …] those at the positions, [Q, …]."""
        return th.as_tensor(values, device=self.log_probs.device)[self.rows, self.slots]

    def total(self, values: th.Tensor) -> th.Tensor:
        """Values [Q] summed over each text's positions, [B]."""
        return values.new_zeros(self.shape[0]).index_add(0, self.rows, values)

    def mean(self, values: th.Tensor) -> th.Tensor:
        """Values [Q] averaged over each text's positions, [B]; 0 where a text has none."""
        return self.total(values) / self.total(th.ones_like(values)).clamp(min=1)

    def restricted(self, action_masks: Any) -> Packed:
        """The policy among the choices that action_masks [B, T · n] allow; None allows all."""
        if action_masks is None:
            return self
        masks = th.as_tensor(action_masks, device=self.log_probs.device).bool()
        allowed = self.pick(masks.view(*self.shape, -1))
        return replace(self, log_probs=th.log_softmax(self.log_probs.masked_fill(~allowed, float("-inf")), -1))


@dataclass(frozen=True)
class AtCursors:
    """The policy where each of B rows decides one position; rows that decide the same position of a text share it.

    Attributes:
        log_probs: float32 [Q, n], log of the policy at each distinct position.
        hidden: [Q, H], the encoder's states there.
        steps: int64 [B], which of the Q positions is each row's.
    """

    log_probs: th.Tensor
    hidden: th.Tensor
    steps: th.Tensor

    def choose(self, deterministic: bool) -> th.Tensor:
        """Actions [B], the most probable or drawn, each row's independently."""
        if deterministic:
            return self.unpack(self.log_probs.argmax(-1))
        counts = th.bincount(self.steps, minlength=len(self.log_probs))
        drawn = _draw(self.log_probs, int(counts.max()))  # [Q, most rows of a position]
        order = self.steps.argsort(stable=True)
        number = th.empty_like(self.steps)  # of a row among those of its position
        begin = (counts.cumsum(0) - counts)[self.steps[order]]
        number[order] = th.arange(len(self.steps), device=self.steps.device) - begin
        return drawn[self.steps, number]

    def log_prob(self, actions: th.Tensor) -> th.Tensor:
        """Log-probabilities [B] of actions [B]."""
        return self.log_probs[self.steps, actions.flatten()]

    def unpack(self, values: th.Tensor) -> th.Tensor:
        """Values [Q, …] row by row, [B, …]."""
        return values[self.steps]

    total = mean = unpack  # of one position


def _draw(log_probs: th.Tensor, times: int | None = None) -> th.Tensor:
    """Choices [Q] drawn at each position, or `times` of them, [Q, times]."""
    if times is None:
        return th.multinomial(log_probs.exp(), 1).squeeze(1)
    return th.multinomial(log_probs.exp(), times, replacement=True)


def entropy(log_probs: th.Tensor) -> th.Tensor:
    """Entropy in nats of each row of log-probabilities [Q, n] → [Q]; forbidden choices (-inf) count nothing."""
    probs = log_probs.exp()
    return -(probs * log_probs.masked_fill(probs == 0, 0.0)).sum(-1)
