"""The spaces of an environment. Observations are a flat Dict of integer Boxes, which every RL library supports."""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lm_gym.envs.arguments import EnvArguments
from lm_gym.tasks import Task

Observation = dict[str, NDArray[Any]]
LEAVES = (
    "input_ids", "attention_mask", "positions", "position_mask", "predictions",
    "cursor", "due", "steps_left", "action_mask",
)  # fmt: skip
"""The leaves that an observation may have, in the order of the arrays; a Dict space sorts its keys."""
LOGIT_BOUND = (
    1e4  # bound of the space, because Stable-Baselines3 refuses an unbounded Box; any finite value is accepted
)


def observation_space(task: Task, settings: EnvArguments) -> spaces.Dict:
    """Return the observation space of a single environment."""
    tokens, positions, choices = task.shape
    leaves: dict[str, spaces.Space[object]] = {
        "input_ids": spaces.Box(0, task.tokenizer.size - 1, (tokens,), np.int64),
        "attention_mask": spaces.Box(0, 1, (tokens,), np.int8),
        "positions": spaces.Box(0, tokens - 1, (positions,), np.int64),
        "position_mask": spaces.Box(0, 1, (positions,), np.int8),
        "predictions": spaces.Box(0, choices, (positions,), np.int64),
    }
    if settings.unit == "token":
        leaves["cursor"] = spaces.Box(0, max(1, positions - 1), (1,), np.int64)  # Gymnasium warns about [0, 0]
    elif task.in_steps:
        leaves["due"] = spaces.Box(0, 1, (positions,), np.int8)
        if task.max_steps is not None:
            leaves["steps_left"] = spaces.Box(0, task.max_steps, (1,), np.int64)
    if settings.mask_actions:
        leaves["action_mask"] = spaces.Box(0, 1, (choices,), np.int8)
    return spaces.Dict(leaves)


def empty_observation(space: spaces.Dict, task: Task, num_rows: int) -> Observation:
    """Return the observation of rows without texts: zeros, no decisions, and all choices that can be legal.

    Args:
        space: the observation space of a single environment.
        task: the task.
        num_rows: N; each leaf has the shape [N, …].
    """
    leaves = {key: space[key] for key in LEAVES if key in space.spaces}
    observation = {key: np.zeros((num_rows, *(leaf.shape or ())), leaf.dtype) for key, leaf in leaves.items()}
    observation["predictions"][...] = task.shape.choices
    if "action_mask" in observation:
        observation["action_mask"][...] = task.always_legal
    return observation


def longer(space: spaces.Space[Any], tokens: int) -> spaces.Dict:
    """Return an observation space for texts of up to `tokens` sub-tokens."""
    assert isinstance(space, spaces.Dict)
    ids = space["input_ids"]
    assert isinstance(ids, spaces.Box)
    leaves: dict[str, spaces.Space[Any]] = {
        "input_ids": spaces.Box(0, int(ids.high.max()), (tokens,), np.int64),
        "attention_mask": spaces.Box(0, 1, (tokens,), np.int8),
    }
    return spaces.Dict({**space.spaces, **leaves})


def action_space(task: Task, settings: EnvArguments) -> spaces.Space[object]:
    """Return the action space of a single environment."""
    _, positions, choices = task.shape
    token = settings.unit == "token"
    if not token:
        choices += task.may_wait
    if settings.actions == "distribution":
        shape = (choices,) if token else (positions, choices)
        return spaces.Box(-LOGIT_BOUND, LOGIT_BOUND, shape, np.float32)
    if token:
        return spaces.Discrete(choices)
    return spaces.MultiDiscrete(np.full(positions, choices))
