"""The search space of the head."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.search.spaces.parameters import ParameterSpace, acting_parameters
from lm_gym.bounds import PositiveFloat


class Head(ParameterSpace):
    """Everything above the encoder: a classifier, or a masked LM's head without a tied output matrix.

    Texts are encoded once for all members. With step size 1, logits move by about 1.

    Args:
        policy: an LMPolicy, or an SB3 policy (its `action_net`).
        scale: see ParameterSpace.
    """

    rows_on_cpu: ClassVar[int] = 512  # a member costs so little that the overhead of a call counts

    def __init__(self, policy: nn.Module, *, scale: PositiveFloat = 1.0) -> None:
        parameters = acting_parameters(policy)
        if isinstance(policy, LMPolicy):
            encoder = {id(p) for p in policy.network.base_model.parameters()}
            head = {name: p for name, p in parameters.items() if id(p) not in encoder}
        else:
            head = {name: p for name, p in parameters.items() if name.startswith("action_net")}
        super().__init__(policy, head, scale)
        self.check_batching()
