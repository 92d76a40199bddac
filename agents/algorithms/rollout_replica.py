"""Copies of an agent in other processes, which draw its rollouts."""

from __future__ import annotations

from dataclasses import dataclass

import safetensors.torch

from lm_gym.agents.algorithms.episodic import EpisodicREINFORCE
from lm_gym.agents.algorithms.older_weights import Weights, load_weights
from lm_gym.agents.algorithms.rollouts import EpisodeRollout, TextRollout
from lm_gym.agents.algorithms.workers import AgentReplica


@dataclass(frozen=True)
class RolloutOrder:
    """A rollout to draw. The replica reads the texts of the batch itself.

    Attributes:
        update: number of the update that learns from it; with the seed, it determines the samples.
        draws: number of texts drawn before those of the batch; it determines their indices.
    """

    update: int
    draws: int


class RolloutReplica(AgentReplica[EpisodicREINFORCE]):
    """A replica of an agent that samples and never learns: its weights are those that it is given."""

    def load(self, weights: bytes) -> None:
        """Replace the weights."""
        load_weights(self.agent.policy, safetensors.torch.load(weights))

    def roll_out(self, order: RolloutOrder) -> TextRollout | EpisodeRollout:
        """Draw a rollout."""
        if self.agent.decides_at_once:
            self.agent.read(order.draws)
        return self.agent.roll_out(self.agent.policy, order.update)


def as_bytes(weights: Weights) -> bytes:
    """Return weights as a message."""
    return safetensors.torch.save({name: value.contiguous() for name, value in weights.items()})
