"""A critic without training: the expected reward of the policy at a step, as a sum over every choice."""

from __future__ import annotations

import torch as th

from lm_gym.agents.algorithms.all_choices import TextRewards, log_expectation
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.model.packed import AtCursors
from lm_gym.agents.model.text_encoder import TensorObservation


class ExactCritic:
    """Compute log E_π[R] at the current step of each text, for rewards that give the reward of every choice.

    R = exp(r) if the reward is the logarithm of a likelihood, else R = r, which is never negative.

    Args:
        texts: the environments, with `unit="token"`.
    """

    def __init__(self, texts: TextEnvironments) -> None:
        self._texts = texts

    def __call__(self, policy: AtCursors, obs: TensorObservation) -> th.Tensor:
        """Compute the values float32 [B, 1] of the last observation of the environments."""
        cursor, device = obs["cursor"].long().flatten(), policy.log_probs.device
        rows = th.empty(len(policy.log_probs), dtype=th.int64, device=device)
        rows[policy.steps] = th.arange(len(cursor), device=device)  # a row for each distinct position
        rewards = TextRewards.of(self._texts).at(rows, cursor[rows])
        logarithms = rewards if self._texts.first.reward.log_scale else rewards.logarithms()
        return policy.unpack(log_expectation(policy.log_probs, logarithms)[1])[:, None]
