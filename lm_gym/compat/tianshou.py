"""Adapters of the native vector environment and of action masks to Tianshou."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from tianshou.data import Batch
from tianshou.env import BaseVectorEnv

from lm_gym.envs.spaces import Observation
from lm_gym.envs.vector import TextVectorEnv

Ids = int | list[int] | NDArray[np.integer] | None


class MaskKey(gymnasium.ObservationWrapper[dict[str, Any], Any, Observation]):
    """Wrapper that puts the mask where Tianshou's DQN expects it: {"obs": the other leaves, "mask": `action_mask`}.

    Args:
        env: an environment made with `mask_actions=True`.

    Raises:
        ValueError: the observation has no `action_mask`.
    """

    def __init__(self, env: gymnasium.Env[Observation, Any]) -> None:
        super().__init__(env)
        self.observation_space = mask_key_space(env.observation_space)

    def observation(self, observation: Observation) -> dict[str, Any]:
        """Separate the mask from the other leaves."""
        leaves = dict(observation)
        return {"mask": leaves.pop("action_mask"), "obs": leaves}


def mask_key_space(space: spaces.Space[Any]) -> spaces.Dict:
    """Return the space {"obs": …, "mask": …} for a space with an `action_mask`.

    Raises:
        ValueError: the space has no `action_mask`.
    """
    if not isinstance(space, spaces.Dict) or "action_mask" not in space.spaces:
        raise ValueError("the observation has no action_mask: make the environment with mask_actions=True")
    leaves = {key: leaf for key, leaf in space.items() if key != "action_mask"}
    return spaces.Dict({"obs": spaces.Dict(leaves), "mask": space["action_mask"]})


class VectorEnvAdapter(BaseVectorEnv):  # type: ignore[misc]  # untyped without Tianshou
    """Adapter of a `TextVectorEnv` to Tianshou's interface, equivalent to a `DummyVectorEnv` of single environments.

    Tianshou resets rows itself, and may step only some of them. A row that is left out of a step stays inactive until
    its reset, as in Tianshou's Collector.

    Args:
        vector_env: the environment, with autoreset `DISABLED`.
        mask_key: whether to split observations like `MaskKey`, for Tianshou's masked DQN.

    Attributes:
        vector: the environment.
        env_num: N.

    Raises:
        TypeError: `vector_env` is not a `TextVectorEnv`.
        ValueError: its autoreset mode is not `DISABLED`, or `mask_key` is set but it has no mask.
    """

    is_async = False

    def __init__(self, vector_env: gymnasium.vector.VectorEnv[Any, Any, Any], *, mask_key: bool = False) -> None:
        if not isinstance(vector_env, TextVectorEnv):
            raise TypeError(f"VectorEnvAdapter needs an unwrapped vector environment of lm_gym, got {vector_env}")
        if vector_env.autoreset_mode is not AutoresetMode.DISABLED:
            raise ValueError(
                f"Tianshou resets rows itself, but autoreset_mode is {vector_env.autoreset_mode.value!r}: make the "
                "environment with autoreset_mode='DISABLED'"
            )
        self.vector = vector_env
        self.env_num = vector_env.num_envs
        self.is_closed = False
        self._spaces = {
            "observation_space": vector_env.single_observation_space,
            "action_space": vector_env.single_action_space,
        }
        self._mask_key = mask_key
        if mask_key:
            self._spaces["observation_space"] = mask_key_space(vector_env.single_observation_space)

    def __len__(self) -> int:
        """Return N."""
        return self.env_num

    def seed(self, seed: int | list[int] | None = None) -> list[int | None]:
        """Reset every row with a seed; a list contributes its first seed, because rows share one sampler."""
        first = seed[0] if isinstance(seed, list) else seed
        self.vector.begin(first, None)
        return [first] * self.env_num

    def reset(self, env_id: Ids = None, **kwargs: Any) -> tuple[Batch, NDArray[np.object_]]:
        """Reset some rows, with `seed` and `options` of the vector environment."""
        rows = self._rows(env_id)
        mask = np.zeros(self.env_num, np.bool_)
        mask[rows] = True
        self.vector.begin(kwargs.get("seed"), {**(kwargs.get("options") or {}), "reset_mask": mask})
        index = self.vector.text_index[rows].tolist()
        return self._observe(rows), np.array([{"index": number} for number in index])

    def step(
        self, action: NDArray[Any], id: Ids = None
    ) -> tuple[Batch, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.object_]]:
        """Step some rows with their actions, [R, …]."""
        rows = self._rows(id)
        playing = np.zeros(self.env_num, np.bool_)
        playing[rows] = True
        given = np.asarray(action)
        actions = np.zeros((self.env_num, *given.shape[1:]), given.dtype)
        actions[rows] = given
        rewards, terminated, truncated, info = self.vector.advance(actions, playing)
        infos: list[dict[str, Any]] = [{"env_id": row} for row in rows.tolist()]
        if "position_rewards" in info:
            for row_info, paid in zip(infos, info["position_rewards"][rows], strict=True):
                row_info["position_rewards"] = paid
        return self._observe(rows), rewards[rows], terminated[rows], truncated[rows], np.array(infos)

    def get_env_attr(self, key: str, id: Ids = None) -> list[Any]:
        """Return an attribute of the vector environment, once for each requested row."""
        value = self._spaces[key] if key in self._spaces else getattr(self.vector, key)
        return [value for _ in self._rows(id)]

    def set_env_attr(self, key: str, value: Any, id: Ids = None) -> None:
        """Set an attribute of the vector environment, which all rows share."""
        setattr(self.vector, key, value)

    def render(self, **kwargs: Any) -> list[Any]:
        """Return the texts with their decisions in ANSI colours, or None for each without `render_mode="ansi"`."""
        return list(self.vector.render() or [None] * self.env_num)

    def close(self) -> None:
        """Close the environment."""
        self.vector.close()
        self.is_closed = True

    def _rows(self, ids: Ids) -> NDArray[np.int64]:
        return np.arange(self.env_num) if ids is None else np.atleast_1d(np.asarray(ids, np.int64))

    def _observe(self, rows: NDArray[np.int64]) -> Batch:
        leaves: dict[str, Any] = self.vector.episodes.observe(rows)
        if self._mask_key:
            leaves = {"mask": leaves.pop("action_mask"), "obs": leaves}
        return Batch(leaves)
