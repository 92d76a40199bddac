"""The supervised twin of REINFORCE: cross-entropy with the same environments, policy, batches and budget."""

from __future__ import annotations

from typing import ClassVar

import torch as th
from torch.nn import functional

from lm_gym.agents.algorithms.gradient_algorithm import GradientAlgorithm, Update
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.model.text_encoder import TensorObservation


class Supervised(GradientAlgorithm):
    """Minimise −mean log π(target) over the positions of a batch, using the labels that REINFORCE never sees.

    The row that every other result is read against. It plays its own most probable choices in the environment, so
    rewards and episode statistics mean the same as for any other agent. Arguments: see GradientAlgorithm.
    """

    family: ClassVar[str] = "supervised"

    def _update(self, obs: TensorObservation, texts: TextEnvironments) -> Update:
        packed = self.policy.positions(obs)
        targets = packed.pick(texts.targets)
        loss = functional.nll_loss(packed.log_probs, targets)
        choices = packed.log_probs.detach().argmax(-1)
        actions = th.zeros_like(obs["positions"])
        actions[packed.rows, packed.slots] = choices
        return Update(
            loss=loss,
            actions=actions.cpu().numpy(),
            timesteps=len(choices),
            logs={"train/accuracy": float((choices == targets).float().mean())},
        )
