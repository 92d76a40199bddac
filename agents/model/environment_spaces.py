"""Reading of lm_gym's spaces and observations by an agent."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces

from lm_gym.agents.model.devices import upload
from lm_gym.agents.model.tokenizer import tokenizer_size


def read_action_space(space: spaces.Space[Any]) -> tuple[str, bool, int]:
    """Return the unit, whether actions are distributions, and the number of choices of an lm_gym action space."""
    if isinstance(space, spaces.Discrete):
        return "token", False, int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return "sequence", False, int(space.nvec[0])
    if isinstance(space, spaces.Box) and len(space.shape) in (1, 2):
        return ("token", "sequence")[len(space.shape) - 1], True, int(space.shape[-1])
    raise ValueError(f"LMPolicy needs a Discrete, MultiDiscrete or Box action space of lm_gym, got {space}")


def read_observation_space(space: spaces.Space[Any]) -> tuple[int, int]:
    """Return the vocabulary size and the length of input_ids of an lm_gym observation space."""
    if not isinstance(space, spaces.Dict) or not {"input_ids", "positions"} <= set(space):
        raise ValueError(f"LMPolicy needs lm_gym's Dict observations (input_ids, positions, …), got {space}")
    ids = space["input_ids"]
    assert isinstance(ids, spaces.Box)
    return int(ids.high.max()) + 1, int(ids.shape[0])


def read_observation(observation: Any, device: th.device) -> tuple[dict[str, th.Tensor], bool]:
    """Return the arrays of an observation as tensors [B, …], and whether it already had a batch dimension."""
    if not isinstance(observation, dict):
        raise ValueError(f"LMPolicy needs lm_gym's Dict observations, got {type(observation).__name__}")
    batched = np.ndim(observation["input_ids"]) == 2
    tensors = {key: upload(value if batched else np.asarray(value)[None], device) for key, value in observation.items()}
    return tensors, batched


def check_vocabulary(config: Any, vocabulary: int, model: str | dict[str, Any], tokenizer: str | None) -> None:
    """Raise ValueError if the model's vocabulary and the environment's differ in size, apart from padding.

    A model's vocabulary may be padded: larger than its own tokenizer, which then has the environment's number of
        entries.

    Args:
        config: configuration of the model.
        vocabulary: number of entries of the environment's tokenizer.
        model: see LMPolicy.
        tokenizer: path of the model's own tokenizer, if known.
    """
    if config.vocab_size == vocabulary:
        return
    own = None if tokenizer is None else tokenizer_size(tokenizer)
    moved = own is None and isinstance(model, dict) and tokenizer is not None  # already checked with the tokenizer
    if config.vocab_size < vocabulary or not (own == vocabulary or moved):
        name = model if isinstance(model, str) else config.model_type
        raise ValueError(
            f"the environment's tokenizer has {vocabulary} entries, but model {name!r} has {config.vocab_size}: "
            f"make the environment with tokenizer={name!r}"
        )
