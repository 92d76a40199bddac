"""The native vector environment, and masks, as Tianshou takes them."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from tianshou.data import Batch
from tianshou.env import BaseVectorEnv

from lm_gym.envs.episodes import Observation
from lm_gym.envs.vector import TextVectorEnv

Ids = int | list[int] | NDArray[np.integer] | None


class MaskKey(gymnasium.ObservationWrapper[dict[str, Any], Any, Observation]):
    """The mask where Tianshou's DQN looks for it: {"obs": the other leaves, "mask": `action_mask`}.

    Args:
        env: an environment made with `mask_actions=True`.

    Raises:
        ValueError: if the observation has no `action_mask`.
    """

    def __init__(self, env: gymnasium.Env[Observation, Any]) -> None:
        super().__init__(env)
        self.observation_space = mask_key_space(env.observation_space)

    def observation(self, observation: Observation) -> dict[str, Any]:
        """Take the mask out."""
        leaves = dict(observation)
        return {"mask": leaves.pop("action_mask"), "obs": leaves}


def mask_key_space(space: spaces.Space[Any]) -> spaces.Dict:
    """The space {"obs": …, "mask": …} of one with an `action_mask`.

    Raises:
        ValueError: if it has none.
    """
    if not isinstance(space, spaces.Dict) or "action_mask" not in space.spaces:
        raise ValueError("the observation has no action_mask: make the environment with mask_actions=True")
    leaves = {key: leaf for key, leaf in space.items() if key != "action_mask"}
    return spaces.Dict({"obs": spaces.Dict(leaves), "mask": space["action_mask"]})


class VectorEnvAdapter(BaseVectorEnv):  # type: ignore[misc]  # untyped without Tianshou
    """A `TextVectorEnv` behind Tianshou's interface, equal to a `DummyVectorEnv` of single environments.

    Tianshou resets rows by itself, and steps some of them without the others. A row that is left out of a step is out
    until it is reset, as Tianshou's Collector treats it.

    Args:
        vector_env: the environment, with autoreset `DISABLED`.
        mask_key: whether observations are split as `MaskKey` splits them (Tianshou's masked DQN).

    Attributes:
        vector: the environment.
        env_num: N.

    Raises:
        TypeError: if `vector_env` isn't a `TextVectorEnv`.
        ValueError: if its autoreset mode isn't `DISABLED`, or it has no mask and `mask_key` asks for one.
    """

    is_async = False

    def __init__(self, vector_env: gymnasium.vector.VectorEnv[Any, Any, Any], *, mask_key: bool = False) -> None:
        if not isinstance(vector_env, TextVectorEnv):
            raise TypeError(f"VectorEnvAdapter adapts a vector environment of lm_gym, unwrapped, not {vector_env}")
        if vector_env.autoreset_mode is not AutoresetMode.DISABLED:
            raise ValueError(
                f"Tianshou resets by itself and autoreset_mode is {vector_env.autoreset_mode.value!r}: make the "
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
        """N."""
        return self.env_num

    def seed(self, seed: int | list[int] | None = None) -> list[int | None]:
        """Begin every row with a seed; of a list the first counts, since rows share one sampler."""
        first = seed[0] if isinstance(seed, list) else seed
        self.vector.begin(first, None)
        return [first] * self.env_num

    def reset(self, env_id: Ids = None, **kwargs: Any) -> tuple[Batch, NDArray[np.object_]]:
        """Begin some rows, with `seed` and `options` as the vector environment takes them."""
        rows = self._rows(env_id)
        mask = np.zeros(self.env_num, np.bool_)
        mask[rows] = True
        self.vector.begin(kwargs.get("seed"), {**(kwargs.get("options") or {}), "reset_mask": mask})
        index = self.vector.text_index[rows].tolist()
        return self._observe(rows), np.array([{"index": number} for number in index])

    def step(
        self, action: NDArray[Any], id: Ids = None
    ) -> tuple[Batch, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.object_]]:
        """Step some rows; actions are theirs, [R, …]."""
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
        """An attribute of the vector environment, once for each row asked."""
        value = self._spaces[key] if key in self._spaces else getattr(self.vector, key)
        return [value for _ in self._rows(id)]

    def set_env_attr(self, key: str, value: Any, id: Ids = None) -> None:
        """Set an attribute of the vector environment: there is one for all rows."""
        setattr(self.vector, key, value)

    def render(self, **kwargs: Any) -> list[Any]:
        """The texts with their decisions, in ANSI colours, where `render_mode="ansi"`."""
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
