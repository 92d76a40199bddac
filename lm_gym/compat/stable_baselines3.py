"""The native vector environment as a Stable-Baselines3 `VecEnv`."""

import time
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env.base_vec_env import (
    VecEnv,
    VecEnvIndices,
    VecEnvObs,
    VecEnvStepReturn,
)

from lm_gym.envs.vector import TextVectorEnv

_BY_ROW = ("action_masks", "render")  # methods of the vector environment with one result per row


class VecEnvAdapter(VecEnv):
    """Adapter of a `TextVectorEnv` to SB3's interface, equivalent to a `DummyVecEnv` of monitored single environments.

    When an episode ends, the info of its row holds `terminal_observation`, `TimeLimit.truncated` and Monitor's
    `episode` (return `r`, length `l` in steps, seconds `t` since the adapter was created). With `unit="sequence"` every
    info holds `position_rewards`, float32 [T], and for a sum of rewards `reward_terms`, one array per term.

    `seed(s)` takes effect at the next reset, with s as the single seed of the vector environment. Options also take
    effect at the next reset: `set_options({"indices": …})` or `{"draws": …}`, in the form of the vector environment, or
    a list of one dict with `indices` per row.

    Args:
        vector_env: the environment, with any autoreset mode: rows that end start another text in the same step.

    Attributes:
        vector: the environment.

    Raises:
        TypeError: `vector_env` is not a `TextVectorEnv`.
    """

    def __init__(self, vector_env: gymnasium.vector.VectorEnv[Any, Any, Any]) -> None:
        if not isinstance(vector_env, TextVectorEnv):
            raise TypeError(
                f"VecEnvAdapter needs an unwrapped vector environment of lm_gym, got {vector_env}: wrap the adapter in "
                "wrappers of SB3 instead"
            )
        native = vector_env
        self.vector = native
        self._actions: Any = None
        self._pending: dict[str, Any] | None = None
        self._returns = np.zeros(native.num_envs)
        self._lengths = np.zeros(native.num_envs, np.int64)
        self._start = time.time()
        super().__init__(native.num_envs, native.single_observation_space, native.single_action_space)

    def reset(self) -> VecEnvObs:
        """Reset every row, with the pending seed and options, which are used once."""
        observation, info = self.vector.reset(seed=self._seeds[0], options=self._pending)
        self._pending = None
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = 0.0
        self._lengths[:] = 0
        self._note_resets(info)
        return observation

    def step_async(self, actions: NDArray[Any]) -> None:
        """Store the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Step; rows that end start another text at once."""
        observation, rewards, terminated, truncated, info = self.vector.step(self._actions)
        ended = terminated | truncated
        self._returns += rewards
        self._lengths += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if "position_rewards" in info:
            for row_info, paid in zip(infos, info["position_rewards"], strict=True):
                row_info["position_rewards"] = paid
        if "decided" in info:
            for row_info, count in zip(infos, info["decided"].tolist(), strict=True):
                row_info["decided"] = count
        if "reward_terms" in info:
            terms = {name: paid for name, paid in info["reward_terms"].items() if not name.startswith("_")}
            for row_info, *paid in zip(infos, *terms.values(), strict=True):
                row_info["reward_terms"] = dict(zip(terms, paid, strict=True))
        if ended.any():
            rows = np.flatnonzero(ended)
            if self.vector.autoreset_mode is AutoresetMode.SAME_STEP:
                finals = [info["final_obs"][row] for row in rows.tolist()]
            else:  # reset now, so that NEXT_STEP has nothing left to reset
                finals = [{key: leaf[row] for key, leaf in observation.items()} for row in rows.tolist()]
                observation, info = self.vector.reset(options={"reset_mask": ended})
            self._report(rows, finals, truncated, infos)
            self._note_resets(info)
        return observation, rewards.astype(np.float32), ended, infos

    def get_state(self) -> dict[str, Any]:
        """Return the state of the environment, and the returns and lengths of current episodes, for `set_state`."""
        return {"env": self.vector.get_state(), "returns": self._returns.copy(), "lengths": self._lengths.copy()}

    def set_state(self, state: dict[str, Any]) -> VecEnvObs:
        """Resume from a state saved by an identically configured adapter, and return the current observation.

        Raises:
            ValueError: the state belongs to a different environment.
        """
        observation = self.vector.set_state(state["env"])
        self._returns[:], self._lengths[:] = state["returns"], state["lengths"]
        return observation

    def close(self) -> None:
        """Close the environment."""
        self.vector.close()

    def set_options(self, options: list[dict[str, Any]] | dict[str, Any] | None = None) -> None:
        """Set the options of the next reset.

        Raises:
            ValueError: a list does not hold one dict with only `indices` for each row.
        """
        if isinstance(options, list):
            if not any(options):
                options = None
            elif len(options) != self.num_envs or any(set(row) != {"indices"} for row in options):
                raise ValueError(
                    f"a list of options must hold {self.num_envs} dicts, each with only `indices`; or give one dict, "
                    "in the form of the vector environment"
                )
            else:
                options = {"indices": np.array([np.asarray(row["indices"]).item() for row in options])}
        self._pending = dict(options) if options else None

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of the vector environment, once for each requested row."""
        value = getattr(self.vector, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the vector environment, which all rows share."""
        setattr(self.vector, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the vector environment once; return each row's entry, or the whole result for each row."""
        result = getattr(self.vector, method_name)(*method_args, **method_kwargs)
        by_row = method_name in _BY_ROW and result is not None
        return [result[row] if by_row else result for row in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Return True for Monitor, whose work the adapter does."""
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray[Any] | None]:
        """Return no images, because texts are rendered as ANSI text."""
        return [None] * self.num_envs

    def _report(
        self,
        rows: NDArray[np.int64],
        finals: list[dict[str, Any]],
        truncated: NDArray[np.bool_],
        infos: list[dict[str, Any]],
    ) -> None:
        seconds = round(time.time() - self._start, 6)
        for row, final in zip(rows.tolist(), finals, strict=True):
            infos[row]["terminal_observation"] = final
            infos[row]["TimeLimit.truncated"] = bool(truncated[row])
            infos[row]["episode"] = {
                "r": round(float(self._returns[row]), 6),
                "l": int(self._lengths[row]),
                "t": seconds,
            }
        self._returns[rows] = 0.0
        self._lengths[rows] = 0

    def _note_resets(self, info: dict[str, Any]) -> None:
        for row in np.flatnonzero(info["_index"]).tolist():
            self.reset_infos[row] = {"index": int(info["index"][row])}
