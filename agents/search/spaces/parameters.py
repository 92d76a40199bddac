"""Search spaces whose vectors are parameters of the policy, relative to the start of the search."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch as th
from torch import nn
from transformers.pytorch_utils import Conv1D

from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.search.population.changes import Members
from lm_gym.agents.search.population.domain import Block, Domain
from lm_gym.agents.search.population.forward import PopulationForward
from lm_gym.agents.search.population.noise import Noise
from lm_gym.agents.search.population.perturbed import Perturbed
from lm_gym.agents.search.population.population import Population
from lm_gym.agents.search.population.reading import Reading
from lm_gym.agents.search.spaces.space import SearchSpace
from lm_gym.bounds import PositiveFloat

_WAITING = "wait_head"  # of an LMPolicy, in addition to its network


class ParameterSpace(SearchSpace):
    """Some of a policy's parameters: θ = θ0 + scale · unit · v, with v = 0 at the start of the search.

    The unit of a parameter is the step that changes the output of its module by about the size of the output, for
    inputs of order one: 1/√(inputs) for a matrix, 1/√(columns) for embeddings, 1 for biases and layer norms. One step
    size therefore suits all parameters, and models of any width.

    θ0 is copied when the first vector is written. Optimizers that move `tensors()` in place need no copy.

    Args:
        policy: the policy.
        parameters: the searched parameters, by name.
        scale: one unit of the vector, in units of the parameters.

    Raises:
        ValueError: there are no parameters, or the scale is not positive.
    """

    def __init__(self, policy: nn.Module, parameters: Mapping[str, nn.Parameter], scale: PositiveFloat) -> None:
        if not parameters:
            raise ValueError(
                f"the search space {type(self).__name__} finds no parameter: the policy freezes all of them, or the "
                "model lacks them (biases; a vocabulary head apart from the embeddings); use 'lora' or 'full'"
            )
        self.policy = policy
        self._parameters = dict(parameters)
        self.blocks = tuple(
            Block(name, tuple(p.shape), scale * _unit(policy, name, p)) for name, p in self._parameters.items()
        )
        self.domain = Domain("real", sum(block.size for block in self.blocks))
        self._scale = scale
        self._origin: tuple[th.Tensor, ...] | None = None
        self._forward: PopulationForward | None = None

    def tensors(self) -> Sequence[th.Tensor]:
        """Return the live parameters; a deep copy of policy and space returns those of the copied policy."""
        return tuple(self._parameters.values())

    def initial(self) -> th.Tensor:
        """Return zeros."""
        return th.zeros(self.domain.dim, device=self.policy.device)

    def write(self, vector: th.Tensor) -> None:
        """See SearchSpace."""
        tensors = self.tensors()
        if self._origin is None:
            with th.inference_mode(False):
                self._origin = tuple(tensor.detach().clone() for tensor in tensors)
        parts = th.split(vector, [block.size for block in self.blocks])
        with th.no_grad():
            for block, tensor, origin, part in zip(self.blocks, tensors, self._origin, parts, strict=True):
                tensor.copy_(origin + block.scale * part.view(block.shape))

    def _evaluator(self, reading: Reading, population: Population) -> Callable[[slice], th.Tensor]:
        tensors = self.tensors()
        members = Members.of(population, self.blocks, tensors, self._origin or tensors)
        if self._forward is None:
            self._forward = PopulationForward(self.policy, self._parameters)
        run = self._forward.share(reading)
        return lambda chunk: run(members.changes(chunk), chunk)

    def _trial(self, members: int = 2) -> Population:
        """Return pairs whose noise moves the output of every module by a third of its size, for any weights.

        With noise of the full size, deep models amplify rounding to 1e-4 of the spread of logits.
        """
        return Perturbed(self.tensors(), self.blocks, Noise(0, 0), sigma=0.3 / self._scale, size=members)

    def _culprit(self) -> str:
        return first_unbatched(self.policy, self._parameters)

    def state_dict(self) -> dict[str, Any]:
        """Return θ0, once a vector has been written."""
        return {} if self._origin is None else {"origin": list(self._origin)}

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Load a `state_dict`; `strict` exists for Stable-Baselines3."""
        device = self.policy.device
        self._origin = tuple(tensor.to(device) for tensor in state["origin"]) if "origin" in state else None


def acting_parameters(policy: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that determine actions, by name and each once.

    Frozen parameters (`freeze` of an LMPolicy) are excluded; the head that decides when to fill a position is included.
    For an SB3 policy, these are all parameters except those of the critic and the exploration noise.
    """
    if isinstance(policy, LMPolicy):
        frozen = policy.frozen
        found = {name: p for name, p in policy.network.named_parameters() if name not in frozen}
        waiting = [] if policy.wait_head is None else policy.wait_head.named_parameters(prefix=_WAITING)
        return {**found, **dict(waiting)}
    other = ("value_net", "mlp_extractor.value_net", "vf_features_extractor", "log_std")
    return {name: p for name, p in policy.named_parameters() if not name.startswith(other)}


def first_unbatched(policy: LMPolicy, parameters: Mapping[str, nn.Parameter]) -> str:
    """Return the name of the first parameter that a batched forward gets wrong, with the classes of its modules."""
    if ParameterSpace(policy, parameters, 1.0)._fault() is None:  # not by itself: in what the space makes of it
        return type(policy.network).__name__
    names = list(parameters)
    right, wrong = 0, len(names)  # the first `right` can be batched, the first `wrong` cannot
    while wrong - right > 1:
        middle = (right + wrong) // 2
        part = ParameterSpace(policy, {name: parameters[name] for name in names[:middle]}, 1.0)
        if part._fault() is None:
            right = middle
        else:
            wrong = middle
    name = names[wrong - 1]
    path = name.split(".")
    owner, parent = (type(policy.network.get_submodule(".".join(path[:-up]))).__name__ for up in (1, 2))
    return f"{name} ({owner} of {parent})"


def _unit(policy: nn.Module, name: str, parameter: nn.Parameter) -> float:
    within = isinstance(policy, LMPolicy) and not name.startswith(f"{_WAITING}.")
    parent = name.rpartition(".")[0]
    owner = (
        policy.network.get_submodule(parent)
        if isinstance(policy, LMPolicy) and within
        else policy.get_submodule(parent)
    )
    if parameter.dim() < 2 or not parameter.numel():
        return 1.0
    return 1 / math.sqrt(parameter.shape[0] if isinstance(owner, Conv1D) else parameter[0].numel())
