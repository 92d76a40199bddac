"""Playing of texts that take several steps, from start to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm_gym.envs import TextVectorEnv
from lm_gym.tasks import Batch, Prediction


class PlayedSteps(NamedTuple):
    """The result of playing texts to their end.

    Attributes:
        prediction: choices int64 [N, T], n where a position stays open; log-probabilities of the targets when their
            position was decided or, for open positions, at the last step.
        returns: float32 [N], total rewards and costs; NaN if they need probabilities that the predictor does not give.
        steps: int64 [N], steps that each text took.
        position_rewards: float32 [N, T], the reward of each position, without costs.
        when: int64 [N, T], the step that decided each position, from 0; -1 where it stays open.
    """

    prediction: Prediction
    returns: NDArray[np.float32]
    steps: NDArray[np.int64]
    position_rewards: NDArray[np.float32]
    when: NDArray[np.int64]


def play_steps(
    predict: Callable[[Batch], Prediction], env: TextVectorEnv, after_step: Callable[[], None] = lambda: None
) -> PlayedSteps:
    """Play the texts of an environment that was just reset to their end, with the choices of a predictor.

    Args:
        predict: the predictor, called at each step.
        env: the environment, just reset; its texts take several steps (not `at_once`).
        after_step: called after each step.
    """
    texts, targets = env.text_index, env.targets
    ended = np.zeros(env.num_envs, np.bool_)
    returns, steps = np.zeros(env.num_envs), np.zeros(env.num_envs, np.int64)
    log_probs: NDArray[np.float32] | None = np.zeros(targets.shape, np.float32)
    when, rewards = np.full(targets.shape, -1), np.zeros(targets.shape, np.float32)
    while not ended.all():
        observation = env.episodes.observe(np.arange(env.num_envs))
        due = (observation["due"] > 0) & (observation["predictions"] == env.task.shape.choices)
        said = predict(Batch(observation, texts, targets, env.episodes.uniforms))
        step, moved = env.decide(said, ~ended)
        when[step.decided] = steps.max()
        if step.taken_back is not None:
            when[step.taken_back < env.task.shape.choices] = -1
        steps += ~ended
        if said.target_log_probs is None:
            log_probs = None
            scored = env.settings.actions == "token"
        else:
            assert log_probs is not None
            scored = True
            np.copyto(log_probs, said.target_log_probs, where=due & ~ended[:, None])
        paid = env.episodes.track.pay_step(step) if scored else np.full(targets.shape, np.nan, np.float32)
        rewards += np.where(ended[:, None], np.float32(0.0), paid)
        returns += np.where(ended, 0.0, paid.sum(-1) - env.episodes.cost(step, moved))
        after_step()
        ended = env.episodes.finished
    choices = env.episodes.observation["predictions"].copy()
    return PlayedSteps(Prediction(choices, log_probs), returns.astype(np.float32), steps, rewards, when)
