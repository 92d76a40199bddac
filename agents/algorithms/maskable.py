"""LMPolicy and TextRolloutBuffer for sb3-contrib's MaskablePPO, which asks for classes of its own."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch as th
from numpy.typing import NDArray
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer, MaskableDictRolloutBufferSamples
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

from lm_gym.agents.algorithms.text_buffer import TextRolloutBuffer
from lm_gym.agents.model.policy import LMPolicy


class MaskableLMPolicy(LMPolicy, MaskableActorCriticPolicy):  # type: ignore[misc]  # sb3-contrib is not typed
    """`LMPolicy` whose choices are limited to those that `action_masks` [B, n] allow."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: NDArray[Any] | None = None,
    ) -> tuple[NDArray[Any], Any]:
        """Actions for an observation, or for a batch of them."""
        self.set_training_mode(False)
        obs, vectorized = self.obs_to_tensor(observation)
        with th.no_grad():
            actions = self._predict(obs, deterministic, action_masks).cpu().numpy()
        return actions if vectorized else actions.squeeze(axis=0), state


class MaskableTextRolloutBuffer(TextRolloutBuffer, MaskableDictRolloutBuffer):  # type: ignore[misc]
    """`TextRolloutBuffer` with the mask of every step."""

    def add(self, *args: Any, action_masks: NDArray[Any] | None = None, **kwargs: Any) -> None:
        """One step of every row, and which choices were allowed in it, [N, n]."""
        if action_masks is not None:
            self.masks.add(action_masks)
        super().add(*args, **kwargs)

    def get(  # type: ignore[override]  # samples with one field more
        self, batch_size: int | None = None
    ) -> Generator[MaskableDictRolloutBufferSamples, None, None]:
        """Minibatches of whole texts (see `TextRolloutBuffer.get`)."""
        for samples in super().get(batch_size):
            masks: Any = samples.observations.pop("action_mask", None)  # None where nothing was forbidden
            yield MaskableDictRolloutBufferSamples(*samples, action_masks=masks)
