"""A rollout buffer for steps that decide several positions each."""

from __future__ import annotations

from collections.abc import Generator

import torch as th
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples

_FLAT = ("actions", "values", "log_probs", "advantages", "returns")


class StepRolloutBuffer(DictRolloutBuffer):
    """A `DictRolloutBuffer` that shuffles with torch's generator, which agents key, instead of numpy's global one."""

    def get(  # type: ignore[override]  # as DictRolloutBuffer's
        self, batch_size: int | None = None
    ) -> Generator[DictRolloutBufferSamples, None, None]:
        """Yield minibatches of `batch_size` steps in random order; None gives one."""
        assert self.full, "the rollout is not complete"
        if not self.generator_ready:
            self.observations = {name: self.swap_and_flatten(leaf) for name, leaf in self.observations.items()}
            for name in _FLAT:
                setattr(self, name, self.swap_and_flatten(getattr(self, name)))
            self.generator_ready = True
        order = th.randperm(self.buffer_size * self.n_envs)
        for steps in th.split(order, batch_size or len(order)):
            yield self._get_samples(steps.numpy())
