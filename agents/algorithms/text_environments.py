"""Access to the text environments behind a Stable-Baselines3 VecEnv, whether vectorised or single."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from lm_gym.data import Dataset
from lm_gym.envs import TextVectorEnv
from lm_gym.rewards import ChoiceRewards
from lm_gym.tasks import Task


class TextEnvironments:
    """The lm_gym environments behind a VecEnv: one with N rows (VecEnvAdapter), or N with one row (DummyVecEnv).

    Args:
        env: a VecEnv over lm_gym environments.

    Raises:
        TypeError: if the VecEnv holds other environments.
    """

    def __init__(self, env: VecEnv) -> None:
        vector: Any = getattr(env.unwrapped, "vector", None)
        self.vectors: list[TextVectorEnv] = [vector]
        if vector is None and env.has_attr("vector"):
            self.vectors = env.get_attr("vector")
        if not all(isinstance(v, TextVectorEnv) for v in self.vectors):
            raise TypeError(f"{type(env.unwrapped).__name__} does not hold lm_gym environments")

    @property
    def first(self) -> TextVectorEnv:
        """The first environment. All have the same dataset, task and reward."""
        return self.vectors[0]

    @property
    def dataset(self) -> Dataset:
        """The dataset."""
        return self.first.dataset

    @property
    def targets(self) -> NDArray[np.int64]:
        """The gold choices of the current texts, int64 [N, T]; n where padded."""
        return np.concatenate([vector.targets for vector in self.vectors])

    @property
    def batch_draws(self) -> int:
        """The count of the sampler before it drew the current texts; reset(options={"draws": …}) draws them again."""
        return self.first.draws - self.draws_per_batch

    @property
    def draws_per_batch(self) -> int:
        """The number of texts that the sampler draws for the rows of a batch."""
        return self.first.num_envs // self.first.group_size

    def position_rewards(
        self, actions: NDArray[np.int64], target_log_probs: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Compute the rewards of `actions` [K, N, T] in the current texts, float32 [K, N, T], without taking them.

        If actions are distributions, `target_log_probs` [K, N, T] and the most probable choices replace them.
        """
        parts = [vector.position_rewards(*rows) for vector, rows in self._rows(actions, target_log_probs)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def choice_rewards(self) -> ChoiceRewards:
        """Return the reward of every choice at every position of the current texts, for an `enumerable` reward."""
        parts = [vector.choice_rewards() for vector in self.vectors]
        others = parts[0].others
        if others.ndim == 3:
            others = np.concatenate([part.others for part in parts])
        return ChoiceRewards(np.concatenate([part.gold for part in parts]), others)

    def reward_terms(
        self, actions: NDArray[np.int64], target_log_probs: NDArray[np.float32] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Compute each term of the reward by name, unweighted, as `position_rewards` does."""
        parts = [vector.reward_terms(*rows) for vector, rows in self._rows(actions, target_log_probs)]
        return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}

    def _rows(
        self, actions: NDArray[np.int64], target_log_probs: NDArray[np.float32] | None
    ) -> Iterator[tuple[TextVectorEnv, list[NDArray[Any]]]]:
        """Yield each environment with its rows of the given arrays."""
        given: list[NDArray[Any]] = [actions] if target_log_probs is None else [actions, target_log_probs]
        for i, vector in enumerate(self.vectors):
            yield vector, [np.split(part, len(self.vectors), axis=1)[i] for part in given]


def check_labels(labels: Sequence[str] | None, facts: Mapping[str, Any] | None, task: Task) -> None:
    """Raise ValueError unless an agent's labels are those of a task, in the same order, and its facts are the task's.

    Args:
        labels: an argument of the agent's LMPolicy; None is not compared.
        facts: another one; None is not compared.
        task: the task.
    """
    way_out = "use the data that the agent was trained on, or start a new agent from its checkpoint"
    if labels is not None and tuple(labels) != task.choice_names:
        own, other = ", ".join(labels), ", ".join(map(str, task.choice_keys()))
        raise ValueError(f"the agent has the labels {own}, but {task.env_id} has {other}: {way_out}")
    there = task.policy_arguments.get("facts") or {}
    for name, value in (facts or {}).items():
        if value != there.get(name):
            raise ValueError(f"the agent has {name}={value}, but {task.env_id} has {there.get(name)}: {way_out}")
