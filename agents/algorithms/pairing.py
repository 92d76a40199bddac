"""What `gamma="auto"` and `advantage="auto"` are: the estimator that suits a reward."""

from __future__ import annotations

from typing import Any

from lm_gym.rewards import Reward


def pair(reward: Reward, gamma: Any, advantage: Any, otherwise: str) -> tuple[float, str]:
    """γ and the advantage for a reward, each as it is given or, for `"auto"`, decided.

    γ is 0 if positions pay for themselves alone, else 1. The advantage is `maximum_likelihood` if they also never pay
    less than 0.

    Args:
        reward: the reward of the environment.
        gamma: γ, or `"auto"`.
        advantage: a name, or `"auto"`.
        otherwise: the advantage for all other rewards.

    Raises:
        ValueError: `maximum_likelihood` for a reward that can be negative.
    """
    if gamma == "auto":
        gamma = 0.0 if reward.separable else 1.0
    if advantage == "auto":
        advantage = "maximum_likelihood" if reward.separable and reward.minimum >= 0 else otherwise
    if advantage == "maximum_likelihood" and reward.minimum < 0:
        raise ValueError(
            f"advantage 'maximum_likelihood' divides by the mean reward, and reward {reward.name!r} can be as low as "
            f"{reward.minimum}: take advantage={otherwise!r}, or a reward that is never negative (accuracy, or f1 with "
            "dense=False)"
        )
    return float(gamma), advantage
