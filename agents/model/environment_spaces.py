"""What an agent reads in lm_gym's spaces and observations."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces

from lm_gym.agents.model.tokenizer import tokenizer_size


def read_action_space(space: spaces.Space[Any]) -> tuple[str, bool, int]:
    """(unit, whether actions are distributions, number of choices) of an lm_gym action space."""
    if isinstance(space, spaces.Discrete):
        return "token", False, int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return "sequence", False, int(space.nvec[0])
    if isinstance(space, spaces.Box) and len(space.shape) in (1, 2):
        return ("token", "sequence")[len(space.shape) - 1], True, int(space.shape[-1])
    raise ValueError(f"LMPolicy acts in lm_gym's Discrete, MultiDiscrete or Box action spaces, not in {space}")


def read_observation_space(space: spaces.Space[Any]) -> tuple[int, int]:
    """(vocabulary size, length of input_ids) of an lm_gym observation space."""
    if not isinstance(space, spaces.Dict) or not {"input_ids", "positions"} <= set(space):
        raise ValueError(f"LMPolicy acts on lm_gym's Dict observations (input_ids, positions, …), not on {space}")
    ids = space["input_ids"]
    assert isinstance(ids, spaces.Box)
    return int(ids.high.max()) + 1, int(ids.shape[0])


def read_observation(observation: Any, device: th.device) -> tuple[dict[str, th.Tensor], bool]:
    """An observation's arrays as tensors [B, …], and whether it had the batch dimension already."""
    if not isinstance(observation, dict):
        raise ValueError(f"LMPolicy acts on lm_gym's Dict observations, not on {type(observation).__name__}")
    batched = np.ndim(observation["input_ids"]) == 2
    tensors = {
        key: th.as_tensor(value if batched else np.asarray(value)[None], device=device)
        for key, value in observation.items()
    }
    return tensors, batched


def check_vocabulary(config: Any, vocabulary: int, model: str | dict[str, Any], tokenizer: str | None) -> None:
    """Refuses a model whose vocabulary has another size than the environment's, unless it is padded.

    A vocabulary may be padded beyond the model's own tokenizer, which then has as many entries as the environment's.

    Args:
        config: of the model.
        vocabulary: number of entries of the environment's tokenizer.
        model: see LMPolicy.
        tokenizer: where the model's own tokenizer lies, if that is known.
    """
    if config.vocab_size == vocabulary:
        return
    own = None if tokenizer is None else tokenizer_size(tokenizer)
    moved = own is None and isinstance(model, dict) and tokenizer is not None  # checked where the tokenizer was
    if config.vocab_size < vocabulary or not (own == vocabulary or moved):
        name = model if isinstance(model, str) else config.model_type
        raise ValueError(
            f"the environment's tokenizer has {vocabulary} entries, model {name!r} has {config.vocab_size}: "
            f"make the environment with tokenizer={name!r}"
        )
