"""The output of a policy at the positions of a batch, without padding, and choices drawn from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch as th
from numpy.typing import NDArray

from lm_gym.agents.model.devices import upload
from lm_gym.agents.model.finite import draw_choices


@dataclass(frozen=True)
class Packed:
    """The policy's output at all Q positions of whole texts, without padding.

    Attributes:
        log_probs: float32 [Q, n], log-probabilities at each position.
        hidden: [Q, H], the encoder's hidden states there; those of candidates if the text contains them.
        rows: int64 [Q], the text of each position.
        slots: int64 [Q], index among the positions of its text (0 … T-1).
        shape: (B, T), the shape of a batch of actions.
        filled: bool [Q], positions that have a token already, if the last of the n choices leaves a position open or
            opens it again; None if there is no such choice.
    """

    log_probs: th.Tensor
    hidden: th.Tensor
    rows: th.Tensor
    slots: th.Tensor
    shape: tuple[int, int]
    filled: th.Tensor | None = None

    def choose(self, deterministic: bool) -> th.Tensor:
        """Return actions [B, T], the most probable or sampled ones; 0 where padded."""
        return self.unpack(self.most_probable() if deterministic else _draw(self.log_probs))

    def most_probable(self) -> th.Tensor:
        """Return the most probable choice at each position, int64 [Q].

        If positions may wait, those that are more likely to be filled than not get their most probable token. So does
        the open position of each text that is most likely to be filled, so that every step decides something.
        """
        if self.filled is None:
            return self.log_probs.argmax(-1)
        wait = self.log_probs[:, -1]
        open_ = wait.masked_fill(self.filled, 0.0)
        least = wait.new_zeros(self.shape[0]).scatter_reduce(0, self.rows, open_, "amin")
        taken = (wait <= -math.log(2)) | ((wait <= least[self.rows]) & ~self.filled)
        return th.where(taken, self.log_probs[:, :-1].argmax(-1), self.log_probs.shape[1] - 1)

    def decided(self, lowest: float) -> th.Tensor:
        """Return log-probabilities [Q, n] whose largest is the most probable choice, also if that is to wait.

        Args:
            lowest: log-probability of waiting at positions that do not wait.
        """
        if self.filled is None:
            return self.log_probs
        waiting = (self.most_probable() == self.log_probs.shape[1] - 1)[:, None]
        tokens, wait = self.log_probs[:, :-1], self.log_probs[:, -1:]
        return th.cat([th.where(waiting, tokens.clamp(max=wait), tokens), wait.masked_fill(~waiting, lowest)], -1)

    def of_tokens(self) -> th.Tensor:
        """Return the log-probabilities at positions that do not wait, float32 [Q, n]."""
        return self.log_probs if self.filled is None else th.log_softmax(self.log_probs[:, :-1], -1)

    def log_prob(self, actions: th.Tensor) -> th.Tensor:
        """Return log-probabilities [B] of actions [B, T], summed over the positions of a text."""
        return self.total(self.log_probs.gather(1, self.pick(actions)[:, None]).squeeze(1))

    def unpack(self, values: th.Tensor) -> th.Tensor:
        """Arrange values [Q, …] like actions, [B, T, …]; 0 where padded."""
        out = values.new_zeros((*self.shape, *values.shape[1:]))
        out[self.rows, self.slots] = values
        return out

    def pick(self, values: th.Tensor | NDArray[Any]) -> th.Tensor:
        """Select the values [B, T, …] at positions, [Q, …]."""
        return upload(values, self.log_probs.device)[self.rows, self.slots]

    def total(self, values: th.Tensor) -> th.Tensor:
        """Sum values [Q] over the positions of each text, [B]."""
        return values.new_zeros(self.shape[0]).index_add(0, self.rows, values)

    def mean(self, values: th.Tensor) -> th.Tensor:
        """Average values [Q] over the positions of each text, [B]; 0 if a text has none."""
        return self.total(values) / self.total(th.ones_like(values)).clamp(min=1)

    def restricted(self, action_masks: Any) -> Packed:
        """Restrict the policy to the choices that action_masks [B, T · n] allow; None allows all."""
        if action_masks is None:
            return self
        masks = th.as_tensor(action_masks, device=self.log_probs.device).bool()
        allowed = self.pick(masks.view(*self.shape, -1))
        return replace(self, log_probs=th.log_softmax(self.log_probs.masked_fill(~allowed, float("-inf")), -1))


@dataclass(frozen=True)
class AtCursors:
    """The policy's output if each of B rows decides one position; rows at the same position of a text share it.

    Attributes:
        log_probs: float32 [Q, n], log-probabilities at each distinct position.
        hidden: [Q, H], the encoder's hidden states there.
        steps: int64 [B], index of each row's position among the Q positions.
    """

    log_probs: th.Tensor
    hidden: th.Tensor
    steps: th.Tensor

    def choose(self, deterministic: bool) -> th.Tensor:
        """Return actions [B], the most probable ones or independent samples."""
        if deterministic:
            return self.unpack(self.log_probs.argmax(-1))
        counts = th.bincount(self.steps, minlength=len(self.log_probs))
        drawn = _draw(self.log_probs, int(counts.max()))  # [Q, maximum number of rows at a position]
        order = self.steps.argsort(stable=True)
        number = th.empty_like(self.steps)  # index of a row among those at its position
        begin = (counts.cumsum(0) - counts)[self.steps[order]]
        number[order] = th.arange(len(self.steps), device=self.steps.device) - begin
        return drawn[self.steps, number]

    def choose_distinct(self, group_size: int) -> th.Tensor:
        """Return actions [B] that differ within each group of rows k·G … k·G + G - 1, which decide the same position.

        They are samples without replacement: the top G of log π + Gumbel noise.
        """
        log_probs = self.log_probs[self.steps[::group_size]]
        noisy = log_probs - th.empty_like(log_probs).exponential_().log()
        return noisy.topk(group_size, dim=-1).indices.flatten()

    def decided(self, lowest: float) -> th.Tensor:
        """See `Packed.decided`; no position waits."""
        return self.log_probs

    def log_prob(self, actions: th.Tensor) -> th.Tensor:
        """Return log-probabilities [B] of actions [B]."""
        return self.log_probs[self.steps, actions.flatten()]

    def unpack(self, values: th.Tensor) -> th.Tensor:
        """Arrange values [Q, …] by row, [B, …]."""
        return values[self.steps]

    total = mean = unpack  # a row has one position


def _draw(log_probs: th.Tensor, times: int | None = None) -> th.Tensor:
    """Sample choices [Q] at each position, or `times` choices, [Q, times]."""
    drawn = draw_choices(log_probs.exp(), times or 1)
    return drawn.squeeze(1) if times is None else drawn


_BLOCK = 2**20  # maximum number of probabilities computed at a time if they need no gradient


def draw_rows(log_probs: th.Tensor) -> th.Tensor:
    """Return a choice [Q] drawn at each position of log_probs [Q, n], one block of positions at a time."""
    return th.cat([_draw_by_inversion(block) for block in _blocks(log_probs)])


def _draw_by_inversion(log_probs: th.Tensor) -> th.Tensor:
    """Draw with one random number per position instead of n (Devroye 1986, section III.2)."""
    below = log_probs.exp().cumsum(-1)
    total = below[:, -1:]
    point = (total * th.rand_like(total)).minimum(th.nextafter(total, th.zeros_like(total)))  # never the total
    return th.searchsorted(below, point, right=True).squeeze(1)


@th.no_grad()
def mean_entropy(log_probs: th.Tensor) -> th.Tensor:
    """Return the mean of `entropy` without a gradient, one block of positions at a time."""
    return th.cat([entropy(block) for block in _blocks(log_probs)]).mean()


def _blocks(log_probs: th.Tensor) -> tuple[th.Tensor, ...]:
    return th.split(log_probs, max(1, _BLOCK // log_probs.shape[-1]))


def entropy(log_probs: th.Tensor) -> th.Tensor:
    """Return the entropy in nats of log-probabilities [Q, n] → [Q]; forbidden choices (-inf) contribute 0."""
    probs = log_probs.exp()
    return -(probs * log_probs.masked_fill(probs == 0, 0.0)).sum(-1)
