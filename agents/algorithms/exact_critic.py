"""A critic that need not be learned: what the policy expects to be paid at a step, summed over every choice."""

from __future__ import annotations

import torch as th

from lm_gym.agents.algorithms.all_choices import TextRewards, expectation, log_expectation
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.model.packed import AtCursors
from lm_gym.agents.model.text_encoder import TensorObservation


class ExactCritic:
    """The value of the steps that texts stand at (γ = 0), for rewards that tell what every choice pays.

    Args:
        texts: the environments that are played, `unit="token"`.
        likelihood: give log E_π[R] for R = exp(r) if the reward is a logarithm, else R = r; and not E_π[r].
    """

    def __init__(self, texts: TextEnvironments, likelihood: bool) -> None:
        self._texts, self._likelihood = texts, likelihood

    def __call__(self, policy: AtCursors, obs: TensorObservation) -> th.Tensor:
        """Values float32 [B, 1] of the observation that the environments have just given."""
        cursor, device = obs["cursor"].long().flatten(), policy.log_probs.device
        rows = th.empty(len(policy.log_probs), dtype=th.int64, device=device)
        rows[policy.steps] = th.arange(len(cursor), device=device)  # a row for each distinct position
        rewards = TextRewards.of(self._texts).at(rows, cursor[rows])
        if not self._likelihood:
            return policy.unpack(expectation(policy.log_probs, rewards, "plain")[1])[:, None]
        logarithms = rewards if self._texts.first.reward.log_scale else rewards.logarithms()
        return policy.unpack(log_expectation(policy.log_probs, logarithms)[1])[:, None]
