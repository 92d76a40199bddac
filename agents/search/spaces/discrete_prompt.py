"""The search space of prompts of real tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch as th
from torch import nn

from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.prompts import Place, Prompt, default_place, install
from lm_gym.agents.model.tokenizer import load_tokenizer
from lm_gym.agents.search.population.domain import Domain
from lm_gym.agents.search.population.population import Population
from lm_gym.agents.search.population.reading import Reading
from lm_gym.agents.search.spaces.behind import read_behind
from lm_gym.agents.search.spaces.soft_prompt import read_with
from lm_gym.agents.search.spaces.space import SearchSpace, require_language_model
from lm_gym.bounds import NonNegativeInt, PositiveInt


class DiscretePrompt(SearchSpace):
    """A prompt of k tokens, each from a list of candidates.

    By default the candidates are the first tokens of the vocabulary that begin a word and have at least two letters;
    vocabularies of WordPiece and byte-pair encodings are roughly sorted by frequency. Creating the space adds a random
    prompt to the policy.

    Args:
        policy: an LMPolicy.
        tokens: k.
        candidates: number of candidates, or their token ids.
        place: see SoftPrompt.
        seed: seed of the initial prompt.

    Raises:
        TypeError: the policy is not an LMPolicy.
        ValueError: texts and prompt are too long for the model, there are fewer than two candidates, an id is outside
            the vocabulary, or the policy's tokenizer is unknown and no ids are given.
    """

    def __init__(
        self,
        policy: nn.Module,
        *,
        tokens: PositiveInt = 4,
        candidates: PositiveInt | Sequence[int] = 500,
        place: Place | None = None,
        seed: NonNegativeInt = 0,
    ) -> None:
        self.policy = require_language_model(policy, "discrete_prompt")
        ids = frequent_words(self.policy, candidates) if isinstance(candidates, int) else list(candidates)
        size = int(self.policy.network.config.vocab_size)
        if len(set(ids)) < 2 or not all(0 <= i < size for i in ids):
            raise ValueError(f"candidates: give at least two different ids, 0 to {size - 1}; got {len(set(ids))}")
        self._ids = th.tensor(ids, device=self.policy.device)
        self.domain = Domain("categorical", tokens, len(ids))
        drawn = th.randint(len(ids), (tokens,), generator=th.Generator().manual_seed(seed))
        self._start = drawn.to(self.policy.device)
        self._prompt = Prompt(self._ids[self._start], place or default_place(self.policy.network))
        install(self.policy, self._prompt)
        self.check_batching()

    def initial(self) -> th.Tensor:
        """Return the initial prompt, drawn from the candidates."""
        return self._start.clone()

    def write(self, vector: th.Tensor) -> None:
        """See SearchSpace."""
        self._prompt.values.copy_(self._ids[vector])

    def _evaluator(self, reading: Reading, population: Population) -> Callable[[slice], th.Tensor]:
        prompts = self._ids[population.vectors()]  # [P, k]
        if self._prompt.place == "behind":
            return read_behind(self.policy, reading, lambda chunk: prompts[chunk])
        return lambda chunk: read_with(self.policy, self._prompt, prompts[chunk], reading, chunk)


def frequent_words(policy: LMPolicy, count: int) -> list[int]:
    """Return ids of the first tokens that begin a word and consist of at least two letters."""
    if policy.tokenizer is None:
        raise ValueError("the policy's tokenizer isn't known: give candidates as a list of token ids")
    tokenizer: Any = load_tokenizer(policy.tokenizer)
    tokens = tokenizer.convert_ids_to_tokens(range(min(len(tokenizer), int(policy.network.config.vocab_size))))
    marks = [mark for mark in ("Ġ", "▁") if any(token.startswith(mark) for token in tokens)]
    words = []
    for i, token in enumerate(tokens):
        word = token.removeprefix(marks[0]) if marks else token  # WordPiece marks other tokens by ##
        begins = not marks or word != token
        if begins and len(word) > 1 and word.isalpha() and token not in tokenizer.all_special_tokens:
            words.append(i)
    return words[:count]
