"""The search space of prompts of virtual tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch as th
from torch import nn

from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.prompts import Place, Prompt, default_place, install
from lm_gym.agents.search.population.domain import Block, Domain
from lm_gym.agents.search.population.forward import read_together
from lm_gym.agents.search.population.perturbed import Perturbed
from lm_gym.agents.search.population.population import Population
from lm_gym.agents.search.population.reading import Reading
from lm_gym.agents.search.spaces.behind import read_behind
from lm_gym.agents.search.spaces.space import SearchSpace, require_language_model
from lm_gym.bounds import NonNegativeInt, PositiveFloat, PositiveInt


class SoftPrompt(SearchSpace):
    """A prompt of k virtual tokens, p0 + A z, with a fixed random projection A from d numbers (BBT, Sun et al. 2022).

    p0 consists of the embeddings of k random tokens, or of the policy's soft prompt if it already has one of k tokens.
    A is N(0, s²/d), where s is the standard deviation of the model's token embeddings, so that z ~ N(0, 1) moves the
    prompt by about the distance between tokens (the calibration of BBTv2). Without a projection the vector is the
    displacement in units of s.

    Creating the space adds the prompt to the policy.

    Args:
        policy: an LMPolicy.
        tokens: k.
        dim: d, less than k times the width of embeddings; None for no projection.
        place: `"after_first"`: after the first token ([CLS]); `"front"`; or `"behind"` the text, for causal models that
            decide at the last token: texts are then encoded once for all members. None: the front for causal models,
            else after the first token.
        scale: one unit of the vector, in these units.
        seed: seed of p0 and A.

    Raises:
        TypeError: the policy is not an LMPolicy.
        ValueError: texts and prompt are too long for the model, or d is out of range.
    """

    def __init__(
        self,
        policy: nn.Module,
        *,
        tokens: PositiveInt = 10,
        dim: PositiveInt | None = 500,
        place: Place | None = None,
        scale: PositiveFloat = 1.0,
        seed: NonNegativeInt = 0,
    ) -> None:
        self.policy = require_language_model(policy, "soft_prompt")
        width = self.policy.network.get_input_embeddings().weight.shape[1]
        self._shape, full = (tokens, width), tokens * width
        if dim is not None and dim >= full:
            raise ValueError(
                f"dim={dim}: {tokens} tokens of {width} are {full} numbers, give a smaller dim, or dim=None to search "
                "them directly"
            )
        generator = th.Generator().manual_seed(seed)
        installed = soft_prompt_of(self.policy, tokens, place, generator)
        self._prompt, self._start = installed, installed.values.clone()
        self._unit, self._projection = scale * installed.unit, None
        if dim is None:
            self.blocks = (Block("prompt", self._shape, self._unit),)
        else:
            projection = th.randn(full, dim, generator=generator) * (self._unit / math.sqrt(dim))
            self._projection = projection.to(self._start.device)
        self.domain = Domain("real", full if dim is None else dim)
        self.check_batching()

    def tensors(self) -> Sequence[th.Tensor]:
        """Return the prompt itself, if there is no projection."""
        return (self._prompt.values,) if self._projection is None else super().tensors()

    def initial(self) -> th.Tensor:
        """Return zeros."""
        return th.zeros(self.domain.dim, device=self._start.device)

    def write(self, vector: th.Tensor) -> None:
        """See SearchSpace."""
        self._prompt.values.copy_(self._prompts(vector[None])[0])

    def _prompts(self, vectors: th.Tensor) -> th.Tensor:
        """Map vectors [p, d] to prompts [p, k, H]."""
        moved = vectors * self._unit if self._projection is None else vectors @ self._projection.T
        prompts: th.Tensor = (self._start + moved.view(-1, *self._shape)).to(self._start.dtype)
        return prompts

    def _evaluator(self, reading: Reading, population: Population) -> Callable[[slice], th.Tensor]:
        def prompts(chunk: slice) -> th.Tensor:
            if isinstance(population, Perturbed):
                return th.stack([population.tensor(0, member) for member in range(chunk.start, chunk.stop)])
            return self._prompts(population.vectors(chunk))

        if self._prompt.place == "behind":
            return read_behind(self.policy, reading, prompts)
        return lambda chunk: read_with(self.policy, self._prompt, prompts(chunk), reading, chunk)

    def state_dict(self) -> dict[str, Any]:
        """Return p0."""
        return {"origin": self._start}

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Load a `state_dict`; `strict` exists for Stable-Baselines3."""
        self._start = state["origin"].to(self._start.device)


def soft_prompt_of(policy: LMPolicy, tokens: int, place: Place | None, generator: th.Generator) -> Prompt:
    """Return the policy's soft prompt of this many tokens; if it has none, add one from embeddings of random tokens."""
    table = policy.network.get_input_embeddings().weight.detach()
    drawn = table[th.randint(len(table), (tokens,), generator=generator).to(table.device)].clone()
    installed = policy.language_model.prompt
    if installed is None or not installed.soft or len(installed) != tokens:
        installed = Prompt(drawn, place or default_place(policy.network), float(table.float().std()))
        install(policy, installed)
    return installed


def read_with(policy: Any, prompt: Prompt, values: th.Tensor, reading: Reading, members: slice) -> th.Tensor:
    """Return log-probabilities of members with different prompts, values [p, k, …] (see `Reading.shaped`)."""
    before, prompt.values = prompt.values, values
    try:
        return read_together(policy, reading, members)
    finally:
        prompt.values = before
