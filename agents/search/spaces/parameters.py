"""Search spaces whose vectors are parameters of the policy, measured from where the search began."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch as th
from torch import nn
from transformers.pytorch_utils import Conv1D

from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.search.population.changes import Members
from lm_gym.agents.search.population.forward import PopulationForward
from lm_gym.agents.search.population.population import Block, Domain, Population
from lm_gym.agents.search.spaces.space import SearchSpace


class ParameterSpace(SearchSpace):
    """Some of a policy's parameters: θ = θ0 + scale · unit · v, with v = 0 where the search begins.

    The unit of a parameter is the step that changes the output of its own module by about its own size, for inputs of
    order one: 1/√(inputs) for a matrix, 1/√(columns) for embeddings, 1 for biases and layer norms. So one step size
    suits all of them and models of any width.

    θ0 is copied when the first vector is written, and not at all for optimizers that move `tensors()` in place.

    Args:
        policy: the policy.
        parameters: what is searched, by name.
        scale: one unit of the vector in those units.

    Raises:
        ValueError: no parameters, a scale that isn't positive, or (LMPolicy) a parameter whose module the batched
            forward does not know.
    """

    def __init__(self, policy: nn.Module, parameters: Mapping[str, nn.Parameter], scale: float) -> None:
        if not parameters:
            raise ValueError(f"{type(self).__name__} has no parameter to search")
        if not scale > 0:
            raise ValueError(f"scale={scale}: give a positive number")
        self.policy = policy
        self._parameters = dict(parameters)
        root = policy.network if isinstance(policy, LMPolicy) else policy
        self.blocks = tuple(
            Block(name, tuple(p.shape), scale * _unit(root, name, p)) for name, p in self._parameters.items()
        )
        self.domain = Domain("real", sum(block.size for block in self.blocks))
        self._tensors = tuple(p.detach() for p in self._parameters.values())
        self._origin: tuple[th.Tensor, ...] | None = None
        self._forward = PopulationForward(policy, self._parameters) if isinstance(policy, LMPolicy) else None

    def tensors(self) -> Sequence[th.Tensor]:
        """The parameters' own storage, outside autograd."""
        return self._tensors

    def initial(self) -> th.Tensor:
        """Zeros."""
        return th.zeros(self.domain.dim, device=self._tensors[0].device)

    def write(self, vector: th.Tensor) -> None:
        """See SearchSpace."""
        if self._origin is None:
            with th.inference_mode(False):
                self._origin = tuple(tensor.clone() for tensor in self._tensors)
        parts = th.split(vector, [block.size for block in self.blocks])
        for block, tensor, origin, part in zip(self.blocks, self._tensors, self._origin, parts, strict=True):
            tensor.copy_(origin + block.scale * part.view(block.shape))

    def _evaluator(self, obs: dict[str, th.Tensor], population: Population) -> Callable[[slice], th.Tensor]:
        members = Members.of(population, self.blocks, self._tensors, self._origin or self._tensors)
        assert self._forward is not None
        run = self._forward.share(obs)
        return lambda chunk: run(members.changes(chunk), chunk.stop - chunk.start)

    def state_dict(self) -> dict[str, Any]:
        """θ0, once a vector has been written."""
        return {} if self._origin is None else {"origin": list(self._origin)}

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Take `state_dict`'s; `strict` is there for Stable-Baselines3."""
        device = self._tensors[0].device
        self._origin = tuple(tensor.to(device) for tensor in state["origin"]) if "origin" in state else None


def acting_parameters(policy: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that decide actions, by name and each once; frozen ones (`freeze` of an LMPolicy) are left out.

    Of an SB3 policy that is all but the critic and the exploration noise.
    """
    if isinstance(policy, LMPolicy):
        frozen = policy.frozen
        return {name: p for name, p in policy.network.named_parameters() if name not in frozen}
    other = ("value_net", "mlp_extractor.value_net", "vf_features_extractor", "log_std")
    return {name: p for name, p in policy.named_parameters() if not name.startswith(other)}


def _unit(root: nn.Module, name: str, parameter: nn.Parameter) -> float:
    owner = root.get_submodule(name.rpartition(".")[0])
    if parameter.dim() < 2:
        return 1.0
    return 1 / math.sqrt(parameter.shape[0] if isinstance(owner, Conv1D) else parameter[0].numel())
