"""The search space of prompts at every layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch as th
from torch import nn

from lm_gym.agents.model.layers import encoder_layers
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.prompts import Prompt
from lm_gym.agents.search.population.domain import Domain
from lm_gym.agents.search.population.forward import read_together
from lm_gym.agents.search.population.population import Population
from lm_gym.agents.search.population.reading import Reading
from lm_gym.agents.search.population.trial import trial_texts
from lm_gym.agents.search.spaces.soft_prompt import soft_prompt_of
from lm_gym.agents.search.spaces.space import SearchSpace, require_language_model
from lm_gym.bounds import NonNegativeInt, PositiveFloat, PositiveInt


class DeepPrompt(SearchSpace):
    """A prompt of k virtual tokens that is changed at the input of every layer (BBTv2: Sun et al., 2022).

    Each layer l has a vector z_l of d numbers and a fixed random projection A_l ~ N(0, s_l²/d), where s_l is the
    standard deviation of the states at its input: token embeddings for the first layer, hidden states of random texts
    for the others (arXiv 2205.11200, section 3.2). The prompt's embeddings are p0 + A_1 z_1, as in SoftPrompt, and A_l
    z_l is added to its hidden states at the input of layer l. The whole vector is z_1, z_2, …

    BBTv2 replaces the prompt's hidden states by p_l + A_l z_l. Here, A_l z_l is added to them, so that the zero vector
    is the policy with an ordinary soft prompt. BBTv2 searches one z_l after another with CMA-ES; here, any optimizer
    searches all of them at once.

    Creating the space adds the prompt to the policy.

    Args:
        policy: an LMPolicy.
        tokens: k.
        dim: d, numbers for each layer, less than k times the width of the model.
        place: `"after_first"` or `"front"`; see SoftPrompt.
        seed: see SoftPrompt.
        scale: one unit of the vector, in units of s_l.

    Raises:
        TypeError: the policy is not an LMPolicy.
        ValueError: texts and prompt are too long for the model, d is out of range, or the model has no single list of
            layers.
    """

    def __init__(
        self,
        policy: nn.Module,
        *,
        tokens: PositiveInt = 10,
        dim: PositiveInt = 100,
        place: Literal["after_first", "front"] | None = None,
        scale: PositiveFloat = 1.0,
        seed: NonNegativeInt = 0,
    ) -> None:
        self.policy = require_language_model(policy, "deep_prompt")
        layers, hidden = len(encoder_layers(self.policy.network)), self.policy.network.config.hidden_size
        width = self.policy.network.get_input_embeddings().weight.shape[1]
        if width != hidden:
            raise ValueError(
                f"deep_prompt: embeddings of {width} numbers and hidden states of {hidden} need prompts of their own: "
                "use soft_prompt"
            )
        if dim >= tokens * width:
            raise ValueError(
                f"dim={dim}: {tokens} tokens of {width} are {tokens * width} numbers per layer, give a smaller dim"
            )
        generator = th.Generator().manual_seed(seed)
        self._prompt: Prompt = soft_prompt_of(self.policy, tokens, place, generator)
        if self._prompt.place == "behind":
            raise ValueError("deep_prompt: the policy has a prompt behind the text; use a policy without one")
        device = self._prompt.values.device
        self._units = scale * th.tensor([self._prompt.unit, *_spreads(self.policy, self._prompt)], device=device)
        if self._prompt.deep is None:
            self._prompt.deep = th.zeros(layers - 1, tokens, width, device=device)
            self.policy.network.config.prompt = self._prompt.description
        self._start = self._whole()
        self._shape = (layers, tokens, width)
        self._projections = th.randn(layers, tokens * width, dim, generator=generator).to(device) / math.sqrt(dim)
        self.domain = Domain("real", layers * dim)
        self.check_batching()

    def initial(self) -> th.Tensor:
        """Return zeros."""
        return th.zeros(self.domain.dim, device=self._start.device)

    def write(self, vector: th.Tensor) -> None:
        """See SearchSpace."""
        written, deep = self._prompts(vector[None])[0], self._prompt.deep
        assert deep is not None
        self._prompt.values.copy_(written[0])
        deep.copy_(written[1:])

    def _whole(self) -> th.Tensor:
        """Return a copy of the prompt of all layers, [layers, k, H]."""
        assert self._prompt.deep is not None
        return th.cat([self._prompt.values[None], self._prompt.deep.to(self._prompt.values.dtype)])

    def _prompts(self, vectors: th.Tensor) -> th.Tensor:
        """Map vectors [p, L · d] to prompts [p, L, k, H]."""
        z = vectors.view(len(vectors), self._shape[0], -1) * self._units[:, None]
        moved = th.einsum("pld,lnd->pln", z, self._projections)
        prompts: th.Tensor = (self._start + moved.view(-1, *self._shape)).to(self._start.dtype)
        return prompts

    def _evaluator(self, reading: Reading, population: Population) -> Callable[[slice], th.Tensor]:
        def evaluate(chunk: slice) -> th.Tensor:
            prompt, prompts = self._prompt, self._prompts(population.vectors(chunk))
            before = prompt.values, prompt.deep
            prompt.values, prompt.deep = prompts[:, 0], prompts[:, 1:]
            try:
                return read_together(self.policy, reading, chunk)
            finally:
                prompt.values, prompt.deep = before

        return evaluate

    def state_dict(self) -> dict[str, Any]:
        """Return the prompt of all layers at the start, and the units of the layers."""
        return {"origin": self._start, "units": self._units}

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Load a `state_dict`; `strict` exists for Stable-Baselines3."""
        device = self._start.device
        self._start, self._units = state["origin"].to(device), state["units"].to(device)


def _spreads(policy: LMPolicy, prompt: Prompt) -> list[float]:
    """Return the standard deviation of the text's hidden states at the input of each layer but the first."""
    found: list[float] = []
    obs, training = trial_texts(policy), policy.training
    mask = obs["attention_mask"].bool()  # [B, L], as long as the longest text

    def record(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        hidden = arguments[0] if arguments else named["hidden_states"]
        text = th.cat([hidden[:, : prompt.before], hidden[:, prompt.before + len(prompt) :]], 1)
        found.append(float(text[mask].float().std()))

    layers = encoder_layers(policy.network)[1:]
    hooks = [layer.register_forward_pre_hook(record, with_kwargs=True) for layer in layers]
    policy.set_training_mode(False)
    try:
        with th.no_grad():
            policy.language_model.read(obs["input_ids"], obs["attention_mask"])
    finally:
        policy.set_training_mode(training)
        for hook in hooks:
            hook.remove()
    return found
