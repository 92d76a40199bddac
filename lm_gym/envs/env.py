"""The single environment: a `gymnasium.Env` around the vector environment with N = 1."""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from lm_gym.data import Dataset
from lm_gym.envs.classes import environment_class, remade
from lm_gym.envs.spaces import Observation
from lm_gym.envs.vector import TextVectorEnv
from lm_gym.rewards import Reward
from lm_gym.tasks import Cut, Task

_OF_VECTORS = ("num_envs", "autoreset_mode")  # arguments that only a vector environment has


class TextEnv(gymnasium.Env[Observation, Any]):
    """Base class of the single environments, which play one text at a time (`lm_gym.envs.environment_class`).

    Args:
        arguments: see `lm_gym.envs.arguments.EnvArguments`, and the manual of the task's environment.

    Attributes:
        vector: the underlying vector environment with N = 1.
    """

    task_class: ClassVar[type[Task]]
    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012  (Gymnasium's own)

    def __init__(self, **arguments: Any) -> None:
        for name in _OF_VECTORS:
            if name in arguments:
                raise TypeError(f"{name}={arguments[name]!r} is an argument of gymnasium.make_vec: leave it out here")
        kind = environment_class(self.task_class, TextVectorEnv)
        self.vector: TextVectorEnv = kind(1, autoreset_mode=AutoresetMode.DISABLED, **arguments)
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space
        self.render_mode = self.vector.render_mode

    @property
    def dataset(self) -> Dataset:
        """The data."""
        return self.vector.dataset

    @property
    def split(self) -> str:
        """The name of the split."""
        return self.vector.split

    @property
    def task(self) -> Task:
        """The task, with the encoded split."""
        return self.vector.task

    @property
    def reward(self) -> Reward:
        """The reward."""
        return self.vector.reward

    @property
    def num_texts(self) -> int:
        """Number of texts in the split."""
        return self.vector.num_texts

    @property
    def positions_per_pass(self) -> int:
        """Number of positions in one pass over the split."""
        return self.vector.positions_per_pass

    @property
    def cut(self) -> Cut:
        """Texts and positions removed by `max_length`."""
        return self.vector.cut

    @property
    def targets(self) -> NDArray[np.int64]:
        """Gold choices of the current text, int64 [1, T]; n where padded."""
        return self.vector.targets

    @property
    def text_index(self) -> NDArray[np.int64]:
        """Index of the current text, int64 [1]."""
        return self.vector.text_index

    @property
    def draws(self) -> int:
        """Number of texts drawn by the sampler so far."""
        return self.vector.draws

    def position_rewards(self, actions: Any) -> NDArray[np.float32]:
        """Return the rewards of actions without taking them, [..., 1, T] (see `TextVectorEnv.position_rewards`)."""
        return self.vector.position_rewards(actions)

    def reward_terms(self, actions: Any) -> dict[str, NDArray[np.float32]]:
        """Return the rewards of actions by term, [..., 1, T] (see `TextVectorEnv.reward_terms`)."""
        return self.vector.reward_terms(actions)

    def action_masks(self) -> NDArray[np.bool_]:
        """Return a mask of sensible actions, bool [n] or [T · n] (see `TextVectorEnv.action_masks`)."""
        return np.asarray(self.vector.action_masks()[0], np.bool_)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start a text (see `TextVectorEnv.reset`; `indices` may be a single number)."""
        super().reset(seed=seed)
        if seed is None:
            self.vector.np_random = self.np_random
        self.vector.begin(seed, options)
        index = int(self.vector.episodes.text_index[0])
        return self._observation(), {"index": index, "text": self.task.text(index)}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Decide the position at the cursor, or all positions (`unit`).

        Raises:
            gymnasium.error.ResetNeeded: before the first reset, or after the end of an episode.
            TypeError: the action has a wrong type.
            ValueError: the action is out of range, NaN or infinite.
        """
        rewards, terminated, truncated, info = self.vector.advance(np.asarray(action)[None])
        return (
            self._observation(),
            float(rewards[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            _only_row(info) if info else info,
        )

    def render(self) -> str | None:
        """Return the text with its decisions in ANSI colours, or None without `render_mode="ansi"`."""
        return None if self.render_mode is None else self.vector.render_row(0)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the task instead of the class, which is generated."""
        return remade, (self.task_class, TextEnv), self.__dict__

    def _observation(self) -> Observation:
        return {key: leaf[0].copy() for key, leaf in self.vector.episodes.observation.items()}


def _only_row(info: dict[str, Any]) -> dict[str, Any]:
    """Return the info of the single row from the vector environment's info."""
    return {
        key: _only_row(value) if isinstance(value, dict) else value[0]
        for key, value in info.items()
        if not key.startswith("_")
    }
