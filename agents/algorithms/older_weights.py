"""Weights of earlier updates, from which rollouts are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import torch as th
from torch import nn

Weights = dict[str, th.Tensor]


@dataclass(frozen=True)
class WeightHistory:
    """The weights of a policy before some of its updates, and which of them an update's rollout is drawn with.

    Weights are recorded before every update whose number is a multiple of `sync_every`. The rollout for an update uses
    the newest weights recorded at least `lag` updates before it, or the oldest recorded ones if none are that old. The
    choice depends on numbers of updates only, so it is the same in every process and in a resumed run.

    Attributes:
        lag: number of updates between the weights that draw a rollout and the update that learns from it, at least.
        sync_every: number of updates between two recorded weights.
        recorded: weights by the number of updates before them.
    """

    lag: int
    sync_every: int
    recorded: dict[int, Weights]

    def record(self, update: int, policy: nn.Module) -> None:
        """Record the weights before an update if they are due, and drop those that no later rollout uses.

        Update 0 is the first of a training that begins, so it drops everything recorded before.
        """
        if update == 0:
            self.recorded.clear()
        if update % self.sync_every == 0 or not self.recorded:
            self.recorded[update] = weights_of(policy)
        oldest = self.version(update)
        for version in [version for version in self.recorded if version < oldest]:
            del self.recorded[version]

    def version(self, update: int) -> int:
        """Return the number of updates before the weights with which the rollout for an update is drawn."""
        return max((v for v in self.recorded if v <= self._newest(update)), default=min(self.recorded))

    def known_until(self, update: int) -> int:
        """Return the last update whose rollout can be drawn before an update begins."""
        while self._newest(update + 1) <= max(self.recorded):
            update += 1
        return update

    def _newest(self, update: int) -> int:
        """Return the newest weights that may draw the rollout for an update, once they are recorded."""
        return (update - self.lag) // self.sync_every * self.sync_every


def weights_of(policy: nn.Module) -> Weights:
    """Return a copy of everything in a policy that training changes, by name: trained parameters, and buffers."""
    trained = {name: p for name, p in policy.named_parameters() if p.requires_grad}
    return {name: value.detach().clone() for name, value in (trained | dict(policy.named_buffers())).items()}


def load_weights(policy: nn.Module, weights: Weights) -> None:
    """Copy weights into a policy."""
    own = dict(policy.named_parameters()) | dict(policy.named_buffers())
    with th.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)
