"""An environment under test, seen as N rows, and comparisons of what it returns."""

from copy import deepcopy
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from lm_gym.envs import TextEnv, TextVectorEnv
from lm_gym.envs.spaces import Observation

AnyEnv = gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]
SEED = 20


class Played:
    """A single or vector environment, seen as N rows."""

    def __init__(self, env: AnyEnv) -> None:
        bare = env.unwrapped
        if not isinstance(bare, TextEnv | TextVectorEnv):
            raise TypeError(f"{type(bare).__name__} is neither a TextEnv nor a TextVectorEnv")
        self.env, self.bare = env, bare
        self.single = isinstance(bare, TextEnv)
        self.vector = bare.vector if isinstance(bare, TextEnv) else bare
        self.tokenwise = self.vector.settings.unit == "token"
        self.rows = self.vector.num_envs
        self.texts = self.rows // self.vector.group_size
        self.truncated = np.zeros(self.rows, np.bool_)  # in the last step

    def reset(self, seed: int | None = None, **options: Any) -> Observation:
        """Reset the environment, check its info, and return the batched observation."""
        observation, info = cast(Any, self.env).reset(seed=seed, options=options or None)
        index, begun = np.atleast_1d(info["index"]), np.atleast_1d(info.get("_index", True))
        assert (~begun | (index == self.bare.text_index)).all(), f"info['index'] {index} is not text_index"
        assert observation in self.env.observation_space, "the observation of reset() is not in the observation space"
        return self._batched(observation)

    def step(self, actions: NDArray[Any]) -> tuple[Observation, NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Step the rows; return the batched observation, rewards, ends of episodes and info."""
        given = actions[0] if self.single else actions
        observation, reward, terminated, truncated, info = cast(Any, self.env).step(given)
        assert observation in self.env.observation_space, "the observation of step() is not in the observation space"
        self.truncated = np.atleast_1d(truncated)
        ended = np.atleast_1d(terminated) | self.truncated
        return self._batched(observation), np.atleast_1d(reward), ended, info

    def begin(self, ended: NDArray[np.bool_]) -> Observation | None:
        """Reset the rows that have ended if autoreset is disabled."""
        if not ended.any() or self.vector.autoreset_mode is not AutoresetMode.DISABLED:
            return None
        return self.reset() if self.single else self.reset(reset_mask=ended)

    def actions(self, rng: np.random.Generator, *, whole: bool = False) -> NDArray[Any]:
        """Draw random actions for a step, or for whole texts."""
        shape: tuple[int, ...] = (self.rows,)
        if whole or not self.tokenwise:
            shape = (self.rows, self.vector.task.shape.positions)
        choices = self.vector.task.shape.choices
        if not whole and not self.tokenwise:
            choices += self.vector.task.may_wait
        if self.vector.settings.actions == "distribution":
            return rng.normal(size=(*shape, choices)).astype(np.float32)
        return rng.integers(0, choices, shape)

    def rollout(self, seed: int, steps: int) -> list[Any]:
        """Return all results of a seeded rollout."""
        rng = np.random.default_rng(seed)
        kept: list[Any] = [deepcopy(self.reset(seed))]
        for _ in range(steps):
            observation, rewards, ended, _ = self.step(self.actions(rng))
            kept += deepcopy([observation, rewards, ended, self.bare.text_index])
            kept.append(deepcopy(self.begin(ended)))
        return kept

    def _batched(self, observation: Observation) -> Observation:
        return {key: leaf[None] for key, leaf in observation.items()} if self.single else observation


def assert_same(first: list[Any], second: list[Any], message: str) -> None:
    """Assert that two lists of observations, arrays and None are the same, item by item."""
    for one, other in zip(first, second, strict=True):
        if isinstance(one, dict):
            assert one.keys() == other.keys(), f"{message}: {sorted(one)} and {sorted(other)}"
            for key in one:
                assert np.array_equal(one[key], other[key]), f"{message}: {key}"
        elif one is None:
            assert other is None, message
        else:
            assert np.array_equal(one, other), f"{message}: {one} and {other}"


def scribble(value: Any) -> None:
    """Overwrite every number in a result of the environment."""
    if isinstance(value, dict):
        for inner in value.values():
            scribble(inner)
    elif isinstance(value, np.ndarray) and value.dtype == object:
        for inner in value:
            scribble(inner)
    elif isinstance(value, np.ndarray) and value.ndim and value.flags.writeable:
        value[...] = 1
