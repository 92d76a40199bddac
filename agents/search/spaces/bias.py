"""The biases alone (BitFit)."""

from __future__ import annotations

from torch import nn

from lm_gym.agents.search.spaces.parameters import ParameterSpace, acting_parameters
from lm_gym.bounds import PositiveFloat


class Bias(ParameterSpace):
    """Every bias: of linear layers, of layer norms, of the head (BitFit, Ben Zaken et al. 2022).

    Scale: with step size 1, biases move by 0.1, about their own size in a pretrained encoder.

    Args:
        policy: an LMPolicy, or any SB3 policy.
        scale: see ParameterSpace.
    """

    def __init__(self, policy: nn.Module, *, scale: PositiveFloat = 0.1) -> None:
        named = acting_parameters(policy).items()
        super().__init__(policy, {name: p for name, p in named if name.rpartition(".")[2] == "bias"}, scale)
        self.check_batching()
