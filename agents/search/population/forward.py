"""One forward of a language model in which each block of rows runs another member of a population.

While it lasts, the modules whose parameters change answer with functions of `member_modules` in place of their own
`forward`. What no change reaches is computed once for all members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch as th
from torch import nn

from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.text_encoder import Observation
from lm_gym.agents.search.population.changes import Change
from lm_gym.agents.search.population.modules import FORWARDS, Forward, Layout


@contextmanager
def answering(forwards: Mapping[nn.Module, Forward]) -> Iterator[None]:
    """While it lasts, each module answers with the function in place of its own forward."""
    for module, forward in forwards.items():
        setattr(module, "forward", forward)  # noqa: B010  (mypy: a method; it shadows the class's until deleted)
    try:
        yield
    finally:
        for module in forwards:
            delattr(module, "forward")


class PopulationForward:
    """Evaluates the members of a population over some parameters of a policy's language model together.

    Args:
        policy: the policy.
        parameters: those that change, by name; a tied one changes wherever it is used.

    Raises:
        ValueError: a parameter of a module that is none of Linear, Conv1D, LayerNorm and Embedding.
    """

    def __init__(self, policy: LMPolicy, parameters: Mapping[str, nn.Parameter]) -> None:
        self._policy = policy
        self._uses = _find_uses(policy.network, parameters)
        inside = {module for module in policy.network.base_model.modules() if module in self._uses}
        self._head_only = not inside
        layers = encoder_layers(policy.network)
        numbers = [i for i, layer in enumerate(layers) for module in layer.modules() if module in inside]
        self._shared_layers = layers[: min(numbers)] if len(numbers) == len(inside) and numbers else layers[:0]

    def share(self, obs: Observation) -> Callable[[Sequence[Change], int], th.Tensor]:
        """Computes what all members share of these texts.

        Returns:
            a function from one change a parameter, and p, to log-probabilities [p, Q, n].
        """
        policy = self._policy
        rows, slots = policy.places(obs)
        if self._head_only:
            hidden = policy.encode(obs, rows, slots)  # [Q, H]
            return partial(self._heads, obs, hidden, rows)
        if len(self._shared_layers):
            layers, states = encoder_layers(policy.network), []

            def record(hidden: th.Tensor, *_: Any, **__: Any) -> th.Tensor:
                states.append(hidden)
                return hidden

            first = layers[len(self._shared_layers)]
            with answering({first: record, **dict.fromkeys(layers[len(self._shared_layers) + 1 :], _same)}):
                policy.encode(obs, rows, slots)
            return partial(self._rows, obs, states[0])
        return partial(self._rows, obs, None)

    def _heads(
        self, obs: Observation, hidden: th.Tensor, rows: th.Tensor, changes: Sequence[Change], members: int
    ) -> th.Tensor:
        layout = Layout(members, len(obs["input_ids"]), shared=len(hidden))
        with answering(self._forwards(layout, changes)):
            log_probs = self._policy.log_probs(hidden, rows.repeat(members), obs)
        return log_probs.view(members, len(hidden), -1)

    def _rows(self, obs: Observation, states: th.Tensor | None, changes: Sequence[Change], members: int) -> th.Tensor:
        layout = Layout(members, len(obs["input_ids"]))
        forwards = self._forwards(layout, changes)
        if states is not None:
            repeated = states.repeat(members, 1, 1)
            forwards |= dict.fromkeys(self._shared_layers[:-1], _same)
            forwards[self._shared_layers[-1]] = lambda *_, **__: repeated
        with answering(forwards):
            return read_together(self._policy, obs, members)

    def _forwards(self, layout: Layout, changes: Sequence[Change]) -> dict[nn.Module, Forward]:
        return {
            module: partial(
                FORWARDS[type(module)],
                layout,
                module,
                *(None if index is None else changes[index] for index in indices),
            )
            for module, indices in self._uses.items()
        }


def read_together(policy: LMPolicy, obs: Observation, members: int) -> th.Tensor:
    """Log-probabilities [p, Q, n] of one forward of p·B rows, each block of B of them the same texts."""
    rows = {key: leaf.repeat(members, *[1] * (leaf.dim() - 1)) for key, leaf in obs.items()}
    log_probs = policy.positions(rows).log_probs
    return log_probs.view(members, -1, log_probs.shape[-1])


def encoder_layers(network: Any) -> nn.ModuleList:
    """The transformer layers of a Hugging Face model, in the order in which they run."""
    count = network.config.num_hidden_layers
    for module in network.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ValueError(f"{type(network).__name__} has no list of its {count} layers that could be found")


def _same(hidden: th.Tensor, *_: Any, **__: Any) -> th.Tensor:
    return hidden


def _find_uses(
    network: nn.Module, parameters: Mapping[str, nn.Parameter]
) -> dict[nn.Module, tuple[int | None, int | None]]:
    """For each module that uses them, the numbers of its weight and its bias among the parameters."""
    number = {id(parameter): i for i, parameter in enumerate(parameters.values())}
    uses = {}
    for module in network.modules():
        if type(module) in FORWARDS:
            pair = (number.get(id(module.weight)), number.get(id(getattr(module, "bias", None))))
            if pair != (None, None):
                uses[module] = pair
    used = {i for pair in uses.values() for i in pair}
    for i, name in enumerate(parameters):
        if i not in used:
            owner = type(network.get_submodule(name.rpartition(".")[0])).__name__
            raise ValueError(
                f"parameter {name} belongs to a {owner}; a population changes those of "
                f"{', '.join(kind.__name__ for kind in FORWARDS)} only: leave it out of the search space"
            )
    return uses
