"""AdamW with a multiple of the scheduled learning rate for each parameter group."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch as th
from torch import nn


class GroupedAdamW(th.optim.AdamW):
    """AdamW (arXiv 1711.05101) whose groups may have an `lr_scale`; a step uses lr · lr_scale.

    Stable-Baselines3's schedules write the same learning rate to every group. The scale lets a fresh head learn faster
    than a pretrained encoder.
    """

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take an optimisation step."""
        rates = [group["lr"] for group in self.param_groups]
        for group in self.param_groups:
            group["lr"] = group["lr"] * group.get("lr_scale", 1.0)
        try:
            return super().step(closure)
        finally:
            for group, rate in zip(self.param_groups, rates, strict=True):
                group["lr"] = rate


def parameter_groups(
    encoder: nn.Module,
    heads: Iterable[nn.Module | nn.Parameter],
    *,
    head_lr_scale: float,
    weight_decay: float,
) -> list[dict[str, Any]]:
    """Return groups for GroupedAdamW: only matrices decay, and heads learn `head_lr_scale` times faster.

    Args:
        encoder: the whole network; parameters of `heads` are excluded from its groups.
        heads: newly initialised modules or parameters.
        head_lr_scale: learning rate of the heads as a multiple of the encoder's.
        weight_decay: weight decay of the matrices; vectors (biases, LayerNorm) do not decay.
    """
    fresh: dict[int, nn.Parameter] = {}
    for head in heads:
        parameters = [head] if isinstance(head, nn.Parameter) else list(head.parameters())
        fresh |= {id(p): p for p in parameters if p.requires_grad}
    pretrained = [p for p in encoder.parameters() if p.requires_grad and id(p) not in fresh]
    groups = []
    for parameters, scale in ((pretrained, 1.0), (list(fresh.values()), head_lr_scale)):
        for decays in (True, False):
            members = [p for p in parameters if (p.dim() > 1) == decays]
            if members:
                groups.append({"params": members, "lr_scale": scale, "weight_decay": weight_decay if decays else 0.0})
    return groups
