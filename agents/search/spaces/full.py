"""The search spaces of the whole model, of parts by name, and of the last layers."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch

from torch import nn

from lm_gym.agents.model.layers import encoder_layers
from lm_gym.agents.search.spaces.parameters import ParameterSpace, acting_parameters
from lm_gym.agents.search.spaces.space import require_language_model
from lm_gym.bounds import PositiveFloat, PositiveInt


class Full(ParameterSpace):
    """All parameters, or those whose names match a pattern, such as `only=("*layer.3.*",)` for one layer.

    With step size 1, the noise is 5% of the size of every module's output.

    Args:
        policy: an LMPolicy, or any SB3 policy.
        only: glob patterns over parameter names; None for all.
        scale: see ParameterSpace.

    Raises:
        ValueError: a pattern matches nothing; see also ParameterSpace.
    """

    def __init__(self, policy: nn.Module, *, only: Sequence[str] | None = None, scale: PositiveFloat = 0.05) -> None:
        parameters = acting_parameters(policy)
        if only is not None:
            for pattern in only:
                if not any(fnmatch(name, pattern) for name in parameters):
                    first, *_, last = parameters
                    raise ValueError(
                        f"only={pattern!r} matches no free parameter; examples of names: {first!r}, {last!r}"
                    )
            parameters = {n: p for n, p in parameters.items() if any(fnmatch(n, pattern) for pattern in only)}
        super().__init__(policy, parameters, scale)
        self.check_batching()


class LastLayers(ParameterSpace):
    """The last k transformer layers and the head; lower layers run once for all members.

    Args:
        policy: an LMPolicy.
        k: number of layers, from 1 to all.
        scale: see ParameterSpace.

    Raises:
        TypeError: the policy is not an LMPolicy.
        ValueError: k is out of range, or the model has no list of layers.
    """

    def __init__(self, policy: nn.Module, *, k: PositiveInt = 1, scale: PositiveFloat = 0.05) -> None:
        policy = require_language_model(policy, "last_k_layers")
        layers = encoder_layers(policy.network)
        if not 1 <= k <= len(layers):
            raise ValueError(f"k={k}: the model has {len(layers)} layers, give 1 to {len(layers)}")
        chosen = {id(p) for layer in layers[-k:] for p in layer.parameters()}
        chosen |= {id(p) for p in policy.network.parameters()} - {id(p) for p in policy.network.base_model.parameters()}
        super().__init__(policy, {n: p for n, p in acting_parameters(policy).items() if id(p) in chosen}, scale)
        self.check_batching()
