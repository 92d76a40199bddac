"""Learned orders of unmasking with Discrete actions: a position, then a token for it."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from lm_gym.envs import TextEnv
from lm_gym.envs.spaces import Observation


class PositionThenToken(gymnasium.Wrapper[Observation, int, Observation, NDArray[np.int64]], RecordConstructorArgs):
    """Wrapper of a single environment with a learned order, whose actions come in two parts.

    The first action chooses a position, and the second one a token for it, or n to leave it open. Both parts together
    are one step of the environment, which decides at most one position; the first part pays nothing. If the environment
    may open positions again (`remask=True`), choosing a filled position does so, without a second part. Choosing a
    position that does not exist or is not due wastes a step. `max_steps` should therefore be at least the number of
    positions.

    The action space is Discrete(max(T, n + 1)). The observation has two more leaves: `choosing` int8 [1], 1 if the next
    action chooses a position, and `cursor` int64 [1], the position that the next action decides, 0 while choosing.

    Args:
        env: an environment with `order="learned"`, `unit="sequence"` and `actions="token"`, wrapped or not.

    Raises:
        ValueError: the environment is another one.
    """

    env: gymnasium.Env[Observation, Any]

    def __init__(self, env: gymnasium.Env[Observation, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        bare = env.unwrapped
        whole = isinstance(env.action_space, spaces.MultiDiscrete)
        if not (whole and isinstance(bare, TextEnv) and bare.task.may_wait):
            raise ValueError(
                f"PositionThenToken needs a text environment whose actions may leave positions open, not {env}: make "
                "lm_gym/Unmasking-v0 with order='learned', unit='sequence' and actions='token'"
            )
        _, self._positions, self._wait = bare.task.shape
        self._task = bare.task
        self._actions = max(self._positions, self._wait + 1)
        self.action_space: spaces.Space[Any] = spaces.Discrete(self._actions)
        more: dict[str, spaces.Space[Any]] = {
            "choosing": spaces.Box(0, 1, (1,), np.int8),
            "cursor": spaces.Box(0, max(1, self._positions - 1), (1,), np.int64),
        }
        leaves: Any = bare.observation_space
        self.observation_space: spaces.Space[Any] = spaces.Dict({**leaves.spaces, **more})
        self._cursor: int | None = None
        self._last: Observation = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start a text, and choose its first position."""
        self._last, info = self.env.reset(seed=seed, options=options)
        self._cursor = None
        return self._observation(), info

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Choose a position, or a token for the chosen one.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset, or after the end of an episode.
            ValueError: the action is outside the action space.
        """
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} is outside 0 … {self._actions - 1}")
        if not self._last:
            raise ResetNeeded("step() before reset(): call reset() first")
        choices = self._last["predictions"].copy()  # open positions wait, and filled ones keep their tokens
        if self._cursor is not None:
            choices[self._cursor] = min(int(action), self._wait)
        elif self.action_masks()[action]:
            if choices[action] == self._wait:  # open: the second part says what fills it
                self._cursor = int(action)
                return self._observation(), 0.0, False, False, {}
            choices[action] = self._wait
        self._last, reward, terminated, truncated, info = self.env.step(choices)
        self._cursor = None
        return self._observation(), float(reward), terminated, truncated, info

    def action_masks(self) -> NDArray[np.bool_]:
        """Return the actions that make sense now, bool [max(T, n + 1)]: due positions, or legal tokens and n."""
        masks = np.zeros(self._actions, np.bool_)
        if self._cursor is None:
            masks[: self._positions] = self._last["due"] > 0
        else:
            masks[: self._wait] = self._task.always_legal
            masks[self._wait] = True
        return masks

    def _observation(self) -> Observation:
        choosing = self._cursor is None
        found: Observation = {key: leaf.copy() for key, leaf in self._last.items()}
        found["choosing"] = np.array([choosing], np.int8)
        found["cursor"] = np.array([0 if choosing else self._cursor], np.int64)
        return found
