"""The supervised twin of REINFORCE: cross-entropy with the same environments, policy, batches and budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch as th
from gymnasium.vector import VectorEnv
from stable_baselines3.common.type_aliases import GymEnv
from torch.nn import functional

from lm_gym.agents.algorithms.gradient_algorithm import GradientAlgorithm, Update
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.text_encoder import TensorObservation
from lm_gym.bounds import NonNegativeFloat
from lm_gym.naming import check_choice


class Supervised(GradientAlgorithm):
    """Minimise −mean log π(target) over the positions of a batch, using the labels that REINFORCE never sees.

    This is the reference for all other results. It plays its most probable choices in the environment, so that rewards
    and episode statistics have the same meaning as for other agents.

    Args:
        policy, env, gradient_algorithm: see GradientAlgorithm.
        weighting: `"position"` gives every position of the batch the same weight. `"text"` gives every text the same
            weight, as in masked diffusion, where m of L tokens are masked and each has the weight 1/t, t = m / L (Sahoo
            et al., arXiv 2406.07524; Nie et al., arXiv 2502.09992). `"auto"` takes the weighting of the task
            (`Task.weighting`).
    """

    family: ClassVar[str] = "supervised"

    def __init__(
        self,
        policy: str | type[LMPolicy] = "LMPolicy",
        env: GymEnv | VectorEnv[Any, Any, Any] | str | None = None,
        learning_rate: NonNegativeFloat | Literal["auto"] | Callable[[float], float] = "auto",
        *,
        weighting: Literal["auto", "position", "text"] = "auto",
        **gradient_algorithm: Any,
    ) -> None:
        self.weighting = check_choice("weighting", weighting, ("auto", "position", "text"))
        super().__init__(policy, env, learning_rate, **gradient_algorithm)

    def _update(self, obs: TensorObservation, texts: TextEnvironments) -> Update:
        packed = self.sharing.positions(self.policy, obs)
        targets = packed.pick(texts.targets)
        weighting = texts.first.task.weighting if self.weighting == "auto" else self.weighting
        if weighting == "text":
            losses = functional.nll_loss(packed.log_probs, targets, reduction="none")
            loss = packed.mean(losses).mean()
        else:
            loss = functional.nll_loss(packed.log_probs, targets)
        choices = packed.log_probs.detach().argmax(-1)
        actions = th.zeros_like(obs["positions"])
        actions[packed.rows, packed.slots] = choices
        return Update(
            loss=loss,
            actions=actions.cpu().numpy(),
            timesteps=len(choices),
            logs={"train/accuracy": (choices == targets).float().mean()},
        )
