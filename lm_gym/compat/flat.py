"""Observations as a single Box, for libraries that do not support Dict observations."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lm_gym.envs.spaces import Observation

_EXACT = 2**24  # float32 represents every integer up to here

Flat = NDArray[np.float32]


class Layout:
    """Conversion between a Dict of integer Boxes and one row of float32.

    Args:
        space: the Dict space.

    Attributes:
        slices: slice of each key in a row, in the order of the space.
        space: the Box space, [size].

    Raises:
        ValueError: float32 cannot represent a leaf exactly.
    """

    def __init__(self, space: spaces.Dict) -> None:
        self.slices: dict[str, slice] = {}
        lows, highs, end = [], [], 0
        for key, leaf in space.items():
            if not isinstance(leaf, spaces.Box) or max(abs(leaf.low).max(), abs(leaf.high).max()) > _EXACT:
                raise ValueError(f"{key} is {leaf}: only Boxes of integers up to {_EXACT:,} are exact in float32")
            self.slices[key] = slice(end, end + int(np.prod(leaf.shape)))
            end = self.slices[key].stop
            lows.append(leaf.low.reshape(-1))
            highs.append(leaf.high.reshape(-1))
        low, high = (np.concatenate(bounds).astype(np.float32) for bounds in (lows, highs))
        self.space = spaces.Box(low, high, dtype=np.float32)

    def join(self, observation: Observation) -> Flat:
        """Join leaves [..., l] into rows [..., size]."""
        return np.concatenate([observation[key] for key in self.slices], axis=-1).astype(np.float32)

    def split(self, flat: Any) -> Mapping[str, Any]:
        """Split rows [..., size], arrays or tensors of any library, into leaves; these are float32 views."""
        return {key: flat[..., place] for key, place in self.slices.items()}


class FlatObservation(gymnasium.ObservationWrapper[Flat, Any, Observation]):
    """Wrapper of a single environment whose observation becomes one Box.

    Args:
        env: an environment of lm_gym.

    Attributes:
        layout: the conversion between both forms.
    """

    def __init__(self, env: gymnasium.Env[Observation, Any]) -> None:
        super().__init__(env)
        self.layout = _layout(env.observation_space)
        self.observation_space = self.layout.space

    def observation(self, observation: Observation) -> Flat:
        """Join the leaves."""
        return self.layout.join(observation)


class FlatVectorObservation(gymnasium.vector.VectorWrapper):  # not generic in gymnasium 1.2
    """Wrapper of a vector environment whose observations become one Box, in every autoreset mode.

    Args:
        env: a vector environment of lm_gym.

    Attributes:
        layout: the conversion between both forms.
    """

    def __init__(self, env: gymnasium.vector.VectorEnv[Observation, Any, NDArray[Any]]) -> None:
        super().__init__(env)
        self.layout = _layout(env.single_observation_space)
        self.single_observation_space = self.layout.space
        self.observation_space = batch_space(self.layout.space, env.num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Flat, dict[str, Any]]:
        """Start texts, as the environment does."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self.layout.join(observation), info

    def step(self, actions: Any) -> tuple[Flat, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Step, as the environment does, and also join the observations in `info["final_obs"]`."""
        observation, rewards, terminated, truncated, info = self.env.step(actions)
        if "final_obs" in info:
            final = info["final_obs"]
            for row in np.flatnonzero(info["_final_obs"]):
                final[row] = self.layout.join(final[row])
        return self.layout.join(observation), rewards, terminated, truncated, info


def _layout(space: spaces.Space[Any]) -> Layout:
    if not isinstance(space, spaces.Dict):
        raise ValueError(f"the observation space must be a Dict, got {space}")
    return Layout(space)
