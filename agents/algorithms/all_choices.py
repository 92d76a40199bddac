"""The estimators of `estimators` with every choice instead of samples, for exact expectations under the policy.

If a separable reward gives the reward of every choice (`lm_gym.rewards.ChoiceRewards`), E_π[r] and log E_π[R] are sums
over the logits, which the forward pass computes anyway. The gradient has the same form as that of samples, Σ_a c_a ∇
log π(a), with one coefficient for each of the n choices (all-action policy gradient: Sutton et al. 2001; Asadi et al.,
arXiv 1709.00503).

If all wrong choices have the same reward, both expectations depend only on the probability of the gold choice, and an
update costs as much as a cross-entropy update.

Shapes: Q positions, n choices.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch as th
from numpy.typing import NDArray

from lm_gym.agents.algorithms.estimators import Advantage
from lm_gym.agents.algorithms.text_environments import TextEnvironments

_SMALL = 1e-6  # added to standard deviations


class AllRewards(NamedTuple):
    """The rewards of every choice at Q positions.

    Attributes:
        targets: int64 [Q], the gold choices.
        gold: float32 [Q], their rewards.
        others: float32, the reward of each choice if it is not gold; [n], [Q, 1] or [Q, n].
    """

    targets: th.Tensor
    gold: th.Tensor
    others: th.Tensor

    def logarithms(self) -> AllRewards:
        """Take the logarithm of each reward; that of 0 is -inf."""
        return AllRewards(self.targets, self.gold.log(), self.others.log())

    def of(self, actions: th.Tensor) -> th.Tensor:
        """Get the rewards of the choices `actions` [Q], float32 [Q]."""
        others = self.others.expand(len(actions), -1)
        if others.shape[1] > 1:
            others = others.gather(1, actions[:, None])
        return th.where(actions == self.targets, self.gold, others.squeeze(1))

    def dense(self, choices: th.Tensor) -> th.Tensor:
        """Add the rewards to `choices` [Q, n], in place."""
        gold = choices.gather(1, self.targets[:, None]) + self.gold[:, None]
        return choices.add_(self.others).scatter_(1, self.targets[:, None], gold)


class TextRewards(NamedTuple):
    """A snapshot of the rewards of every choice at every position of the current texts.

    Attributes:
        targets: int64 [N, T], gold choices.
        gold, others: see `lm_gym.rewards.ChoiceRewards`.
    """

    targets: NDArray[np.int64]
    gold: NDArray[np.float32]
    others: NDArray[np.float32]

    @classmethod
    def of(cls, texts: TextEnvironments) -> TextRewards:
        """Get the rewards of the current texts of environments."""
        return cls(texts.targets, *texts.choice_rewards())

    def at(self, rows: th.Tensor, slots: th.Tensor) -> AllRewards:
        """Get the rewards at the positions (rows[q], slots[q]), int64 [Q] each."""
        targets, gold, others = (th.as_tensor(array, device=rows.device) for array in self)
        return AllRewards(targets[rows, slots], gold[rows, slots], others[rows, slots] if others.ndim == 3 else others)


def gold_log_expectation(gold_log_probs: th.Tensor, log_rewards: AllRewards) -> tuple[th.Tensor, th.Tensor]:
    """Compute log E_π[R] and its derivative with respect to log π of the gold choice, if all others are paid the same.

    E[R] = π R + (1 − π) R', with R the reward of the gold choice and R' that of the others, so that the derivative is
    π (R − R') / E[R] = 1 − R' / E[R].

    Args:
        gold_log_probs: log π of the gold choices, float32 [Q].
        log_rewards: logarithms of the rewards, with `others` [Q, 1].

    Returns:
        log E[R] and the derivative, [Q] each; -inf and 0 if no choice is paid.
    """
    others = log_rewards.others.squeeze(1)
    wrong = th.log1p(-gold_log_probs.exp().clamp(max=1.0))
    expected = th.logaddexp(others + wrong, log_rewards.gold + gold_log_probs)
    return expected, th.where(expected == float("-inf"), 0.0, 1.0 - (others - expected).exp())


def gold_expectation(
    gold_log_probs: th.Tensor, rewards: AllRewards, advantage: Advantage
) -> tuple[th.Tensor, th.Tensor]:
    """Compute E_π[r] and its derivative, if all wrong choices are paid the same; see `gold_log_expectation`.

    E[r] = r' + π (r − r'), and the variance of r is π (1 − π) (r − r')². `advantage` divides as in `expectation`.
    """
    others, probs = rewards.others.squeeze(1), gold_log_probs.exp().clamp(max=1.0)
    gain = rewards.gold - others
    expected, slope = others + probs * gain, probs * gain
    variance = slope * (1.0 - probs) * gain
    if advantage == "group_normalized":
        slope = slope / (variance.sqrt() + _SMALL)
    if advantage == "normalized":  # the variance of the batch is the variance within positions plus that of their means
        slope = slope / ((variance.mean() + expected.var(correction=0)).sqrt() + _SMALL)
    return expected, slope


def log_expectation(log_probs: th.Tensor, log_rewards: AllRewards) -> tuple[th.Tensor, th.Tensor]:
    """Compute log E_π[R] and its coefficients, for rewards R ≥ 0 given by their logarithms.

    c_a = π_a R_a / E[R], the posterior of the choice given that it is paid (subtracting π_a, as
    `estimators.coefficients` does, changes nothing: Σ_a π_a ∇ log π_a = 0).

    Returns:
        c, float32 [Q, n], and log E[R], [Q]; 0 and -inf if no choice is paid.
    """
    c = log_rewards.dense(log_probs.detach().clone())
    largest = c.amax(-1, keepdim=True)
    c.sub_(largest.clamp(min=th.finfo(c.dtype).min)).exp_()
    total = c.sum(-1, keepdim=True)
    c.div_(total.clamp(min=th.finfo(c.dtype).tiny))
    return c, (largest + total.log()).squeeze(-1)


def expectation(log_probs: th.Tensor, rewards: AllRewards, advantage: Advantage) -> tuple[th.Tensor, th.Tensor]:
    """Compute E_π[r] and its coefficients c_a = π_a r_a, for rewards of any sign.

    With `normalized` and `group_normalized` they are divided by the standard deviation of r under π, of the batch and
    of each position.

    Returns:
        c, float32 [Q, n], and E[r], [Q].
    """
    probs = log_probs.detach().exp()
    gold_prob = probs.gather(1, rewards.targets[:, None])
    c = probs.mul_(rewards.others).scatter_(1, rewards.targets[:, None], gold_prob * rewards.gold[:, None])
    expected = c.sum(-1)
    if advantage in ("normalized", "group_normalized"):
        square = (c * rewards.others).sum(-1)
        gold = rewards.targets[:, None]
        others = rewards.others.expand_as(c).gather(1, gold)
        square += (c.gather(1, gold) * (rewards.gold[:, None] - others)).squeeze(1)
        if advantage == "normalized":
            square, centre = square.mean(), expected.mean()
        else:
            centre = expected
        c.div_(((square - centre**2).clamp(min=0).sqrt() + _SMALL).reshape(-1, 1))
    return c, expected


class _GivenGradient(th.autograd.Function):
    """A number with a given gradient with respect to log_probs [Q, n] or [Q], the only array that is kept."""

    @staticmethod
    def forward(ctx: Any, log_probs: th.Tensor, value: th.Tensor, gradient: th.Tensor) -> th.Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad_output: th.Tensor) -> tuple[th.Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad_output, None, None


def all_choices_loss(
    log_probs: th.Tensor, rewards: AllRewards, advantage: Advantage, log_scale: bool
) -> tuple[th.Tensor, th.Tensor]:
    """Compute the loss: minus the objective of `advantage`, averaged over positions.

    Args:
        log_probs: log π, float32 [Q, n]; -inf forbids a choice.
        rewards: of every choice; logarithms if `log_scale`.
        advantage: `maximum_likelihood` maximises log E[R], the others E[r] up to a scale.
        log_scale: R = exp(r); else R = r, never negative.

    Returns:
        the loss, differentiable; and its value at each position, [Q], without a gradient.
    """
    logarithms = rewards if log_scale or advantage != "maximum_likelihood" else rewards.logarithms()
    if rewards.others.ndim == 2 and rewards.others.shape[1] == 1:
        climbed_by = log_probs.gather(1, rewards.targets[:, None]).squeeze(1)
        known = climbed_by.detach()
        if advantage == "maximum_likelihood":
            climbed, c = gold_log_expectation(known, logarithms)
        else:
            climbed, c = gold_expectation(known, rewards, advantage)
    else:
        climbed_by = log_probs
        if advantage == "maximum_likelihood":
            c, climbed = log_expectation(log_probs, logarithms)
        else:
            c, climbed = expectation(log_probs, rewards, advantage)
    climbed = climbed.masked_fill(climbed == float("-inf"), 0.0)  # without any reward there is no gradient
    loss: th.Tensor = _GivenGradient.apply(  # type: ignore[no-untyped-call]
        climbed_by, -climbed.mean(), c.div_(-len(c))
    )
    return loss, climbed
