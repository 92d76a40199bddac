"""Rewards: what a decision pays, given the gold choice."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lm_gym.naming import among
from lm_gym.rewards.accuracy import Accuracy
from lm_gym.rewards.compose import AtTheEnd, FunctionReward, RewardFunction, WeightedSum
from lm_gym.rewards.entity_f1 import EntityF1
from lm_gym.rewards.log_likelihood import LogLikelihood
from lm_gym.rewards.reward import Board, Choices, Reward, Separable, Track

__all__ = [
    "REWARDS",
    "Accuracy",
    "AtTheEnd",
    "Board",
    "Choices",
    "EntityF1",
    "FunctionReward",
    "LogLikelihood",
    "Reward",
    "RewardFunction",
    "RewardSpec",
    "Separable",
    "Track",
    "WeightedSum",
    "make_reward",
]

REWARDS: dict[str, Callable[..., Reward]] = {
    "accuracy": Accuracy,
    "balanced_accuracy": partial(Accuracy, weights="balanced"),
    "f1": EntityF1,
    "log_likelihood": LogLikelihood,
}

RewardSpec = str | Mapping[str, float] | Reward | RewardFunction


def make_reward(reward: RewardSpec, arguments: Mapping[str, Any] | None = None) -> Reward:
    """Make a reward of its description.

    Args:
        reward: a name in `REWARDS`, a mapping {name: weight} of several, a `Reward`, or a function (see
            `FunctionReward`).
        arguments: keyword arguments of the named reward; of several, {name: {argument: value}}.

    Raises:
        ValueError: if a name or an argument is unknown, or arguments are given to what takes none.
    """
    given = dict(arguments or {})
    if isinstance(reward, str):
        return _named(reward, given)
    if isinstance(reward, Mapping):
        for name in given:
            if name not in reward:
                raise ValueError(f"reward_kwargs for {name!r}, which is no part of the reward{among(name, reward)}")
        return WeightedSum({name: (_named(name, given.get(name, {})), weight) for name, weight in reward.items()})
    if given:
        raise ValueError(f"reward_kwargs={given} go with the name of a reward: build {reward!r} with them instead")
    if isinstance(reward, Reward):
        return reward
    if callable(reward):
        return FunctionReward(reward)
    raise ValueError(f"reward={reward!r} is none of a name, a mapping {{name: weight}}, a Reward and a function")


def _named(name: str, arguments: Mapping[str, Any]) -> Reward:
    if name not in REWARDS:
        raise ValueError(f"unknown reward {name!r}{among(name, REWARDS)}")
    try:
        return REWARDS[name](**arguments)
    except TypeError as error:
        raise ValueError(f"reward {name!r} can't take reward_kwargs={dict(arguments)}: {error}") from error
