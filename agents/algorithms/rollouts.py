"""What an update learns from, and where it is drawn: from the policy itself, or from an older copy of it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy

from lm_gym.agents.algorithms.behaviours import Samples
from lm_gym.agents.algorithms.older_weights import load_weights
from lm_gym.agents.algorithms.trajectories import Trajectories
from lm_gym.agents.model.devices import upload
from lm_gym.agents.model.packed import Packed

if TYPE_CHECKING:
    from lm_gym.agents.algorithms.episodic import EpisodicREINFORCE


@dataclass(frozen=True)
class TextRollout:
    """K samples at the Q positions of a batch of whole texts, and their rewards.

    The texts are those that the learner reads itself: they depend on the number of texts drawn only.

    Attributes:
        actions: int64 [K, Q].
        log_probs: log π_old of the actions, for the policy that drew them, float32 [K, Q].
        weights: ω [K, Q], with which they estimate expectations of that policy.
        rewards: float32 [K, Q].
        independent: False if the K choices of a position were drawn without replacement.
        encoded: number of texts sent through the model.
    """

    actions: NDArray[np.int64]
    log_probs: NDArray[np.float32]
    weights: NDArray[np.float32]
    rewards: NDArray[np.float32]
    independent: bool
    encoded: int

    @staticmethod
    def of(drawn: Samples, rewards: th.Tensor, encoded: int) -> TextRollout:
        """Create a rollout from samples with gradients or without, and their rewards [K, Q], on any device."""
        found = (drawn.actions, drawn.log_probs, drawn.weights, rewards)
        actions, log_probs, weights, paid = (value.detach().cpu().numpy() for value in found)
        return TextRollout(actions, log_probs, weights, paid, drawn.independent, encoded)

    def samples(self, packed: Packed) -> Samples:
        """Return the samples with the log-probabilities of another policy at the same positions."""
        device = packed.log_probs.device
        actions = upload(self.actions, device)
        log_probs = packed.log_probs.gather(1, actions.T).T
        return Samples(actions, log_probs, upload(self.weights, device), self.independent)


@dataclass(frozen=True)
class EpisodeRollout:
    """Whole episodes of an older policy.

    Attributes:
        episodes: the episodes.
        log_probs: log π_old of their S actions, float32 [S], computed like those of the learner, with its dropout.
        infos: the infos of each step of the environment, and its running rows, bool [N], for callbacks.
        encoded: number of texts sent through the model to compute `log_probs`.
    """

    episodes: Trajectories
    log_probs: NDArray[np.float32]
    infos: list[tuple[list[dict[str, Any]], NDArray[np.bool_]]]
    encoded: int

    def replayed(self, observe: Callable[[list[dict[str, Any]], NDArray[np.bool_]], bool]) -> Trajectories | None:
        """Call `observe` for each step as if it was played now, and return the episodes; None if it stops them."""
        for infos, running in self.infos:
            if not observe(infos, running):
                return None
        return self.episodes


class Rollouts:
    """Rollouts are drawn in this process; base class of other ways."""

    _older: BasePolicy | None = None  # a copy of the policy, for older weights

    def begin(self, agent: EpisodicREINFORCE) -> None:
        """Prepare for an update.

        Raises:
            WorkerError: other processes cannot take part.
        """
        if not agent.on_policy:
            agent.history.record(agent.updates, agent.policy)

    def take(self, agent: EpisodicREINFORCE) -> TextRollout | EpisodeRollout | None:
        """Return the rollout for the current update; None if the policy draws it while it learns.

        Raises:
            WorkerError: other processes have failed.
        """
        if agent.on_policy:
            return None
        if self._older is None:
            without_moments = {id(agent.policy.optimizer): None}  # as if the optimizer was copied already, to nothing
            self._older = deepcopy(agent.policy, without_moments).requires_grad_(False)
        load_weights(self._older, agent.history.recorded[agent.history.version(agent.updates)])
        return agent.roll_out(self._older, agent.updates)

    def logs(self) -> dict[str, float]:
        """Return numbers to log."""
        return {}
