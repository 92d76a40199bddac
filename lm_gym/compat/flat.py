"""Observations as one Box, for libraries that take no Dict."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lm_gym.envs.episodes import Observation

_EXACT = 2**24  # float32 holds every integer up to here

Flat = NDArray[np.float32]


class Layout:
    """Where each leaf of a Dict of integer Boxes lies in one row of float32, and back.

    Args:
        space: the Dict.

    Attributes:
        slices: by key, in the order of the space.
        space: the Box, [size].

    Raises:
        ValueError: if float32 can't hold a leaf exactly.
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
        """One row of each observation, [..., size], of leaves [..., l]."""
        return np.concatenate([observation[key] for key in self.slices], axis=-1).astype(np.float32)

    def split(self, flat: Any) -> Mapping[str, Any]:
        """The leaves of rows [..., size], arrays or tensors of any library: views of them, still float32."""
        return {key: flat[..., place] for key, place in self.slices.items()}


class FlatObservation(gymnasium.ObservationWrapper[Flat, Any, Observation]):
    """A single environment whose observation is one Box.

    Args:
        env: an environment of lm_gym.

    Attributes:
        layout: where each leaf lies.
    """

    def __init__(self, env: gymnasium.Env[Observation, Any]) -> None:
        super().__init__(env)
        self.layout = _layout(env.observation_space)
        self.observation_space = self.layout.space

    def observation(self, observation: Observation) -> Flat:
        """Join the leaves."""
        return self.layout.join(observation)


class FlatVectorObservation(gymnasium.vector.VectorWrapper):  # no generic class in gymnasium 1.2
    """A vector environment whose observations are one Box, in every autoreset mode.

    Args:
        env: a vector environment of lm_gym.

    Attributes:
        layout: where each leaf lies.
    """

    def __init__(self, env: gymnasium.vector.VectorEnv[Observation, Any, NDArray[Any]]) -> None:
        super().__init__(env)
        self.layout = _layout(env.single_observation_space)
        self.single_observation_space = self.layout.space
        self.observation_space = batch_space(self.layout.space, env.num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Flat, dict[str, Any]]:
        """Begin texts, as the environment does."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self.layout.join(observation), info

    def step(self, actions: Any) -> tuple[Flat, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Step, as the environment does; last observations in `info["final_obs"]` are joined, too."""
        observation, rewards, terminated, truncated, info = self.env.step(actions)
        if "final_obs" in info:
            final = info["final_obs"]
            for row in np.flatnonzero(info["_final_obs"]):
                final[row] = self.layout.join(final[row])
        return self.layout.join(observation), rewards, terminated, truncated, info


def _layout(space: spaces.Space[Any]) -> Layout:
    if not isinstance(space, spaces.Dict):
        raise ValueError(f"the observation space is {space}, no Dict: there is nothing to join")
    return Layout(space)
