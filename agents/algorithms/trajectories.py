"""Whole episodes by plain VecEnv calls, for environments that do not decide a batch of texts at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from lm_gym.agents.algorithms.estimators import returns_to_go


@dataclass(frozen=True)
class Trajectories:
    """One episode of every row of an environment, as S flat steps, row by row in time.

    Attributes:
        observations: one array [S, …], or a dict of them.
        actions: [S, …].
        rewards: float32 [N, T], 0 after an episode's end.
        running: bool [N, T], True where an episode has a step.
    """

    observations: NDArray[Any] | dict[str, NDArray[Any]]
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    running: NDArray[np.bool_]

    def returns(self, gamma: float) -> th.Tensor:
        """Compute the returns-to-go of the steps, float32 [S], in the order of `actions`."""
        return returns_to_go(th.as_tensor(self.rewards), gamma)[th.as_tensor(self.running)]

    def first_steps(self) -> NDArray[np.int64]:
        """Return the index of each row's first step among the S flat steps, int64 [N]."""
        lengths: NDArray[np.int64] = self.running.sum(1)
        return np.cumsum(lengths) - lengths

    def leave_one_out(self, gamma: float, group_size: int) -> th.Tensor:
        """Return, for each step, the mean return-to-go of the other rows of its group at that time, float32 [S].

        Rows k·G … k·G + G − 1 play the same text; a finished row counts as 0. The actions of other rows do not depend
        on a row's action, so this baseline leaves the policy gradient unbiased.
        """
        G = returns_to_go(th.as_tensor(self.rewards), gamma)  # [N, T]
        groups = G.view(-1, group_size, G.shape[1])
        others = (groups.sum(1, keepdim=True) - groups) / (group_size - 1)
        return others.view_as(G)[th.as_tensor(self.running)]


def positions_decided(infos: Sequence[dict[str, Any]], running: NDArray[np.bool_]) -> int:
    """Return the timesteps of a step: the positions that running rows decided, or one per row if infos do not say."""
    return sum(info.get("decided", 1) for info, runs in zip(infos, running, strict=True) if runs)


def play_episodes(
    policy: BasePolicy,
    env: VecEnv,
    observe: Callable[[list[dict[str, Any]], NDArray[np.bool_]], bool],
    begun: Callable[[], None] = lambda: None,
) -> Trajectories | None:
    """Reset the environment and sample one episode in each row.

    Rows that end early continue with other episodes, which are not counted, until the last row ends. Every row gives
    exactly one episode, so that short ones are not over-represented.

    Args:
        policy: the policy, whose actions are sampled.
        env: any VecEnv.
        observe: called after every step with the infos and a mask of the rows that were still running; False stops.
        begun: called when the episodes begin, before their first step.

    Returns:
        The episodes, or None if `observe` stopped them.
    """
    obs = env.reset()
    begun()
    running = np.ones(env.num_envs, bool)
    seen: list[Any] = []
    actions: list[NDArray[Any]] = []
    rewards: list[NDArray[np.float32]] = []
    masks: list[NDArray[np.bool_]] = []
    while running.any():
        action, _ = policy.predict(obs, deterministic=False)  # type: ignore[arg-type]
        seen.append(obs)
        actions.append(action)
        masks.append(running)
        obs, reward, done, infos = env.step(action)
        rewards.append(np.where(running, reward, 0.0).astype(np.float32))
        counted, running = running, running & ~done
        if not observe(infos, counted):
            return None
    mask = np.stack(masks, axis=1)  # [N, T]

    def flat(steps: list[NDArray[Any]]) -> NDArray[Any]:
        return np.stack(steps, axis=1)[mask]

    observations = (
        {key: flat([step[key] for step in seen]) for key in seen[0]} if isinstance(seen[0], dict) else flat(seen)
    )
    return Trajectories(observations, flat(actions), np.stack(rewards, axis=1), mask)


def play_returns(
    policy: BasePolicy, env: VecEnv, observe: Callable[[list[dict[str, Any]], NDArray[np.bool_]], bool]
) -> NDArray[np.float64] | None:
    """Reset the environment and play one episode in each row with the policy's most probable actions.

    Args:
        policy: the policy.
        env: any VecEnv; seed it before to get the same episodes again.
        observe: called after every step with the infos and which rows were still running; False stops.

    Returns:
        The return of each row [N], or None if `observe` stopped them.
    """
    obs = env.reset()
    running = np.ones(env.num_envs, bool)
    returns = np.zeros(env.num_envs)
    while running.any():
        action, _ = policy.predict(obs, deterministic=True)  # type: ignore[arg-type]
        obs, reward, done, infos = env.step(action)
        returns += np.where(running, reward, 0.0)
        counted, running = running, running & ~done
        if not observe(infos, counted):
            return None
    return returns
