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
from lm_gym.agents.model.text_encoder import TensorObservation
from lm_gym.agents.search.population.changes import Change
from lm_gym.agents.search.population.modules import Forward, Layout, batched_forward


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
        ValueError: a parameter of a module that no batched forward is known for, by name.
    """

    def __init__(self, policy: LMPolicy, parameters: Mapping[str, nn.Parameter]) -> None:
        self._policy = policy
        self._uses = _find_uses(policy.network, parameters)
        inside = {module for module in policy.network.base_model.modules() if module in self._uses}
        self._head_only = not inside
        self._layers = find_layers(policy.network)
        numbers = [i for i, layer in enumerate(self._layers) for module in layer.modules() if module in inside]
        self._shared = min(numbers) if len(numbers) == len(inside) and numbers else 0  # layers that no change reaches

    def share(self, obs: TensorObservation) -> Callable[[Sequence[Change], int], th.Tensor]:
        """Computes what all members share of these texts.

        Returns:
            a function from one change a parameter, and p, to log-probabilities [p, Q, n].
        """
        policy = self._policy
        rows, slots = policy.places(obs)
        if self._head_only:
            hidden = policy.encode(obs, rows, slots)  # [Q, H]
            return partial(self._heads, obs, hidden, rows)
        return partial(self._rows, obs, self._shared_output(obs, rows, slots) if self._shared else None)

    def _shared_output(self, obs: TensorObservation, rows: th.Tensor, slots: th.Tensor) -> Any:
        """What the last layer that no change reaches gives: states [B, L, H], or a tuple that holds them."""
        outputs: list[Any] = []
        last = self._layers[self._shared - 1]

        def record(*args: Any, **kwargs: Any) -> Any:
            outputs.append(type(last).forward(last, *args, **kwargs))
            return outputs[0]

        rest = dict.fromkeys(self._layers[self._shared :], lambda *_, **__: outputs[0])
        with answering({last: record, **rest}):
            self._policy.encode(obs, rows, slots)
        return outputs[0]

    def _heads(
        self, obs: TensorObservation, hidden: th.Tensor, rows: th.Tensor, changes: Sequence[Change], members: int
    ) -> th.Tensor:
        layout = Layout(members, len(obs["input_ids"]), shared=len(hidden))
        with answering(self._forwards(layout, changes)):
            log_probs = self._policy.log_probs(hidden, rows.repeat(members), obs)
        return log_probs.view(members, len(hidden), -1)

    def _rows(self, obs: TensorObservation, shared: Any, changes: Sequence[Change], members: int) -> th.Tensor:
        layout = Layout(members, len(obs["input_ids"]))
        forwards = self._forwards(layout, changes)
        if shared is not None:
            repeated = _repeat(shared, members)
            forwards |= dict.fromkeys(self._layers[: self._shared], lambda *_, **__: repeated)
        with answering(forwards):
            return read_together(self._policy, obs, members)

    def _forwards(self, layout: Layout, changes: Sequence[Change]) -> dict[nn.Module, Forward]:
        return {
            module: partial(forward, layout, module, *(None if i is None else changes[i] for i in indices))
            for module, (forward, *indices) in self._uses.items()
        }


def read_together(policy: LMPolicy, obs: TensorObservation, members: int) -> th.Tensor:
    """Log-probabilities [p, Q, n] of one forward of p·B rows, each block of B of them the same texts."""
    rows = {key: leaf.repeat(members, *[1] * (leaf.dim() - 1)) for key, leaf in obs.items()}
    log_probs = policy.positions(rows).log_probs
    return log_probs.view(members, -1, log_probs.shape[-1])


def encoder_layers(network: Any) -> list[nn.Module]:
    """The transformer layers of a Hugging Face model, in the order in which they run.

    Raises:
        ValueError: no list of layers, or more than one, naming the model's class.
    """
    layers = find_layers(network)
    if not layers:
        raise ValueError(
            f"{type(network).__name__} has no single list of its {network.config.num_hidden_layers} layers: take a "
            "search space that needs none, such as full, head or lora"
        )
    return layers


def find_layers(network: Any) -> list[nn.Module]:
    """The layers, as `encoder_layers` gives them; empty where that fails.

    They are the one list of the encoder that has as many blocks as the configuration says, all of one class and each
    made of modules. Architectures that apply a layer several times, or have an encoder and a decoder, have none.
    """
    found = [
        list(module)
        for module in network.base_model.modules()
        if isinstance(module, nn.ModuleList)
        and len(module) == network.config.num_hidden_layers
        and len({type(block) for block in module}) == 1
        and all(any(block.children()) and not isinstance(block, nn.ModuleList) for block in module)
    ]
    return found[0] if len(found) == 1 else []


def _repeat(output: Any, members: int) -> Any:
    """A layer's output with its rows once for each member, whatever tuple it comes in."""
    if isinstance(output, tuple):
        return tuple(_repeat(part, members) for part in output)
    return output.repeat(members, *[1] * (output.dim() - 1)) if isinstance(output, th.Tensor) else output


def _find_uses(
    network: nn.Module, parameters: Mapping[str, nn.Parameter]
) -> dict[nn.Module, tuple[Forward, int | None, int | None]]:
    """For each module that uses them, its batched forward, and the numbers of its weight and bias as parameters."""
    number = {id(parameter): i for i, parameter in enumerate(parameters.values())}
    uses: dict[nn.Module, tuple[Forward, int | None, int | None]] = {}
    for module in network.modules():
        forward = batched_forward(module)
        if forward is not None:
            weight, bias = (number.get(id(getattr(module, name, None))) for name in ("weight", "bias"))
            if weight is not None or bias is not None:
                uses[module] = (forward, weight, bias)
    used = {i for _, *pair in uses.values() for i in pair}
    for i, name in enumerate(parameters):
        if i not in used:
            owner = type(network.get_submodule(name.rpartition(".")[0])).__name__
            raise ValueError(f"parameter {name} belongs to a {owner}, for which no batched forward is known")
    return uses
