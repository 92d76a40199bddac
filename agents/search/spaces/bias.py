"""The search space of biases (BitFit)."""

from __future__ import annotations

from torch import nn

from lm_gym.agents.search.spaces.parameters import ParameterSpace, acting_parameters
from lm_gym.bounds import PositiveFloat


class Bias(ParameterSpace):
    """All biases of linear layers, layer norms and the head (BitFit, Ben Zaken et al. 2022).

    With step size 1, biases move by 0.1, about their own size in a pretrained encoder.

    Args:
        policy: an LMPolicy, or any SB3 policy.
        scale: see ParameterSpace.
    """

    def __init__(self, policy: nn.Module, *, scale: PositiveFloat = 0.1) -> None:
        named = acting_parameters(policy).items()
        super().__init__(policy, {name: p for name, p in named if name.rpartition(".")[2] == "bias"}, scale)
        self.check_batching()
