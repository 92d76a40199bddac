"""LMPolicy and TextRolloutBuffer for sb3-contrib's MaskablePPO, which needs its own classes."""

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
    """`LMPolicy` with only the choices that `action_masks` [B, n] allow."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: NDArray[Any] | None = None,
    ) -> tuple[NDArray[Any], Any]:
        """Choose actions for an observation or a batch of observations."""
        self.set_training_mode(False)
        obs, vectorized = self.obs_to_tensor(observation)
        with th.no_grad():
            actions = self._predict(obs, deterministic, action_masks).cpu().numpy()
        return actions if vectorized else actions.squeeze(axis=0), state


class MaskableTextRolloutBuffer(TextRolloutBuffer, MaskableDictRolloutBuffer):  # type: ignore[misc]
    """`TextRolloutBuffer` with the mask of every step."""

    def add(self, *args: Any, action_masks: NDArray[Any] | None = None, **kwargs: Any) -> None:
        """Add one step of every row with its allowed choices [N, n]."""
        if action_masks is not None:
            self.masks.add(action_masks)
        super().add(*args, **kwargs)

    def get(  # type: ignore[override]  # its samples have one more field
        self, batch_size: int | None = None
    ) -> Generator[MaskableDictRolloutBufferSamples, None, None]:
        """Yield minibatches of whole texts (see `TextRolloutBuffer.get`)."""
        for samples in super().get(batch_size):
            masks: Any = samples.observations.pop("action_mask", None)  # None if nothing was forbidden
            yield MaskableDictRolloutBufferSamples(*samples, action_masks=masks)
