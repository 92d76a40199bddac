"""One forward pass of a language model in which each block of rows runs a different member of a population.

During the forward pass, functions of `modules.py` replace the `forward` of each module whose parameters change. Parts
that no change affects are computed once for all members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch as th
from torch import nn

from lm_gym.agents.model.layers import find_layers
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.text_encoder import TensorObservation
from lm_gym.agents.search.population.changes import Change
from lm_gym.agents.search.population.modules import Forward, Layout, Ragged, batched_forward
from lm_gym.agents.search.population.reading import Reading


@contextmanager
def answering(forwards: Mapping[nn.Module, Forward]) -> Iterator[None]:
    """Replace the forward of each module by its function inside the `with` block."""
    for module, forward in forwards.items():
        vars(module)["forward"] = forward  # shadows the method; `setattr` of a torch module is ten times as slow
    try:
        yield
    finally:
        for module in forwards:
            del vars(module)["forward"]


class PopulationForward:
    """Evaluate the members of a population over some parameters of a policy's language model together.

    Args:
        policy: the policy.
        parameters: the parameters that change, by name; a tied parameter changes wherever it is used.

    Raises:
        ValueError: no batched forward is known for the module of a parameter; the message names the parameter.
    """

    def __init__(self, policy: LMPolicy, parameters: Mapping[str, nn.Parameter]) -> None:
        self._policy = policy
        self._uses = _find_uses(policy.network, parameters)
        inside = {module for module in policy.network.base_model.modules() if module in self._uses}
        self._head_only = not inside
        self._layers = find_layers(policy.network)
        numbers = [i for i, layer in enumerate(self._layers) for module in layer.modules() if module in inside]
        self._shared = min(numbers) if len(numbers) == len(inside) and numbers else 0  # layers that no change affects
        searched = set(map(id, parameters.values()))
        self._fixed = [parameter for parameter in policy.network.parameters() if id(parameter) not in searched]
        self._kept: tuple[TensorObservation, list[Any], Any] | None = None  # the texts, the weights' state, the output

    def share(self, reading: Reading) -> Callable[[Sequence[Change], slice], th.Tensor]:
        """Compute what all members share on these texts, or reuse it if the last call had the same `obs` object.

        Returns:
            a function that maps one change per parameter, and the members that make it, to log-probabilities (see
            `Reading.shaped`).
        """
        if reading.groups > 1:  # only the members of a group share something, and each forward pass computes it
            return partial(self._heads if self._head_only else self._rows, reading, None)
        shared = None
        if self._head_only or self._shared:
            shared = self._reused(reading)
        return partial(self._heads if self._head_only else self._rows, reading, shared)

    def _reused(self, reading: Reading) -> Any:
        """Return the shared part for all texts; weights are compared by their version counters."""
        weights = [(parameter._version, parameter.dtype) for parameter in self._fixed]
        if self._kept is None or self._kept[0] is not reading.obs or self._kept[1] != weights:
            self._kept = None  # frees the memory before as much is needed again
            self._kept = reading.obs, weights, self._shared_part(reading, slice(0, reading.members))
        return self._kept[2]

    def _shared_part(self, reading: Reading, members: slice) -> Any:
        """Compute once, for each text of these members, what no change affects.

        If only the head changes, these are hidden states [Q, H]. Otherwise they are the output of the last layer that
        no change affects: states [B, L, H], or a tuple that contains them.
        """
        texts = reading.text_slice(members)
        obs = {key: leaf[texts] for key, leaf in reading.obs.items()}
        places = self._policy.places(obs)
        if self._head_only:
            return self._policy.encode(obs, *places)
        outputs: list[Any] = []
        last = self._layers[self._shared - 1]

        def record(*args: Any, **kwargs: Any) -> Any:
            outputs.append(type(last).forward(last, *args, **kwargs))
            return outputs[0]

        rest = dict.fromkeys(self._layers[self._shared :], lambda *_, **__: outputs[0])
        with answering({last: record, **rest}), self._policy.language_model.every_row():
            self._policy.encode(obs, *places)
        return outputs[0]

    def _heads(self, reading: Reading, shared: Any, changes: Sequence[Change], members: slice) -> th.Tensor:
        count, policy, obs = members.stop - members.start, self._policy, reading.obs
        _, rows, slots = reading.positions(members)
        if reading.groups == 1:
            hidden = shared  # [Q, H], the same for all members
            layout = Layout(count, reading.texts, shared=len(hidden) * policy.states)
        else:
            texts = reading.text_slice(members)
            mask = obs["position_mask"][texts].bool()
            number = mask.flatten().cumsum(0).view(mask.shape) - 1  # index of a position among those of the texts
            hidden = self._shared_part(reading, members)[number[rows - texts.start, slots]]  # [A, H]
            layout = Layout(count, reading.texts, ragged=_ragged(policy, reading, members))
        with answering(self._forwards(layout, changes)):
            return reading.shaped(policy.log_probs(hidden, rows, obs), members)

    def _rows(self, reading: Reading, shared: Any, changes: Sequence[Change], members: slice) -> th.Tensor:
        ragged = _ragged(self._policy, reading, members) if reading.groups > 1 else None
        apart = self._policy.rows  # of the encoder for each text
        layout = Layout(members.stop - members.start, reading.texts * apart, ragged=ragged)
        forwards = self._forwards(layout, changes)
        if self._shared:
            if shared is None:
                shared = self._shared_part(reading, members)
            rows = reading.rows(members) - reading.text_slice(members).start
            rows = (rows[:, None] * apart + th.arange(apart, device=rows.device)).flatten()
            repeated = _repeat(shared, rows)
            forwards |= dict.fromkeys(self._layers[: self._shared], lambda *_, **__: repeated)
        with answering(forwards):
            return read_together(self._policy, reading, members)

    def _forwards(self, layout: Layout, changes: Sequence[Change]) -> dict[nn.Module, Forward]:
        return {
            module: partial(forward, layout, module, *(None if i is None else changes[i] for i in indices))
            for module, (forward, *indices) in self._uses.items()
        }


def read_together(policy: LMPolicy, reading: Reading, members: slice) -> th.Tensor:
    """Return log-probabilities of one forward pass over p·k rows, k texts of each member (see `Reading.shaped`)."""
    with policy.language_model.every_row():
        return reading.shaped(policy.positions(reading.observation(members)).log_probs, members)


def _ragged(policy: LMPolicy, reading: Reading, members: slice) -> Ragged:
    """Return the number of states that the head reads for each of these members."""
    groups = th.arange(members.start, members.stop) // reading.sharing
    counts = [reading.counts[group] * policy.states for group in groups.tolist()]
    return Ragged.of(counts, reading.obs["input_ids"].device)


def _repeat(output: Any, rows: th.Tensor) -> Any:
    """Return the rows of a layer's output that members read; the output may be a tuple."""
    if isinstance(output, tuple):
        return tuple(_repeat(part, rows) for part in output)
    return output[rows] if isinstance(output, th.Tensor) else output


def _find_uses(
    network: nn.Module, parameters: Mapping[str, nn.Parameter]
) -> dict[nn.Module, tuple[Forward, int | None, int | None]]:
    """Return the batched forward of each module that uses the parameters, and the indices of its weight and bias."""
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
